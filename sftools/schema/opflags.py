"""The operation flags of SysFlow's opFlags fields, as the SysFlow specification numbers them."""

from __future__ import annotations

OP_CLONE = 1 << 0
OP_EXEC = 1 << 1
OP_EXIT = 1 << 2
OP_SETUID = 1 << 3
OP_SETNS = 1 << 4
OP_ACCEPT = 1 << 5
OP_CONNECT = 1 << 6
OP_OPEN = 1 << 7
OP_READ_RECV = 1 << 8
OP_WRITE_SEND = 1 << 9
OP_CLOSE = 1 << 10
OP_TRUNCATE = 1 << 11
OP_SHUTDOWN = 1 << 12
OP_MMAP = 1 << 13
OP_DIGEST = 1 << 14
OP_MKDIR = 1 << 15
OP_RMDIR = 1 << 16
OP_LINK = 1 << 17
OP_UNLINK = 1 << 18
OP_SYMLINK = 1 << 19
OP_RENAME = 1 << 20

NAMES = {value: name.removeprefix("OP_") for name, value in list(globals().items()) if name.startswith("OP_")}
"""Name without OP_ by flag, lowest bit first."""


def op_names(flags: int) -> list[str]:
    """The operations in a bitmap, lowest bit first: 0x480 is ["OPEN", "CLOSE"]. Unknown bits are left out."""
    return [name for flag, name in NAMES.items() if flags & flag]
