"""The fields of an output row: how each comes from a joined record. Names, titles and order are sysprint's."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from sftools.errors import UsageError
from sftools.reader import Joined
from sftools.schema import opflags
from sftools.schema.sysflow import (
    FileEvent,
    FileFlow,
    K8sEvent,
    NetworkEvent,
    NetworkFlow,
    ProcessEvent,
    ProcessFlow,
)

# The letters of the record types that become rows.
LETTERS = {
    ProcessEvent: "PE",
    NetworkFlow: "NF",
    FileFlow: "FF",
    FileEvent: "FE",
    NetworkEvent: "NE",
    ProcessFlow: "PF",
    K8sEvent: "KE",
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Operations that stand by their names; then the eleven columns of the others, a letter or a blank each.
_FILE_OPS = ("MKDIR", "RMDIR", "LINK", "SYMLINK", "UNLINK", "RENAME")
_PROCESS_OPS = ("CLONE", "EXEC", "EXIT", "SETUID")
_LETTER_OPS = (
    ("O", opflags.OP_OPEN),
    ("A", opflags.OP_ACCEPT),
    ("C", opflags.OP_CONNECT),
    ("W", opflags.OP_WRITE_SEND),
    ("R", opflags.OP_READ_RECV),
    ("N", opflags.OP_SETNS),
    ("M", opflags.OP_MMAP),
    ("S", opflags.OP_SHUTDOWN),
    ("C", opflags.OP_CLOSE),
    ("T", opflags.OP_TRUNCATE),
    ("D", opflags.OP_DIGEST),
)


@dataclass(frozen=True, slots=True)
class Field:
    """title: the table's heading. get: the value, None where there is none. missing: what JSON has then.

    numeric: set to the right. width: the most columns that a table gives it.
    """

    title: str
    get: Callable[[Joined], Any]
    missing: str | None = ""
    numeric: bool = False
    width: int = 48


def _of(*path: str) -> Callable[[Joined], Any]:
    def get(row: Joined) -> Any:
        value: Any = row
        for name in path:
            value = getattr(value, name, None)
        return value

    return get


def _text(title: str, *path: str, width: int = 48) -> Field:
    return Field(title, _of(*path), width=width)


def _number(title: str, *path: str) -> Field:
    return Field(title, _of(*path), None, True)


def op_text(flags: int) -> str:
    """The operations of a bitmap as sysprint shows them: "MKDIR", "CLONE", or eleven columns such as "O  WR   C  "."""
    names = set(opflags.op_names(flags))
    for group in (_FILE_OPS, _PROCESS_OPS):
        if chosen := [name for name in group if name in names]:
            return ",".join(chosen)
    return "".join(letter if flags & flag else " " for letter, flag in _LETTER_OPS)


def time_text(ns: int) -> str:
    """Nanoseconds since the epoch as ISO 8601 in UTC, with microseconds and no zone."""
    return (_EPOCH + timedelta(microseconds=ns // 1000)).replace(tzinfo=None).isoformat(timespec="microseconds")


def ip_text(ipv4: int, ipv6: bytes | None) -> str:
    """An address as the flows have it: network order bytes read little-endian, or 16 bytes."""
    if ipv6 is not None:
        return str(IPv6Address(ipv6))
    return str(IPv4Address((ipv4 & 0xFFFFFFFF).to_bytes(4, "little")))


def _ops(row: Joined) -> str | None:
    flags = getattr(row.record, "opFlags", None)
    return None if flags is None else op_text(flags)


def _end(row: Joined) -> str | None:
    end = getattr(row.record, "endTs", None)
    return None if end is None else time_text(end)


def _address(side: str) -> Callable[[Joined], str | None]:
    def get(row: Joined) -> str | None:
        if not isinstance(row.record, NetworkFlow | NetworkEvent):
            return None
        return ip_text(getattr(row.record, side), getattr(row.record, f"{side}6", None))

    return get


_SIP, _DIP = _address("sip"), _address("dip")


def _resource(row: Joined) -> str:
    """A file, two files, or a connection."""
    record = row.record
    if isinstance(record, NetworkFlow | NetworkEvent):
        sip, dip = (f"[{ip}]" if ip and ":" in ip else ip for ip in (_SIP(row), _DIP(row)))
        return f"{sip}:{record.sport}-{dip}:{record.dport}"
    paths = [file.path if file else "" for file in (row.file, row.new_file)]
    return paths[0] if row.new_file is None else ", ".join(paths)


def _file_type(row: Joined) -> str | None:
    if row.file is None:
        return None
    return chr(row.file.restype) if 0x20 < row.file.restype < 0x7F else "?"


FIELDS: dict[str, Field] = {
    "type": Field("T", lambda row: LETTERS[type(row.record)]),
    "opflags": Field("Op Flags", _ops),
    "opflags_bitmap": _number("Op Flags", "record", "opFlags"),
    "ret": _number("Ret", "record", "ret"),
    "ts": Field("Start Time", lambda row: time_text(row.record.ts)),
    "ts_uts": _number("Start Time", "record", "ts"),
    "endts": Field("End Time", _end),
    "endts_uts": _number("End Time", "record", "endTs"),
    "proc.pid": _number("PID", "record", "procOID", "hpid"),
    "proc.tid": _number("TID", "record", "tid"),
    "proc.uid": _number("UID", "process", "uid"),
    "proc.user": _text("User", "process", "userName"),
    "proc.gid": _number("GID", "process", "gid"),
    "proc.group": _text("Group", "process", "groupName"),
    "proc.cwd": _text("Cwd", "process", "cwd"),
    "proc.exe": _text("Cmd", "process", "exe", width=32),
    "proc.args": _text("Args", "process", "exeArgs"),
    "pproc.pid": _number("PPID", "process", "poid", "hpid"),
    "pproc.exe": _text("PCmd", "parent", "exe", width=32),
    "pproc.args": _text("PArgs", "parent", "exeArgs"),
    "file.fd": _number("FD", "record", "fd"),
    "file.path": _text("Path", "file", "path"),
    "file.newpath": _text("New Path", "new_file", "path"),
    "file.type": Field("File Type", _file_type),
    "file.openflags": _number("Open Flags", "record", "openFlags"),
    "net.proto": _number("Proto", "record", "proto"),
    "net.sport": _number("SPort", "record", "sport"),
    "net.dport": _number("DPort", "record", "dport"),
    "net.sip": Field("SIP", _SIP),
    "net.dip": Field("DIP", _DIP),
    "res": Field("Resource", _resource),
    "flow.rbytes": _number("NoBRead", "record", "numRRecvBytes"),
    "flow.rops": _number("NoOpsRead", "record", "numRRecvOps"),
    "flow.wbytes": _number("NoBWrite", "record", "numWSendBytes"),
    "flow.wops": _number("NoOpsWrite", "record", "numWSendOps"),
    "pf.nthreads": _number("NoThreads", "record", "numThreadsCloned"),
    "pf.nexits": _number("NoThrExits", "record", "numThreadsExited"),
    "pf.nerrors": _number("NoThrErrs", "record", "numCloneErrors"),
    "container.id": _text("Cont ID", "container", "id", width=12),
    "container.name": _text("Cont Name", "container", "name", width=24),
    "container.image": _text("Image Name", "container", "image"),
    "pod.name": _text("Pod Name", "pod", "name"),
    "pod.ns": _text("Pod Namespace", "pod", "namespace"),
    "node.id": _text("Node ID", "header", "exporter"),
    "node.ip": _text("Node IP", "header", "ip"),
    "schema": _number("SF Schema", "header", "version"),
    "k8s.action": _text("K8s EV Action", "record", "action", "value"),
    "k8s.kind": _text("K8s EV Comp Type", "record", "kind", "value"),
    "k8s.msg": _text("K8s EV Msg", "record", "message"),
}

TABLE_FIELDS = (
    "ts",
    "type",
    "proc.exe",
    "proc.args",
    "pproc.pid",
    "proc.pid",
    "opflags",
    "res",
    "flow.rbytes",
    "flow.wbytes",
    "container.name",
)


def choose(names: str, default: Sequence[str]) -> tuple[str, ...]:
    """The fields of a comma list, or the default ones. Raises UsageError for a name that there is not."""
    chosen = tuple(name for part in names.split(",") if (name := part.strip()))
    for name in chosen:
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, 1)
            raise UsageError(f"no field {name!r}" + (f"; do you mean {near[0]}?" if near else "; see --list"))
    return chosen or tuple(default)
