"""Captures from a readable description: for tests, fixtures and bug reports. The language: tests/fixtures/README.md.

A line is a table entry (process, thread, fd, user, ...), an event, or a directive. An event line names a system call
and its parameters as the event table does; the era decides which of them stand in the enter event and which in the
exit event, as the programs of that time recorded them.
"""

from __future__ import annotations

import errno
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from io import BytesIO
from typing import Any

from sftools.errors import SftoolsError
from sftools.scap import blocks, fd_types, tables
from sftools.scap.event_table import BY_CODE, Event, by_name
from sftools.scap.writer import (
    ScapWriter,
    Value,
    ip4,
    ip6,
    sockaddr,
    sockaddr_unix,
    socktuple,
    socktuple_unix,
    strings,
)


class ScenarioError(SftoolsError):
    """A line that cannot be understood: names the scenario, the line and the cause."""


@dataclass(frozen=True)
class Era:
    """What the programs of a time wrote: block types, layouts of events, how many parameters they had then."""

    process_list: int = blocks.PL_V9
    tail: int = 13
    before_0_10: bool = False
    fd_list: int = blocks.FDL_V2
    file_type: int = 16
    interface_list: int = blocks.IL_V2
    user_list: int = blocks.UL_V2
    event: int = blocks.EV_V2
    flagged: int = blocks.EVF_V2
    codes: Mapping[str, str] = field(default_factory=dict)
    nparams: Mapping[str, int] = field(default_factory=dict)
    enter: bool = True
    cwd: str | None = None

    def parameters(self, row: Event) -> int:
        """How many parameters the programs of the time gave an event."""
        if not self.enter:
            return len(row.params)
        short = row.code.removeprefix("PPME_").removeprefix("SYSCALL_").removeprefix("SOCKET_")
        return self.nparams.get(short, _EXITS.get(row.id, len(row.params)))


_CODES_0_10 = {"accept4": "SOCKET_ACCEPT4_5", "container": "CONTAINER_JSON"}
_CODES_2021 = {
    **_CODES_0_10,
    "dup": "SYSCALL_DUP",
    "dup2": "SYSCALL_DUP",
    "dup3": "SYSCALL_DUP",
    "pipe2": "SYSCALL_PIPE",
}
_CODES_2018 = {
    **_CODES_2021, "openat": "SYSCALL_OPENAT", "mkdir": "SYSCALL_MKDIR", "rmdir": "SYSCALL_RMDIR",
    "unlink": "SYSCALL_UNLINK", "unlinkat": "SYSCALL_UNLINKAT", "link": "SYSCALL_LINK", "linkat": "SYSCALL_LINKAT",
    "execve": "SYSCALL_EXECVE_16",
}  # fmt: skip
_NPARAMS_0_18 = {"EXECVE_19_X": 28, "FCNTL_X": 3, "PRLIMIT_X": 7, "SENDMMSG_X": 0, "RECVMMSG_X": 0}
_NPARAMS_0_10 = {**_NPARAMS_0_18, "EXECVE_19_X": 26, "CONNECT_X": 2, "PROCEXIT_1_E": 4, "FCNTL_X": 1, "PRLIMIT_X": 5}
_NPARAMS_2021 = {
    **_NPARAMS_0_10, "EXECVE_19_X": 20, "CLONE_20_X": 20, "FORK_20_X": 20, "VFORK_20_X": 20, "CONNECT_E": 1,
    "OPEN_X": 5, "OPENAT_2_X": 6, "RECVMSG_X": 4,
}  # fmt: skip
_NPARAMS_2018 = {**_NPARAMS_2021, "OPEN_E": 0, "OPEN_X": 4, "CREAT_E": 0, "CREAT_X": 3, "PROCEXIT_1_E": 1}

ERAS = {
    "2018": Era(
        process_list=blocks.PL_V6, fd_list=blocks.FDL, file_type=1, interface_list=blocks.IL, user_list=blocks.UL,
        event=blocks.EV, flagged=blocks.EVF, codes=_CODES_2018, nparams=_NPARAMS_2018, cwd="",
    ),
    "2021": Era(tail=5, before_0_10=True, codes=_CODES_2021, nparams=_NPARAMS_2021, cwd=""),
    "0.10": Era(tail=11, codes=_CODES_0_10, nparams=_NPARAMS_0_10, cwd=""),
    "0.18": Era(nparams=_NPARAMS_0_18),
    "exit-only": Era(tail=14, enter=False),
}  # fmt: skip
"""2018: sysdig before block versions 2. 2021: libs before 0.10. exit-only: libs 0.22, which drop most enter events."""

# How many parameters an exit event had before it got those of its enter event.
_EXITS = {
    code: nparams
    for code, nparams, becomes, sources in tables.CONVERSIONS
    if becomes == code and any(kind == "from_enter" for kind, _ in sources)
}

_FD_TYPES = {
    "dir": fd_types.FD_DIRECTORY,
    "fifo": fd_types.FD_FIFO,
    "event": fd_types.FD_EVENT,
    "unsupported": fd_types.FD_UNSUPPORTED,
    "signalfd": fd_types.FD_SIGNALFD,
    "eventpoll": fd_types.FD_EVENTPOLL,
    "inotify": fd_types.FD_INOTIFY,
    "timerfd": fd_types.FD_TIMERFD,
    "netlink": fd_types.FD_NETLINK,
    "bpf": fd_types.FD_BPF,
    "userfaultfd": fd_types.FD_USERFAULTFD,
    "io_uring": fd_types.FD_IOURING,
    "memfd": fd_types.FD_MEMFD,
    "pidfd": fd_types.FD_PIDFD,
}
_L4_PROTOCOLS = {"tcp": fd_types.L4_TCP, "udp": fd_types.L4_UDP, "icmp": fd_types.L4_ICMP, "raw": fd_types.L4_RAW}
_CONTAINER_TYPES = {"docker": 0, "lxc": 1, "rkt": 4, "custom": 5, "cri": 6, "containerd": 7, "cri-o": 8, "podman": 11}
_UNITS = {"": 10**9, "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_FORKS = ("clone", "clone3", "fork", "vfork")

_TOKEN = re.compile(r'(?:[^\s"]|"(?:\\.|[^"\\])*")+')
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)")
_PLAIN_ESCAPES = {b"n": b"\n", b"t": b"\t", b"0": b"\0"}


def _text(token: str) -> str:
    """A bare or quoted word; in quotes \\xNN stands for a byte. Bytes that are no UTF-8 become surrogate escapes."""
    if not token.startswith('"'):
        return token

    def byte(match: re.Match[bytes]) -> bytes:
        what = match[1]
        return bytes([int(what[1:], 16)]) if len(what) == 3 else _PLAIN_ESCAPES.get(what, what)

    return _ESCAPE.sub(byte, token[1:-1].encode()).decode("utf-8", "surrogateescape")


def _integer(token: str) -> int:
    """A number, an errno (-ENOENT), or driver flags joined with | (O_RDWR|O_CREAT, CLONE_FILES, AT_FDCWD)."""
    total = 0
    for word in token.split("|"):
        if re.fullmatch(r"-?(0x[0-9a-fA-F]+|\d+)", word):
            return int(word, 0) if "|" not in token else total | int(word, 0)
        if word.startswith("-E"):
            return -int(getattr(errno, word[1:]))
        value = getattr(tables, f"PPM_{word}", getattr(tables, f"PPM_CL_{word}", None))
        if value is None:
            raise ValueError(f"{word} is neither a number nor a flag of the driver")
        total |= int(value)
    return total


def _endpoint(token: str) -> tuple[str, int]:
    """1.2.3.4:80 or [::1]:80."""
    host, _, port = token.rpartition(":")
    return host.strip("[]"), int(port)


def _socket(token: str, tuple_: bool) -> bytes:
    """unix:PATH, unix:SRC,DST,PATH, ADDRESS:PORT, or ADDRESS:PORT->ADDRESS:PORT."""
    if token.startswith("unix:"):
        path = token.removeprefix("unix:")
        if not tuple_:
            return sockaddr_unix(path)
        source, destination, path = path.split(",", 2) if "," in path else ("0", "0", path)
        return socktuple_unix(int(source, 0), int(destination, 0), path)
    if not tuple_:
        return sockaddr(*_endpoint(token))
    source, arrow, destination = token.partition("->")
    if not arrow:
        raise ValueError(f"{token} is no pair of addresses")
    return socktuple(*_endpoint(source), *_endpoint(destination))


def _value(kind: str, name: str, token: str) -> Value:
    """A parameter's value from its text, by its type."""
    if token.startswith("hex:"):
        return bytes.fromhex(token.removeprefix("hex:"))
    if token.startswith("fill:"):
        return b"x" * int(token.removeprefix("fill:"))
    if token == "none":
        return None
    if kind in ("PT_SOCKADDR", "PT_SOCKTUPLE"):
        return _socket(_text(token), kind == "PT_SOCKTUPLE")
    if kind in ("PT_CHARBUF", "PT_FSPATH", "PT_FSRELPATH"):
        return _text(token)
    if kind in ("PT_BYTEBUF", "PT_CHARBUFARRAY"):
        text = _text(token)
        return shlex.split(text) if name in ("args", "env", "cgroups") else text
    return _integer(token)


def _cgroups(path: str) -> list[str]:
    return [f"{subsystem}={path}" for subsystem in ("cpuset", "cpu", "cpuacct", "io", "memory")]


@dataclass
class _Task:
    """What the maker must know of a thread to fill clone and exec events."""

    tid: int
    pid: int
    ptid: int
    comm: str = ""
    exe: str = ""
    exepath: str = ""
    args: list[str] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    vtid: int = 0
    vpid: int = 0
    sid: int = 0
    tty: int = 0
    loginuid: int = 0xFFFFFFFF
    fdlimit: int = 1024
    cgroups: list[str] = field(default_factory=lambda: _cgroups("/"))

    def change(self, options: dict[str, str], containers: dict[str, dict[str, str]]) -> None:
        """Take key=value options; `container=NAME` puts the thread into that container's cgroup."""
        for key, token in options.items():
            if key == "container":
                container = containers[token]
                self.cgroups = _cgroups(container.get("cgroup", f"/docker/{container['id']}"))
            elif key == "cgroup":
                self.cgroups = _cgroups(_text(token))
            elif key in ("args", "env"):
                setattr(self, key, shlex.split(_text(token)))
            elif key not in _Task.__dataclass_fields__:
                raise ValueError(f"a process has no {key}")
            elif isinstance(getattr(self, key), int):
                setattr(self, key, _integer(token))
            else:
                setattr(self, key, _text(token))


class _Maker:
    def __init__(self, name: str) -> None:
        self.name = name
        self.out = BytesIO()
        self.writer = ScapWriter(self.out)
        self.era = ERAS["0.18"]
        self.now = int(datetime.fromisoformat("2024-05-01T10:00:00+00:00").timestamp()) * 10**9
        self.host = "host1"
        self.swapped = False
        self.containers: dict[str, dict[str, str]] = {}
        self.tasks: dict[int, _Task] = {}
        self._begin()

    def _begin(self) -> None:
        self.begun = False
        self.tasks.clear()
        self.processes: list[_Task] = []
        self.fds: dict[int, list[dict[str, int | str | bytes]]] = {}
        self.users: list[dict[str, int | str | bytes]] = []
        self.interfaces: list[dict[str, int | str | bytes]] = []

    def line(self, text: str) -> None:
        tokens: list[str] = []
        for token in _TOKEN.findall(text):
            if token.startswith("#"):
                break
            tokens.append(token)
        if not tokens:
            return
        first = tokens[0]
        if first[0] in "+=":
            self._event_line(tokens)
        elif hasattr(self, "do_" + first):
            words = [token for token in tokens[1:] if not _is_option(token)]
            getattr(self, "do_" + first)(words, _options(tokens[1:]))
        else:
            raise ValueError(f"unknown word {first}")

    # Directives

    def do_era(self, words: list[str], options: dict[str, str]) -> None:
        self.era = ERAS[words[0]]

    def do_use(self, words: list[str], options: dict[str, str]) -> None:
        """Block types other than the era's, by their names in blocks.py."""
        kinds = {"PL": "process_list", "FDL": "fd_list", "IL": "interface_list", "UL": "user_list", "EV": "event",
                 "EVF": "flagged"}  # fmt: skip
        for word in words:
            self.era = replace(self.era, **{kinds[word.split("_")[0]]: getattr(blocks, word)})

    def do_host(self, words: list[str], options: dict[str, str]) -> None:
        self.host = _text(words[0])

    def do_start(self, words: list[str], options: dict[str, str]) -> None:
        self.now = int(datetime.fromisoformat(words[0]).timestamp()) * 10**9

    def do_swapped(self, words: list[str], options: dict[str, str]) -> None:
        self.swapped = True

    def do_section(self, words: list[str], options: dict[str, str]) -> None:
        self.flush()
        self._begin()

    def do_block(self, words: list[str], options: dict[str, str]) -> None:
        self.flush()
        self.writer.block(int(words[0], 0), bytes.fromhex("".join(words[1:])))

    def do_bytes(self, words: list[str], options: dict[str, str]) -> None:
        self.flush()
        self.writer.raw(bytes.fromhex("".join(words)))

    def do_cut(self, words: list[str], options: dict[str, str]) -> None:
        """Take bytes off the end."""
        self.flush()
        self.out.truncate(self.out.tell() - int(words[0]))
        self.out.seek(0, 2)

    # Tables

    def do_process(self, words: list[str], options: dict[str, str]) -> None:
        tid = int(words[0])
        parent = int(options.pop("parent", "0"))
        pid = int(options.pop("of", str(tid)))
        task = _Task(tid, pid, parent, vtid=tid, vpid=pid, sid=pid)
        if pid != tid:
            leader = self.tasks[pid]
            task = _Task(**{**vars(leader), "tid": tid, "vtid": tid})
        task.change(options, self.containers)
        self.tasks[tid] = task
        if not self.begun:
            self.processes.append(_Task(**vars(task)))

    do_thread = do_process
    """thread TID of=PID"""

    def do_set(self, words: list[str], options: dict[str, str]) -> None:
        self.tasks[int(words[0])].change(options, self.containers)

    def do_fd(self, words: list[str], options: dict[str, str]) -> None:
        tid, fd, kind, *rest = words
        entry: dict[str, int | str | bytes] = {"fd": int(fd), "ino": _integer(options.get("ino", "0"))}
        what = _text(rest[0]) if rest else ""
        if kind == "file":
            entry |= {"type": self.era.file_type, "name": what}
            if self.era.file_type == 16:
                entry |= {"open_flags": _integer(options.get("flags", "O_RDONLY")), "dev": 64}
        elif kind == "unix":
            entry |= {"type": fd_types.FD_UNIX_SOCK, "source": 0, "destination": 0, "name": what}
        elif kind in _L4_PROTOCOLS:
            entry |= _inet_fd(what, _L4_PROTOCOLS[kind])
        else:
            entry |= {"type": _FD_TYPES[kind], "name": what}
        self.fds.setdefault(int(tid), []).append(entry)

    def do_user(self, words: list[str], options: dict[str, str]) -> None:
        """user UID NAME gid=N home=PATH shell=PATH"""
        texts = {key: _text(options.get(key, "")) for key in ("home", "shell")}
        gid = int(options.get("gid", words[0]))
        self.users.append({"uid": int(words[0]), "gid": gid, "name": _text(words[1]), **texts})

    def do_group(self, words: list[str], options: dict[str, str]) -> None:
        self.users.append({"gid": int(words[0]), "name": _text(words[1])})

    def do_interface(self, words: list[str], options: dict[str, str]) -> None:
        """interface NAME ADDRESS"""
        six = ":" in words[1]
        address = ip6(words[1]) if six else ip4(words[1])
        self.interfaces.append({"type": 2 if six else 1, "addr": address, "name": words[0]})

    def do_container(self, words: list[str], options: dict[str, str]) -> None:
        """Known from here on as `container=NAME`; an event line with `container NAME` records its metadata."""
        self.containers[words[0]] = {"name": words[0], **{key: _text(value) for key, value in options.items()}}

    def flush(self) -> None:
        """Write the section header and the tables, before the first event."""
        if self.begun:
            return
        self.begun = True
        if self.swapped:
            self.writer.byte_swapped_section()
        else:
            self.writer.section()
        self.writer.machine_info(self.host, num_cpus=2, boot_ts=self.now - 3600 * 10**9)
        if self.interfaces:
            self.writer.interface_list(self.interfaces, self.era.interface_list)
        if self.users:
            self.writer.user_list(self.users, self.era.user_list)
        if self.processes:
            rows = [self._row(task) for task in self.processes]
            self.writer.process_list(rows, self.era.process_list, before_0_10=self.era.before_0_10)
        for tid, fds in self.fds.items():
            self.writer.fd_list(tid, fds, self.era.fd_list)

    def _row(self, task: _Task) -> dict[str, int | str | bytes]:
        tail = {
            "pidns_init_start_ts": 0, "tty": task.tty, "loginuid": task.loginuid, "exe_writable": 0,
            "cap_inheritable": 0, "cap_permitted": 0, "cap_effective": 0, "exe_upper_layer": 0, "exe_ino": 0,
            "exe_ino_ctime": 0, "exe_ino_mtime": 0, "exe_from_memfd": 0, "exe_lower_layer": 0, "pgid": task.sid,
        }  # fmt: skip
        skip = 2 if self.era.before_0_10 else 0
        return {
            "tid": task.tid, "pid": task.pid, "ptid": task.ptid, "sid": task.sid, "vpgid": task.vpid,
            "comm": task.comm, "exe": task.exe, "exepath": task.exepath, "args": strings(task.args), "cwd": task.cwd,
            "fdlimit": task.fdlimit, "uid": task.uid, "gid": task.gid, "env": strings(task.env), "vtid": task.vtid,
            "vpid": task.vpid, "cgroups": strings(task.cgroups), "root": "/",
            **dict(list(tail.items())[skip : skip + self.era.tail]),
        }  # fmt: skip

    # Events

    def _event_line(self, tokens: list[str]) -> None:
        """TIME TID CALL [-enter] [-exit] [large] [evf] parameter=value ..."""
        self.flush()
        when, tid_token, call, *rest = tokens
        if when[0] == "=":
            self.now = int(when[1:])
        else:
            match = re.fullmatch(r"\+(\d+(?:\.\d+)?)?(ns|us|ms|s|m)?", when)
            if match is None:
                raise ValueError(f"{when} is no time: +10ms, +2s, +1m, + (10 us) or =NANOSECONDS")
            self.now += 10_000 if match[1] is None else round(float(match[1]) * _UNITS[match[2] or ""])
        tid = int(tid_token)
        words = [token for token in rest if not _is_option(token)]
        options = _options(rest)
        if call == "event":
            params: list[Value] = [bytes.fromhex(word.removeprefix("hex:")) for word in words[1:]]
            self.writer.event(self.now, tid, int(words[0]), params, block_type=self.era.event)
            return
        if call == "container":
            options = {"json": json.dumps(self._container_json(words.pop(0)))}
            self._write(tid, "container", {"json": options["json"]}, words)
            return
        if call.lower() in _FORKS or call.startswith("CLONE"):
            self._fork(tid, call, options, words)
            return
        enter, exit_ = self._events(call)
        fill: dict[str, Value] = {}
        if exit_.name.startswith("execve"):
            fill = self._execute(tid, options)
        elif enter.name == "procexit":
            fill = {"status": 0, "ret": 0, "sig": 0, "core": 0, "reaper_tid": 0}
        fill |= self._parse(enter, exit_, options)
        self._write(tid, call, fill, words)
        if enter.name == "procexit":
            self.tasks.pop(tid, None)
        if exit_.name in ("setuid", "setresuid") and tid in self.tasks and fill.get("res", 0) == 0:
            uid = fill.get("uid", fill.get("euid"))
            self.tasks[tid].uid = uid if isinstance(uid, int) else 0

    def _events(self, call: str) -> tuple[Event, Event]:
        """The enter and exit rows of a call; a call in capitals is a stem of event codes (EXECVE_13)."""
        stem = self.era.codes.get(call, call)
        if stem.isupper():
            for prefix in ("PPME_", "PPME_SYSCALL_", "PPME_SOCKET_"):
                if f"{prefix}{stem}_E" in BY_CODE:
                    return BY_CODE[f"{prefix}{stem}_E"], BY_CODE[f"{prefix}{stem}_X"]
            raise ValueError(f"there is no event {stem}")
        rows = by_name(call)
        if not rows:
            raise ValueError(f"there is no event named {call}")
        newest = max(rows, key=lambda row: ("OLD_VERSION" not in row.flags, row.id))
        first = newest.id & ~1
        return BY_CODE[tables.EVENT_CODES[first]], BY_CODE[tables.EVENT_CODES[first + 1]]

    def _parse(self, enter: Event, exit_: Event, options: dict[str, str]) -> dict[str, Value]:
        """`name=value` for both events, `enter.name=value` or `exit.name=value` where they differ."""
        values: dict[str, Value] = {}
        for key, token in options.items():
            side, _, name = key.rpartition(".")
            rows = {"": (exit_, enter), "enter": (enter,), "exit": (exit_,)}[side]
            kinds = [param.type for row in rows for param in row.params if param.name == name]
            if not kinds:
                known = dict.fromkeys(param.name for row in (enter, exit_) for param in row.params)
                raise ValueError(f"{exit_.name} has no parameter {name}; it has {' '.join(known)}")
            values[key] = _value(kinds[0], name, token)
        return values

    def _write(self, tid: int, call: str, values: dict[str, Value], words: Iterable[str]) -> None:
        """Write the enter and the exit event of a call, 1 us apart."""
        enter, exit_ = self._events(call)
        marks = set(words)
        if marks - {"-enter", "-exit", "large", "evf"}:
            raise ValueError(f"unknown words {' '.join(sorted(marks - {'-enter', '-exit', 'large', 'evf'}))}")
        alone = "UNUSED" in exit_.flags
        dropped = not self.era.enter and "OLD_VERSION" in enter.flags and not alone
        if "-enter" not in marks and not dropped:
            self._one(tid, enter, values, "enter", marks)
        if "-exit" not in marks and not alone:
            if "-enter" not in marks and not dropped:
                self.now += 1000
            self._one(tid, exit_, values, "exit", marks)

    def _one(self, tid: int, row: Event, values: dict[str, Value], side: str, marks: set[str]) -> None:
        params = {p.name: values.get(f"{side}.{p.name}", values.get(p.name)) for p in row.params}
        block_type = self.era.flagged if "evf" in marks else self.era.event
        if "large" in marks:
            block_type = blocks.EVF_V2_LARGE if "evf" in marks else blocks.EV_V2_LARGE
        self.writer.event(self.now, tid, row.code, params, block_type=block_type, nparams=self.era.parameters(row))

    def _thread_params(self, task: _Task) -> dict[str, Value]:
        return {
            "exe": task.exe, "args": strings(task.args), "tid": task.tid, "pid": task.pid, "ptid": task.ptid,
            "cwd": self.era.cwd, "fdlimit": task.fdlimit, "pgft_maj": 0, "pgft_min": 100, "vm_size": 4000,
            "vm_rss": 1000, "vm_swap": 0, "comm": task.comm, "cgroups": strings(task.cgroups), "uid": task.uid,
            "gid": task.gid, "vtid": task.vtid, "vpid": task.vpid, "pidns_init_start_ts": 0,
        }  # fmt: skip

    def _fork(self, tid: int, call: str, options: dict[str, str], words: list[str]) -> None:
        """clone child=TID [flags=...] [only=parent|child] [first=child] [changes of the child: vtid vpid cgroup ...]

        A failed one has res=-EAGAIN and no child.
        """
        parent = self.tasks[tid]
        flags = _integer(options.pop("flags", "0"))
        only, first = options.pop("only", ""), options.pop("first", "parent")
        values = {**self._thread_params(parent), "flags": flags}
        if "child" not in options:
            self._write(tid, call, {**values, "res": _integer(options["res"])}, words)
            return
        child_tid = int(options.pop("child"))
        # A parent outside of the child's pid namespace is told the tid that it sees itself.
        inside = parent.vtid != parent.tid
        seen_as = options.pop("res", options.get("vtid", str(child_tid)) if inside else str(child_tid))
        child = _Task(**{**vars(parent), "tid": child_tid, "vtid": child_tid})
        if not flags & tables.PPM_CL_CLONE_THREAD:
            child.pid, child.vpid, child.ptid = child_tid, child_tid, parent.pid
        child.change(options, self.containers)
        self.tasks[child_tid] = child
        parent_side = {**values, "res": int(seen_as)}
        child_side = {**self._thread_params(child), "flags": flags, "res": 0}
        if only != "child" and "-enter" not in words:
            self._write(tid, call, {}, [*words, "-exit"])
            self.now += 1000
        sides = [(tid, parent_side, "parent"), (child_tid, child_side, "child")]
        for who, side, which in sides if first == "parent" else reversed(sides):
            if only in ("", which):
                self._write(who, call, side, [*words, "-enter"])
                self.now += 1000

    def _execute(self, tid: int, options: dict[str, str]) -> dict[str, Value]:
        """execve filename=PATH [exe=] [args="..."] [env="..."] [comm=] [exepath=] [container=] [res=-ENOENT]

        Those of a failed exec are recorded, but the thread stays what it was.
        """
        filename = _text(options.pop("filename"))
        task = self.tasks[tid]
        after = _Task(**vars(task))
        after.exe = after.exepath = filename
        after.comm = filename.rpartition("/")[2][:15]
        after.args, after.env = [], []
        own = ("container", "cgroup", *_Task.__dataclass_fields__)
        after.change({key: options.pop(key) for key in own if key in options}, self.containers)
        failed = _integer(options.get("res", "0")) < 0
        if not failed:
            self.tasks[tid] = after
        lasting = task if failed else after
        return {
            **self._thread_params(lasting), "exe": after.exe, "args": strings(after.args), "res": 0,
            "env": strings(after.env), "tty": lasting.tty, "vpgid": lasting.vpid, "loginuid": lasting.loginuid,
            "flags": 0, "cap_inheritable": 0, "cap_permitted": 0, "cap_effective": 0, "exe_ino": 0, "exe_ino_ctime": 0,
            "exe_ino_mtime": 0, "trusted_exepath": lasting.exepath, "pgid": lasting.sid, "filename": filename,
        }  # fmt: skip

    def _container_json(self, name: str) -> dict[str, Any]:
        facts = self.containers[name]
        labels = {key.removeprefix("label:"): value for key, value in facts.items() if key.startswith("label:")}
        image, _, tag = facts.get("image", "").partition(":")
        return {
            "container": {
                "id": facts["id"][:12], "full_id": facts["id"], "name": facts["name"], "type":
                _CONTAINER_TYPES[facts.get("type", "docker")], "image": image, "imagerepo": image, "imagetag": tag,
                "imageid": facts.get("imageid", ""), "imagedigest": "", "privileged": facts.get("privileged") == "true",
                "is_pod_sandbox": False, "ip": facts.get("ip", "0.0.0.0"), "labels": labels, "Mounts": [],
            }
        }  # fmt: skip


def _is_option(token: str) -> bool:
    return re.match(r"[A-Za-z_][\w.:/-]*=", token) is not None


def _options(tokens: Iterable[str]) -> dict[str, str]:
    pairs = (token.partition("=") for token in tokens if _is_option(token))
    return {key: value for key, _, value in pairs}


def _inet_fd(what: str, protocol: int) -> dict[str, int | str | bytes]:
    """A connected socket (A:PORT->B:PORT) or a listening one (A:PORT)."""
    source, arrow, destination = what.partition("->")
    host, port = _endpoint(source)
    six = ":" in host
    address: int | bytes = ip6(host) if six else ip4(host)
    if not arrow:
        kind = fd_types.FD_IPV6_SERVSOCK if six else fd_types.FD_IPV4_SERVSOCK
        return {"type": kind, "ip": address, "port": port, "l4proto": protocol}
    other, other_port = _endpoint(destination)
    dip: int | bytes = ip6(other) if six else ip4(other)
    return {
        "type": fd_types.FD_IPV6_SOCK if six else fd_types.FD_IPV4_SOCK,
        "sip": address,
        "dip": dip,
        "sport": port,
        "dport": other_port,
        "l4proto": protocol,
    }


def build(text: str, name: str = "scenario") -> bytes:
    """The capture that a scenario describes. Raises ScenarioError (name, line, cause)."""
    maker = _Maker(name)
    for number, line in enumerate(text.splitlines(), 1):
        try:
            maker.line(line)
        except (ValueError, KeyError, IndexError, AttributeError) as error:
            cause = f"{error.args[0]} is not known" if isinstance(error, KeyError) else str(error)
            raise ScenarioError(f"{name}, line {number}: {cause}: {line.strip()}") from error
    maker.flush()
    return maker.out.getvalue()
