"""The fields of an output row: one table, from which printing, filters, `sysprint -l` and the documentation come.

Names, order, titles and widths of the table are those of the existing sysprint.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as attribute
from enum import Enum
from ipaddress import ip_address
from typing import Any

from sftools.avro.slots import SLOTS
from sftools.errors import UsageError
from sftools.reader.rows_cy import CONTAINER, FILE, HEADER, NEW_FILE, PARENT, POD, PROCESS, STATE, Row
from sftools.schema.objtypes import BRANCHES, LETTERS
from sftools.schema.openflags import NAMES, READ, WRITE, open_flag_names
from sftools.schema.sysflow import Service
from sftools.utils import getEnvStr, getIpIntStr, getOpFlagsStr, getTimeStrIso8601, ip_text, second_text

Getter = Callable[[Row], Any]


class FieldType(Enum):
    """A field's type; the value is its name in messages and documentation."""

    TEXT = "text"
    NUMBER = "number"
    BOOL = "boolean"
    TIME = "time"
    ADDRESS = "address"
    LIST = "list"


TEXT, NUMBER, BOOL, TIME, ADDRESS, LIST = FieldType

_LETTER_OF = [LETTERS[name] for name in BRANCHES]
_K8S_EVENT, _NETWORK_FLOW, _NETWORK_EVENT, _FILE_FLOW, _FILE_EVENT = (
    BRANCHES[name] for name in ("K8sEvent", "NetworkFlow", "NetworkEvent", "FileFlow", "FileEvent")
)
_NETWORK = frozenset({_NETWORK_FLOW, _NETWORK_EVENT})


@dataclass(frozen=True, slots=True)
class Field:
    """title, width: of the table's column.  type: of the value that is printed.

    get: that value, None where there is none. missing: what JSON has then.
    slot: for a number of the record itself, or its time, the slot that has it; -1 for others.
    owner: for what an entity alone decides, its number for Row.owner(); -1 for others. Such values may be kept with it.
    owners: the same, by record type, where it is so in some only. constant: the value, where the record type decides.
    branches: the record types that can have it; None: all.
    item: of a LIST, the type of its values. ancestors: it looks at all ancestors of the process, not at two.
    """

    name: str
    title: str
    width: int
    type: FieldType
    description: str
    get: Getter
    missing: str | None = ""
    slot: int = -1
    owner: int = -1
    owners: Mapping[int, int] = attribute(default_factory=dict)
    constant: Callable[[int], Any] | None = None
    branches: frozenset[int] | None = None
    item: FieldType = FieldType.TEXT
    ancestors: bool = False


# -- values of the record itself


def _number(name: str, title: str, width: int, description: str, avro: str, missing: str | None = None) -> Field:
    slot = SLOTS[avro]
    return Field(name, title, width, NUMBER, description, lambda row: row.number(slot), missing, slot)


def _time(name: str, title: str, description: str, avro: str) -> Field:
    slot = SLOTS[avro]

    def get(row: Row) -> str | None:
        ns = row.number(slot)
        return None if ns is None else getTimeStrIso8601(ns)

    return Field(name, title, 26, TIME, description, get, slot=slot)


_OP_FLAGS, _OPEN_FLAGS = SLOTS["opFlags"], SLOTS["openFlags"]


def _opflags(row: Row) -> str | None:
    flags = row.number(_OP_FLAGS)
    return None if flags is None else getOpFlagsStr(flags)


def _open_flag(bit: int) -> Getter:
    def get(row: Row) -> bool | None:
        flags = row.number(_OPEN_FLAGS)
        return None if flags is None else bool(flags & bit)

    return get


def _address(side: str) -> Getter:
    ipv4, ipv6 = SLOTS[side], SLOTS[f"{side}6"]

    def get(row: Row) -> str | None:
        number = row.number(ipv4)
        return None if number is None else ip_text(number, row.span(ipv6))

    return get


_SIP, _DIP = _address("sip"), _address("dip")
_SPORT, _DPORT = SLOTS["sport"], SLOTS["dport"]
_SIP6, _DIP6 = SLOTS["sip6"], SLOTS["dip6"]


def _both(first: Getter, second: Getter) -> Getter:
    def get(row: Row) -> list[Any] | None:
        return [value for value in (first(row), second(row)) if value is not None] or None

    return get


_PORTS = _both(lambda row: row.number(_SPORT), lambda row: row.number(_DPORT))
_ADDRESSES = _both(_SIP, _DIP)


def _resource(row: Row) -> str | None:
    """A connection, or a file, or two."""
    if row.branch in _NETWORK:
        sip, dip = _SIP(row), _DIP(row)
        if row.span(_SIP6) is not None:
            sip = f"[{sip}]"
        if row.span(_DIP6) is not None:
            dip = f"[{dip}]"
        return f"{sip}:{row.number(_SPORT)}-{dip}:{row.number(_DPORT)}"
    first, second = row.file, row.new_file
    path: str | None = None if first is None else first.path
    return path if second is None else f"{path or ''}, {second.path}"


def _record(attribute: str, name: str, title: str, width: int, description: str) -> Field:
    """A text of a K8sEvent."""

    def get(row: Row) -> str | None:
        if row.branch != _K8S_EVENT:
            return None
        value = getattr(row.record, attribute)
        return str(getattr(value, "value", value))

    return Field(name, title, width, TEXT, description, get, branches=frozenset({_K8S_EVENT}))


# -- values of entities

_ENTITIES = {
    HEADER: ("header", "SFHeader"), POD: ("pod", "Pod"), CONTAINER: ("container", "Container"),
    PROCESS: ("process", "Process"), PARENT: ("parent", "Process"), FILE: ("file", "File"),
    NEW_FILE: ("new_file", "File"),
}  # fmt: skip


def _of(
    owner: int, attribute: str, name: str, title: str, width: int, kind: FieldType, description: str,
    missing: str | None = "", convert: Callable[[Any], Any] | None = None, item: FieldType = TEXT,
) -> Field:  # fmt: skip
    """An attribute of an entity, converted; absent where the schema of the trace lacks it."""
    entity_name, record = _ENTITIES[owner]
    avro_name = f"{record}.{attribute}"

    def get(row: Row) -> Any:
        entity = getattr(row, entity_name)
        if entity is None or avro_name in row.lacks:
            return None
        value = getattr(entity, attribute)
        return value if convert is None else convert(value)

    return Field(name, title, width, kind, description, get, missing, owner=owner, item=item)


def _state(row: Row) -> str | None:
    entity, record = (row.process, "Process") if row.process is not None else (row.file, "File")
    if entity is None or f"{record}.state" in row.lacks:
        return None
    return str(entity.state.value)


def _process_name(exe: str) -> str:
    return os.path.basename(os.path.normpath(exe)) if exe else ""


def _command_line(owner: int, name: str, title: str, description: str) -> Field:
    entity_name = _ENTITIES[owner][0]

    def get(row: Row) -> str | None:
        process = getattr(row, entity_name)
        if process is None:
            return None
        return f"{process.exe} {process.exeArgs}" if process.exeArgs else str(process.exe)

    return Field(name, title, 30, TEXT, description, get, owner=owner)


def _ancestor_names(row: Row) -> list[str]:
    return [process.exe for process in row.ancestors()]


def _ancestor_pids(row: Row) -> list[int]:
    return [process.oid.hpid for process in row.ancestors()]


def _symbol(value: Any) -> str:
    return str(value.value)


def _addresses(values: Sequence[int]) -> list[str]:
    return [getIpIntStr(value) for value in values]


def _service_document(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "id": service.id,
        "namespace": service.namespace,
        "portList": [port.to_avro() for port in service.portList],
        "clusterIP": _addresses(service.clusterIP),
    }


_TABLE = (
    Field("version", "API version", 8, TEXT, "SysFlow JSON schema version", lambda row: "4",
          constant=lambda branch: "4"),
    Field("type", "T", 2, TEXT, "Record type", lambda row: _LETTER_OF[row.branch],
          constant=_LETTER_OF.__getitem__),
    Field("state", "State", 12, TEXT, "Entity state", _state, owner=STATE),
    Field("opflags", "Op Flags", 14, TEXT, "Operation flags", _opflags, slot=_OP_FLAGS),
    _number("opflags_bitmap", "Op Flags", 5, "Operation flags bitmap", "opFlags", ""),
    _number("ret", "Ret", 4, "Return code", "ret"),
    _time("ts", "Start Time", "Record start time", "ts"),
    _number("ts_uts", "Start Time", 21, "Records start timestamp", "ts"),
    _time("endts", "End Time", "Record end time", "endTs"),
    _number("endts_uts", "End Time", 21, "Record end timestamp", "endTs"),
    _of(PROCESS, "oid", "proc.pid", "PID", 8, NUMBER, "Process PID", None, lambda oid: oid.hpid),
    _number("proc.tid", "TID", 8, "Thread PID", "tid"),
    _of(PROCESS, "uid", "proc.uid", "UID", 5, NUMBER, "Process user ID", None),
    _of(PROCESS, "userName", "proc.user", "User", 8, TEXT, "Process user name"),
    _of(PROCESS, "gid", "proc.gid", "GID", 5, NUMBER, "Process group ID", None),
    _of(PROCESS, "groupName", "proc.group", "Group", 8, TEXT, "Process group name"),
    _of(PROCESS, "cwd", "proc.cwd", "Cwd", 20, TEXT, "Current working directory"),
    _of(PROCESS, "exe", "proc.exe", "Cmd", 20, TEXT, "Process command/filename"),
    _of(PROCESS, "exeArgs", "proc.args", "Args", 20, TEXT, "Process command arguments"),
    _of(PROCESS, "tty", "proc.tty", "TTY", 5, BOOL, "Process TTY status"),
    _of(PROCESS, "entry", "proc.entry", "Entry", 5, BOOL, "Process container entrypoint"),
    _of(PROCESS, "env", "proc.env", "Env", 30, TEXT, "Process environment variables", "", getEnvStr),
    _of(PROCESS, "oid", "proc.createts", "Proc. Creation Time", 21, NUMBER, "Process creation timestamp", None,
        lambda oid: oid.createTS),
    _of(PARENT, "oid", "pproc.pid", "PPID", 8, NUMBER, "Parent process ID", None, lambda oid: oid.hpid),
    _of(PARENT, "gid", "pproc.gid", "PGID", 5, NUMBER, "Parent process group ID", None),
    _of(PARENT, "uid", "pproc.uid", "PUID", 5, NUMBER, "Parent process user ID", None),
    _of(PARENT, "groupName", "pproc.group", "PGroup", 8, TEXT, "Parent process group name"),
    _of(PARENT, "tty", "pproc.tty", "PTTY", 5, BOOL, "Parent process TTY status"),
    _of(PARENT, "entry", "pproc.entry", "PEntry", 5, BOOL, "Parent process container entry"),
    _of(PARENT, "env", "pproc.env", "PEnv", 30, TEXT, "Parent process environment variables", "", getEnvStr),
    _of(PARENT, "userName", "pproc.user", "PUser", 8, TEXT, "Parent process user name"),
    _of(PARENT, "cwd", "pproc.cwd", "PCwd", 20, TEXT, "Parent current working directory"),
    _of(PARENT, "exe", "pproc.exe", "PCmd", 20, TEXT, "Parent process command/filename"),
    _of(PARENT, "exeArgs", "pproc.args", "PArgs", 20, TEXT, "Parent process command arguments"),
    _of(PARENT, "oid", "pproc.createts", "PProc. Creation Time", 21, NUMBER, "Parent process creation timestamp", "",
        lambda oid: oid.createTS),
    _number("file.fd", "FD", 5, "File descriptor number", "fd", ""),
    _of(FILE, "path", "file.path", "Path", 30, TEXT, "File path"),
    _of(NEW_FILE, "path", "file.newpath", "New Path", 30, TEXT, "New file path"),
    _of(FILE, "restype", "file.type", "File Type", 8, TEXT, "File type", "", lambda code: chr(code & 0xFF)),
    Field("file.openflags", "Open Flags", 5, NUMBER, "File open flags", lambda row: row.number(_OPEN_FLAGS), "",
          _OPEN_FLAGS),
    _number("net.proto", "Proto", 5, "Network protocol", "proto", ""),
    _number("net.sport", "SPort", 5, "Source port", "sport"),
    _number("net.dport", "DPort", 5, "Destination port", "dport"),
    Field("net.sip", "SIP", 16, ADDRESS, "Source IP", _SIP, branches=_NETWORK),
    Field("net.dip", "DIP", 16, ADDRESS, "Destination IP", _DIP, branches=_NETWORK),
    Field("res", "Resource", 45, TEXT, "File or network resource", _resource, owners={_FILE_FLOW: FILE},
          branches=_NETWORK | {_FILE_FLOW, _FILE_EVENT}),
    _number("flow.rbytes", "NoBRead", 8, "Flow bytes read/received", "numRRecvBytes"),
    _number("flow.rops", "NoOpsRead", 8, "Flow operations read/received", "numRRecvOps"),
    _number("flow.wbytes", "NoBWrite", 8, "Flow bytes written/sent", "numWSendBytes"),
    _number("flow.wops", "NoOpsWrite", 8, "Flow operations written/sent", "numWSendOps"),
    _number("pf.nthreads", "NoThreads", 8, "Threads created", "numThreadsCloned"),
    _number("pf.nexits", "NoThrExits", 8, "Threads exited", "numThreadsExited"),
    _number("pf.nerrors", "NoThrErrs", 8, "Clone errors", "numCloneErrors"),
    _of(CONTAINER, "id", "container.id", "Cont ID", 12, TEXT, "Container ID"),
    _of(CONTAINER, "name", "container.name", "Cont Name", 12, TEXT, "Container name"),
    _of(CONTAINER, "imageid", "container.imageid", "Image ID", 12, TEXT, "Container image ID"),
    _of(CONTAINER, "image", "container.image", "Image Name", 12, TEXT, "Container image name"),
    _of(CONTAINER, "type", "container.type", "Cont Type", 8, TEXT, "Container type", "", _symbol),
    _of(CONTAINER, "privileged", "container.privileged", "Privileged", 5, BOOL, "Container privilege status"),
    _of(POD, "id", "pod.id", "Pod Id", 12, TEXT, "Pod Identifier"),
    _of(POD, "name", "pod.name", "Pod Name", 30, TEXT, "Pod Name"),
    _of(POD, "nodeName", "pod.nname", "Pod Node Name", 12, TEXT, "Pod Node Name"),
    _of(POD, "hostIP", "pod.hostip", "Pod Host IP", 16, LIST, "Pod Host IP", "", _addresses, ADDRESS),
    _of(POD, "internalIP", "pod.internalip", "Pod Intern IP", 16, LIST, "Pod Internal IP", "", _addresses, ADDRESS),
    _of(POD, "namespace", "pod.ns", "Pod Namespace", 12, TEXT, "Pod Namespace"),
    _of(POD, "restartCount", "pod.rstrtcnt", "Rstrt Cnt", 9, NUMBER, "Pod Restart Count", None),
    _of(POD, "services", "pod.services", "Pod Services", 100, LIST, "Pod Services", "",
        lambda services: [_service_document(service) for service in services]),
    _of(HEADER, "exporter", "node.id", "Node ID", 12, TEXT, "Node identifier"),
    _of(HEADER, "ip", "node.ip", "Node IP", 16, TEXT, "Node IP address"),
    _of(HEADER, "filename", "filename", "File name", 15, TEXT, "SysFlow trace file name"),
    _of(HEADER, "version", "schema", "SF Schema", 8, NUMBER, "SysFlow schema version", ""),
    # For the names and documents of the existing sysprint, which never fills it either.
    Field("tags", "Tags", 10, LIST, "Enrichment tags", lambda row: (), constant=lambda branch: ()),
    _record("action", "k8s.action", "K8s EV Action", 25, "K8s Event Action"),
    _record("kind", "k8s.kind", "K8s EV Comp Type", 26, "K8s Event Component Type"),
    _record("message", "k8s.msg", "K8s EV Msg", 100, "K8s Event Message"),
)  # fmt: skip

DEFAULT_FIELDS = tuple(field.name for field in _TABLE)
"""What JSON and CSV have unless told otherwise; the order is theirs."""

_MORE = (
    Field("idx", "Rec #", 6, NUMBER, "Record number", lambda row: row.index, None),
    Field("proc.apid", "Anc. PIDs", 20, LIST, "Process ancestors PIDs", _ancestor_pids, item=NUMBER,
          ancestors=True),
    Field("proc.aname", "Ancestors", 30, LIST, "Process ancestors names", _ancestor_names,
          ancestors=True),
    _of(PROCESS, "exe", "proc.name", "Name", 15, TEXT, "Process name", "", _process_name),
    _command_line(PROCESS, "proc.cmdline", "Cmd Line", "Process command line"),
    _of(PARENT, "exe", "pproc.name", "PName", 15, TEXT, "Parent process name", "", _process_name),
    _command_line(PARENT, "pproc.cmdline", "PCmd Line", "Parent process command line"),
    _of(FILE, "path", "file.name", "File", 20, TEXT, "File name", "", os.path.basename),
    _of(FILE, "path", "file.directory", "Directory", 30, TEXT, "File directory", "", os.path.dirname),
    Field("file.is_open_write", "Open W", 5, BOOL, "File open with write flag", _open_flag(WRITE),
          branches=frozenset({_FILE_FLOW})),
    Field("file.is_open_read", "Open R", 5, BOOL, "File open with read flag", _open_flag(READ),
          branches=frozenset({_FILE_FLOW})),
    Field("net.port", "Ports", 11, LIST, "Source or destination port", _PORTS, branches=_NETWORK,
          item=NUMBER),
    Field("net.ip", "IPs", 33, LIST, "Source or destination IP", _ADDRESSES, branches=_NETWORK,
          item=ADDRESS),
)  # fmt: skip

FIELDS: dict[str, Field] = {field.name: field for field in _TABLE + _MORE}
"""Every field by name. Those behind the default ones are printed when they are asked for."""

TABLE_FIELDS = (
    "ts_uts", "type", "proc.exe", "proc.args", "pproc.pid", "proc.pid", "proc.tid", "opflags", "res", "flow.rbytes",
    "flow.wbytes", "container.id",
)  # fmt: skip
"""What the table has unless told otherwise."""

K8S_EVENT_FIELDS = ("ts_uts", "type", "k8s.action", "k8s.kind", "k8s.msg")

ALIASES = {
    "evt.type": "opflags",
    "evt.rawres": "ret",
    "evt.time": "ts",
    "evt.rawtime": "ts_uts",
    "proc.pname": "pproc.name",
    "proc.ppid": "pproc.pid",
    "proc.pexe": "pproc.exe",
    "proc.pcmdline": "pproc.cmdline",
    "proc.aexe": "proc.aname",
    "proc.exepath": "proc.exe",
    "proc.username": "proc.user",
    "proc.is_container_entry": "proc.entry",
    "thread.tid": "proc.tid",
    "user.name": "proc.user",
    "user.uid": "proc.uid",
    "group.name": "proc.group",
    "group.gid": "proc.gid",
    "fd.num": "file.fd",
    "fd.name": "res",
    "fd.filename": "file.name",
    "fd.directory": "file.directory",
    "fd.typechar": "file.type",
    "file.typechar": "file.type",
    "fd.sip": "net.dip",
    "fd.cip": "net.sip",
    "fd.sport": "net.dport",
    "fd.cport": "net.sport",
    "fd.ip": "net.ip",
    "fd.port": "net.port",
    "fd.l4proto": "net.proto",
    "evt.is_open_write": "file.is_open_write",
    "evt.is_open_read": "file.is_open_read",
    "container.image.repository": "container.image",
    "container.image.id": "container.imageid",
    "k8s.pod.name": "pod.name",
    "k8s.pod.id": "pod.id",
    "k8s.ns.name": "pod.ns",
}
"""Falco's names of fields. A connection goes to its server, so the server's side is the destination."""


def known(name: str) -> Field | None:
    """The field of a name or alias, with or without `sf.` in front; None where there is none."""
    name = name.removeprefix("sf.")
    return FIELDS.get(ALIASES.get(name, name))


def nearest(name: str) -> str | None:
    """The name of a field that may have been meant."""
    near = difflib.get_close_matches(name.removeprefix("sf."), [*FIELDS, *ALIASES], 1)
    return near[0] if near else None


def choose(names: Sequence[str] | None, default: Sequence[str]) -> list[Field]:
    """The fields of these names or aliases; without any, the default ones. Blank names are passed over.

    Raises UsageError for a name that there is not, and where all are blank; TypeError for a single text.
    """
    if isinstance(names, str | bytes):
        raise TypeError(f"fields is a sequence of names, not {names!r}")
    if not names:
        return [FIELDS[name] for name in default]
    chosen = []
    for name in filter(None, map(str.strip, names)):
        field = known(name)
        if field is None:
            near = nearest(name)
            raise UsageError(f"no field {name!r}" + (f"; do you mean {near}?" if near else "; see --list"))
        chosen.append(field)
    if not chosen:
        raise UsageError("an empty list of fields")
    return chosen


# -- order


def sort_key(field: Field) -> Getter:
    """What rows are compared by to stand in the order of a field: numbers and times as such, addresses by their bytes
    (IPv4 first), lists by their texts, one after the other; None where a row has none.
    """
    get, slot = field.get, field.slot
    if slot >= 0 and field.type in (NUMBER, TIME):
        return lambda row: row.number(slot)
    if field.type is ADDRESS:
        return lambda row: _address_key(get(row))
    if field.type is LIST:
        return lambda row: None if (values := get(row)) is None else [str(value) for value in values]
    return get


def _address_key(text: str | None) -> tuple[int, bytes] | None:
    if text is None:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return 0, text.encode(errors="replace")
    return address.version, address.packed


# -- values in another form

_TS = SLOTS["ts"]
_EPOCH_TIMES = frozenset({"ts_uts", "endts_uts", "proc.createts", "pproc.createts"})


def variants(fields: Sequence[Field], *, time: str | None = None, open_flags: str | None = None) -> list[Field]:
    """The fields with their times and open flags in the form that is wanted; None: as they are.

    time: "iso" (2018-07-16T21:32:16.370537340Z), "epoch" (nanoseconds), or "rel": for the times of records, seconds
    since the first record that one of these fields is asked for. open_flags: "number", or "names": RDWR,CREAT,CLOEXEC.
    """
    get_time = {"iso": _exact, "rel": _Since().seconds}.get(time or "")
    return [_variant(field, time, get_time, open_flags) for field in fields]


def _variant(
    field: Field, time: str | None, convert: Callable[[Row, int], Any] | None, open_flags: str | None
) -> Field:
    if open_flags == "names" and field.name == "file.openflags":
        return replace(field, type=TEXT, get=_open_flags_text)
    slot, get = field.slot, field.get
    if time is None or (field.type is not TIME and field.name not in _EPOCH_TIMES) or (time == "rel" and slot < 0):
        return field

    def ns_of(row: Row) -> Any:
        return row.number(slot) if slot >= 0 else get(row)

    if convert is None:
        return replace(field, type=NUMBER, get=ns_of)

    def converted(row: Row) -> Any:
        ns = ns_of(row)
        return None if ns is None else convert(row, ns)

    return replace(field, type=TIME if time == "iso" else NUMBER, get=converted, slot=-1)


def _exact(row: Row, ns: int) -> str:
    second, rest = divmod(ns, 1_000_000_000)
    return f"{second_text(second)}.{rest:09}Z"


class _Since:
    """Seconds since the first record that is seen."""

    def __init__(self) -> None:
        self._start: int | None = None

    def seconds(self, row: Row, ns: int) -> float:
        if self._start is None:
            start: int | None = row.number(_TS)
            self._start = ns if start is None else start
        return (ns - self._start) / 1_000_000_000


def _open_flags_text(row: Row) -> str | None:
    flags = row.number(_OPEN_FLAGS)
    if flags is None:
        return None
    names = list(open_flag_names(flags))
    if "RDWR" in names:
        names = ["RDWR", *(name for name in names if name not in ("RDONLY", "WRONLY", "RDWR"))]
    if unknown := flags >> len(NAMES) << len(NAMES):
        names.append(f"{unknown:#x}")
    return ",".join(names) or "NONE"
