"""Compares our traces with those of the existing collector, and writes docs/fidelity.md.

    scripts/fidelity.py               convert all captures in ../shared/traces, write docs/fidelity.md
    scripts/fidelity.py --check       say whether docs/fidelity.md is up to date; exit 1 where it is not, or where a
                                      difference has no number
    scripts/fidelity.py --show NAME   the differing records of a trace, each with the number of its defect

Two traces are equal as multisets of records: the order of records that end together is not defined. A record that only
one of them has is a difference. Each rule below proves, for one known defect of the existing collector, that records of
it and of ours differ in just what the defect says; a difference that no rule takes is a failure.
"""

from __future__ import annotations

import dataclasses
import re
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sftools.libsysflow import convert  # noqa: E402
from sftools.reader import Record, read_trace  # noqa: E402
from sftools.scap import tables  # noqa: E402
from sftools.scap.events_cy import EventCursor  # noqa: E402
from sftools.schema.opflags import (  # noqa: E402
    OP_ACCEPT,
    OP_CLONE,
    OP_CLOSE,
    OP_CONNECT,
    OP_OPEN,
    OP_READ_RECV,
    OP_TRUNCATE,
    OP_WRITE_SEND,
)
from sftools.schema.sysflow import (  # noqa: E402
    OID,
    Container,
    File,
    FileEvent,
    FileFlow,
    NetworkFlow,
    Process,
    ProcessEvent,
    ProcessFlow,
    SFHeader,
    SFObjectState,
)
from sftools.source import open_source  # noqa: E402

TRACES = ROOT.parent / "shared" / "traces"
DOCUMENT = ROOT / "docs" / "fidelity.md"

DEFECTS = {
    1: "Server flows have no ACCEPT: accept4's current event (ACCEPT4_6) is not handled. So their flows begin with the"
    " next operation; the thread that only accepts has none; and accepted unix sockets get their name from what is"
    " transferred, under which one direction is never closed.",
    2: "mkdirat, unlinkat and the like report the directory of their dirfd instead of the target.",
    3: "Bytes that are no ASCII are missing from the paths of FileEvents, and are dots in those of FileFlows.",
    4: "Unconnected IPv6 UDP gives an invented IPv4 flow. Ours has the same flow, with its addresses, in schema 6.",
    5: "creat, openat2, open_by_handle_at, sendfile, splice, copy_file_range and close_range are not seen: no OPEN, no"
    " operations, no bytes, or no flow at all; a file's record comes later.",
    6: "A socket that was never connected gives a NetworkFlow of zeros with proto -1 when it is closed.",
    7: "clone3 is not handled: its CLONE events are missing, threads made by it are not counted, and a process made by"
    " it is CREATED only by its exec.",
    8: "After a setuid in a container to a user that is not in the lists, the previous user's and group's names stay"
    " beside the new numbers. Ours are <NA>.",
    9: "A unix socket whose connect failed has any text as its path: what libsinsp had formatted last. Ours is empty.",
    10: "mpm-preforked-full_capture is of an older version: a process's createTS and parent are those of its parent's"
    " return from clone, where today's (and ours) are those of the child's; and a parent of which only the pid is known"
    " has a record.",
    11: "nginx-nginx is of an older version: processes have no cwd and env, and unknown names are empty, not <NA>.",
}
"""The existing collector's defects by number. 1 to 6 are those of collector-oracle.md beside the traces."""

_FULL: dict[str, Any] = {"file_only": False, "file_read_mode": 0, "proc_flow": False}
_NA = "<NA>"
_COPYING = ("SENDFILE", "SPLICE", "COPY_FILE_RANGE")
_OPENING = ("CREAT", "OPENAT2", "OPEN_BY_HANDLE_AT")

_CALL = re.compile(r"PPME_(?:SYSCALL|SOCKET)_(.+?)(?:_\d+)?_X")

Key: TypeAlias = tuple[str, tuple[Any, ...]]
Flow: TypeAlias = NetworkFlow | FileFlow
T = TypeVar("T")


@dataclass(frozen=True)
class Trace:
    """A capture with the existing collector's trace of it, made with `options`."""

    name: str
    capture: Path
    reference: Path
    exporter: str
    options: dict[str, Any]


@dataclass
class Report:
    """What a comparison found. differences: (number of the defect or 0, "-" missing or "+" too many, record).

    faults: where our trace is not self-contained.
    """

    records: int
    equal: int
    differences: list[tuple[int, str, Record]]
    faults: list[str]

    def counts(self) -> dict[int, tuple[int, int]]:
        """(missing, too many) by the number of the defect; 0 for what has none."""
        found = Counter((number, sign) for number, sign, _ in self.differences)
        return {number: (found[number, "-"], found[number, "+"]) for number in sorted({n for n, _ in found})}


def traces(folder: Path = TRACES) -> list[Trace]:
    """All captures of a folder with reference traces; none where it is not there.

    recorded/ has two each, made with the collector's own defaults and with everything on (.full).
    """
    out = []
    for capture in sorted(folder.glob("collector/*.scap")):
        out.append(Trace(capture.stem, capture, capture.with_suffix(".sf"), "tests", _FULL))
    for capture in sorted(folder.glob("recorded/*.scap")):
        out.append(Trace(capture.stem, capture, capture.with_suffix(".sf"), "host1", {}))
        out.append(Trace(capture.stem + ".full", capture, capture.with_suffix(".full.sf"), "host1", _FULL))
    return out


def key(record: Record, *without: str) -> Key:
    """The record as something that can be compared and hashed, without some of its fields."""
    fields = (field.name for field in dataclasses.fields(record) if field.name not in without)
    return type(record).__name__, tuple((name, _plain(getattr(record, name))) for name in fields)


def _plain(value: Any) -> Any:
    if isinstance(value, OID):
        return value.hpid, value.createTS
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def self_contained(records: Iterable[Record]) -> list[str]:
    """Where a trace is not self-contained: every entity must stand before what refers to it, the header first."""
    seen: set[Any] = set()
    faults = []
    for number, record in enumerate(records):
        needs: list[Any] = []
        if isinstance(record, SFHeader) != (number == 0):
            faults.append(f"record {number}: the header is not the one first record")
        if isinstance(record, Process | File) and record.containerId is not None:
            needs.append(("Container", record.containerId))
        if isinstance(record, Container):
            seen.add(("Container", record.id))
            if record.podId is not None:
                needs.append(("Pod", record.podId))
        elif isinstance(record, Process):
            seen.add(("Process", _plain(record.oid)))
        elif isinstance(record, File):
            seen.add(("File", record.oid))
        elif hasattr(record, "procOID"):
            needs.append(("Process", _plain(record.procOID)))
        else:
            seen.add((type(record).__name__, getattr(record, "id", None)))
        if isinstance(record, FileFlow | FileEvent):
            needs.append(("File", record.fileOID))
        if isinstance(record, FileEvent) and record.newFileOID is not None:
            needs.append(("File", record.newFileOID))
        name = type(record).__name__
        faults += [f"record {number}: {name} without its {need[0]} {need[1]!r}" for need in needs if need not in seen]
        if isinstance(record, NetworkFlow | FileFlow | ProcessFlow) and record.endTs < record.ts:
            faults.append(f"record {number}: {name} ends before it begins")
    return faults


class Events:
    """When a capture's threads returned from which calls: the independent witness of what a rule claims."""

    def __init__(self, capture: Path) -> None:
        self._returns: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        with open_source(str(capture)) as source:
            cursor = EventCursor(source, source.name)
            while what := cursor.advance():
                if what == 1 and cursor.type < len(tables.EVENT_CODES):
                    call = _CALL.fullmatch(tables.EVENT_CODES[cursor.type])
                    if call is not None:
                        result = _result(cursor.body()) if call[1] in _COPYING else 0
                        self._returns[call[1], cursor.tid].append((cursor.ts, result))

    def times(self, calls: Iterable[str], tid: int) -> list[int]:
        """Times in ns at which a thread returned from one of the calls (CLONE3, ACCEPT4, ...), of any version."""
        return [ts for call in calls for ts, _ in self._returns.get((call, tid), ())]

    def copies(self, flow: FileFlow) -> list[int]:
        """The results, in bytes, of what copied between fds in a flow's thread and time."""
        returns = [entry for call in _COPYING for entry in self._returns.get((call, flow.tid), ())]
        return [max(result, 0) for ts, result in returns if flow.ts <= ts <= flow.endTs]

    def anywhere(self, call: str) -> set[int]:
        """Times at which any thread returned from the call."""
        return {ts for (name, _), returns in self._returns.items() if name == call for ts, _ in returns}


def _result(block: bytes) -> int:
    """The first parameter of an event in a block of type EV_V2, which is the call's result."""
    (nparams,) = struct.unpack_from("<I", block, 2 + 22)
    (result,) = struct.unpack_from("<q", block, 2 + 26 + 2 * nparams)
    return int(result)


class Difference:
    """What two traces have not in common, and how rules explain it. Rules take from `missing` and `extra`."""

    def __init__(self, trace: Trace, ours: list[Record], theirs: list[Record], events: Events) -> None:
        self.trace = trace
        self.ours = ours
        self.theirs = theirs
        self.events = events
        self.explained: list[tuple[int, str, Record]] = []
        common = Counter(map(self.key, ours)) & Counter(map(self.key, theirs))
        self.equal = common.total()
        self.missing = _without(theirs, common.copy(), self.key)
        self.extra = _without(ours, common.copy(), self.key)
        self.our_paths = {record.oid: record.path for record in ours if isinstance(record, File)}
        self.their_paths = {record.oid: record.path for record in theirs if isinstance(record, File)}
        self.our_types = {record.oid: record.restype for record in ours if isinstance(record, File)}

    @staticmethod
    def key(record: Record) -> Key:
        return key(record, "filename") if isinstance(record, SFHeader) else key(record)

    def lost(self, kind: type[T]) -> list[T]:
        """What of a record type is missing and not explained yet."""
        return [record for record in self.missing if isinstance(record, kind)]

    def new(self, kind: type[T]) -> list[T]:
        """What of a record type is too many and not explained yet."""
        return [record for record in self.extra if isinstance(record, kind)]

    def explain(self, number: int, missing: Iterable[Record] = (), extra: Iterable[Record] = ()) -> None:
        for record in missing:
            _take(self.missing, record)
            self.explained.append((number, "-", record))
        for record in extra:
            _take(self.extra, record)
            self.explained.append((number, "+", record))

    def pairs(self, kind: type[T], *without: str) -> list[tuple[T, T]]:
        """Pairs of a missing and an additional record that are equal apart from some fields; each record once."""
        partners: dict[Key, list[Any]] = defaultdict(list)
        for record in self.new(kind):
            partners[key(record, *without)].append(record)  # type: ignore[arg-type]
        found = []
        for record in self.lost(kind):
            if group := partners[key(record, *without)]:  # type: ignore[arg-type]
                found.append((record, group.pop(0)))
        return found


def _without(records: list[Record], common: Counter[Key], of: Callable[[Record], Key]) -> list[Record]:
    rest = []
    for record in records:
        name = of(record)
        if common[name]:
            common[name] -= 1
        else:
            rest.append(record)
    return rest


def _take(records: list[Record], record: Record) -> None:
    for i, other in enumerate(records):
        if other is record:
            del records[i]
            return
    raise AssertionError(f"explained twice: {record}")


# -- the defects, each as a proof


def accept(d: Difference) -> None:
    """(1) for connections."""
    late = ("ts", "opFlags")
    for theirs, ours in d.pairs(NetworkFlow, *late):
        if ours.opFlags == theirs.opFlags | OP_ACCEPT != theirs.opFlags and _accepted(d, ours) and ours.ts < theirs.ts:
            d.explain(1, [theirs], [ours])
    # The thread that only accepted. Others' flows on the same are in the reference too.
    flows = [record for record in d.theirs if isinstance(record, NetworkFlow)]
    connections = set(map(_connection, flows)) - {_connection(flow) for flow in flows if flow.opFlags & OP_CONNECT}
    ends = {record.endTs for record in d.theirs if isinstance(record, NetworkFlow | FileFlow)}
    ends |= {record.ts for record in d.theirs if isinstance(record, ProcessEvent)}
    accepted = [
        ours
        for ours in d.new(NetworkFlow)
        if ours.opFlags & ~OP_TRUNCATE == OP_ACCEPT
        and _accepted(d, ours)
        and _nothing(ours)
        and _connection(ours) in connections
        and ours.endTs in ends
    ]
    d.explain(1, extra=accepted)
    # When that thread exits, the others' flows on the same fd end and begin anew.
    cut = {(_connection(ours), ours.endTs) for ours in accepted if ours.opFlags & OP_TRUNCATE}
    for theirs in d.lost(NetworkFlow):
        same = (_connection(theirs), theirs.tid)
        parts = [ours for ours in d.new(NetworkFlow) if (_connection(ours), ours.tid) == same]
        parts.sort(key=lambda flow: flow.ts)
        if not parts or parts[0].ts != theirs.ts or not parts[0].opFlags & OP_TRUNCATE or len(parts) > 2:
            continue
        first, rest = parts[0], parts[1:]
        if (_connection(first), first.endTs) not in cut or not all(p.endTs == theirs.endTs for p in rest):
            continue
        if _sums(parts) == _sums([theirs]) and _flags(parts, ~OP_TRUNCATE) == _flags([theirs], ~OP_TRUNCATE):
            d.explain(1, [theirs], parts)


def _accepted(d: Difference, flow: Flow) -> bool:
    return flow.ts in d.events.times(("ACCEPT4",), flow.tid)


def accept_unix(d: Difference) -> None:
    """(1) for unix sockets: same sums by thread and fd, same ends in time, the same connections."""
    sockets: dict[Any, tuple[list[FileFlow], list[FileFlow]]] = defaultdict(lambda: ([], []))
    for theirs in d.lost(FileFlow):
        if not theirs.opFlags & OP_ACCEPT:
            sockets[_plain(theirs.procOID), theirs.tid, theirs.fd][0].append(theirs)
    for ours in d.new(FileFlow):
        if ours.opFlags & OP_ACCEPT and _accepted(d, ours) and d.our_types[ours.fileOID] == ord("u"):
            sockets[_plain(ours.procOID), ours.tid, ours.fd][1].append(ours)
    for missing, extra in sockets.values():
        ends = {_ends(d.our_paths[flow.fileOID]) for flow in extra}
        closed = [sorted(f.endTs for f in flows if f.opFlags & OP_CLOSE) for flows in (missing, extra)]
        if (
            extra
            and _sums(missing) == _sums(extra)
            and closed[0] == closed[1]
            and _flags(missing, ~OP_TRUNCATE) | OP_ACCEPT == _flags(extra, ~OP_TRUNCATE)
            and {_ends(d.their_paths[flow.fileOID]) for flow in missing} == ends
        ):
            d.explain(1, missing, extra)
            late = {(flow.fileOID, flow.ts) for flow in missing}
            used = {(flow.fileOID, flow.ts) for flow in d.ours if isinstance(flow, FileFlow)}
            for lost, new in d.pairs(File, "ts"):
                if (lost.oid, lost.ts) in late and (new.oid, new.ts) in used:
                    d.explain(1, [lost], [new])


def dirfd(d: Difference) -> None:
    """(2), and (3) for FileEvents: the same event with other paths."""
    used: dict[tuple[bytes, int], int] = {}
    replaced: dict[tuple[bytes, int], int] = {}
    for theirs, ours in d.pairs(FileEvent, "fileOID", "newFileOID"):
        numbers = set()
        for name in ("fileOID", "newFileOID"):
            old, new = getattr(theirs, name), getattr(ours, name)
            if old != new:
                number = _other_path(d.their_paths.get(old, ""), d.our_paths.get(new, ""))
                numbers.add(number)
                used[new, ours.ts] = replaced[old, theirs.ts] = number
        if len(numbers) == 1 and (number := numbers.pop()):
            d.explain(number, [theirs], [ours])
    _files(d, used, replaced)


def _other_path(theirs: str, ours: str) -> int:
    """The defect that makes one path of the other; 0 where none does."""
    if ours.startswith(theirs.rstrip("/") + "/"):
        return 2
    if not ours.isascii() and theirs in (_ascii(ours, ""), _ascii(ours, ".")):
        return 3
    return 0


def non_ascii(d: Difference) -> None:
    """(3) for FileFlows."""
    used: dict[tuple[bytes, int], int] = {}
    replaced: dict[tuple[bytes, int], int] = {}
    for theirs, ours in d.pairs(FileFlow, "fileOID"):
        if _other_path(d.their_paths[theirs.fileOID], d.our_paths[ours.fileOID]) == 3:
            d.explain(3, [theirs], [ours])
            used[ours.fileOID, ours.ts] = replaced[theirs.fileOID, theirs.ts] = 3
    _files(d, used, replaced)


def _files(d: Difference, used: dict[tuple[bytes, int], int], replaced: dict[tuple[bytes, int], int]) -> None:
    """The File records that such paths bring about at that time: ours of the right one, theirs of the wrong one."""
    for ours in d.new(File):
        if number := used.get((ours.oid, ours.ts)):
            d.explain(number, extra=[ours])
    for theirs in d.lost(File):
        if (number := replaced.get((theirs.oid, theirs.ts))) and theirs.oid not in d.our_paths:
            d.explain(number, [theirs])


def ipv6(d: Difference) -> None:
    """(4): the same flow is in schema 6, with IPv6 addresses."""
    lost = [flow for flow in d.lost(NetworkFlow) if flow.proto == 17 and 0 in (flow.sip, flow.dip)]
    if lost:
        addresses = ("sip", "dip", "sport", "dport", "sip6", "dip6")
        six = Counter(
            key(record, *addresses)
            for record in convert(d.trace.capture, schema=6, exporter=d.trace.exporter, **d.trace.options)
            if isinstance(record, NetworkFlow) and record.sip6 is not None
        )
        for theirs in lost:
            if six[key(theirs, *addresses)]:
                six[key(theirs, *addresses)] -= 1
                d.explain(4, [theirs])


def copying(d: Difference) -> None:
    """(5): what our flows have more are operations that the capture has, or an OPEN at the time of its event."""
    counters = ("ts", "opFlags", "openFlags", "numRRecvOps", "numWSendOps", "numRRecvBytes", "numWSendBytes")
    firsts: dict[bytes, int] = {}
    for theirs, ours in d.pairs(FileFlow, *counters):
        if _opened(d, theirs, ours) or _copied(d, theirs, ours):
            d.explain(5, [theirs], [ours])
            firsts.setdefault(ours.fileOID, ours.ts)
    for ours in d.new(FileFlow):
        empty = dataclasses.replace(
            ours, opFlags=ours.opFlags & OP_TRUNCATE, numRRecvOps=0, numWSendOps=0, numRRecvBytes=0, numWSendBytes=0
        )
        if ours.ts in d.events.times(_COPYING, ours.tid) and _copied(d, empty, ours):
            d.explain(5, extra=[ours])
            firsts.setdefault(ours.fileOID, ours.ts)
    for lost, new in d.pairs(File, "ts"):
        if new.ts < lost.ts and new.ts == firsts.get(new.oid):
            d.explain(5, [lost], [new])


def _opened(d: Difference, theirs: FileFlow, ours: FileFlow) -> bool:
    began = ours.ts in d.events.times(_OPENING, ours.tid) and ours.ts < theirs.ts
    same = _sums([theirs]) == _sums([ours]) and ours.opFlags == theirs.opFlags | OP_OPEN
    return began and same and theirs.openFlags == 0 and not theirs.opFlags & OP_OPEN


def _copied(d: Difference, theirs: FileFlow, ours: FileFlow) -> bool:
    more = [b - a for a, b in zip(_sums([theirs]), _sums([ours]), strict=True)]
    copies = d.events.copies(ours)
    flags = 0
    for ops, size, flag in ((more[0], more[2], OP_READ_RECV), (more[1], more[3], OP_WRITE_SEND)):
        flags |= flag if ops else 0
        # All of the thread's, or those on this fd.
        if not 0 <= ops <= len(copies) or not 0 <= size <= (sum(copies) if ops else 0):
            return False
        if ops == len(copies) and size != sum(copies):
            return False
    return (
        flags != 0
        and ours.opFlags == theirs.opFlags | flags
        and ours.openFlags == theirs.openFlags
        and (ours.ts == theirs.ts or (ours.ts < theirs.ts and ours.ts in d.events.times(_COPYING, ours.tid)))
    )


def never_connected(d: Difference) -> None:
    """(6)."""
    for flow in d.lost(NetworkFlow):
        address = (flow.sip, flow.sport, flow.dip, flow.dport, flow.proto)
        if flow.opFlags == OP_CLOSE and address == (0, 0, 0, 0, -1) and _nothing(flow):
            d.explain(6, [flow])


def clone3(d: Difference) -> None:
    """(7): CLONE events at the time of a CLONE3 event, and what follows from them."""
    at = d.events.anywhere("CLONE3")
    for event in d.new(ProcessEvent):
        if event.opFlags == OP_CLONE and event.ts in at:
            d.explain(7, extra=[event])
    for theirs, ours in d.pairs(Process, "state"):
        made = [new for new in d.new(Process) if new.oid == ours.oid and new.ts in at and _like_its_parent(d, new)]
        states = (theirs.state, ours.state, *(new.state for new in made))
        if states == (SFObjectState.CREATED, SFObjectState.MODIFIED, SFObjectState.CREATED):
            d.explain(7, [theirs], [ours, *made])
    for counted, flow in d.pairs(ProcessFlow, "ts", "opFlags", "numThreadsCloned"):
        more = flow.numThreadsCloned - counted.numThreadsCloned
        if flow.ts <= counted.ts and flow.opFlags == counted.opFlags | OP_CLONE and _cloned(d, flow, more):
            d.explain(7, [counted], [flow])
    for flow in d.new(ProcessFlow):
        others = flow.opFlags & ~(OP_TRUNCATE | OP_CLONE) or flow.numThreadsExited or flow.numCloneErrors
        if not others and _cloned(d, flow, flow.numThreadsCloned):
            d.explain(7, extra=[flow])


def _like_its_parent(d: Difference, child: Process) -> bool:
    # env: a record that is written again keeps the one it had at first, there as here.
    own = ("state", "oid", "poid", "ts", "entry", "env")
    parents = (p for p in d.theirs if isinstance(p, Process) and p.oid == child.poid)
    return any(key(parent, *own) == key(child, *own) for parent in parents)


def _cloned(d: Difference, flow: ProcessFlow, threads: int) -> bool:
    """So many threads could have been made by clone3 in the flow's time, and it began with one."""
    times = d.events.anywhere("CLONE3")
    # Each is seen twice, in the parent and in the child.
    return flow.ts in times and 0 < threads <= (sum(flow.ts <= ts <= flow.endTs for ts in times) + 1) // 2


def setuid_names(d: Difference) -> None:
    """(8): the name beside the new number is the one that the process, or its parent, had beside the old number."""
    for theirs, ours in d.pairs(Process, "userName", "groupName"):
        old = [
            (other.userName, other.groupName)
            for other in d.theirs
            if isinstance(other, Process)
            and other.oid in (theirs.oid, theirs.poid)
            and other.uid != theirs.uid
            and other.ts < theirs.ts
        ]
        if (
            theirs.containerId is not None
            and theirs.state == SFObjectState.MODIFIED
            and (theirs.userName, theirs.groupName) in old
            and (ours.userName, ours.groupName) == (_NA, _NA)
        ):
            d.explain(8, [theirs], [ours])


def failed_connect(d: Difference) -> None:
    """(9): the same flow of a unix socket under an empty path."""
    paths = set()
    for theirs, ours in d.pairs(FileFlow, "fileOID"):
        if ours.opFlags & OP_CONNECT and d.our_paths[ours.fileOID] == "" and not ours.opFlags & OP_READ_RECV:
            d.explain(9, [theirs], [ours])
            paths.add(theirs.fileOID)
    for lost, new in d.pairs(File, "oid", "path"):
        if lost.oid in paths and new.path == "" and new.restype == ord("u"):
            d.explain(9, [lost], [new])
            # Its record stands for what else has no path.
            d.explain(9, [other for other in d.lost(File) if other.oid == new.oid and other.ts > new.ts])


def create_times(d: Difference) -> None:
    """(10): as if the other createTS were ours."""
    if d.trace.name != "mpm-preforked-full_capture":
        return
    clones = d.events.anywhere("CLONE")
    times: dict[tuple[int, int], int] = {}
    for event in d.new(ProcessEvent):
        if event.opFlags == OP_CLONE and event.ret == 0 and event.tid == event.procOID.hpid:
            assert event.procOID.createTS == event.ts
            for theirs in d.lost(Process):
                if theirs.oid.hpid == event.tid and theirs.oid.createTS < event.ts and theirs.oid.createTS in clones:
                    times[event.tid, theirs.oid.createTS] = event.ts
    placeholder = {_plain(p.oid) for p in d.lost(Process) if (p.uid, p.gid, p.oid.createTS) == (-1, -1, 0)}

    def ours(oid: OID) -> OID:
        return OID(times.get((oid.hpid, oid.createTS), oid.createTS), oid.hpid)

    def mapped(record: Record) -> Record:
        if isinstance(record, Process):
            caller = record.poid and record.oid.createTS in d.events.times(("CLONE",), record.poid.hpid)
            parent = None if record.poid is None or _plain(record.poid) in placeholder else ours(record.poid)
            new = dataclasses.replace(record, oid=ours(record.oid), poid=parent)
            # Who called clone is the parent there; here it is who the child's return names, if that one is known.
            return dataclasses.replace(new, poid=None) if caller and key(new) not in partners else new
        if isinstance(record, ProcessEvent | FileEvent | FileFlow):
            return dataclasses.replace(record, procOID=ours(record.procOID))
        return record

    partners: dict[Key, list[Record]] = defaultdict(list)
    for record in d.extra:
        partners[key(record)].append(record)
    for i, record in reversed(list(enumerate(d.missing))):
        new = mapped(record)
        if group := partners.get(key(new)):
            d.explain(10, [record], [group.pop()])
        elif isinstance(new, FileFlow):
            # Another defect is to be found in it, too.
            d.missing[i] = new
    d.explain(10, [record for record in d.lost(Process) if _plain(record.oid) in placeholder])


def older_version(d: Difference) -> None:
    """(11)."""
    header = d.theirs[0]
    if not isinstance(header, SFHeader) or header.version != 1001:
        return
    for lost, new in d.pairs(SFHeader, "version", "filename", "ip"):
        d.explain(11, [lost], [new])
    for theirs, ours in d.pairs(Process, "cwd", "env", "userName", "groupName"):
        names = {(theirs.userName, ours.userName), (theirs.groupName, ours.groupName)}
        if theirs.cwd == "" and theirs.env == [] and all(a == b or (a, b) == ("", _NA) for a, b in names):
            d.explain(11, [theirs], [ours])


RULES: tuple[Callable[[Difference], None], ...] = (
    older_version,
    create_times,
    never_connected,
    accept,
    accept_unix,
    copying,
    dirfd,
    non_ascii,
    ipv6,
    clone3,
    setuid_names,
    failed_connect,
)


def _connection(flow: NetworkFlow) -> tuple[Any, ...]:
    return _plain(flow.procOID), flow.fd, flow.sip, flow.sport, flow.dip, flow.dport, flow.proto


def _nothing(flow: Flow) -> bool:
    return not any(_sums([flow]))


def _sums(flows: Iterable[Flow]) -> tuple[int, ...]:
    """Operations and bytes, read and written."""
    counters = [(f.numRRecvOps, f.numWSendOps, f.numRRecvBytes, f.numWSendBytes) for f in flows]
    return tuple(map(sum, zip(*counters, strict=True))) if counters else (0, 0, 0, 0)


def _flags(flows: Iterable[Flow], mask: int) -> int:
    flags = 0
    for flow in flows:
        flags |= flow.opFlags & mask
    return flags


def _ends(path: str) -> frozenset[str]:
    """The addresses of a unix connection's two ends, which its name (`a->b path`) has in either order."""
    return frozenset(path.partition(" ")[0].split("->"))


def _ascii(path: str, instead: str) -> str:
    return "".join(chr(byte) if byte < 0x80 else instead for byte in path.encode())


# -- the report


def compare(trace: Trace) -> Report:
    """Convert a capture and compare. Raises InputError where one of the two cannot be read."""
    ours = list(convert(trace.capture, schema=5, exporter=trace.exporter, **trace.options))
    theirs = list(read_trace(str(trace.reference)))
    return explain(trace, ours, theirs, Events(trace.capture))


def explain(trace: Trace, ours: list[Record], theirs: list[Record], events: Events) -> Report:
    """What the records of two traces have not in common, each with its defect."""
    difference = Difference(trace, ours, theirs, events)
    for rule in RULES:
        rule(difference)
    difference.explain(0, difference.missing.copy(), difference.extra.copy())
    return Report(len(theirs), difference.equal, difference.explained, self_contained(ours))


def row(name: str, report: Report, numbers: Iterable[int]) -> str:
    """A trace's row in the document."""
    counts = report.counts()
    cells = [name, str(report.records), str(report.equal)]
    for number in numbers:
        missing, extra = counts.get(number, (0, 0))
        cells.append(" ".join(f"{sign}{n}" for sign, n in (("-", missing), ("+", extra)) if n))
    return "| " + " | ".join(cells) + " |"


def document(reports: dict[str, Report]) -> str:
    """docs/fidelity.md."""
    numbers = list(DEFECTS)
    if any(0 in report.counts() for report in reports.values()):
        numbers.insert(0, 0)
    head = ["trace", "records", "equal", *(f"({number})" if number else "unexplained" for number in numbers)]
    lines = [
        "# Fidelity to the existing collector",
        "",
        "Made by `scripts/fidelity.py`; `scripts/fidelity.py --show NAME` prints the differing records.",
        "",
        "Captures with the traces that the existing C++ collector made of them, compared by record, in any order.",
        "`-3 +2` means: three of the collector's records are missing in ours, and two of ours are not in its trace.",
        "The number says which of its defects is the cause; code proves for each record that it differs only in what",
        "the defect says. Those named `.full`, and those of which there is only one, were made with everything on",
        "(FILE_ONLY=0 FILE_READ_MODE=0 ENABLE_PROC_FLOW=0), the others with the defaults.",
        "",
        "| " + " | ".join(head) + " |",
        "|---" + "|---:" * (len(head) - 1) + "|",
    ]
    lines += [row(name, report, numbers) for name, report in reports.items()]
    lines += ["", "## The defects", ""]
    lines += [f"{number}. {text}" for number, text in DEFECTS.items()]
    lines += ["", "Each of our traces is self-contained: what a record refers to stands before it in its file.", ""]
    return "\n".join(lines)


def failures(reports: dict[str, Report]) -> list[str]:
    """What must not be: differences without a number, traces that are not self-contained."""
    out = []
    for name, report in reports.items():
        missing, extra = report.counts().get(0, (0, 0))
        if missing or extra:
            out.append(f"{name}: {missing} records missing and {extra} too many without an explanation")
        out += [f"{name}: not self-contained: {fault}" for fault in report.faults]
    return out


def main(arguments: list[str]) -> int:
    known = {trace.name: trace for trace in traces()}
    if arguments not in ([], ["--check"]) and not (len(arguments) == 2 and arguments[0] == "--show"):
        print(__doc__, file=sys.stderr)
        return 2
    if not known:
        print("fidelity: ../shared/traces is not there, nothing to compare with", file=sys.stderr)
        return 0
    if arguments[:1] == ["--show"]:
        if arguments[1] not in known:
            print(f"no trace {arguments[1]}: there are {', '.join(known)}", file=sys.stderr)
            return 2
        for number, sign, record in sorted(compare(known[arguments[1]]).differences, key=lambda entry: entry[:2]):
            print(f"({number})" if number else "(?)", sign, record)
        return 0
    reports = {name: compare(trace) for name, trace in known.items()}
    text = document(reports)
    failed = failures(reports)
    for line in failed:
        print(line, file=sys.stderr)
    current = DOCUMENT.exists() and DOCUMENT.read_text() == text
    if not current and arguments:
        print("docs/fidelity.md is not up to date: run scripts/fidelity.py", file=sys.stderr)
    elif not current:
        DOCUMENT.write_text(text)
        print("wrote docs/fidelity.md", file=sys.stderr)
    return 1 if failed or (arguments and not current) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
