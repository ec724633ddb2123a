"""Operation flags, as the SysFlow specification numbers them."""

import pytest

from sftools.schema import opflags

# In the order of their bits; the names are those that sysprint shows.
ORDER = [
    "CLONE",
    "EXEC",
    "EXIT",
    "SETUID",
    "SETNS",
    "ACCEPT",
    "CONNECT",
    "OPEN",
    "READ_RECV",
    "WRITE_SEND",
    "CLOSE",
    "TRUNCATE",
    "SHUTDOWN",
    "MMAP",
    "DIGEST",
    "MKDIR",
    "RMDIR",
    "LINK",
    "UNLINK",
    "SYMLINK",
    "RENAME",
]


@pytest.mark.parametrize(("bit", "name"), list(enumerate(ORDER)))
def test_bits(bit: int, name: str) -> None:
    assert getattr(opflags, f"OP_{name}") == 1 << bit
    assert opflags.op_names(1 << bit) == [name]


def test_names_of_a_bitmap() -> None:
    assert opflags.op_names(opflags.OP_CLOSE | opflags.OP_OPEN | opflags.OP_READ_RECV) == ["OPEN", "READ_RECV", "CLOSE"]
    assert opflags.op_names(0) == []


def test_unknown_bits_are_left_out() -> None:
    assert opflags.op_names(1 << 30 | opflags.OP_EXEC) == ["EXEC"]
    assert opflags.op_names(-1) == ORDER
