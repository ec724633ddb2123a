"""How fields are compared: what type their values have, which words stand for them, what Falco's names mean here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sftools.avro.slots import SLOTS
from sftools.conditions.values import parse_address, parse_number
from sftools.fields import Field, FieldType, known
from sftools.reader.rows_cy import CONTAINER, Row
from sftools.schema import opflags
from sftools.schema.objtypes import BRANCHES, LETTERS
from sftools.schema.openflags import NAMES as OPEN_FLAGS
from sftools.schema.openflags import open_flag_names
from sftools.schema.sysflow import ContainerType, K8sAction, K8sComponent, SFObjectState
from sftools.utils import getOpFlags

ABSENT = "None"
"""The bare word that stands for an absent value after =, !=, in and in lists."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The left side of a comparison.

    type: TEXT, NUMBER, BOOL, TIME or ADDRESS. get: the value, None where absent; each: instead of it, the values of
    which one has to fit. parse: a word of the query to a value as held, or ValueError. held: a value of get or each as
    held, where that is another form. absent: the words that stand for an absent value.
    slot: of the record's number that alone decides the value or values; -1 for others. owner: the entity that does.
    branches: the record types that can have it; None: all.
    """

    name: str
    type: FieldType
    get: Callable[[Row], Any]
    parse: Callable[[str], Any]
    each: Callable[[Row], Sequence[Any]] | None = None
    held: Callable[[Any], Any] | None = None
    slot: int = -1
    owner: int = -1
    branches: frozenset[int] | None = None
    absent: frozenset[str] = frozenset({ABSENT})


_OP_FLAGS, _OPEN_FLAGS = SLOTS["opFlags"], SLOTS["openFlags"]


# -- words of the query to values


def _bool(text: str) -> bool:
    if text not in ("true", "false", "True", "False"):
        raise ValueError("is neither true nor false")
    return text in ("true", "True")


def _time(text: str) -> int:
    """Nanoseconds since 1970, or ISO 8601 in UTC unless it has a zone."""
    if text[:1].isdigit() and ("-" in text or ":" in text):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("is no time as 2018-07-16T21:32:16.370537") from None
        whole = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        return (whole.days * 86_400 + whole.seconds) * 1_000_000_000 + whole.microseconds * 1000
    return parse_number(text)


def _address(text: str) -> Any:
    """Also the number that records have of an IPv4 address, which was how addresses had to be written once."""
    return parse_number(text) & 0xFFFFFFFF if text.lstrip("-").isdigit() else parse_address(text)


@lru_cache(65_536)
def held_address(text: str) -> Any:
    """The text that a field has of an address, as parse_address holds it."""
    return parse_address(text)


_PARSERS: dict[FieldType, Callable[[str], Any]] = {
    FieldType.TEXT: str,
    FieldType.NUMBER: parse_number,
    FieldType.BOOL: _bool,
    FieldType.TIME: _time,
    FieldType.ADDRESS: _address,
}


def one_of(
    what: str, values: Mapping[str, str] | Sequence[str], fold: Callable[[str], str] = str
) -> Callable[[str], str]:
    """The parser of a field that has only certain values; a mapping has other words for them, too."""
    words = dict(values) if isinstance(values, Mapping) else {value: value for value in values}

    def parse(text: str) -> str:
        found = words.get(text) or words.get(fold(text))
        if found is None:
            near = difflib.get_close_matches(fold(text), words, 1)
            raise ValueError(f"is no {what}" + (f" ({near[0]}?)" if near else f": {', '.join(words)}"))
        return found

    return parse


_OPERATIONS = {part: part for name in opflags.NAMES.values() for part in name.split("_")}
_OPERATIONS |= {name: name.partition("_")[0] for name in opflags.NAMES.values()}
_OPERATION = one_of("operation", _OPERATIONS, lambda text: text.removeprefix("OP_"))
_OPEN_FLAG = one_of("open flag", (*OPEN_FLAGS, "RDWR"), lambda text: text.removeprefix("O_"))


def _open_flag(text: str) -> str:
    """A flag, or the number of all together, which is what is printed."""
    return str(parse_number(text)) if text[:1].isdigit() else _OPEN_FLAG(text)


def _container_type(text: str) -> str:
    return "CT_" + text.upper().removeprefix("CT_").replace("-", "")


PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmp6": 58}


def _protocol(text: str) -> int:
    number = PROTOCOLS.get(text.lower())
    return parse_number(text) if number is None else number


_WORDS: dict[str, Callable[[str], Any]] = {
    "type": one_of("record type", tuple(LETTERS.values())),
    "state": one_of("state", [state.value for state in SFObjectState]),
    "opflags": _OPERATION,
    "file.openflags": _open_flag,
    "net.proto": _protocol,
    "container.type": one_of("type of container", [kind.value for kind in ContainerType], _container_type),
    "k8s.action": one_of("action", [action.value for action in K8sAction]),
    "k8s.kind": one_of("kind of component", [kind.value for kind in K8sComponent]),
}


# -- fields to values


def _list(field: Field) -> Callable[[Row], Sequence[Any]]:
    get = field.get
    return lambda row: get(row) or ()


def _lineage(row: Row) -> list[str]:
    """Of each ancestor its path and its name, as both are asked for."""
    paths = [process.exe for process in row.ancestors()]
    return paths + [path.rpartition("/")[2] for path in paths]


def _services(row: Row) -> list[str]:
    return [] if row.pod is None else [service.name for service in row.pod.services]


def _operations(row: Row) -> Sequence[str]:
    flags = row.number(_OP_FLAGS)
    return () if flags is None else tuple(getOpFlags(flags))


def _open_flags(row: Row) -> tuple[str, ...]:
    """The names, and the number of all together."""
    flags = row.number(_OPEN_FLAGS)
    return () if flags is None else (*open_flag_names(flags), str(flags))


_EACH: dict[str, Callable[[Row], Sequence[Any]]] = {
    "opflags": _operations,
    "file.openflags": _open_flags,
    "pod.services": _services,
    "proc.aname": _lineage,
}


def _of(field: Field) -> Subject:
    each = _EACH.get(field.name) or (_list(field) if field.type is FieldType.LIST else None)
    kind = field.type if each is None else field.item
    slot = field.slot
    return Subject(
        field.name,
        kind,
        field.get if kind is not FieldType.TIME else lambda row: row.number(slot),
        _WORDS.get(field.name, _PARSERS[kind]),
        each,
        held_address if kind is FieldType.ADDRESS else None,
        slot,
        field.owner,
        field.branches,
        frozenset({ABSENT, "host"}) if field.owner == CONTAINER else frozenset({ABSENT}),
    )


@lru_cache(512)
def _by_field_name(name: str) -> Subject | None:
    field = known(name)
    return None if field is None else _of(field)


def subject(name: str) -> Subject | None:
    """What a name, Falco's too, with or without `sf.` in front, is compared as; None where there is no such field."""
    name = name.removeprefix("sf.")
    return _EVENTS.get(name) or _by_field_name(name)


def nth_ancestor(of: Subject, level: str) -> Subject | None:
    """proc.aname[n] or proc.apid[n]: of the process itself for 0, its parent for 1; None for what takes no argument.

    Raises ValueError with the reason where the level is none.
    """
    if of.name not in ("proc.aname", "proc.apid"):
        return None
    if not (level.isascii() and level.isdigit() and len(level) < 9):
        raise ValueError("is no number of generations")
    number, name = int(level), of.name == "proc.aname"

    def each(row: Row) -> Sequence[Any]:
        line = row.ancestors()
        if len(line) <= number:
            return ()
        process = line[number]
        return (process.exe, process.exe.rpartition("/")[2]) if name else (process.oid.hpid,)

    return replace(of, each=each)


# -- Falco's events

SYSTEM_CALLS = {
    "CLONE": ("clone", "clone3", "fork", "vfork"),
    "EXEC": ("execve", "execveat"),
    "EXIT": ("exit", "exit_group", "procexit"),
    "SETUID": ("setuid", "setreuid", "setresuid"),
    "SETNS": ("setns",),
    "ACCEPT": ("accept", "accept4"),
    "CONNECT": ("connect",),
    "OPEN": ("open", "openat", "openat2", "creat"),
    "READ_RECV": ("read", "readv", "pread", "pread64", "preadv"),
    "WRITE_SEND": ("write", "writev", "pwrite", "pwrite64", "pwritev"),
    "CLOSE": ("close",),
    "SHUTDOWN": ("shutdown",),
    "MMAP": ("mmap", "mmap2"),
    "MKDIR": ("mkdir", "mkdirat"),
    "RMDIR": ("rmdir",),
    "LINK": ("link", "linkat"),
    "UNLINK": ("unlink", "unlinkat"),
    "SYMLINK": ("symlink", "symlinkat"),
    "RENAME": ("rename", "renameat", "renameat2"),
}
"""By operation, Falco's names of the events that it may stand for."""
SOCKET_CALLS = {
    "READ_RECV": ("recv", "recvfrom", "recvmsg", "recvmmsg"),
    "WRITE_SEND": ("send", "sendto", "sendmsg", "sendmmsg"),
}
"""The same for records of a network, beside those above."""
_NETWORK = frozenset({BRANCHES["NetworkFlow"], BRANCHES["NetworkEvent"]})


@lru_cache(4096)
def _names_of(flags: int, network: bool) -> list[str]:
    names: list[str] = []
    for operation in opflags.op_names(flags):
        names += SYSTEM_CALLS.get(operation, ())
        names += SOCKET_CALLS.get(operation, ()) if network else ()
        names += operation.split("_")
    return names


def _calls(row: Row) -> Sequence[str]:
    """The names of the events that the record may stand for, and its operations."""
    flags = row.number(_OP_FLAGS)
    return () if flags is None else _names_of(flags, row.branch in _NETWORK)


_CALL = one_of(
    "event that makes records",
    _OPERATIONS | {name: name for calls in (SYSTEM_CALLS, SOCKET_CALLS) for names in calls.values() for name in names},
)


def _direction(row: Row) -> str | None:
    return None if row.number(_OP_FLAGS) is None else "<"


_EVENTS = {
    "evt.type": Subject("evt.type", FieldType.TEXT, _calls, _CALL, _calls),
    "evt.dir": Subject("evt.dir", FieldType.TEXT, _direction, one_of("direction", ("<", ">"))),
}
