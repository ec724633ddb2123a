"""Rows to columns, some ten thousand rows at a time: what arrow.py makes record batches of.

A field is collected in one of three ways. A number of the record itself is copied into a buffer. What an entity alone
decides is worked out once for each entity; a row then has the entity's place in the list of these values. Anything
else is a list with a value for each row.
"""

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

if cython.compiled:
    from cython.cimports.sftools.avro.decoder_cy import RecordCursor
    from cython.cimports.sftools.reader.rows_cy import Entity, Row
else:
    from sftools.reader.rows_cy import Entity, Row

from sftools import limits
from sftools.fields import FieldType

ROWS = 32768
"""Of a batch, unless they take more than limits.MAX_BATCH_BYTES."""

_NUMBER = cython.declare(cython.int, 0)
_OWNED = cython.declare(cython.int, 1)
_CONSTANT = cython.declare(cython.int, 2)
_BY_NUMBER = cython.declare(cython.int, 3)
_BY_ENTITY = cython.declare(cython.int, 4)
_CALL = cython.declare(cython.int, 5)

_MAX_KEPT = cython.declare(cython.int, limits.MAX_KEPT_VALUES)


@cython.cclass
class Numbers:
    """A field's numbers. room: 8 bytes for each row, as the machine has them. flags: 1 for each row that has one."""

    def begin(self, rows):
        """Anew, for at most so many rows."""
        self.room = bytearray(8 * rows)
        self.flags = bytearray(rows)
        if cython.compiled:
            base: cython.pointer[cython.char] = self.room
            self.data = cython.cast(cython.pointer[cython.longlong], base)
            self.valid = self.flags
        else:
            self.data = memoryview(self.room).cast("q")
            self.valid = self.flags
        return 0


@cython.cclass
class Owned:
    """The fields that one of a row's entities decides. number: which entity, as Row.owner() has it.

    values: a list of values for each of the fields. room: for each row its place in these lists as 4 bytes; 0 where it
    has no such entity: the lists begin with None.
    """

    def __init__(self, number: int):
        self.number = number
        self.fields = []

    def begin(self, rows):
        """Anew, for at most so many rows."""
        self.room = bytearray(4 * rows)
        if cython.compiled:
            base: cython.pointer[cython.char] = self.room
            self.data = cython.cast(cython.pointer[cython.int], base)
        else:
            self.data = memoryview(self.room).cast("i")
        self.values = [[None] for _ in self.fields]
        self.places = {}
        self.last = None
        self.costs = [0]
        # Lists stand in each row, while texts stand once.
        self.expands = any(field.type is FieldType.LIST for field in self.fields)
        return 0

    def put(self, at, row, entity):
        """Have the row at `at` refer to an entity; returns how many bytes that adds."""
        cost: cython.Py_ssize_t = 0
        if entity is not self.last:
            place = self.places.get(entity)
            if place is None:
                self.remember(row, entity)
                cost = len(entity.raw)
            else:
                self.last = entity
                self.last_place = place
        self.data[at] = self.last_place
        if self.expands:
            cost += self.costs[self.last_place]
        return cost

    def remember(self, row, entity):
        """Work out the fields of an entity that is new, on a row that refers to it. Raises DecodeError."""
        values: list
        for field, values in zip(self.fields, self.values):
            values.append(field.get(row))
        self.costs.append(8 * len(entity.raw))  # a number that takes a byte there takes eight here
        self.last = entity
        self.last_place = len(self.costs) - 1
        self.places[entity] = self.last_place
        return 0


@cython.cclass
class Values:
    """A field's values, one for each row that there may be."""


@cython.cclass
class Step:
    """What is done for a row, by its record type.

    kind: where the value comes from. number: the slot, or the entity's. value: the constant. kept: values by number or
    by entity. The value goes to numbers, owned or column.
    """

    def __init__(self, kind: int, number: int, field, column, value=None):
        self.kind = kind
        self.number = number
        self.field = field
        self.value = value
        self.kept = {}
        if kind == _NUMBER:
            self.numbers = column
        elif kind == _OWNED:
            self.owned = column
        else:
            self.column = column


@cython.cclass
class Columns:
    """Collects rows. fields: those that are wanted; columns: for each of them its Numbers, Owned or Values.

    count: how many rows there are.
    """

    def __init__(self, fields: list):
        self.fields = fields
        self.columns = []
        owners: dict = {}
        for field in fields:
            if field.owner >= 0:
                column = owners.get(field.owner)
                if column is None:
                    column = owners[field.owner] = Owned(field.owner)
                column.fields.append(field)
            elif field.slot >= 0 and (field.type is FieldType.NUMBER or field.type is FieldType.TIME):
                column = Numbers()
            else:
                column = Values()
            self.columns.append(column)
        self.begin()

    def begin(self):
        """Start over, with no rows. What was collected stays with who has taken it."""
        self.count = 0
        self.cost = 0
        self.most = limits.MAX_BATCH_BYTES
        self.plan = None  # the programs keep entities
        numbers: Numbers
        owned: Owned
        values: Values
        for column in set(self.columns):
            if isinstance(column, Numbers):
                numbers = column
                numbers.begin(ROWS)
            elif isinstance(column, Owned):
                owned = column
                owned.begin(ROWS)
            else:
                values = column
                values.items = [None] * ROWS
        return 0

    def row(self, row):
        """Collect a row; true where it was the last for which there is room. Raises DecodeError; it is left out then."""
        if row.plan is not self.plan:
            self.plan = row.plan
            self.programs = [None] * 64
        if self.programs[row.branch] is None:
            self.programs[row.branch] = self.compile(row.branch)
        try:
            self.put(row, self.programs[row.branch])
        except BaseException:
            self.drop()
            raise
        self.count += 1
        return self.count == ROWS or self.cost >= self.most

    def put(self, row, program):
        """Take the values of a row."""
        step: Step
        entity: Entity
        cursor: RecordCursor = row.cursor
        kind: cython.int
        at: cython.Py_ssize_t = self.count
        for step in program:
            kind = step.kind
            if kind == _NUMBER:
                if cursor.present >> step.number & 1:
                    step.numbers.data[at] = cursor.value[step.number]
                    step.numbers.valid[at] = 1
            elif kind == _OWNED:
                entity = row.owner(step.number)
                if entity is not None:
                    self.cost += step.owned.put(at, row, entity)
            elif kind == _CONSTANT:
                step.column.items[at] = step.value
            elif kind == _CALL:
                value = step.field.get(row)
                if value is not None:
                    step.column.items[at] = value
                    self.cost += _size(value)
            else:
                if kind == _BY_ENTITY:
                    key = row.owner(step.number)
                else:
                    key = cursor.value[step.number] if cursor.present >> step.number & 1 else None
                if key is not None:
                    value = step.kept.get(key)
                    if value is None:
                        if len(step.kept) >= _MAX_KEPT:
                            step.kept.clear()
                        value = step.field.get(row)
                        step.kept[key] = value
                    step.column.items[at] = value
                    self.cost += _size(value)
        return 0

    def drop(self):
        """Leave nothing of the row that is not counted yet."""
        numbers: Numbers
        owned: Owned
        values: Values
        for column in self.columns:
            if isinstance(column, Numbers):
                numbers = column
                numbers.valid[self.count] = 0
            elif isinstance(column, Owned):
                owned = column
                owned.data[self.count] = 0
            else:
                values = column
                values.items[self.count] = None
        return 0

    def compile(self, branch):
        """The steps for a record type; what it cannot have needs none."""
        slots = self.plan.slots.get(branch, frozenset())
        steps: list = []
        seen: set = set()
        for field, column in zip(self.fields, self.columns):
            if field.constant is not None:
                steps.append(Step(_CONSTANT, -1, field, column, field.constant(branch)))
            elif field.owner >= 0:
                if field.owner not in seen:
                    seen.add(field.owner)
                    steps.append(Step(_OWNED, field.owner, None, column))
            elif field.branches is not None and branch not in field.branches:
                continue
            elif field.slot >= 0:
                if field.slot in slots:
                    steps.append(
                        Step(_NUMBER if isinstance(column, Numbers) else _BY_NUMBER, field.slot, field, column)
                    )
            elif branch in field.owners:
                steps.append(Step(_BY_ENTITY, field.owners[branch], field, column))
            else:
                steps.append(Step(_CALL, -1, field, column))
        return steps


def _size(value):
    """About how many bytes a value takes."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, (list, tuple)):
        return 8 + sum([_size(item) for item in value])
    return 8


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
