"""The list blocks of a capture: processes, fds, users, interfaces, machine. Cold: plain Python with every read checked.

Layouts: falcosecurity/libs userspace/libscap/engine/savefile/scap_savefile.c; integers are little-endian, `str` is a
u16 length and bytes. Each function yields the sound entries and raises ListDamage at the first that is not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import TypeVar

from sftools.scap import blocks, fd_types


class ListDamage(ValueError):
    """A list block's contents do not fit its length: the text says where."""


class _Cut(Exception):
    pass


@dataclass(slots=True)
class MachineInfo:
    """num_cpus, memory in bytes, hostname, boot time in ns since 1970."""

    num_cpus: int
    memory_bytes: int
    max_pid: int
    hostname: bytes
    boot_ts: int


@dataclass(slots=True)
class ProcessEntry:
    """A thread at the start of the capture. What the list's version lacks keeps its default."""

    tid: int
    pid: int
    ptid: int
    sid: int = -1
    vpgid: int = -1
    comm: bytes = b""
    exe: bytes = b""
    exepath: bytes = b""
    args: bytes = b""
    cwd: bytes = b""
    fdlimit: int = 0
    flags: int = 0
    uid: int = 0
    gid: int = 0
    env: bytes = b""
    vtid: int = -1
    vpid: int = -1
    cgroups: bytes = b""
    root: bytes = b""
    tty: int = 0
    loginuid: int = 0xFFFFFFFF
    rest: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class FdEntry:
    """An open fd at the start of the capture. Addresses: network order read little-endian; ports: host order."""

    fd: int
    ino: int
    type: int
    name: bytes = b""
    open_flags: int = 0
    sip: int = 0
    dip: int = 0
    sport: int = 0
    dport: int = 0
    sip6: bytes | None = None
    dip6: bytes | None = None
    l4proto: int = 0


@dataclass(slots=True)
class UserEntry:
    """kind 0: a user (id, gid, name, home, shell). kind 1: a group (id, name)."""

    kind: int
    id: int
    name: bytes
    gid: int = 0
    home: bytes = b""
    shell: bytes = b""


@dataclass(slots=True)
class InterfaceEntry:
    """A network interface: IPv4 addresses as u32 as captured, IPv6 ones as 16 bytes."""

    name: bytes
    addr: int = 0
    mask: int = 0
    addr6: bytes | None = None


class _Fields:
    """Reads fields from [at, stop) of a body; _Cut where they end too early."""

    __slots__ = ("at", "body", "stop")

    def __init__(self, body: bytes, at: int, stop: int) -> None:
        self.body = body
        self.at = at
        self.stop = stop

    @property
    def left(self) -> int:
        return self.stop - self.at

    def take(self, size: int) -> bytes:
        if size > self.stop - self.at:
            raise _Cut
        self.at += size
        return self.body[self.at - size : self.at]

    def unsigned(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def signed(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little", signed=True)

    def text(self) -> bytes:
        return self.take(self.unsigned(2))


def machine_info(body: bytes) -> MachineInfo:
    """The MI block. Raises ListDamage where it is too short."""
    if len(body) < 156:
        raise ListDamage(f"machine info of {len(body)} bytes; 156 are the least")
    cpus, memory, max_pid = struct.unpack_from("<IQQ", body)
    return MachineInfo(cpus, memory, max_pid, body[20:148].split(b"\0")[0], int.from_bytes(body[148:156], "little"))


_TAIL = (
    ("cap_inheritable", 8), ("cap_permitted", 8), ("cap_effective", 8), ("exe_upper_layer", 1), ("exe_ino", 8),
    ("exe_ino_ctime", 8), ("exe_ino_mtime", 8), ("exe_from_memfd", 1), ("exe_lower_layer", 1),
)  # fmt: skip


def _process(fields: _Fields, version: int) -> ProcessEntry:
    entry = ProcessEntry(fields.signed(8), fields.signed(8), fields.signed(8))
    if version >= 6:
        entry.sid = fields.signed(8)
    if version >= 8:
        entry.vpgid = fields.signed(8)
    entry.comm = fields.text()
    entry.exe = fields.text()
    if version >= 7:
        entry.exepath = fields.text()
    entry.args = fields.text()
    entry.cwd = fields.text()
    entry.fdlimit = fields.unsigned(8)
    entry.flags = fields.unsigned(4)
    entry.uid = fields.unsigned(4)
    entry.gid = fields.unsigned(4)
    if version >= 2:
        fields.take(28)  # vmsize_kb, vmrss_kb, vmswap_kb, pfmajor, pfminor
    if version >= 3:
        entry.env = fields.text()
    if version >= 4:
        entry.vtid = fields.signed(8)
        entry.vpid = fields.signed(8)
        entry.cgroups = fields.text()
    else:
        # Before v4 no namespace ids were recorded: as libscap does, the ids are taken for the outermost ones.
        entry.vtid = entry.tid
        entry.vpid = entry.pid
    if version >= 5:
        entry.root = fields.text()
    if version >= 9:
        # libs before 0.10 wrote no pidns_init_start_ts and no tty: then at most 29 bytes are left.
        if fields.left > 29:
            entry.rest["pidns_init_start_ts"] = fields.unsigned(8)
            entry.tty = fields.unsigned(4)
        if fields.left >= 4:
            entry.loginuid = fields.unsigned(4)
        if fields.left >= 1:
            entry.rest["exe_writable"] = fields.unsigned(1)
        for name, size in _TAIL:
            if fields.left < size:
                break
            entry.rest[name] = fields.unsigned(size)
    return entry


_Entry = TypeVar("_Entry")


def _walk(
    body: bytes, at: int, sized: bool, what: str, parse: Callable[[_Fields], _Entry], own: int = 4
) -> Iterator[_Entry]:
    """The entries of a list: each after a u32 with its length (`sized`), or back to back; up to 3 bytes are padding.

    own: what the length counts for itself; libscap counts it everywhere but in interface lists.
    """
    while len(body) - at > 3:
        begin, stop = at, len(body)
        if sized:
            size = int.from_bytes(body[at : at + 4], "little")
            begin, stop = at + 4, at + 4 - own + size
            if stop < begin or stop > len(body):
                raise ListDamage(f"{what} entry at byte {at} claims {size} bytes of {len(body) - at}")
        fields = _Fields(body, begin, stop)
        try:
            entry = parse(fields)
        except _Cut:
            raise ListDamage(f"{what} entry at byte {at} is cut") from None
        yield entry
        at = stop if sized else fields.at


def processes(block_type: int, body: bytes) -> Iterator[ProcessEntry]:
    """The PL blocks, v1 to v9."""
    version = blocks.PROCESS_LISTS[block_type]
    return _walk(body, 0, version >= 9, "process", lambda fields: _process(fields, version))


def _fd(fields: _Fields, version: int) -> FdEntry:
    entry = FdEntry(fields.signed(8), fields.unsigned(8), fields.unsigned(1))
    kind = entry.type
    if kind == fd_types.FD_IPV4_SOCK:
        entry.sip, entry.dip = fields.unsigned(4), fields.unsigned(4)
        entry.sport, entry.dport = fields.unsigned(2), fields.unsigned(2)
        entry.l4proto = fields.unsigned(1)
    elif kind == fd_types.FD_IPV4_SERVSOCK:
        entry.sip, entry.sport, entry.l4proto = fields.unsigned(4), fields.unsigned(2), fields.unsigned(1)
    elif kind == fd_types.FD_IPV6_SOCK:
        entry.sip6, entry.dip6 = fields.take(16), fields.take(16)
        entry.sport, entry.dport = fields.unsigned(2), fields.unsigned(2)
        entry.l4proto = fields.unsigned(1)
    elif kind == fd_types.FD_IPV6_SERVSOCK:
        entry.sip6, entry.sport, entry.l4proto = fields.take(16), fields.unsigned(2), fields.unsigned(1)
    elif kind == fd_types.FD_UNIX_SOCK:
        fields.take(16)  # source, destination
        entry.name = fields.text()
    elif kind == fd_types.FD_FILE_V2:
        entry.open_flags = fields.unsigned(4)
        entry.name = fields.text()
        if version >= 2 and fields.left >= 4:
            fields.take(4)  # dev
    else:
        entry.name = fields.text()
    return entry


def fds(block_type: int, body: bytes) -> tuple[int, Iterator[FdEntry]]:
    """The FDL blocks, v1 and v2: the tid and its fds."""
    if len(body) < 8:
        raise ListDamage(f"fd list of {len(body)} bytes has no tid")
    version = blocks.FD_LISTS[block_type]
    entries = _walk(body, 8, version >= 2, "fd", lambda fields: _fd(fields, version))
    return int.from_bytes(body[:8], "little", signed=True), entries


def _user(fields: _Fields) -> UserEntry:
    kind = fields.unsigned(1)
    if kind == 0:
        uid, gid = fields.unsigned(4), fields.unsigned(4)
        return UserEntry(0, uid, fields.text(), gid, fields.text(), fields.text())
    if kind == 1:
        return UserEntry(1, fields.unsigned(4), fields.text())
    raise ListDamage(f"user entry is of the unknown kind {kind}")


def users(block_type: int, body: bytes) -> Iterator[UserEntry]:
    """The UL blocks, v1 and v2."""
    return _walk(body, 0, blocks.USER_LISTS[block_type] >= 2, "user", _user)


def _interface(fields: _Fields) -> InterfaceEntry:
    kind, length = fields.unsigned(2), fields.unsigned(2)
    entry = InterfaceEntry(b"")
    if kind in (1, 3):
        entry.addr, entry.mask = fields.unsigned(4), fields.unsigned(4)
        fields.take(4)  # bcast
    elif kind in (2, 4):
        entry.addr6 = fields.take(16)
        fields.take(32)  # mask, bcast
    else:
        raise ListDamage(f"interface entry is of the unknown type {kind}")
    if kind in (1, 2):
        fields.take(8)  # linkspeed
    entry.name = fields.take(length)
    return entry


def interfaces(block_type: int, body: bytes) -> Iterator[InterfaceEntry]:
    """The IL blocks, v1 and v2."""
    return _walk(body, 0, blocks.INTERFACE_LISTS[block_type] >= 2, "interface", _interface, own=0)


def is_ipv4_mapped(address: bytes) -> bool:
    """True for ::ffff:a.b.c.d."""
    return IPv6Address(address).ipv4_mapped is not None
