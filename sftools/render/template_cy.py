"""Rows to text: a template of constant texts and fields, worked out once for each record type.

What an entity alone decides is rendered once and kept with it; numbers and times go straight from the record into the
output. So a row costs a dozen copies, however many fields it has.
"""

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

if cython.compiled:
    from cython.cimports.libc.math import modf, rint
    from cython.cimports.libc.string import memcpy
    from cython.cimports.sftools.avro.decoder_cy import RecordCursor
    from cython.cimports.sftools.reader.rows_cy import Entity, Row
else:
    from math import modf

    from sftools.reader.rows_cy import Entity, Row

from sftools import limits
from sftools.fields import FieldType
from sftools.utils import getTimeStrIso8601, second_text

CHUNK = cython.declare(cython.Py_ssize_t, 64 * 1024)
# A number has 20 characters at most, a time 26.
_ROOM = cython.declare(cython.Py_ssize_t, 64)

_NUMBER = cython.declare(cython.int, 0)
_TIME = cython.declare(cython.int, 1)
_BY_NUMBER = cython.declare(cython.int, 2)
_OF_ENTITY = cython.declare(cython.int, 3)
_CALL = cython.declare(cython.int, 4)

_MAX_KEPT = cython.declare(cython.int, limits.MAX_KEPT_VALUES)
_MAX_PROGRAMS = cython.declare(cython.int, limits.MAX_KEPT_PROGRAMS)
_MAX_TEXTS = cython.declare(cython.int, limits.MAX_ENTITY_TEXTS)


@cython.cclass
class Piece:
    """A place in the template: constant text before it, and what stands there.

    kind: where it comes from. number: the slot, or the entity's. missing: the text where there is none. members: for
    _OF_ENTITY the (text before, field) of several fields that follow each other. kept: texts by number.
    """

    def __init__(self, before: bytes, kind: int, number: int, missing: bytes, members: list):
        self.before = before
        self.kind = kind
        self.number = number
        self.missing = missing
        self.members = members
        self.kept = {}


@cython.cclass
class Template:
    """Writes rows to a binary file: `first`, the rows with `between` between them, `last`.

    parts: (text before, field) for each field of a row; end: the text behind the last. encode: a value that is not None
    to bytes; missing: a field to the bytes that stand for None. quote: what encode puts around a plain text.
    """

    def __init__(
        self, file, parts: list, end: bytes, encode, missing, quote: bytes = b"",
        first: bytes = b"", between: bytes = b"", last: bytes = b"",
    ):  # fmt: skip
        self.file = file
        self.parts = parts
        self.end = end
        self.encode = encode
        self.missing = missing
        self.quote = quote
        self.first = first
        self.between = between
        self.last = last
        self.room = bytearray(2 * CHUNK)
        self.capacity = 2 * CHUNK
        self._rebase()
        self.second_text = b""
        self.by_plan = {}
        self.put(first)

    def _rebase(self):
        if cython.compiled:
            self.base = self.room

    def row(self, row):
        """Write a row. Raises what the file raises, and DecodeError."""
        piece: Piece
        entity: Entity
        cursor: RecordCursor = row.cursor
        kind: cython.int
        text: bytes
        program: list
        if row.plan is not self.plan:
            self.plan = row.plan
            self.programs = self.by_plan.get(row.plan)  # sorted rows go from one schema to another and back
            if self.programs is None:
                if len(self.by_plan) >= _MAX_PROGRAMS:
                    self.by_plan.clear()
                self.programs = [None] * 64
                self.by_plan[row.plan] = self.programs
        if self.programs[row.branch] is None:
            self.programs[row.branch] = self._compile(row.branch)
        program = self.programs[row.branch]
        if self.begun:
            self.put(self.between)
        self.begun = True
        for piece in program:
            self.put(piece.before)
            kind = piece.kind
            if kind == _OF_ENTITY:
                entity = row.owner(piece.number)
                if entity is None:
                    self.put(piece.missing)
                else:
                    self.put(self.entity_text(piece, row, entity))
            elif kind == _CALL:
                value = piece.members[0][1].get(row)
                self.put(piece.missing if value is None else self.encode(value))
            elif not cursor.present >> piece.number & 1:
                self.put(piece.missing)
            elif kind == _NUMBER:
                self.put_number(cursor.value[piece.number])
            elif kind == _TIME:
                self.put_time(cursor.value[piece.number])
            else:
                number = cursor.value[piece.number]
                text = piece.kept.get(number)
                if text is None:
                    if len(piece.kept) >= _MAX_KEPT:
                        piece.kept.clear()
                    text = self.encode(piece.members[0][1].get(row))
                    piece.kept[number] = text
                self.put(text)
        self.put(self.end)
        if self.size >= CHUNK:
            self.flush()
        return 0

    def entity_text(self, piece, row, entity):
        """What a piece has of an entity: rendered at the first time, then kept."""
        kept: dict = entity.parts
        text: bytes
        if kept is None:
            kept = {}
            entity.parts = kept
        text = kept.get(piece)
        if text is None:
            texts: list = []
            for before, field in piece.members:
                value = field.get(row)
                texts.append(before)
                texts.append(self.missing(field) if value is None else self.encode(value))
            text = b"".join(texts)
            if len(kept) >= _MAX_TEXTS:
                kept.clear()
            kept[piece] = text
        return text

    def _compile(self, branch):
        """The pieces for a record type: constants are drawn together, and fields of one entity that are neighbours."""
        slots = self.plan.slots.get(branch, frozenset())
        pieces: list = []
        before = b""
        owner = -1
        members: list = []

        def entity_done():
            nonlocal before, members
            if members:
                absent = b"".join(part for text, field in members for part in (text, self.missing(field)))
                pieces.append(Piece(before, _OF_ENTITY, owner, absent, members))
                before = b""
                members = []

        for text, field in self.parts:
            own = field.owners.get(branch, field.owner)
            fixed = None
            if field.constant is not None:
                fixed = self.encode(field.constant(branch))
            elif (field.branches is not None and branch not in field.branches) or (
                field.slot >= 0 and field.slot not in slots
            ):
                fixed = self.missing(field)
            if fixed is None and own >= 0:
                if own != owner:
                    entity_done()
                    owner = own
                members.append((text, field))
                continue
            entity_done()
            owner = -1
            before += text
            if fixed is not None:
                before += fixed
                continue
            if field.slot < 0:
                kind = _CALL
            elif field.type is FieldType.NUMBER:
                kind = _NUMBER
            elif field.type is FieldType.TIME:
                kind = _TIME
            else:
                kind = _BY_NUMBER
            pieces.append(Piece(before, kind, field.slot, self.missing(field), [(b"", field)]))
            before = b""
        entity_done()
        if before:
            # A constant at the end: a call that gives nothing.
            pieces.append(Piece(before, _CALL, -1, b"", [(b"", _NOTHING)]))
        return pieces

    def put(self, text):
        """Bytes as they are."""
        n: cython.Py_ssize_t = len(text)
        if cython.compiled:
            if self.capacity - self.size < n:
                self.reserve(n)
            source: cython.pointer[cython.const[cython.char]] = text
            memcpy(self.base + self.size, source, n)
        else:
            self.room[self.size : self.size + n] = text
        self.size += n
        return 0

    def reserve(self, need):
        """Room for `need` more bytes."""
        if cython.compiled:
            if self.capacity - self.size < need:
                self.capacity = 2 * self.capacity + need
                grown: bytearray = bytearray(self.capacity)
                grown[: self.size] = self.room[: self.size]
                self.room = grown
                self._rebase()
        return 0

    def put_number(self, value):
        """A number in decimal."""
        if not cython.compiled:
            return self.put(b"%d" % value)
        digits = cython.declare(cython.char[24])
        at: cython.int = 24
        rest: cython.ulonglong
        if self.capacity - self.size < _ROOM:
            self.reserve(_ROOM)
        if value < 0:
            self.base[self.size] = 45
            self.size += 1
            rest = 0 - cython.cast(cython.ulonglong, value)
        else:
            rest = value
        while True:
            at -= 1
            digits[at] = cython.cast(cython.char, 48 + rest % 10)
            rest //= 10
            if rest == 0:
                break
        memcpy(self.base + self.size, cython.address(digits[at]), 24 - at)
        self.size += 24 - at
        return 0

    def put_time(self, ns):
        """As getTimeStrIso8601, whose arithmetic this is."""
        if not cython.compiled:
            return self.put(self.quote + getTimeStrIso8601(ns).encode() + self.quote)
        whole = cython.declare(cython.double)
        fraction: cython.double = modf(cython.cast(cython.double, ns) / 1e9, cython.address(whole))
        micros: cython.longlong = cython.cast(cython.longlong, rint(fraction * 1e6))
        second: cython.longlong = cython.cast(cython.longlong, whole)
        i: cython.int
        if micros < 0:
            micros += 1_000_000
            second -= 1
        elif micros >= 1_000_000:
            micros -= 1_000_000
            second += 1
        if second != self.second or len(self.second_text) == 0:
            self.second = second
            self.second_text = second_text(second).encode()
        self.put(self.quote)
        self.put(self.second_text)
        if micros:
            if self.capacity - self.size < _ROOM:
                self.reserve(_ROOM)
            self.base[self.size] = 46
            for i in range(6, 0, -1):
                self.base[self.size + i] = cython.cast(cython.char, 48 + micros % 10)
                micros //= 10
            self.size += 7
        return self.put(self.quote)

    def flush(self):
        """Hand what is collected to the file."""
        if self.size:
            self.file.write(memoryview(self.room)[: self.size])
            self.size = 0
        return 0

    def close(self):
        """Write what comes last. The file stays open."""
        self.put(self.last)
        self.flush()


class _Nothing:
    """A field that is never there."""

    @staticmethod
    def get(row):
        return None


_NOTHING = _Nothing()

if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
