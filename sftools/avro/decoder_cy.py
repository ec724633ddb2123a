"""The record cursor: walks the records of a container's block. No Python object is made per record.

It follows the program that plan.py makes of the writer's schema. Fields with a slot (slots.py) are kept: a number's
value, or where a string stands. All else is passed over, but proved to lie in the block.
"""

import array

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

from sftools.avro import plan as plans
from sftools.avro.slots import NUMBERS, SLOTS

_LONG = cython.declare(cython.int, plans.OP_LONG)
_BYTES = cython.declare(cython.int, plans.OP_BYTES)
_FIXED = cython.declare(cython.int, plans.OP_FIXED)
_ENUM = cython.declare(cython.int, plans.OP_ENUM)
_UNION = cython.declare(cython.int, plans.OP_UNION)
_MAP = cython.declare(cython.int, plans.OP_MAP)

_FROM_NUMBER = cython.declare(cython.int, plans.FROM_NUMBER)
_FROM_SPAN = cython.declare(cython.int, plans.FROM_SPAN)
_FROM_OID = cython.declare(cython.int, plans.FROM_OID)
_FROM_EMPTY = cython.declare(cython.int, plans.FROM_EMPTY)

_SLOTS = cython.declare(cython.int, len(SLOTS))
_NUMBERS = cython.declare(cython.int, len(NUMBERS))
_ROOM = 40  # as in the .pxd
assert len(SLOTS) <= _ROOM

_ENDS = cython.declare(cython.int, 1)
_LONG_NUMBER = cython.declare(cython.int, 2)
_NEGATIVE = cython.declare(cython.int, 3)
_NO_SYMBOL = cython.declare(cython.int, 4)
_NO_BRANCH = cython.declare(cython.int, 5)
_CAUSES = {
    2: "a number of more than 64 bits",
    3: "a negative length",
    4: "an enum has no such symbol",
    5: "a union has no such branch",
}


@cython.cclass
class RecordCursor:
    """Stands on one record of a block, after advance().

    plan: of the writer's schema. branch: the type of the record, as objtypes.BRANCHES numbers it. start: where in the
    block it begins.
    """

    def __init__(self, plan):
        self.plan = plan
        self.code_owner = array.array("i", [*plan.program, 0])
        if cython.compiled:
            address: cython.size_t = self.code_owner.buffer_info()[0]
            self.code = cython.cast(cython.pointer[cython.const[cython.int]], address)
        else:
            self.code = self.code_owner
            self.value = [0] * _ROOM
            self.size = [0] * _ROOM
        self.starts = plan.starts
        self.branches = plan.branches
        # A sum with a position then has 64 bits.
        self.largest = min(plan.largest, 1 << 60)
        self.load(b"", 0)

    def load(self, data, count):
        """Stand before the first of `count` records in an expanded block."""
        self.data = data
        if cython.compiled:
            self.base = self.data
        else:
            self.base = data
        self.left = count
        self.pos = 0
        self.start = 0
        self.branch = -1
        self.present = 0
        return 0

    def advance(self):
        """Move to the next record; false behind the last. Raises DecodeError behind the last sound one."""
        size: cython.Py_ssize_t = len(self.data)
        self.branch = -1
        if self.left <= 0:
            if self.pos != size:
                raise plans.DecodeError(f"byte {self.pos}: {size - self.pos} bytes follow its last record")
            return False
        if self.pos >= size:
            raise plans.DecodeError(f"{self.left} records are missing at its end")
        self.start = self.pos
        number: cython.Py_ssize_t = self.base[self.pos]
        if number & 1 or number >> 1 >= len(self.branches):
            raise plans.DecodeError(f"byte {self.pos}: no record type")
        number >>= 1
        self.pos += 1
        self.stop = min(size, self.start + self.largest)
        self.present = 0
        self.fault = 0
        if not self.run(self.starts[number], self.starts[number + 1]):
            raise plans.DecodeError(f"byte {self.start}: {self._cause()}")
        self.left -= 1
        self.branch = self.branches[number]
        return True

    def _cause(self):
        if self.fault == 1:
            return f"a record ends outside of the block, or has more than {self.largest} bytes"
        return _CAUSES[self.fault]

    def run(self, pc, stop):
        """Walk what a part of the program describes; false where the bytes do not fit, with the cause in `fault`."""
        op: cython.int
        slot: cython.int
        i: cython.Py_ssize_t
        count: cython.longlong
        number: cython.longlong
        start: cython.Py_ssize_t
        while pc < stop:
            op = self.code[pc]
            if op == _LONG:
                slot = self.code[pc + 1]
                number = self.varint()
                if self.fault:
                    return False
                if slot >= 0:
                    self.value[slot] = number
                    self.present |= cython.cast(cython.ulonglong, 1) << slot
                pc += 2
            elif op == _BYTES or op == _FIXED:
                slot = self.code[pc + 1]
                if op == _BYTES:
                    number = self.varint()
                    if self.fault:
                        return False
                    pc += 2
                else:
                    number = self.code[pc + 2]
                    pc += 3
                if number < 0 or number > self.stop - self.pos:
                    self.fault = _NEGATIVE if number < 0 else _ENDS
                    return False
                if slot >= 0:
                    self.value[slot] = self.pos
                    self.size[slot] = number
                    self.present |= cython.cast(cython.ulonglong, 1) << slot
                self.pos += number
            elif op == _ENUM:
                number = self.varint()
                if self.fault:
                    return False
                if number < 0 or number >= self.code[pc + 1]:
                    self.fault = _NO_SYMBOL
                    return False
                pc += 2
            elif op == _UNION:
                count = self.code[pc + 1]
                number = self.varint()
                if self.fault:
                    return False
                if number < 0 or number >= count:
                    self.fault = _NO_BRANCH
                    return False
                pc += 2
                i = pc + count
                for slot in range(cython.cast(cython.int, count)):
                    if slot == number and not self.run(i, i + self.code[pc + slot]):
                        return False
                    i += self.code[pc + slot]
                pc = i
            else:
                start = self.pos
                while True:
                    count = self.varint()
                    if self.fault:
                        return False
                    if count == 0:
                        break
                    if count < 0:
                        # So many items, and the bytes of all of them, which readers may use to pass over them.
                        self.varint()
                        if self.fault:
                            return False
                        # Every item has a byte at least: a count that lies meets the end.
                        count = -(count + 1) + 1 if count > -(2**62) else 2**62
                    while count > 0:
                        if op == _MAP:
                            number = self.varint()
                            if self.fault == 0 and (number < 0 or number > self.stop - self.pos):
                                self.fault = _NEGATIVE if number < 0 else _ENDS
                            if self.fault:
                                return False
                            self.pos += number
                        if not self.run(pc + 3, pc + 3 + self.code[pc + 2]):
                            return False
                        count -= 1
                slot = self.code[pc + 1]
                if slot >= 0:
                    self.value[slot] = start
                    self.size[slot] = self.pos - start
                    self.present |= cython.cast(cython.ulonglong, 1) << slot
                pc += 3 + self.code[pc + 2]
        return True

    def varint(self):
        """An Avro long at the position; 0, with the cause in `fault`, where there is none."""
        byte: cython.uint
        shift: cython.int = 0
        if cython.compiled:
            number: cython.ulonglong = 0
        else:
            number = 0
        while True:
            if self.pos >= self.stop:
                self.fault = _ENDS
                return 0
            byte = self.base[self.pos]
            self.pos += 1
            if shift == 63 and byte > 1:
                self.fault = _LONG_NUMBER
                return 0
            number |= cython.cast(cython.ulonglong, byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if cython.compiled:
            return cython.cast(cython.longlong, (number >> 1) ^ (0 - (number & 1)))
        return (number >> 1) ^ -(number & 1)

    # -- the current record

    def raw(self):
        """Its bytes, those of the union's branch in front."""
        return self.data[self.start : self.pos]

    def number(self, slot: cython.int):
        """The number in a slot; None where the record has none. Raises IndexError for no slot of a number."""
        if not 0 <= slot < _NUMBERS:
            raise IndexError(slot)
        if self.branch >= 0 and self.present >> slot & 1:
            return self.value[slot]
        return None

    def span(self, slot):
        """The bytes of a string or fixed value; None where the record has none. Raises IndexError for no such slot."""
        if not _NUMBERS <= slot < _SLOTS:
            raise IndexError(slot)
        if self.branch >= 0 and self.present >> slot & 1:
            return self.data[self.value[slot] : self.value[slot] + self.size[slot]]
        return None

    def copy(self):
        """A cursor of its own that stays on this record."""
        i: cython.int
        other: RecordCursor = RecordCursor.__new__(RecordCursor)
        if not cython.compiled:
            other.value = [0] * _ROOM
            other.size = [0] * _ROOM
        other.plan = self.plan
        other.data = self.raw()
        other.pos = self.pos - self.start
        other.branch = self.branch
        other.present = self.present
        for i in range(_SLOTS):
            other.value[i] = self.value[i] if i < _NUMBERS else self.value[i] - self.start
            other.size[i] = self.size[i]
        return other

    def typed(self):
        """The record as an object of sftools.schema.sysflow. Raises DecodeError."""
        kind: cython.int
        slot: cython.int
        shape = self.plan.shapes.get(self.branch)
        if shape is None:
            return self.plan.typed(self.raw())
        values: list = []
        for kind, slot, second, more in shape[1]:
            if kind == _FROM_NUMBER:
                values.append(self.value[slot])
            elif kind == _FROM_SPAN:
                values.append(self.span(slot))
            elif kind == _FROM_OID:
                values.append(more(self.value[slot], self.number(second)))
            elif kind == _FROM_EMPTY:
                if self.size[slot] != 1:
                    return self.plan.typed(self.raw())
                values.append([])
            else:
                values.append(more())
        return shape[0](*values)


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
