"""The running system as the lists at the head of a capture: processes with their threads, fds, users, interfaces.

Which file of /proc gives which field follows falcosecurity/libs userspace/libscap/linux/scap_procs.c and scap_fds.c;
where this differs from them it says so. The lists have no start time of a process: it is one from before the capture,
and the engine's OID has 0 for it. pidns_init_start_ts is when the first process of the thread's pid namespace started.
"""

from __future__ import annotations

import io
import os
import re
import stat as modes
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from sftools.errors import InputError
from sftools.limits import (
    KIB,
    MAX_FDS_PER_PROCESS,
    MAX_LIVE_MOUNTINFO_BYTES,
    MAX_LIVE_MOUNTS,
    MAX_LIVE_SOCKETS,
    MAX_LIVE_STUCK,
)
from sftools.live import host, sockets
from sftools.live.host import number, read_file, read_or_empty
from sftools.scap import tables
from sftools.scap.writer import Entry, ScapWriter

PROC = Path("/proc")

# libscap's readers refuse longer texts (scap_limits.h: SCAP_MAX_PATH_SIZE, ..._ARGS_SIZE, ..._ENV_, ..._CGROUPS_).
_MAX_PATH = 1023
_MAX_STRINGS = 4096
_MAX_CGROUPS = 16 * KIB

# A block of a list holds no more entries; what is not one block is the next.
_MAX_ENTRIES = 256

# The types that came after 16 (17 bpf, 18 userfaultfd, 19 io_uring, 20 memfd, 21 pidfd) are written as 10, with the
# link as name: Debian's sysdig, 0.29, refuses the whole capture for one of them. No type above 16 has flows.
_FIFO, _DIRECTORY, _FILE, _UNSUPPORTED = 7, 2, 16, 10
_ANONYMOUS = {
    b"anon_inode:[eventfd]": 9,
    b"anon_inode:[signalfd]": 11,
    b"anon_inode:[eventpoll]": 12,
    b"anon_inode:inotify": 13,
    b"anon_inode:[timerfd]": 14,
}

# The bits of open(2) and what the driver calls them. Those of several bits (O_SYNC has O_DSYNC's, O_TMPFILE
# O_DIRECTORY's) need all. O_LARGEFILE, which 64-bit kernels show on every file, libscap leaves out.
_OPEN_FLAGS = (
    (os.O_CREAT, tables.PPM_O_CREAT),
    (os.O_TMPFILE, tables.PPM_O_TMPFILE),
    (os.O_APPEND, tables.PPM_O_APPEND),
    (os.O_DSYNC, tables.PPM_O_DSYNC),
    (os.O_EXCL, tables.PPM_O_EXCL),
    (os.O_NONBLOCK, tables.PPM_O_NONBLOCK),
    (os.O_SYNC, tables.PPM_O_SYNC),
    (os.O_TRUNC, tables.PPM_O_TRUNC),
    (os.O_DIRECT, tables.PPM_O_DIRECT),
    (os.O_DIRECTORY, tables.PPM_O_DIRECTORY),
    (os.O_CLOEXEC, tables.PPM_O_CLOEXEC),
)

# task_struct's flag of kernel threads (linux/sched.h), in stat's ninth field.
_PF_KTHREAD = 0x00200000
_THREAD_FLAGS = tables.PPM_CL_CLONE_THREAD | tables.PPM_CL_CLONE_FILES


_KEYS = re.compile(
    rb"^(Tgid|PPid|Uid|Gid|NStgid|NSpid|NSpgid|VmSize|VmRSS|VmSwap|CapInh|CapPrm|CapEff|flags|mnt_id|ino):(.*)$",
    re.MULTILINE,
)


class ThreadStat(NamedTuple):
    """What is read of /proc/<pid>/stat; starttime in clock ticks since boot."""

    tid: int
    comm: bytes
    state: bytes
    ppid: int
    pgrp: int
    session: int
    tty: int
    flags: int
    minflt: int
    majflt: int
    starttime: int


def parse_stat(data: bytes) -> ThreadStat:
    """A stat file. comm stands in brackets and may itself hold any of `) (`, blanks and newlines.

    Raises ValueError for what is no such file.
    """
    begin, end = data.find(b"("), data.rfind(b")")
    words = data[end + 1 :].split()
    if begin < 0 or end < begin or len(words) < 20 or len(words[0]) != 1:
        raise ValueError("not a stat file")
    ppid, pgrp, session, tty, _, flags, minflt, _, majflt = map(int, words[1:10])
    starttime = int(words[19])
    return ThreadStat(
        int(data[:begin]), data[begin + 1 : end], words[0], ppid, pgrp, session, tty, flags, minflt, majflt, starttime
    )


def parse_status(data: bytes) -> dict[bytes, list[bytes]]:
    """A status or fdinfo file: the words after each key that is of use. Where a key comes twice the last counts: Name,
    the only text that a process chooses, comes first.
    """
    return {key: rest.split() for key, rest in _KEYS.findall(data)}


def open_flags(flags: int) -> int:
    """open(2)'s flags in the driver's numbering (PPM_O_)."""
    found = (tables.PPM_O_RDONLY, tables.PPM_O_WRONLY, tables.PPM_O_RDWR, tables.PPM_O_RDONLY)[flags & os.O_ACCMODE]
    for kernel, driver in _OPEN_FLAGS:
        if flags & kernel == kernel:
            found |= driver
    return found


def cgroups(data: bytes) -> bytes:
    """/proc/<pid>/cgroup as `subsys=path` strings. The one hierarchy of cgroup v2 is called `unified` here.

    libscap asks the cgroup file system which controllers are on; a cgroup without any would lose the path, and with it
    the container.
    """
    found = bytearray()
    for line in data.split(b"\n"):
        hierarchy, _, rest = line.partition(b":")
        names, colon, path = rest.partition(b":")
        if not colon or not hierarchy.isdigit():
            continue
        for name in names.split(b",") if names else [b"unified"]:
            text = b"%s=%s\0" % (name, path)
            if len(found) + len(text) <= _MAX_CGROUPS:
                found += text
    return bytes(found)


def blocks(
    root: Path = PROC,
    *,
    live: bool | None = None,
    etc: Path | None = None,
    on_cgroups: Callable[[bytes], None] | None = None,
) -> Iterator[bytes]:
    """The blocks at the head of a live capture, one after the other: section, machine, interfaces, users, then each
    process's threads and fds.

    root: a /proc directory. live: it is a kernel's (the default for /proc alone), else a recorded tree: then links are
    read but not followed, so that the host of the test is not asked (a file's kind comes from its flags, its inode
    from fdinfo; nothing is known of the executable's file). etc: where passwd and group are; without it, a live
    host's users come from its name services, a recorded tree has none. on_cgroups is called with the cgroups of each
    thread, as the list has them.

    Processes that end meanwhile are left out, kernel threads and zombies too; what may not be read is left empty.
    Memory is that of one process and of the socket tables. Raises InputError where root cannot be read.
    """
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(str(root), error.strerror or "cannot be opened") from None
    try:
        scan = _Scan(root, fd, root == PROC if live is None else live, on_cgroups)
        try:
            yield from scan.blocks(etc)
        finally:
            scan.patience.close()
    finally:
        os.close(fd)


class Patience:
    """Calls what may wait without end, in a thread beside, and goes on without its answer when that takes too long.

    A process can hold the lock of its own memory for ever (a read of /proc/self/mem on a page of a FUSE file that never
    comes), and its cmdline and environ wait for it. All such waits together take `seconds` and some 10 ms for each that
    follows. The threads that wait end with this process: that wait is one that a signal ends.
    """

    def __init__(self, seconds: float = 2.0) -> None:
        self._left = seconds
        self._stuck = 0
        self._helper: tuple[SimpleQueue[Callable[[], bytes] | None], SimpleQueue[bytes]] | None = None

    def call(self, work: Callable[[], bytes]) -> bytes:
        """What work() returns, which must not raise; nothing where it takes too long."""
        if self._stuck >= MAX_LIVE_STUCK:
            return b""
        if self._helper is None:
            asked: SimpleQueue[Callable[[], bytes] | None] = SimpleQueue()
            answered: SimpleQueue[bytes] = SimpleQueue()
            threading.Thread(target=_answer, args=(asked, answered), name="/proc", daemon=True).start()
            self._helper = asked, answered
        asked, answered = self._helper
        asked.put(work)
        wait = max(self._left / 2, 0.01)
        try:
            return answered.get(timeout=wait)
        except Empty:
            self._left -= wait
            self._stuck += 1
            self.close()
            return b""

    def close(self) -> None:
        """The thread ends when its work does."""
        if self._helper is not None:
            self._helper[0].put(None)
            self._helper = None


def _answer(asked: SimpleQueue[Callable[[], bytes] | None], answered: SimpleQueue[bytes]) -> None:
    while (work := asked.get()) is not None:
        answered.put(work())


@dataclass(slots=True)
class _Image:
    """What all threads of a process share, their memory's contents above all."""

    exe: bytes
    args: bytes
    env: bytes
    exepath: bytes
    file: host.Stat | None
    fdlimit: int


class _Scan:
    def __init__(self, root: Path, fd: int, live: bool, on_cgroups: Callable[[bytes], None] | None) -> None:
        self.root = root
        self.fd = fd
        self.live = live
        self.on_cgroups = on_cgroups
        self.machine = host.machine(fd)
        self.tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        # By inode of the namespace.
        self.sockets: dict[int, dict[int, sockets.Socket]] = {}
        self.devices: dict[int, int] = {}
        self.first_starts: dict[bytes, int] | None = None
        self.host_start = -1
        self.patience = Patience()

    def memory(self, name: str, directory: int) -> bytes:
        """A file that the kernel makes of a process's memory: nothing where that keeps it waiting."""
        if not self.live:
            return read_or_empty(name, directory, _MAX_STRINGS)
        # A copy, as this one's number is another file's by the time that a read may come back.
        own = os.dup(directory)

        def read() -> bytes:
            try:
                return read_or_empty(name, own, _MAX_STRINGS)
            finally:
                os.close(own)

        return self.patience.call(read)

    def blocks(self, etc: Path | None) -> Iterator[bytes]:
        machine = self.machine
        yield _block(lambda out: out.section())
        yield _block(
            lambda out: out.machine_info(
                machine.hostname[:127],
                num_cpus=machine.num_cpus,
                memory_bytes=machine.memory_bytes,
                max_pid=machine.max_pid,
                boot_ts=machine.boot_ts,
            )
        )
        found = host.interfaces() if self.live else host.recorded_interfaces(self.fd)
        yield _block(lambda out: out.interface_list(found))
        people = host.users(etc) if self.live or etc is not None else []
        yield _block(lambda out: out.user_list(people))
        try:
            pids = _numbers(self.fd)
        except OSError as error:
            raise InputError(str(self.root), error.strerror or "cannot be read") from None
        for pid in pids:
            yield from self.process(pid)

    def process(self, pid: int) -> Iterator[bytes]:
        """The process list blocks of a process and its fd list blocks; nothing where it is gone."""
        try:
            # Files are opened in this directory: when the process ends and its pid is another's, they are gone.
            process = os.open(str(pid), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError:
            return
        try:
            yield from self.threads(process, pid)
        finally:
            os.close(process)

    def threads(self, process: int, pid: int) -> Iterator[bytes]:
        try:
            leader = parse_stat(read_file("stat", process))
        except (OSError, ValueError):
            return
        if leader.flags & _PF_KTHREAD:
            return
        try:
            tids = [tid for tid in _numbers_in("task", process) if tid != pid]
        except OSError:
            tids = []
        # A main thread that has ended while others live has neither memory nor fds to show: one of them has.
        # libscap leaves the whole process out.
        image_at = process
        if leader.state in b"ZXx":
            image_at = next((fd for fd in (_thread_directory(process, tid) for tid in tids) if fd >= 0), -1)
            if image_at < 0:
                return
        try:
            image = self.image(image_at)
            entries = [self.thread(process, pid, image)]
            for tid in tids:
                directory = _thread_directory(process, tid)
                if directory < 0:
                    continue
                try:
                    entries.append(self.thread(directory, tid, image))
                finally:
                    os.close(directory)
                if len(entries) == _MAX_ENTRIES:
                    yield from _processes(entries)
                    entries = []
            yield from _processes(entries)
            batch: list[Entry] = []
            for fd in self.fds(image_at):
                batch.append(fd)
                if len(batch) == _MAX_ENTRIES:
                    yield _fds(pid, batch)
                    batch = []
            if batch:
                yield _fds(pid, batch)
        finally:
            if image_at != process:
                os.close(image_at)

    def image(self, directory: int) -> _Image:
        command = _strings(self.memory("cmdline", directory))
        exe, _, args = command.partition(b"\0")
        exepath = _link(b"exe", directory)
        fdlimit = (1 << 64) - 1
        for line in read_or_empty("limits", directory).split(b"\n"):
            if line.startswith(b"Max open files") and line[14:].split()[:1] != [b"unlimited"]:
                fdlimit = number(line[14:].split()[:1])
        return _Image(
            exe[:_MAX_PATH],
            args,
            _strings(self.memory("environ", directory)),
            exepath,
            host.stat(b"exe", directory) if self.live and exepath else None,
            fdlimit,
        )

    def thread(self, directory: int, tid: int, image: _Image) -> Entry | None:
        """An entry of the process list; None where the thread is gone."""
        try:
            status = parse_status(read_file("status", directory))
            stat = parse_stat(read_file("stat", directory))
        except (OSError, ValueError):
            return None
        comm = read_or_empty("comm", directory, 256).removesuffix(b"\n") or stat.comm
        pid = number(status.get(b"Tgid", []), 63) or tid
        uid = number(status.get(b"Uid", [])[1:], 32)
        gid = number(status.get(b"Gid", [])[1:], 32)
        loginuid = read_or_empty("loginuid", directory, 64)
        groups = cgroups(read_or_empty("cgroup", directory))
        if self.on_cgroups is not None and groups:
            self.on_cgroups(groups)
        entry: dict[str, int | str | bytes] = {
            "tid": tid,
            "pid": pid,
            "ptid": number(status.get(b"PPid", []), 63),
            "sid": _signed(stat.session),
            # Of nested namespaces the innermost, as events have it; libscap takes the second.
            "vpgid": number(status.get(b"NSpgid", [])[-1:], 63) or _signed(stat.pgrp),
            "comm": comm[:_MAX_PATH],
            "exe": image.exe,
            "exepath": image.exepath,
            "args": image.args,
            "cwd": _link(b"cwd", directory),
            "fdlimit": image.fdlimit,
            "flags": 0 if tid == pid else _THREAD_FLAGS,
            "uid": uid,
            "gid": gid,
            "vmsize_kb": number(status.get(b"VmSize", []), 32),
            "vmrss_kb": number(status.get(b"VmRSS", []), 32),
            "vmswap_kb": number(status.get(b"VmSwap", []), 32),
            "pfmajor": stat.majflt & (1 << 64) - 1,
            "pfminor": stat.minflt & (1 << 64) - 1,
            "env": image.env,
            "vtid": number(status.get(b"NSpid", [])[-1:], 63) or tid,
            "vpid": number(status.get(b"NStgid", [])[-1:], 63) or pid,
            "cgroups": groups,
            "root": _link(b"root", directory),
            "pidns_init_start_ts": self.namespace_start(directory, status.get(b"NSpid", [])),
            "tty": stat.tty & 0xFFFFFFFF,
            "loginuid": number(loginuid, 32) if loginuid else 0xFFFFFFFF,
            "exe_writable": _writable(image.file, uid, gid),
            "cap_inheritable": number(status.get(b"CapInh", []), 64, 16),
            "cap_permitted": number(status.get(b"CapPrm", []), 64, 16),
            "cap_effective": number(status.get(b"CapEff", []), 64, 16),
            # Which layer of an overlay the file is in, only the kernel knows.
            "exe_upper_layer": 0,
            "exe_ino": image.file.ino if image.file else 0,
            "exe_ino_ctime": _time(image.file.ctime) if image.file else 0,
            "exe_ino_mtime": _time(image.file.mtime) if image.file else 0,
            "exe_from_memfd": int(image.exepath.startswith(b"/memfd:")),
            "exe_lower_layer": 0,
            "pgid": _signed(stat.pgrp),
        }
        return entry

    # Namespaces

    def start(self, stat: ThreadStat) -> int:
        """When a thread started, in ns since 1970, as exact as btime's seconds and stat's ticks are."""
        return _time(self.machine.boot_ts + stat.starttime * self.tick)

    def namespace_start(self, directory: int, ids: list[bytes]) -> int:
        """When the first process of a thread's pid namespace started: 0 where that cannot be told.

        libscap takes the ctime of <its root>/proc/1/cmdline: when that file was first looked at.
        """
        if len(ids) <= 1:
            if self.host_start < 0:
                self.host_start = self.started("1")
            return self.host_start
        if self.first_starts is None:
            self.first_starts = self.find_first_starts()
        return self.first_starts.get(_link(b"ns/pid", directory), 0)

    def find_first_starts(self) -> dict[bytes, int]:
        """Starts of the processes that are 1 in a namespace of their own, by the name of the namespace."""
        found = {}
        for pid in _numbers(self.fd):
            if parse_status(read_or_empty(f"{pid}/status", self.fd)).get(b"NSpid", [])[1:][-1:] == [b"1"]:
                found[_link(b"%d/ns/pid" % pid, self.fd)] = self.started(str(pid))
        return found

    def started(self, pid: str) -> int:
        try:
            return self.start(parse_stat(read_file(f"{pid}/stat", self.fd)))
        except (OSError, ValueError):
            return 0

    def sockets_of(self, directory: int) -> dict[int, sockets.Socket]:
        """The sockets of a process's network namespace, read once for each namespace."""
        link = _link(b"ns/net", directory)
        namespace = _inode(link, b"net:[")
        table = self.sockets.get(namespace)
        if table is None:
            table = sockets.read(directory)
            if sum(map(len, self.sockets.values())) + len(table) > MAX_LIVE_SOCKETS:
                self.sockets.clear()
            self.sockets[namespace] = table
        return table

    # Fds

    def fds(self, directory: int) -> Iterator[Entry]:
        """The fds of a process: those that can be read, and of sockets those that a table has."""
        try:
            numbers = _numbers_in("fd", directory)
        except OSError:
            return
        table: dict[int, sockets.Socket] | None = None
        for fd in numbers:
            link = _link(b"fd/%d" % fd, directory)
            if not link:
                continue
            if ino := _inode(link, b"socket:["):
                if table is None:
                    table = self.sockets_of(directory)
                if socket := table.get(ino):
                    yield socket.entry(fd, ino)
            elif ino := _inode(link, b"pipe:["):
                yield {"fd": fd, "ino": ino, "type": _FIFO, "name": link}
            elif link.startswith(b"anon_inode:"):
                # Where the type says it all the name is empty, as libscap has it.
                kind = _ANONYMOUS.get(link, _UNSUPPORTED)
                yield {"fd": fd, "ino": 0, "type": kind, "name": link if kind == _UNSUPPORTED else b""}
            else:
                yield self.file(fd, link, directory)

    def file(self, fd: int, link: bytes, directory: int) -> Entry:
        info = parse_status(read_or_empty(f"fdinfo/{fd}", directory))
        flags = number(info.get(b"flags", []), 32, 8)
        found = host.stat(b"fd/%d" % fd, directory) if self.live else None
        if found is not None:
            kind = modes.S_IFMT(found.mode)
        else:
            kind = modes.S_IFDIR if flags & os.O_DIRECTORY == os.O_DIRECTORY else modes.S_IFREG
        entry: dict[str, int | str | bytes] = {
            "fd": fd,
            "ino": found.ino if found is not None else number(info.get(b"ino", [])),
            "name": link,
        }
        if kind == modes.S_IFDIR:
            return entry | {"type": _DIRECTORY}
        if kind == modes.S_IFIFO:
            return entry | {"type": _FIFO}
        if kind == modes.S_IFSOCK or link.startswith(b"/memfd:"):  # S_IFSOCK: a path, opened with O_PATH
            return entry | {"type": _UNSUPPORTED}
        device = self.device(number(info.get(b"mnt_id", []), 32), directory)
        return entry | {"type": _FILE, "open_flags": open_flags(flags), "dev": device}

    def device(self, mount: int, directory: int) -> int:
        """The device number of a mount id, as the driver encodes it; 0 for mounts that the process does not see."""
        if mount not in self.devices:
            if len(self.devices) >= MAX_LIVE_MOUNTS:
                self.devices.clear()
            for line in read_or_empty("mountinfo", directory, MAX_LIVE_MOUNTINFO_BYTES, table=True).split(b"\n"):
                words = line.split(None, 3)
                if len(words) == 4 and len(self.devices) < MAX_LIVE_MOUNTS:
                    major, _, minor = words[2].partition(b":")
                    low = number(minor, 20)
                    # linux/kdev_t.h, new_encode_dev()
                    self.devices[number(words[0], 32)] = low & 0xFF | number(major, 12) << 8 | (low & 0xFFF00) << 12
            self.devices.setdefault(mount, 0)
        return self.devices[mount]


def _block(write: Callable[[ScapWriter], None]) -> bytes:
    out = io.BytesIO()
    write(ScapWriter(out))
    return out.getvalue()


def _processes(entries: list[Entry | None]) -> Iterator[bytes]:
    found = [entry for entry in entries if entry is not None]
    if found:
        yield _block(lambda out: out.process_list(found))


def _fds(tid: int, entries: list[Entry]) -> bytes:
    return _block(lambda out: out.fd_list(tid, entries))


def _numbers(directory: int) -> list[int]:
    return sorted(int(name) for name in os.listdir(directory) if _is_number(name))


def _numbers_in(name: str, directory: int) -> list[int]:
    """The names of a directory's entries that are numbers, in order, at most MAX_FDS_PER_PROCESS."""
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        with os.scandir(fd) as found:
            numbers = []
            for entry in found:
                if _is_number(entry.name):
                    numbers.append(int(entry.name))
                    if len(numbers) == MAX_FDS_PER_PROCESS:
                        break
            return sorted(numbers)
    finally:
        os.close(fd)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 11


def _thread_directory(process: int, tid: int) -> int:
    """An fd, -1 where the thread is gone."""
    try:
        return os.open(f"task/{tid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
    except OSError:
        return -1


def _link(name: bytes, directory: int) -> bytes:
    """Where a link points; empty where it cannot be read."""
    try:
        return os.readlink(name, dir_fd=directory)[:_MAX_PATH]
    except OSError:
        return b""


def _inode(link: bytes, kind: bytes) -> int:
    """The number in `kind`number`]`; 0 in all other links."""
    digits = link[len(kind) : -1]
    return int(digits) if link.startswith(kind) and link.endswith(b"]") and digits.isdigit() and len(digits) < 20 else 0


def _strings(data: bytes) -> bytes:
    """NUL-separated strings, the last of which ends with a NUL too, though it be cut or a process wrote over it."""
    if not data or data.endswith(b"\0"):
        return data
    return data[: _MAX_STRINGS - 1] + b"\0"


def _signed(number: int) -> int:
    return number if -(1 << 63) <= number < 1 << 63 else 0


def _time(ns: int) -> int:
    return ns if 0 <= ns < 1 << 64 else 0


def _writable(file: host.Stat | None, uid: int, gid: int) -> int:
    """Whether the thread's user may write to its executable, by the mode's bits; the owner always could make it so.

    libscap becomes that user for a moment and asks; other groups of the user and access lists are not seen here.
    """
    if file is None:
        return 0
    if uid in (0, file.uid):
        return 1
    return int(file.mode & (modes.S_IWGRP if gid == file.gid else modes.S_IWOTH) != 0)
