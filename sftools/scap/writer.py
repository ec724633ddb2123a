"""Writes capture files block by block: every block type and version that a reader may meet, sound or not.

Layouts: falcosecurity/libs userspace/libscap/scap_savefile.c and scap_savefile.h; parameter types: event_table.py.
Integers are little-endian. Text is given as str (written as UTF-8, where surrogate escapes stand for other bytes) or
as bytes. Entries of the lists are mappings from field name to value: fields left out are 0, -1 or empty as libscap
has them for a field that it does not know.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import BinaryIO

from sftools.scap import blocks, fd_types
from sftools.scap.event_table import BY_CODE, EVENTS, Event

Value = int | str | bytes | Sequence[str | bytes] | None
Entry = Mapping[str, int | str | bytes]

_MAGIC = 0x1A2B3C4D

# Process list: (field, struct format or "str", first version with it, value where it is not given).
_PROCESS_FIELDS = (
    ("tid", "q", 1, 0), ("pid", "q", 1, 0), ("ptid", "q", 1, 0), ("sid", "q", 6, -1), ("vpgid", "q", 8, -1),
    ("comm", "str", 1, ""), ("exe", "str", 1, ""), ("exepath", "str", 7, ""), ("args", "str", 1, ""),
    ("cwd", "str", 1, ""), ("fdlimit", "Q", 1, 0), ("flags", "I", 1, 0), ("uid", "I", 1, 0), ("gid", "I", 1, 0),
    ("vmsize_kb", "I", 2, 0), ("vmrss_kb", "I", 2, 0), ("vmswap_kb", "I", 2, 0), ("pfmajor", "Q", 2, 0),
    ("pfminor", "Q", 2, 0), ("env", "str", 3, ""), ("vtid", "q", 4, -1), ("vpid", "q", 4, -1),
    ("cgroups", "str", 4, ""), ("root", "str", 5, ""),
)  # fmt: skip

# What v9 has after root, each field only if all before it are there. libs before 0.10 began with loginuid.
_PROCESS_TAIL = (
    ("pidns_init_start_ts", "Q"), ("tty", "I"), ("loginuid", "I"), ("exe_writable", "B"), ("cap_inheritable", "Q"),
    ("cap_permitted", "Q"), ("cap_effective", "Q"), ("exe_upper_layer", "B"), ("exe_ino", "Q"), ("exe_ino_ctime", "Q"),
    ("exe_ino_mtime", "Q"), ("exe_from_memfd", "B"), ("exe_lower_layer", "B"), ("pgid", "q"),
)  # fmt: skip

# Fd list: the fields after fd, ino and type, by fd type; "16s" is an IPv6 address in network order.
_FD_FIELDS: dict[int, tuple[tuple[str, str], ...]] = {
    fd_types.FD_IPV4_SOCK: (("sip", "I"), ("dip", "I"), ("sport", "H"), ("dport", "H"), ("l4proto", "B")),
    fd_types.FD_IPV6_SOCK: (("sip", "16s"), ("dip", "16s"), ("sport", "H"), ("dport", "H"), ("l4proto", "B")),
    fd_types.FD_IPV4_SERVSOCK: (("ip", "I"), ("port", "H"), ("l4proto", "B")),
    fd_types.FD_IPV6_SERVSOCK: (("ip", "16s"), ("port", "H"), ("l4proto", "B")),
    fd_types.FD_UNIX_SOCK: (("source", "Q"), ("destination", "Q"), ("name", "str")),
    fd_types.FD_FILE_V2: (("open_flags", "I"), ("name", "str"), ("dev", "I")),
}
_FD_OTHER = (("name", "str"),)

_USER_FIELDS = (("uid", "I"), ("gid", "I"), ("name", "str"), ("home", "str"), ("shell", "str"))
_GROUP_FIELDS = (("gid", "I"), ("name", "str"))

# Sizes of the parameter types that are integers.
_PARAM_SIZES = {
    **dict.fromkeys(("PT_INT8", "PT_UINT8", "PT_FLAGS8", "PT_ENUMFLAGS8", "PT_SIGTYPE", "PT_L4PROTO"), 1),
    **dict.fromkeys(("PT_INT16", "PT_UINT16", "PT_FLAGS16", "PT_ENUMFLAGS16", "PT_SYSCALLID", "PT_PORT"), 2),
    **dict.fromkeys(("PT_INT32", "PT_UINT32", "PT_FLAGS32", "PT_ENUMFLAGS32", "PT_UID", "PT_GID", "PT_MODE"), 4),
    **dict.fromkeys(("PT_SIGSET", "PT_IPV4ADDR", "PT_FD32", "PT_PID32", "PT_BOOL"), 4),
    **dict.fromkeys(("PT_INT64", "PT_UINT64", "PT_ERRNO", "PT_FD", "PT_PID", "PT_RELTIME", "PT_ABSTIME"), 8),
}
_TEXTS = ("PT_CHARBUF", "PT_FSPATH", "PT_FSRELPATH")

# The driver's numbers of address families (PPM_AF_...), which socket parameters begin with.
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10


def ip4(address: str) -> int:
    """An IPv4 address as captures have it: its bytes in network order, read as a little-endian integer."""
    return int.from_bytes(IPv4Address(address).packed, "little")


def ip6(address: str) -> bytes:
    """An IPv6 address as captures have it: 16 bytes in network order."""
    return IPv6Address(address).packed


def sockaddr(address: str, port: int) -> bytes:
    """A PT_SOCKADDR of an IPv4 or IPv6 address."""
    return _family(address) + _packed(address) + struct.pack("<H", port)


def sockaddr_unix(path: str | bytes) -> bytes:
    """A PT_SOCKADDR of a unix socket."""
    return bytes([_AF_UNIX]) + _bytes(path) + b"\0"


def socktuple(sip: str, sport: int, dip: str, dport: int) -> bytes:
    """A PT_SOCKTUPLE of two IPv4 or two IPv6 addresses."""
    return _family(sip) + _packed(sip) + struct.pack("<H", sport) + _packed(dip) + struct.pack("<H", dport)


def socktuple_unix(source: int, destination: int, path: str | bytes) -> bytes:
    """A PT_SOCKTUPLE of a unix socket: the kernel's addresses of both ends, and the path."""
    return bytes([_AF_UNIX]) + struct.pack("<QQ", source, destination) + _bytes(path) + b"\0"


def strings(items: Iterable[str | bytes]) -> bytes:
    """args, env and cgroups: every string with its NUL."""
    return b"".join(_bytes(item) + b"\0" for item in items)


def _family(address: str) -> bytes:
    return bytes([_AF_INET6 if ":" in address else _AF_INET])


def _packed(address: str) -> bytes:
    return (IPv6Address(address) if ":" in address else IPv4Address(address)).packed


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _field(form: str, value: int | str | bytes) -> bytes:
    if form == "str":
        if isinstance(value, int):
            raise TypeError(f"{value} where a text is due")
        data = _bytes(value)
        return struct.pack("<H", len(data)) + data
    return struct.pack("<" + form, value)


def _fields(table: Iterable[tuple[str, str]], entry: Entry) -> bytes:
    return b"".join(_field(form, entry.get(name, _absent(form))) for name, form in table)


def _absent(form: str) -> int | bytes:
    return b"" if form in ("str", "16s") else 0


def _reject_unknown(entry: Entry, known: Iterable[str]) -> None:
    unknown = set(entry) - set(known)
    if unknown:
        raise ValueError(f"unknown field {min(unknown)}")


def _sized(data: bytes, own: int = 4) -> bytes:
    """An entry after its u32 length; `own` is what the length counts for itself."""
    return struct.pack("<I", len(data) + own) + data


def encode_param(kind: str, value: Value) -> bytes:
    """One event parameter's bytes, by its type in the event table.

    None is an absent parameter (no bytes); bytes are taken as they are, whatever the type; an int is stored in the
    type's size (a value out of its range wraps, as in C); a str gets the NUL that text types have; a sequence of
    strings is joined with NULs. Raises TypeError where the value does not fit the type.
    """
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        if kind not in _PARAM_SIZES:
            raise TypeError(f"an integer for a parameter of type {kind}")
        size = _PARAM_SIZES[kind]
        return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    if isinstance(value, str):
        if kind not in (*_TEXTS, "PT_BYTEBUF"):
            raise TypeError(f"a text for a parameter of type {kind}")
        return _bytes(value) + (b"\0" if kind in _TEXTS else b"")
    return strings(value)


class ScapWriter:
    """Writes blocks to a binary file object, each in one write.

    Nothing is kept and nothing is checked but the field names and that values fit: damaged captures can be written
    with block(), raw() and bytes as parameters.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def raw(self, data: bytes) -> None:
        """Bytes as they are: what is no block."""
        self._out.write(data)

    def block(self, block_type: int, body: bytes) -> None:
        """Any block: its header, the body padded to 4 bytes, the length again."""
        body += bytes(-len(body) % 4)
        total = len(body) + 12
        self._out.write(struct.pack("<II", block_type, total) + body + struct.pack("<I", total))

    def section(self, major: int = 1, minor: int = 2, magic: int = _MAGIC, length: int = -1) -> None:
        """The section header, with which every section begins."""
        self.block(blocks.SHB, struct.pack("<IHHq", magic, major, minor, length))

    def byte_swapped_section(self) -> None:
        """The section header as a big-endian machine writes it."""
        self._out.write(struct.pack(">IIIHHqI", blocks.SHB, 28, _MAGIC, 1, 2, -1, 28))

    def machine_info(
        self,
        hostname: str | bytes = "host1",
        *,
        num_cpus: int = 1,
        memory_bytes: int = 1 << 30,
        max_pid: int = 32768,
        boot_ts: int = 0,
        flags: int = 0,
        reserved: tuple[int, int] = (0, 0),
        block_type: int = blocks.MI,
    ) -> None:
        """The machine info. boot_ts: ns since 1970; hostname: at most 128 bytes are kept."""
        head = struct.pack("<IQQ128s", num_cpus, memory_bytes, max_pid, _bytes(hostname))
        self.block(block_type, head + struct.pack("<QQQQ", boot_ts, flags, *reserved))

    def process_list(
        self, entries: Iterable[Entry], block_type: int = blocks.PL_V9, *, before_0_10: bool = False
    ) -> None:
        """A PL block. Fields that the version does not have are left out.

        In v9 the fields after `root` (pidns_init_start_ts, tty, loginuid, ... pgid) are written up to the first that
        the entry lacks; with before_0_10 they begin with loginuid. Raises ValueError for an unknown field.
        """
        version = blocks.PROCESS_LISTS[block_type]
        tail = _PROCESS_TAIL[2:] if before_0_10 else _PROCESS_TAIL
        known = [row[0] for row in _PROCESS_FIELDS + _PROCESS_TAIL]
        body = bytearray()
        for entry in entries:
            _reject_unknown(entry, known)
            data = b"".join(
                _field(form, entry.get(name, default))
                for name, form, since, default in _PROCESS_FIELDS
                if version >= since
            )
            if version >= 9:
                for name, form in tail:
                    if name not in entry:
                        break
                    data += _field(form, entry[name])
                data = _sized(data)
            body += data
        self.block(block_type, bytes(body))

    def fd_list(self, tid: int, entries: Iterable[Entry], block_type: int = blocks.FDL_V2) -> None:
        """An FDL block: the fds of one thread.

        Every entry has fd, ino, type; then by type sip dip sport dport l4proto (3, 4), ip port l4proto (5, 6),
        source destination name (8), open_flags name dev (16; dev in v2 where given), name (all others). IPv4
        addresses as of ip4(), IPv6 as of ip6(). Raises ValueError for an unknown field.
        """
        version = blocks.FD_LISTS[block_type]
        body = struct.pack("<q", tid)
        for entry in entries:
            kind = int(entry["type"])
            table = _FD_FIELDS.get(kind, _FD_OTHER)
            _reject_unknown(entry, ["fd", "ino", "type", *(name for name, _ in table)])
            if kind == fd_types.FD_FILE_V2 and (version < 2 or "dev" not in entry):
                table = table[:-1]
            data = struct.pack("<qQB", entry["fd"], entry.get("ino", 0), kind) + _fields(table, entry)
            body += _sized(data) if version >= 2 else data
        self.block(block_type, bytes(body))

    def interface_list(self, entries: Iterable[Entry], block_type: int = blocks.IL_V2) -> None:
        """An IL block: type (1 IPv4, 2 IPv6, 3 and 4 the same without linkspeed), addr mask bcast linkspeed name."""
        body = bytearray()
        for entry in entries:
            _reject_unknown(entry, ("type", "addr", "mask", "bcast", "linkspeed", "name"))
            kind = int(entry["type"])
            form = "I" if kind in (1, 3) else "16s"
            table = [(name, form) for name in ("addr", "mask", "bcast")]
            if kind in (1, 2):
                table.append(("linkspeed", "Q"))
            name = _field("str", entry["name"])
            data = struct.pack("<H", kind) + name[:2] + _fields(table, entry) + name[2:]
            # Here alone the length does not count itself.
            body += _sized(data, own=0) if blocks.INTERFACE_LISTS[block_type] >= 2 else data
        self.block(block_type, bytes(body))

    def user_list(self, entries: Iterable[Entry], block_type: int = blocks.UL_V2) -> None:
        """A UL block: users (uid, gid, name, home, shell) and groups (gid, name); an entry without uid is a group."""
        body = bytearray()
        for entry in entries:
            table = _USER_FIELDS if "uid" in entry else _GROUP_FIELDS
            _reject_unknown(entry, [name for name, _ in table])
            data = bytes([0 if "uid" in entry else 1]) + _fields(table, entry)
            body += _sized(data) if blocks.USER_LISTS[block_type] >= 2 else data
        self.block(block_type, bytes(body))

    def event(
        self,
        ts: int,
        tid: int,
        event: str | int,
        params: Mapping[str, Value] | Sequence[Value] = (),
        *,
        cpu: int = 0,
        block_type: int = blocks.EV_V2,
        flags: int = 0,
        nparams: int | None = None,
    ) -> None:
        """An event block of any type; `flags` are written in the EVF types only.

        ts: ns since 1970; event: a code (`PPME_SYSCALL_OPEN_X`) or an id, known or not. params: values in the event
        table's order, or by name (the others are absent). nparams: write that many parameters (an older program's
        layout), the rest is cut or absent; unset, as many as given or, by name, as the table has. EV_V2 and EVF_V2 have
        16-bit lengths, the large types 32-bit ones; the types before v2 have no count in the header. Raises ValueError
        for an unknown parameter or a value that does not fit, KeyError for an unknown code.
        """
        row = BY_CODE[event] if isinstance(event, str) else _row(event)
        values = [_encode(row, i, value) for i, value in enumerate(_ordered(row, params))]
        if nparams is not None:
            values = (values + [b""] * nparams)[:nparams]
        wide = block_type in (blocks.EV_V2_LARGE, blocks.EVF_V2_LARGE)
        if not wide and any(len(value) > 0xFFFF for value in values):
            raise ValueError(f"{row.code}: a parameter of more than 65535 bytes needs a large event")
        body = struct.pack(f"<{len(values)}{'I' if wide else 'H'}", *map(len, values)) + b"".join(values)
        counted = block_type not in (blocks.EV, blocks.EVF, blocks.EV_PRE)
        header = struct.pack("<QqIH", ts & 0xFFFFFFFFFFFFFFFF, tid, (26 if counted else 22) + len(body), row.id)
        if counted:
            header += struct.pack("<I", len(values))
        lead = struct.pack("<H", cpu)
        if block_type in (blocks.EVF, blocks.EVF_V2, blocks.EVF_V2_LARGE):
            lead += struct.pack("<I", flags)
        self.block(block_type, lead + header + body)


def _row(number: int) -> Event:
    return EVENTS[number] if number < len(EVENTS) else Event(number, f"event {number}", "", "", frozenset(), ())


def _ordered(row: Event, params: Mapping[str, Value] | Sequence[Value]) -> Sequence[Value]:
    if not isinstance(params, Mapping):
        return params
    names = [param.name for param in row.params]
    unknown = set(params) - set(names)
    if unknown:
        raise ValueError(f"{row.code} has no parameter {min(unknown)}; it has {' '.join(names)}")
    return [params.get(name) for name in names]


def _encode(row: Event, index: int, value: Value) -> bytes:
    kind = row.params[index].type if index < len(row.params) else "PT_BYTEBUF"
    try:
        return encode_param(kind, value)
    except TypeError as error:
        name = row.params[index].name if index < len(row.params) else f"parameter {index}"
        raise ValueError(f"{row.code}, {name}: {error}") from None
