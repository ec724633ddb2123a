"""What strace says of a command and what a trace says of it, in the same terms: the two can be compared."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import sftools
from sftools.schema import opflags

READS = {"read", "pread64", "readv", "preadv", "preadv2", "recvfrom", "recvmsg"}
WRITES = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg"}
OPENS = {"open", "openat", "openat2", "creat"}
# Calls that make a file event, and which of their arguments are paths.
FILE_EVENTS = {
    "mkdir": ("MKDIR", 0), "mkdirat": ("MKDIR", 1), "rmdir": ("RMDIR", 0),
    "unlink": ("UNLINK", 0), "unlinkat": ("UNLINK", 1),
    "rename": ("RENAME", 0, 1), "renameat": ("RENAME", 1, 3), "renameat2": ("RENAME", 1, 3),
    "link": ("LINK", 0, 1), "linkat": ("LINK", 1, 3), "symlink": ("SYMLINK", 1), "symlinkat": ("SYMLINK", 2),
}  # fmt: skip
CLONES = {"clone", "clone3", "fork", "vfork"}
SETUIDS = {"setuid", "setresuid"}
# What close_range closes in the workload `descriptors`: strace does not name it.
CLOSED_BY_RANGE = {"descriptors": Counter({"first": 1, "second": 1})}
# Children too; paths and addresses of descriptors; structures whole; no data.
STRACE_OPTIONS = ("-f", "-yy", "-v", "-s", "0")


@dataclass
class Account:
    """What processes did. Bytes and numbers of operations are by what they were done on: a path, TCP, TCPv6, ...

    file_events: (operation, paths, result) in order; process_events: (operation, result) by number: a clone's result
    is 1 in the parent, whatever the child's pid. programs: how often each was run.
    """

    read: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    opens: Counter[str] = field(default_factory=Counter)
    closes: Counter[str] = field(default_factory=Counter)
    mapped: set[str] = field(default_factory=set)
    connected: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    file_events: list[tuple[str, tuple[str, ...], int]] = field(default_factory=list)
    process_events: Counter[tuple[str, int]] = field(default_factory=Counter)
    programs: Counter[str] = field(default_factory=Counter)

    def within(self, directory: Path) -> Account:
        """Only what was done on files below a directory and on sockets, paths relative to it."""

        def keep(counts: Counter[str]) -> Counter[str]:
            return Counter(
                {
                    os.path.relpath(name, directory) if name.startswith("/") else name: count
                    for name, count in counts.items()
                    if count and (f"{name}/".startswith(f"{directory}/") or re.match("TCP|UDP|UNIX", name))
                }
            )

        return Account(
            *map(keep, (self.read, self.written, self.reads, self.writes, self.opens, self.closes)),
            {os.path.relpath(name, directory) for name in self.mapped if name.startswith(f"{directory}/")},
            keep(self.connected),
            keep(self.accepted),
            [
                (operation, tuple(os.path.relpath(path, directory) for path in paths), result)
                for operation, paths, result in self.file_events
                if paths[-1].startswith(f"{directory}/")
            ],
            self.process_events,
            self.programs,
        )

    def as_json(self) -> dict[str, Any]:
        """In JSON's types, in an order of its own; counters without what is 0."""
        found: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "process_events":
                value = {f"{operation} {result}": count for (operation, result), count in value.items()}
            if isinstance(value, Mapping):
                value = {name: value[name] for name in sorted(value) if value[name]}
            elif isinstance(value, set):
                value = sorted(value)
            else:
                value = [[operation, list(paths), result] for operation, paths, result in value]
            found[each.name] = value
        return found


# -- strace


class Call(NamedTuple):
    """One line of strace's output. target: what a descriptor that is the result stands for."""

    pid: int
    name: str
    arguments: list[str]
    result: int
    target: str


_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?|0x[0-9a-f]+)(?:<(.*)>)?(?: .*)?$")
_ERRNO = re.compile(r"= -1 (E\w+)")
_FD = re.compile(r"-?\w+<(.*)>$")


def strace(command: Sequence[str], directory: Path, output: Path) -> Account:
    """Runs a command under strace."""
    subprocess.run(
        ["strace", *STRACE_OPTIONS, "-o", str(output), *command],
        cwd=directory, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return account(output.read_text().splitlines(), str(directory))


def calls(lines: list[str]) -> Iterator[Call]:
    """The calls of strace's output; those that were interrupted by another process's are put together."""
    begun: dict[str, str] = {}
    for line in lines:
        pid, _, rest = line.partition(" ")
        if rest.endswith(" <unfinished ...>"):
            begun[pid] = line.removesuffix(" <unfinished ...>")
            continue
        if resumed := re.search(r"<\.\.\. \w+ resumed>(.*)", rest):
            line = begun.pop(pid) + resumed[1]
        line = line.replace("(deleted)", "")
        match = _LINE.match(line)
        if match is None or match[4] == "?":
            continue
        result = int(match[4], 16 if match[4].startswith("0x") else 10)
        if error := _ERRNO.search(line):
            result = -getattr(errno, error[1])
        yield Call(int(match[1]), match[2], _split(match[3]), result, match[5] or "")


def _split(text: str) -> list[str]:
    """A call's arguments, split at the commas outside of brackets and strings."""
    parts, depth, quoted, begin = [], 0, False, 0
    for i, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif letter in "[{(":
            depth += 1
        elif letter in ")}]":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[begin:i].strip())
            begin = i + 1
    return [*parts, text[begin:].strip()]


def _kind(target: str) -> str:
    """What a descriptor stands for, as an account names it."""
    if target.startswith("/"):
        return re.sub(r"/#\d+$", "", target)  # a file of O_TMPFILE
    return target.partition(":")[0].partition("-")[0]


def _target(argument: str) -> str:
    match = _FD.match(argument)
    return _kind(match[1]) if match else ""


def account(lines: list[str], directory: str) -> Account:
    """What strace's output says; `directory` is where the traced process began."""
    found = Account()
    for call in calls(lines):
        name, arguments, result = call.name, call.arguments, call.result
        target = _target(arguments[0])
        if name in FILE_EVENTS:
            operation, *places = FILE_EVENTS[name]
            paths = []
            for place in places:
                above = _target(arguments[place - 1]) if name.endswith(("at", "at2")) else directory
                paths.append(os.path.normpath(os.path.join(above, arguments[place].strip('"'))))
            found.file_events.append((operation, tuple(paths), result))
        elif name in CLONES and result > 0:
            found.process_events[("CLONE", 0)] += 1
            found.process_events[("CLONE", 1)] += 1
        elif name in SETUIDS:
            found.process_events[("SETUID", result)] += 1
        elif name in ("execve", "execveat"):
            found.process_events[("EXEC", result)] += 1
            if result == 0:
                path = target if name == "execveat" else arguments[0].strip('"')
                found.programs[os.path.realpath(path)] += 1
        elif name == "connect" and (result == 0 or result == -115):
            found.connected[target] += 1
        elif result < 0:
            continue
        elif name in ("accept", "accept4"):
            found.accepted[_kind(call.target)] += 1
        elif name in READS:
            found.read[target] += result
            found.reads[target] += 1
        elif name in WRITES:
            found.written[target] += result
            found.writes[target] += 1
        elif name == "sendmmsg":
            sizes = [int(size) for size in re.findall(r"msg_len=(\d+)", arguments[1])]
            assert len(sizes) == result, arguments
            found.written[target] += sum(sizes)
            found.writes[target] += result
        elif name in ("sendfile", "splice", "copy_file_range"):
            source = target
            if name == "sendfile":
                source = _target(arguments[1])
            else:
                target = _target(arguments[2])
            found.read[source] += result
            found.reads[source] += 1
            found.written[target] += result
            found.writes[target] += 1
        elif name in OPENS:
            found.opens[_kind(call.target)] += 1
        elif name == "close":
            # A socket that was not connected has no flow that ends.
            found.closes[target] += target[:3] != "TCP" or "->" in arguments[0]
        elif name == "mmap" and (mapped := _target(arguments[4])):
            found.mapped.add(mapped)
    exits = [line for line in lines if re.search(r"\+\+\+ exited with", line)]
    found.process_events[("EXIT", 0)] = len(exits)
    return found


# -- the trace

EVERYTHING = ("--schema", "6", "--file-read-mode", "0", "--no-file-only", "--no-proc-flow")


def trace(path: Path) -> Account:
    """What a trace with schema 6 says."""
    found = Account()
    for record in sftools.open(path):
        flags = record["opflags_bitmap"]
        names = [name for flag, name in opflags.NAMES.items() if flags & flag]
        if record.type == "PE":
            result = record["ret"]
            found.process_events[(names[0], result if result < 0 else min(result, 1) if names == ["CLONE"] else 0)] += 1
            if names == ["EXEC"] and result == 0:
                assert record.process is not None
                found.programs[record.process.exe] += 1
        elif record.type == "FE":
            paths = [record.file.path, *([record.new_file.path] if record.new_file else [])]
            if names == ["SYMLINK"]:
                del paths[0]
            found.file_events.append((names[0], tuple(paths), record["ret"]))
        elif record.type in ("FF", "NF"):
            key = _resource(record)
            found.read[key] += record["flow.rbytes"]
            found.written[key] += record["flow.wbytes"]
            found.reads[key] += record["flow.rops"]
            found.writes[key] += record["flow.wops"]
            found.opens[key] += "OPEN" in names
            found.closes[key] += "CLOSE" in names
            found.connected[key] += "CONNECT" in names
            found.accepted[key] += "ACCEPT" in names
            if "MMAP" in names:
                found.mapped.add(key)
    return found


def assert_equal_to_log(found: Account, log: dict[str, Any]) -> None:
    """What a trace says of a workload after its start is what the workload's own log says (workloads.py)."""
    assert {key: found.read[key] for key in log["read"]} == log["read"]
    assert {key: found.written[key] for key in log["written"]} == log["written"]
    done = [[operation, paths[0]] for operation, paths, result in found.file_events if result == 0]
    assert [event for event in done if event[0] != "SYMLINK"] == log["events"]
    assert found.as_json()["process_events"] == log["processes"]


def _resource(record: sftools.traces.TraceRecord) -> str:
    if record.type == "NF":
        kind = {6: "TCP", 17: "UDP"}.get(record["net.proto"], "?")
        return kind + ("v6" if ":" in record["net.sip"] else "")
    assert record.file is not None
    return "UNIX" if record.file.restype == ord("u") else record.file.path
