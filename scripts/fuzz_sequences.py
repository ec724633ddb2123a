"""Made-up captures for fuzz.py: sound events in sequences that no kernel would make.

Few tids, fds, paths, users and containers, so that everything meets everything: threads that are their own parents,
tids that return as something else, enters without exits, clocks that jump. What the parameters mean is taken from the
event table by their names and types, so that a new event needs nothing here.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))  # last: in a worker, the tree that it is to use is there

from sftools.scap import tables, writer
from sftools.scap.event_table import BY_CODE, EVENTS, Event

T = 1_700_000_000_000_000_000
TIDS = (1, 2, 3, 4, 5)
FDS = (0, 1, 3, 3, 7, 1023, 1500)
STEPS = (1, 1, 1, 1, 10**6, 10**9, 3 * 10**9, 31 * 10**9, 61 * 10**9, -(10**9), -40 * 10**9)
CLONE_FLAGS = (
    0, 0, tables.PPM_CL_CLONE_THREAD, tables.PPM_CL_CLONE_FILES, tables.PPM_CL_CLONE_VFORK, tables.PPM_CL_CLONE_PARENT,
    tables.PPM_CL_IS_MAIN_THREAD, tables.PPM_CL_CHILD_IN_PIDNS, tables.PPM_CL_CLONE_NEWPID, tables.PPM_CL_CLONE_FS,
    tables.PPM_CL_CLONE_INVERTED, tables.PPM_CL_CLOSED,
)  # fmt: skip
PATHS = ("/a", "/b", "/b", "/tmp/x", "a", "../b", "..", ".", "/", "", "/usr/lib/x", "/proc/self/fd/3", "<NA>")
IDS = ("a" * 64, "b" * 64, "c" * 12)
CGROUPS = ((), (), *((f"cpu=/docker/{id}", f"memory=/docker/{id}") for id in IDS), ("cpu=/lxc/web",), ("cpu=/",))
UIDS = (0, 0, 5, 1000, 2**32 - 1)
_TEXTS = ("env", "args", "exe", "comm", "cwd", "cgroups", "path", "name", "filename", "id", "container_id", "image")
ADDRESSES = (("10.0.0.1", "10.0.0.2"), ("::1", "2001:db8::2"), ("0.0.0.0", "127.0.0.1"), ("::ffff:10.0.0.1", "::"))
PODS = "io.kubernetes.pod.uid", "io.kubernetes.pod.name", "io.kubernetes.pod.namespace"

# Events that change state, those that change most of it several times. The others of the table come now and then.
_FAMILIES = (
    (r"(CLONE|FORK|VFORK)(_\d+|3)?_X", 8),
    (r"EXECVE(AT|_\d+)_X", 3),
    (r"PROCEXIT(_1)?_E", 8),
    (r"(OPEN|OPENAT|OPENAT_2|OPENAT2|CREAT|CLOSE|DUP2|DUP3|DUP_1|PIPE2?|SOCKET|SOCKETPAIR|CONNECT|RECVMSG)_X", 4),
    (r"(ACCEPT\w*|BIND|SHUTDOWN|DUP|FCNTL|OPEN_BY_HANDLE_AT|MEMFD_CREATE|EVENTFD2?|BPF_2|PIDFD_\w+|CLOSE_RANGE)_X", 2),
    (r"(READ|WRITE|PREADV?|WRITEV|SENDTO|SENDMSG|RECVFROM|SENDMMSG|SENDFILE|SPLICE|COPY_FILE_RANGE|MMAP2?)_X", 2),
    (r"(CHDIR|FCHDIR|GETCWD|SETU?G?ID|SETRES[UG]ID|SETRE[UG]ID|SETNS|UNSHARE|PRCTL|SETSID|SETPGID|CAPSET)_X", 2),
    (r"(MKDIR\w*|RMDIR\w*|LINK\w*|UNLINK\w*|SYMLINK\w*|RENAME\w*)_X", 1),
    (r"(CONTAINER(_JSON(_2)?)?|USER_ADDED|USER_DELETED|GROUP_ADDED|GROUP_DELETED|ASYNCEVENT)_E", 3),
)


def _weighted() -> list[Event]:
    out = []
    for pattern, weight in _FAMILIES:
        rows = [row for row in EVENTS if re.fullmatch(r"PPME_(SYSCALL_|SOCKET_)?" + pattern, row.code)]
        # Old layouts of an event count as one, and every family as much as its weight says.
        out += rows * max(1, 24 * weight // len(rows))
    return out


EVENT_ROWS = _weighted()
CLONES = [row for row in EVENT_ROWS if re.search(r"CLONE|FORK", row.code)]
LATEST_CLONES = [BY_CODE[f"PPME_SYSCALL_{name}_X"] for name in ("CLONE_20", "FORK_20", "VFORK_20", "CLONE3")]
EXEC = BY_CODE["PPME_SYSCALL_EXECVE_19_X"]


class Sequences:
    """Makes captures. Two of the same random state are the same."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def input(self) -> bytes:
        """Options and a capture; one of ten has few but huge texts."""
        out = BytesIO()
        self.capture = writer.ScapWriter(out)
        self.ts = T
        self.tids: Sequence[int] = TIDS
        self.huge: dict[str, writer.Value] = {}
        self.capture.section()
        if self.rng.random() < 0.1:
            self.bomb(out)
        else:
            for _ in range(self.rng.choice((5, 20, 40, 80, 150))):
                self.step()
        return bytes([self.rng.choice((0, 0, 0, 32, 1, self.rng.randrange(256)))]) + out.getvalue()

    def step(self) -> None:
        """An event, or its enter and exit, or a list block."""
        rng = self.rng
        self.ts += rng.choice(STEPS)
        pick = rng.random()
        if pick < 0.04:
            self.block()
            return
        row = rng.choice(EVENT_ROWS) if pick < 0.97 else rng.choice(EVENTS)
        tid = rng.choice(self.tids)
        params = self.params(row, tid)
        enter = EVENTS[row.id - 1] if row.id % 2 else None
        if enter and enter.params and rng.random() < 0.6:
            # The two agree, as they should, or another thread comes between, or the exit is lost.
            entered = self.params(enter, tid)
            entered |= {name: value for name, value in params.items() if name in entered and rng.random() < 0.9}
            self.event(enter, tid, entered)
            if rng.random() < 0.1:
                return
        self.event(row, tid, params)

    def event(self, row: Event, tid: int, params: Mapping[str, writer.Value]) -> None:
        rng = self.rng
        nparams = rng.randrange(len(row.params) + 1) if row.params and rng.random() < 0.03 else None
        values = [self.huge.get(param.name, params.get(param.name)) for param in row.params]
        sizes = [len(writer.encode_param(p.type, v)) for p, v in zip(row.params, values, strict=True)]
        kind = 0x221 if max(sizes, default=0) > 0xFFFF else 0x216
        self.capture.event(max(self.ts, 0), tid, row.code, values, nparams=nparams, block_type=kind)

    # -- values

    def params(self, row: Event, tid: int) -> dict[str, Any]:
        """Values for all parameters of an event of that thread."""
        rng = self.rng
        values: dict[str, Any] = {param.name: self.value(row, param.name, param.type) for param in row.params}
        if "CLONE" in row.code or "FORK" in row.code:
            values["res"] = rng.choice((0, 0, *self.tids, -11))
            values["flags"] = self.clone_flags()
        if "ptid" in values:
            values["tid"] = tid if rng.random() < 0.8 else rng.choice(self.tids)
            values["pid"] = values["tid"] if rng.random() < 0.4 else rng.choice(self.tids)
        if "vtid" in values and rng.random() < 0.7:
            values |= {"vtid": values["tid"], "vpid": values["pid"]}
        return values

    def clone_flags(self) -> int:
        flags = 0
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            flags |= self.rng.choice(CLONE_FLAGS)
        return flags

    def value(self, row: Event, name: str, kind: str) -> writer.Value:
        """A value by what a parameter is named and of what type it is."""
        rng = self.rng
        if kind not in writer._PARAM_SIZES:
            return self.text(name, kind)
        if name == "res" and kind == "PT_ERRNO":
            return rng.choice((0, 0, 0, 0, 1, 100, -2))
        if name in ("dirfd", "olddirfd", "newdirfd", "olddir", "newdir", "linkdirfd"):
            return rng.choice((-100, -100, *FDS))
        if kind in ("PT_FD", "PT_FD32"):
            return rng.choice((*FDS, *FDS, -1, -2, 70_000, 2**31))
        if kind == "PT_PID":
            return rng.choice((*self.tids, *self.tids, 0, -1, 99))
        if name in ("uid", "gid") or kind in ("PT_UID", "PT_GID"):
            return rng.choice(UIDS)
        return self.number(row, name)

    def text(self, name: str, kind: str) -> writer.Value:
        rng = self.rng
        if kind in ("PT_SOCKADDR", "PT_SOCKTUPLE"):
            return self.address(kind)
        if name == "msgcontrol":
            return self.rights()
        if kind == "PT_BYTEBUF" and name in ("cgroups", "args", "env"):
            return rng.choice(CGROUPS) if name == "cgroups" else rng.choice(((), ("a", "b c"), ("A=1", "", "B=\udcff")))
        if kind not in ("PT_FSPATH", "PT_FSRELPATH", "PT_CHARBUF"):
            return rng.choice((b"", b"data", bytes(8)))
        if name == "json":
            return self.json()
        if name in ("id", "container_id"):
            return rng.choice((*(id[:12] for id in IDS), "", "host"))
        if name in ("comm", "exe", "home", "shell", "image") or (name == "name" and kind == "PT_CHARBUF"):
            return rng.choice(("x", "y", "", "<NA>", "/bin/x"))
        return rng.choice(PATHS)

    def number(self, row: Event, name: str) -> int:
        rng = self.rng
        if name in ("first", "last"):
            return rng.choice((0, 3, 8, 1500, 2**32 - 1))
        if name == "option":
            return rng.choice((15, 36, 36, 1))
        if name == "cmd":
            return rng.choice(range(12))
        if name == "domain":
            return rng.choice((1, 2, 10, 16))
        if name == "nstype":
            return rng.choice((0, 0x20000, 0x20000000))
        if name == "flags" and "UNSHARE" in row.code:
            return self.clone_flags()
        if name in ("flags", "type", "prot"):
            return rng.choice((0, 1, 2, 3, 4, 0x41, 0x241, 0x1000, 0x80000, rng.randrange(2**32)))
        return rng.choice((0, 0, 1, 2, 100, 2**31, 2**32 - 1, 2**64 - 1))

    def address(self, kind: str) -> bytes:
        rng = self.rng
        ip = rng.choice(ADDRESSES)
        ports = rng.choice((0, 80, 40000)), rng.choice((53, 443))
        if rng.random() < 0.2:
            path = rng.choice(("/run/a", "", "\0abstract"))
            return writer.socktuple_unix(1, 2, path) if kind == "PT_SOCKTUPLE" else writer.sockaddr_unix(path)
        if rng.random() < 0.1:
            return b""
        if kind == "PT_SOCKTUPLE":
            return writer.socktuple(ip[0], ports[0], ip[1], ports[1])
        return writer.sockaddr(ip[0], ports[1])

    def rights(self) -> bytes:
        """SCM_RIGHTS: fds that come with a message."""
        rng = self.rng
        fds = [rng.choice(FDS) for _ in range(rng.choice((0, 1, 1, 3)))]
        data = b"".join(fd.to_bytes(4, "little") for fd in fds)
        return (16 + len(data)).to_bytes(8, "little") + (1).to_bytes(4, "little") * 2 + data if fds else b""

    def json(self) -> str:
        """A container's metadata, some in a pod."""
        rng = self.rng
        id = rng.choice(IDS)[:12]
        labels = ",".join(f'"{name}":"p{rng.randrange(2)}"' for name in PODS) if rng.random() < 0.5 else ""
        name = rng.choice(("one", "two", ""))
        return (
            f'{{"container":{{"id":"{id}","name":"{name}","image":"i:1","imageid":"1","type":{rng.randrange(10)},'
            f'"privileged":{rng.choice(("true", "false"))},"labels":{{{labels}}}}}}}'
        )

    def block(self) -> None:
        """A list block, or a new section."""
        rng = self.rng
        tid, pid, ptid = (rng.choice(self.tids) for _ in range(3))
        pick = rng.randrange(6)
        if pick == 0:
            self.capture.section()
        elif pick == 1:
            self.capture.user_list(
                [{"uid": rng.choice(UIDS), "gid": 0, "name": "u", "home": "", "shell": ""}, {"gid": 5, "name": "g"}]
            )
        elif pick == 2:
            file: writer.Entry = {
                "fd": rng.choice(FDS),
                "type": 5,
                "ip": writer.ip4("10.0.0.1"),
                "port": 80,
                "l4proto": 1,
            }
            path: writer.Entry = {
                "fd": rng.choice(FDS),
                "type": 16,
                "open_flags": 3,
                "name": rng.choice(PATHS),
                "dev": 0,
            }
            self.capture.fd_list(tid, [path, file])
        else:
            entry: dict[str, int | str | bytes] = {
                "tid": tid, "pid": pid, "ptid": ptid, "vtid": rng.choice((tid, 1)), "vpid": rng.choice((pid, 1)),
                "comm": "c", "exe": "/e", "cwd": rng.choice(PATHS), "flags": self.clone_flags(), "uid": 0,
                "cgroups": writer.strings(rng.choice(CGROUPS)),
            }  # fmt: skip
            self.capture.process_list([entry])

    # -- texts of 64 KB that many share

    def bomb(self, out: BytesIO) -> None:
        """A thread with huge texts, and a hundred or more that have them from it, or bring their own."""
        rng = self.rng
        size = rng.choice((4_000, 16_000, 60_000, 65_000))
        pairs = rng.choice(("a", "ab", "A=1\0", "/x", "x" * 99 + "\0"))
        text = (pairs * size)[:size].encode()
        row = rng.choice((EXEC, EXEC, LATEST_CLONES[0], rng.choice(EVENT_ROWS)))
        # Those that this event has, and perhaps one that others have.
        names = {*rng.sample([p.name for p in row.params if p.name in _TEXTS] or ["path"], 1), rng.choice(_TEXTS)}
        big = dict.fromkeys(sorted(names), text + b"\0")
        if "cgroups" in big:
            big["cgroups"] = b"cpu=/lxc/" + text.replace(b"\0", b"x").replace(b"/", b"x") + b"\0"
        self.event(LATEST_CLONES[0], 1000, self.params(LATEST_CLONES[0], 1000) | {"res": 0, "tid": 1000, "pid": 1000})
        self.event(row, 1000, self.params(row, 1000) | {"tid": 1000, "pid": 1000, "res": 0} | big)
        if rng.random() < 0.3:
            fd = rng.choice((3, 1023))
            self.event(BY_CODE["PPME_SYSCALL_OPEN_X"], 1000, {"fd": fd, "name": "/f", "flags": 3})
        own = rng.random() < 0.3
        rows = [rng.choice(LATEST_CLONES), *rng.choices([*EVENT_ROWS, EXEC, EXEC], k=rng.choice((1, 2, 3)))]
        fixed = [(row, self.params(row, 1000)) for row in rows]
        flags = rng.choice((0, 0, tables.PPM_CL_CLONE_THREAD, tables.PPM_CL_CLONE_FILES))
        ends = rng.random() < 0.5
        step = rng.choice((0, 1, 10**6))
        # Each process is written with its environment: more would take long, and no more memory.
        for i in range(min(rng.choice((50, 300, 2000)), 30_000_000 // size)):
            if out.tell() > 600_000:
                break
            tid = 2000 + i
            self.ts += step
            for j, (row, params) in enumerate(fixed):
                ids: dict[str, writer.Value] = {"tid": tid, "pid": 1000 if flags == tables.PPM_CL_CLONE_THREAD else tid}
                if not j:
                    ids |= {"res": 0, "ptid": 1000, "vtid": tid, "vpid": ids["pid"], "flags": flags}
                    for name in ("exe", "args", "comm", "cwd", "cgroups"):
                        params.pop(name, None)
                ids |= {name: f"{i:x}\0".encode() for name in ("path", "name", "linkpath") if name in params}
                self.event(row, tid, params | ids | (big if own else {}))
            if ends:
                self.event(BY_CODE["PPME_PROCEXIT_1_E"], tid, {"status": 0})
