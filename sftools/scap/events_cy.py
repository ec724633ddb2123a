"""The event cursor: walks the blocks of a capture, one event or list block at a time.

No Python object is made per event. The cursor stands on one event; handlers read its parameters in place. Facts of the
format: falcosecurity/libs scap_savefile.h and ppm_events_public.h; conversions of older events: tables.CONVERSIONS.
"""

import struct

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

if cython.compiled:
    from cython.cimports.libc.string import memcpy

from sftools.errors import InputError
from sftools.limits import (
    MAX_BLOCK_BYTES,
    MAX_DAMAGE_REPORTS,
    MAX_EVENT_BYTES,
    MAX_EVENT_PARAMS,
    MAX_SAVED_EVENT_BYTES,
)
from sftools.scap import blocks, tables

_U16 = struct.Struct("<H").unpack_from
_U32 = struct.Struct("<I").unpack_from
_U64 = struct.Struct("<Q").unpack_from
_S64 = struct.Struct("<q").unpack_from

END = 0
EVENT = 1
BLOCK = 2

_BUFFER = 256 * 1024
_MAX_PARAMS = cython.declare(cython.uint, MAX_EVENT_PARAMS)
_MAX_BLOCK = cython.declare(cython.Py_ssize_t, MAX_BLOCK_BYTES)
_MAX_SAVED = cython.declare(cython.Py_ssize_t, MAX_SAVED_EVENT_BYTES)
_MAX_EVENT = cython.declare(cython.Py_ssize_t, MAX_EVENT_BYTES + 64)
# This many whole blocks in a row prove that a place found after damage is a block boundary.
_PROOF = 3

_EVENT_COUNT = cython.declare(cython.uint, len(tables.EVENT_CODES))

# Numbers at a place in the buffer, little-endian. Nothing is checked: that they lie in it has to be proved before.


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def u8(b: cython.pointer[cython.const[cython.uchar]], p: cython.Py_ssize_t) -> cython.uint:
    return b[p]


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def u16(b: cython.pointer[cython.const[cython.uchar]], p: cython.Py_ssize_t) -> cython.uint:
    if cython.compiled:
        return b[p] | cython.cast(cython.uint, b[p + 1]) << 8
    return _U16(b, p)[0]


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def u32(b: cython.pointer[cython.const[cython.uchar]], p: cython.Py_ssize_t) -> cython.uint:
    if cython.compiled:
        return (
            b[p]
            | cython.cast(cython.uint, b[p + 1]) << 8
            | cython.cast(cython.uint, b[p + 2]) << 16
            | cython.cast(cython.uint, b[p + 3]) << 24
        )
    return _U32(b, p)[0]


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def u64(b: cython.pointer[cython.const[cython.uchar]], p: cython.Py_ssize_t) -> cython.ulonglong:
    if cython.compiled:
        return cython.cast(cython.ulonglong, u32(b, p)) | cython.cast(cython.ulonglong, u32(b, p + 4)) << 32
    return _U64(b, p)[0]


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def s64(b: cython.pointer[cython.const[cython.uchar]], p: cython.Py_ssize_t) -> cython.longlong:
    if cython.compiled:
        return cython.cast(cython.longlong, u64(b, p))
    return _S64(b, p)[0]


@cython.cfunc
def chunk(b: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, size: cython.Py_ssize_t) -> bytes:
    """A copy of bytes that were proved to lie in the buffer."""
    if cython.compiled:
        return b[start : start + size]
    return bytes(b[start : start + size])


@cython.cclass
class Rule:
    """How an older form of an event becomes the next one: which parameters are appended, and from where."""

    def __init__(self, becomes: int, first: int, sources: list):
        i: cython.int
        self.becomes = becomes
        self.first = first
        self.count = len(sources)
        if not cython.compiled:
            self.kind = [0] * 32
            self.arg = [0] * 32
        for i in range(len(sources)):
            self.kind[i] = sources[i][0]
            self.arg[i] = sources[i][1]


_OLD = cython.declare(cython.int, 1)
_ENTER = cython.declare(cython.int, 2)
_ABSENT = cython.declare(cython.int, 3)


@cython.cfunc
def _rules():
    """Rules by (event id * 33 + number of parameters): two parallel structures, an index and the rules."""
    index = bytearray((_EVENT_COUNT + 1) * 33 * 2)
    rules = [None]
    kinds = {"from_old": _OLD, "from_enter": _ENTER}
    for code, nparams, becomes, sources in tables.CONVERSIONS:
        if any(kind == "from_callback" for kind, _ in sources):
            # Only code can make the new parameters (PPME_CONTAINER_E's JSON): who reads such an event takes the old.
            continue
        rule = [(kinds.get(kind, _ABSENT), number) for kind, number in sources]
        first = nparams if becomes == code else 0
        rules.append(Rule(becomes, first, rule))
        struct.pack_into("<H", index, (code * 33 + nparams) * 2, len(rules) - 1)
    return bytes(index), rules


_RULES_OBJECTS = _rules()
_RULE_INDEX = cython.declare(bytes, _RULES_OBJECTS[0])
_RULES = cython.declare(list, _RULES_OBJECTS[1])


@cython.cclass
class SavedEvent:
    """A copy of a thread's last enter event: its exit event may lack what only the enter had."""

    def __init__(self):
        self.room = bytearray(64)
        self.type = 0
        self.nparams = 0
        self.width = 2
        self.size = 0
        if cython.compiled:
            self.base = cython.cast(
                cython.pointer[cython.const[cython.uchar]], cython.cast(cython.pointer[cython.char], self.room)
            )
        else:
            self.base = self.room

    def find(self, i):
        """Where parameter i stands, its length in `found`; -1 where there is none."""
        at: cython.Py_ssize_t = self.nparams * self.width
        size: cython.Py_ssize_t
        j: cython.uint
        if i >= self.nparams:
            return -1
        for j in range(i + 1):
            size = u16(self.base, 2 * j) if self.width == 2 else u32(self.base, 4 * j)
            if size > self.size - at:
                return -1
            if j == i:
                self.found = cython.cast(cython.uint, size)
                return at if size > 0 else -1
            at += size
        return -1

    def uint_param(self, i, default):
        """Parameter i as an unsigned number; default where it is absent."""
        at: cython.Py_ssize_t = self.find(i)
        if at < 0 or self.found != 4:
            return default
        return u32(self.base, at)

    def long_param(self, i, default):
        """Parameter i as a signed 64-bit number; default where it is absent."""
        at: cython.Py_ssize_t = self.find(i)
        if at < 0 or self.found != 8:
            return default
        return s64(self.base, at)

    def str_param(self, i):
        """Parameter i up to its first NUL; empty where it is absent."""
        at: cython.Py_ssize_t = self.find(i)
        if at < 0:
            return b""
        size: cython.Py_ssize_t = 0
        while size < self.found and self.base[at + size] != 0:
            size += 1
        return chunk(self.base, at, size)


@cython.cclass
class EventCursor:
    """Walks a capture's blocks.

    source: has readinto(buffer) -> bytes read, 0 at the end (see sftools.source).
    name: for messages. strict: raise at the first damage instead of going on behind it.

    advance() moves on and returns EVENT (the event's fields are set), BLOCK (block_type and body() are set) or END.
    Raises InputError where the input is no capture, is byte-swapped, or (strict) is damaged; the offset counts
    decompressed bytes. Otherwise damage is counted in `damaged` and described in `damage` as (offset, cause).
    """

    def __init__(self, source, name: str, strict: bool = False):
        self.source = source
        self.name = name
        self.strict = strict
        self.room = bytearray(_BUFFER)
        self.capacity = _BUFFER
        self.pos = 0
        self.end = 0
        self.start = 0
        self.exhausted = False
        self.begun = False
        self.damage = []
        self.damaged = 0
        self.events = 0
        self.known = 0
        self.block_type = 0
        self.block_at = 0
        self.block_size = 0
        self._rebase()
        self.rule_at = _RULE_INDEX
        if not cython.compiled:
            self.pbase = [b""] * 34
            self.poff = [0] * 34
            self.plen = [0] * 34

    def _rebase(self):
        if cython.compiled:
            self.base = cython.cast(
                cython.pointer[cython.const[cython.uchar]], cython.cast(cython.pointer[cython.char], self.room)
            )
        else:
            self.base = self.room

    @property
    def offset(self) -> int:
        """Offset of the current block in the (decompressed) capture."""
        return self.start + self.block_at

    @property
    def position(self) -> int:
        """How far the capture has been read, in decompressed bytes."""
        return self.start + self.pos

    def fill(self, need):
        """Make `need` bytes available from pos on; False where the input ends before."""
        got: cython.Py_ssize_t
        if self.end - self.pos >= need:
            return True
        if self.exhausted:
            return False
        if self.pos > 0 and (self.capacity - self.pos < need or self.pos == self.end):
            self.start += self.pos
            self.room[: self.end - self.pos] = self.room[self.pos : self.end]
            self.end -= self.pos
            self.pos = 0
            # Place after place that claims a block as long as the buffer would move it each time for a few bytes.
            if self.end > self.capacity // 2:
                self._grow()
        while self.end - self.pos < need:
            if self.end == self.capacity:
                self._grow()
            got = self.source.readinto(memoryview(self.room)[self.end : self.capacity])
            if got <= 0:
                self.exhausted = True
                return False
            self.end += got
        return True

    def _grow(self):
        """Double the buffer: only as far as bytes have arrived, so a length that lies costs nothing."""
        grown = bytearray(min(self.capacity * 2, _MAX_BLOCK + _BUFFER))
        grown[: self.end] = self.room[: self.end]
        self.room = grown
        self.capacity = len(grown)
        self._rebase()

    def report(self, offset, cause):
        """Count one place of damage."""
        self.damaged += 1
        if len(self.damage) < MAX_DAMAGE_REPORTS:
            self.damage.append((offset, cause))

    def damage_here(self, cause: str):
        """Damage inside the current block, found by who read it. Raises InputError where the cursor is strict."""
        if self.strict:
            raise InputError(self.name, cause, self.offset)
        self.report(self.offset, cause)

    def _begin(self):
        """The first block must be a section header."""
        self.begun = True
        if not self.fill(1):
            raise InputError(self.name, "is empty", hint="a scap capture begins with a section header block")
        if not self.fill(28):
            raise InputError(self.name, "is not a scap capture: too short for a section header", 0)
        head = chunk(self.base, self.pos, 28)
        if head[:4] != b"\x0a\x0d\x0d\x0a":
            raise InputError(self.name, "is not a scap capture" + blocks.guess(head), 0)

    def _section(self):
        """What is wrong with the section header that begins at pos, of which 16 bytes are there; None where nothing is.

        Raises InputError where the capture cannot be read from here on, whatever follows.
        """
        magic: cython.uint = u32(self.base, self.pos + 8)
        major: cython.uint = u16(self.base, self.pos + 12)
        if magic == 0x4D3C2B1A:
            raise InputError(
                self.name,
                "is a byte-swapped (big-endian) capture, which is not supported",
                self.start + self.pos,
                "convert it on a machine of the kind that recorded it",
            )
        cause = None
        if magic != 0x1A2B3C4D:
            cause = f"section header has magic {magic:#x} instead of 0x1a2b3c4d"
        elif major != 1:
            cause = f"capture format {major}.{u16(self.base, self.pos + 14)} is not known (1.x is)"
        if cause is not None and self.position == 0:
            raise InputError(self.name, cause, 0)
        return cause

    def advance(self):
        kind: cython.uint
        size: cython.Py_ssize_t
        room: cython.Py_ssize_t
        cause: object
        if not self.begun:
            self._begin()
        while True:
            room = self.end - self.pos
            if room < 12:
                if not self.fill(12):
                    room = self.end - self.pos
                    if room > 0:
                        self.block_at = self.pos
                        cause = f"the capture is cut: {room} bytes of a block header"
                        if self.strict:
                            raise InputError(self.name, cause, self.offset)
                        self.report(self.offset, cause)
                        self.pos = self.end
                    return END
            kind = u32(self.base, self.pos)
            size = u32(self.base, self.pos + 4)
            self.block_at = self.pos
            cause = None
            if kind == 0x0A0D0D0A and self.fill(16):
                # Before its length is believed: in a byte-swapped capture that is the first thing to be wrong.
                cause = self._section()
                self.block_at = self.pos
            if cause is not None:
                pass
            elif size < 12 or size & 3:
                cause = f"block of type {kind:#x} has the impossible length {size}"
            elif size > _MAX_BLOCK:
                cause = f"block of type {kind:#x} claims {size} bytes; at most {_MAX_BLOCK} are accepted"
            elif self.end - self.pos < size and not self.fill(size):
                self.block_at = self.pos
                cause = f"the capture is cut: a block of {size} bytes has only {self.end - self.pos}"
            else:
                self.block_at = self.pos
                if u32(self.base, self.pos + size - 4) != size:
                    cause = f"block of type {kind:#x} has two different lengths, {size} and {u32(self.base, self.pos + size - 4)}"
            if cause is not None:
                self.block_at = self.pos
                if self.strict:
                    raise InputError(self.name, cause, self.offset)
                self.report(self.offset, cause)
                if not self.resync():
                    return END
                continue
            self.block_type = kind
            self.block_size = size
            self.pos += size
            if (
                kind == 0x216
                or kind == 0x217
                or kind == 0x221
                or kind == 0x222
                or kind == 0x204
                or kind == 0x208
                or kind == 0x8010ABCD
            ):
                if self.open_event(self.block_at, size, kind):
                    self.events += 1
                    return EVENT
                cause = f"event in a block of type {kind:#x} has lengths that do not fit"
                if self.strict:
                    raise InputError(self.name, cause, self.offset)
                self.report(self.offset, cause)
                continue
            if kind != 0x0A0D0D0A and kind in blocks.KNOWN:
                self.known += 1
            return BLOCK

    def body(self):
        """The current block's body: bytes between its two lengths."""
        return chunk(self.base, self.block_at + 8, self.block_size - 12)

    def open_event(self, at, size, kind):
        """Stand on the event of the block at `at`; False where its header does not fit the block."""
        b = self.base
        off: cython.Py_ssize_t = at + 10
        stop: cython.Py_ssize_t
        length: cython.Py_ssize_t
        n: cython.uint
        sum_: cython.Py_ssize_t
        if kind == 0x217 or kind == 0x222 or kind == 0x208:
            off = at + 14
        stop = at + size - 4
        if size > _MAX_EVENT or stop - off < 22:
            return False
        self.cpuid = u16(b, at + 8)
        self.ts = u64(b, off)
        self.tid = s64(b, off + 8)
        length = u32(b, off + 16)
        self.type = u16(b, off + 20)
        if length > stop - off:
            return False
        self.stop = off + length
        if kind == 0x216 or kind == 0x217:
            if length < 26:
                return False
            n = u32(b, off + 22)
            self.lengths = off + 26
            self.width = 2
        elif kind == 0x221 or kind == 0x222:
            if length < 26:
                return False
            n = u32(b, off + 22)
            self.lengths = off + 26
            self.width = 4
        else:
            # No count in the old header: the lengths end where they and what they add up to fill the event.
            if length < 22:
                return False
            n = 0
            sum_ = 22
            self.lengths = off + 22
            self.width = 2
            while sum_ < length and n < _MAX_PARAMS and self.lengths + 2 * n + 2 <= self.stop:
                sum_ += 2 + u16(b, self.lengths + 2 * n)
                n += 1
            if sum_ != length:
                return False
        if n > _MAX_PARAMS or self.lengths + n * self.width > self.stop:
            return False
        self.nparams = n
        self.data = self.lengths + n * self.width
        return True

    def load(self, enter):
        """Find the event's parameters, in the newest layout of its kind; False where their lengths overrun the event.

        enter: the same thread's saved enter event of this very call, or None. `type` and `nparams` become the newest
        layout's; parameters that neither event has are absent (length 0).
        """
        i: cython.uint
        n: cython.uint = self.nparams
        j: cython.uint
        first: cython.uint
        at: cython.Py_ssize_t = self.data
        size: cython.Py_ssize_t
        rule: Rule
        which: cython.uint
        source: cython.int
        old_base: cython.pointer[cython.const[cython.uchar]][34]
        old_off: cython.Py_ssize_t[34]
        old_len: cython.uint[34]
        enter_off: cython.Py_ssize_t[34]
        enter_len: cython.uint[34]
        enter_n: cython.uint = 0
        if not cython.compiled:
            old_base = [b""] * 34
            old_off = [0] * 34
            old_len = [0] * 34
            enter_off = [0] * 34
            enter_len = [0] * 34
        for i in range(n):
            size = u16(self.base, self.lengths + 2 * i) if self.width == 2 else u32(self.base, self.lengths + 4 * i)
            if size > self.stop - at:
                return False
            self.pbase[i] = self.base
            self.poff[i] = at
            self.plen[i] = cython.cast(cython.uint, size)
            at += size
        if self.type >= _EVENT_COUNT:
            return True
        which = u16(self.rule_at, (self.type * 33 + n) * 2)
        if which == 0:
            return True
        if enter is not None:
            at = enter.nparams * enter.width
            for i in range(enter.nparams):
                size = u16(enter.base, 2 * i) if enter.width == 2 else u32(enter.base, 4 * i)
                if size > enter.size - at:
                    break
                enter_off[i] = at
                enter_len[i] = cython.cast(cython.uint, size)
                at += size
                enter_n = i + 1
        while which != 0:
            rule = cython.cast(Rule, _RULES[which])
            first = rule.first
            if first == 0:
                for i in range(n):
                    old_base[i] = self.pbase[i]
                    old_off[i] = self.poff[i]
                    old_len[i] = self.plen[i]
            for i in range(rule.count):
                j = rule.arg[i]
                source = rule.kind[i]
                if source == _OLD and j < n:
                    self.pbase[first + i] = old_base[j]
                    self.poff[first + i] = old_off[j]
                    self.plen[first + i] = old_len[j]
                elif source == _ENTER and j < enter_n:
                    self.pbase[first + i] = enter.base
                    self.poff[first + i] = enter_off[j]
                    self.plen[first + i] = enter_len[j]
                else:
                    self.pbase[first + i] = self.base
                    self.poff[first + i] = 0
                    self.plen[first + i] = 0
            n = first + rule.count
            self.type = rule.becomes
            which = u16(self.rule_at, (self.type * 33 + n) * 2)
        self.nparams = n
        return True

    def save(self, into):
        """Copy the current (enter) event's parameters, as the block has them, for its exit event.

        Too large a one is not saved. True where the copy took more room than before.
        """
        size: cython.Py_ssize_t = self.stop - self.lengths
        grown: cython.bint = False
        into.type = self.type
        into.width = self.width
        if size > _MAX_SAVED:
            into.nparams = 0
            into.size = 0
            return False
        if size > len(into.room):
            grown = True
            into.room = bytearray(size)
            if cython.compiled:
                into.base = cython.cast(
                    cython.pointer[cython.const[cython.uchar]], cython.cast(cython.pointer[cython.char], into.room)
                )
            else:
                into.base = into.room
        if cython.compiled:
            memcpy(cython.cast(cython.pointer[cython.uchar], into.base), self.base + self.lengths, size)
        else:
            into.room[:size] = self.room[self.lengths : self.stop]
        into.nparams = self.nparams
        into.size = size
        return grown

    def uint_param(self, i, default):
        """Parameter i as an unsigned number of 1, 2, 4 or (cut) 8 bytes; default where it is absent."""
        size: cython.uint
        if i >= self.nparams:
            return default
        size = self.plen[i]
        if size == 4 or size == 8:
            return u32(self.pbase[i], self.poff[i])
        if size == 2:
            return u16(self.pbase[i], self.poff[i])
        if size == 1:
            return u8(self.pbase[i], self.poff[i])
        return default

    def long_param(self, i, default):
        """Parameter i as a signed number of 8 (or, in small types, 4, 2, 1 unsigned) bytes; default where it is absent."""
        size: cython.uint
        if i >= self.nparams:
            return default
        size = self.plen[i]
        if size == 8:
            return s64(self.pbase[i], self.poff[i])
        if size == 4:
            return u32(self.pbase[i], self.poff[i])
        if size == 2:
            return u16(self.pbase[i], self.poff[i])
        if size == 1:
            return u8(self.pbase[i], self.poff[i])
        return default

    def bytes_param(self, i):
        """Parameter i's bytes; empty where it is absent."""
        if i >= self.nparams or self.plen[i] == 0:
            return b""
        return chunk(self.pbase[i], self.poff[i], self.plen[i])

    def str_param(self, i):
        """Parameter i up to its first NUL; empty where it is absent."""
        size: cython.Py_ssize_t
        limit: cython.Py_ssize_t
        if i >= self.nparams or self.plen[i] == 0:
            return b""
        limit = self.plen[i]
        size = 0
        while size < limit and self.pbase[i][self.poff[i] + size] != 0:
            size += 1
        return chunk(self.pbase[i], self.poff[i], size)

    def plausible(self, at, chain):
        """True where `chain` whole blocks of known types stand in a row at pos + at, or some and then the end."""
        kind: cython.uint
        size: cython.Py_ssize_t
        found: cython.int = 0
        while found < chain:
            if not self.fill(at + 12):
                return found > 0 and self.end - self.pos == at
            kind = u32(self.base, self.pos + at)
            size = u32(self.base, self.pos + at + 4)
            if size < 12 or size & 3 or size > _MAX_EVENT or kind not in blocks.KNOWN:
                return False
            if not self.fill(at + size) or u32(self.base, self.pos + at + size - 4) != size:
                return False
            if kind == 0x0A0D0D0A and (size < 28 or u32(self.base, self.pos + at + 8) != 0x1A2B3C4D):
                return False
            at += size
            found += 1
        return True

    def resync(self):
        """Move to the next place that is provably a block boundary; False where there is none."""
        low: cython.uint
        while True:
            self.pos += 1
            if self.end - self.pos < 12 and not self.fill(12):
                self.pos = self.end
                return False
            # Block types are 0x2xx, the section header, and 0x80xxABCD: most places fail on these bytes.
            low = u32(self.base, self.pos)
            if (low > 0x1FF and low < 0x223) or low == 0x0A0D0D0A or low & 0xFFFF == 0xABCD:
                if self.plausible(0, _PROOF):
                    return True


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
