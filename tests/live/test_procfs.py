"""The /proc scan: against recorded trees, which the tests make, and against this host."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftools.errors import InputError
from sftools.live import procfs
from sftools.live.procfs import Patience, cgroups, open_flags, parse_stat, parse_status
from sftools.scap import blocks, lists
from sftools.scap.lists import FdEntry, InterfaceEntry, MachineInfo, ProcessEntry, UserEntry
from sftools.scap.writer import ScapWriter, ip4, ip6

BTIME = 1_700_000_000


@dataclass
class Head:
    """What the blocks at the head of a capture say."""

    machine: MachineInfo | None = None
    interfaces: list[InterfaceEntry] = field(default_factory=list)
    users: list[UserEntry] = field(default_factory=list)
    threads: dict[int, ProcessEntry] = field(default_factory=dict)
    fds: dict[int, dict[int, FdEntry]] = field(default_factory=dict)
    kinds: list[int] = field(default_factory=list)


def head(pieces: Iterator[bytes]) -> Head:
    """Reads each block back; each piece is one."""
    found = Head()
    for piece in pieces:
        kind, size = struct.unpack_from("<II", piece)
        assert size == len(piece)
        body = piece[8:-4]
        found.kinds.append(kind)
        if kind == blocks.MI:
            found.machine = lists.machine_info(body)
        elif kind == blocks.IL_V2:
            found.interfaces += lists.interfaces(kind, body)
        elif kind == blocks.UL_V2:
            found.users += lists.users(kind, body)
        elif kind == blocks.PL_V9:
            for entry in lists.processes(kind, body):
                assert entry.tid not in found.threads, "a thread that is listed twice"
                found.threads[entry.tid] = entry
        elif kind == blocks.FDL_V2:
            tid, entries = lists.fds(kind, body)
            assert tid in found.threads, "fds before their process"
            found.fds.setdefault(tid, {}).update((entry.fd, entry) for entry in entries)
        else:
            assert kind == blocks.SHB
    return found


class Tree:
    """A recorded /proc: what a test gives, the rest as of a shell."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file("stat", b"cpu  1 2 3\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\nbtime %d\n" % BTIME)
        self.file("meminfo", b"MemTotal:       16384 kB\nMemFree: 1 kB\n")
        self.file("sys/kernel/hostname", b"recorded\n")
        self.file("sys/kernel/pid_max", b"4194304\n")

    def file(self, name: str, data: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def link(self, name: str, target: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(os.fsencode(target), os.fsencode(path))

    def thread(
        self,
        directory: str,
        tid: int,
        pid: int,
        *,
        ppid: int = 1,
        comm: bytes = b"sh",
        state: bytes = b"S",
        flags: int = 0x400000,
        ids: str = "",
        pids: str = "",
        cgroup: bytes = b"0::/\n",
        starttime: int = 100,
    ) -> None:
        """stat, status, comm and so on of one thread."""
        self.file(
            f"{directory}/stat",
            b"%d (%s) %s %d %d 7 34816 -1 %d 11 0 22 0 1 2 0 0 20 0 1 0 %d 1000 50 18446744073709551615 1 1 0\n"
            % (tid, comm, state, ppid, pid, flags, starttime),
        )
        status = (
            f"Tgid:\t{pid}\nPid:\t{tid}\nPPid:\t{ppid}\nUid:\t1000\t1001\t1000\t1000\nGid:\t2000\t2001\t2000\t2000\n"
        )
        status += f"NStgid:\t{pids or pid}\nNSpid:\t{ids or tid}\nNSpgid:\t{pids or pid}\nNSsid:\t7\n"
        status += "VmSize:\t  2048 kB\nVmRSS:\t  1024 kB\nVmSwap:\t  12 kB\n"
        status += "CapInh:\t0000000000000001\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000003\n"
        escaped = comm.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
        self.file(f"{directory}/status", b"Name:\t" + escaped + b"\n" + status.encode())
        self.file(f"{directory}/comm", comm + b"\n")
        self.file(f"{directory}/cgroup", cgroup)
        self.file(f"{directory}/loginuid", b"1000")
        self.link(f"{directory}/cwd", "/home/user")
        self.link(f"{directory}/root", "/")

    def process(
        self, pid: int, *, cmdline: bytes = b"sh\0-c\0true\0", environ: bytes = b"A=1\0B=2\0", **options: Any
    ) -> None:
        """A process of one thread."""
        self.thread(str(pid), pid, pid, **options)
        self.thread(f"{pid}/task/{pid}", pid, pid, **options)
        self.file(f"{pid}/cmdline", cmdline)
        self.file(f"{pid}/environ", environ)
        self.link(f"{pid}/exe", "/usr/bin/dash")
        self.link(f"{pid}/ns/net", "net:[4026531840]")
        self.file(
            f"{pid}/limits", b"Limit  Soft Limit  Hard Limit  Units\nMax open files     1024      524288     files\n"
        )
        self.file(f"{pid}/mountinfo", b"29 1 259:300 / / rw,relatime shared:1 - ext4 /dev/root rw\n")

    def fd(self, pid: int, fd: int, target: str | bytes, *, flags: int = 0, mount: int = 29, ino: int = 77) -> None:
        self.link(f"{pid}/fd/{fd}", target)
        self.file(f"{pid}/fdinfo/{fd}", b"pos:\t0\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n" % (flags, mount, ino))

    def head(self, **options: Any) -> Head:
        return head(procfs.blocks(self.root, **options))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "proc").mkdir()
    return Tree(tmp_path / "proc")


# Files of /proc


def stat_of(comm: bytes) -> bytes:
    return b"4242 (%s) S 1 4242 7 34816 -1 4194560 11 0 22 0 1 2 0 0 20 0 1 0 987 1000 50 18446744073709551615\n" % comm


def test_stat() -> None:
    assert parse_stat(stat_of(b"sh")) == (4242, b"sh", b"S", 1, 4242, 7, 34816, 4194560, 11, 22, 987)


@given(st.binary(max_size=64))
def test_no_comm_changes_what_follows_it(comm: bytes) -> None:
    """A process chooses its comm: brackets, blanks and newlines may imitate the fields after it."""
    assert parse_stat(stat_of(comm)) == (4242, comm, *parse_stat(stat_of(b"sh"))[2:])


@pytest.mark.parametrize("comm", [b") R 1 1 1 (", b"a) S 0 0 0 0", b"((((", b"))))", b" ", b"\n1 (x) R", b""])
def test_comm_that_imitates_a_stat_file(comm: bytes) -> None:
    found = parse_stat(stat_of(comm))
    assert (found.comm, found.state, found.ppid, found.starttime) == (comm, b"S", 1, 987)


@given(st.binary(max_size=300))
def test_what_is_no_stat_file_is_refused(data: bytes) -> None:
    try:
        parse_stat(data)
    except ValueError:
        return
    assert b"(" in data


def test_the_last_of_two_lines_counts() -> None:
    """Kernels before 4.19 printed a newline of comm raw, into the first line."""
    assert parse_status(b"Name:\tx\nUid:\t0\t0\nUid:\t1000\t1000\n")[b"Uid"] == [b"1000", b"1000"]


@pytest.mark.parametrize(
    ("kernel", "driver"),
    [
        (os.O_RDONLY, 1),
        (os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 2 | 4 | 256),
        (os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 3 | 8 | 4096),
        (os.O_WRONLY | os.O_DSYNC, 2 | 16),
        (os.O_WRONLY | os.O_SYNC, 2 | 16 | 128),
        (os.O_RDONLY | os.O_DIRECTORY, 1 | 1024),
        (os.O_RDWR | os.O_TMPFILE, 3 | 1024 | 8192),
        (0o100000, 1),  # O_LARGEFILE
    ],
)
def test_open_flags_are_the_drivers(kernel: int, driver: int) -> None:
    assert open_flags(kernel) == driver


def test_cgroups_of_both_versions() -> None:
    assert cgroups(b"4:memory:/a\n2:cpu,cpuacct:/b:c\n1:name=systemd:/d\n0::/e\n") == (
        b"memory=/a\0cpu=/b:c\0cpuacct=/b:c\0name=systemd=/d\0unified=/e\0"
    )


def test_cgroups_are_bounded_by_what_readers_take() -> None:
    assert len(cgroups(b"".join(b"%d:c%d:/%s\n" % (i, i, b"x" * 1000) for i in range(100)))) <= 16384


# Recorded trees


def test_the_machine_heads_the_capture(tree: Tree) -> None:
    tree.process(1)
    found = tree.head()
    assert found.kinds == [blocks.SHB, blocks.MI, blocks.IL_V2, blocks.UL_V2, blocks.PL_V9]
    assert found.machine == MachineInfo(2, 16384 * 1024, 4194304, b"recorded", BTIME * 10**9)


def test_users_and_groups(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_bytes(
        b"root:x:0:0:root:/root:/bin/bash\n#no\n+nis::::::\nbroken:x\nann:x:1000:1000:A,,,:/home/ann:/bin/sh\n"
    )
    (tmp_path / "group").write_bytes(b"root:x:0:\nstaff:x:50:ann,bob\n")
    assert tree.head(etc=tmp_path).users == [
        UserEntry(0, 0, b"root", 0, b"/root", b"/bin/bash"),
        UserEntry(0, 1000, b"ann", 1000, b"/home/ann", b"/bin/sh"),
        UserEntry(1, 0, b"root"),
        UserEntry(1, 50, b"staff"),
    ]
    assert tree.head().users == []


def test_interfaces_of_a_recorded_tree(tree: Tree) -> None:
    tree.file("net/if_inet6", b"fe8000000000000000fc00fffe000001 04 40 20 80     eth0\nbroken\n")
    (found,) = tree.head().interfaces
    assert (found.name, found.addr6) == (b"eth0", ip6("fe80::fc:ff:fe00:1"))


def test_every_field_of_a_process(tree: Tree) -> None:
    tree.process(1, starttime=5)
    tree.process(42, cgroup=b"2:memory:/user.slice\n")
    tree.file("1/mountinfo", b"")
    assert tree.head().threads[42] == ProcessEntry(
        tid=42, pid=42, ptid=1, sid=7, vpgid=42, comm=b"sh", exe=b"sh", exepath=b"/usr/bin/dash",
        args=b"-c\0true\0", cwd=b"/home/user", fdlimit=1024, flags=0, uid=1001, gid=2001, env=b"A=1\0B=2\0",
        vtid=42, vpid=42, cgroups=b"memory=/user.slice\0", root=b"/", tty=34816, loginuid=1000,
        rest={
            "pidns_init_start_ts": BTIME * 10**9 + 5 * 10**9 // os.sysconf("SC_CLK_TCK"),
            "exe_writable": 0, "cap_inheritable": 1, "cap_permitted": 0x1FFFFFFFFFF, "cap_effective": 3,
            "exe_upper_layer": 0, "exe_ino": 0, "exe_ino_ctime": 0, "exe_ino_mtime": 0, "exe_from_memfd": 0,
            "exe_lower_layer": 0,
        },
    )  # fmt: skip


def test_threads_follow_their_process(tree: Tree) -> None:
    tree.process(42)
    tree.thread("42/task/43", 43, 42, comm=b"worker")
    found = tree.head().threads
    assert list(found) == [42, 43]
    worker = found[43]
    assert (worker.pid, worker.comm, worker.exe, worker.args) == (42, b"worker", b"sh", b"-c\0true\0")
    assert worker.flags == 8192 | 1  # CLONE_THREAD, CLONE_FILES


def test_many_threads_are_several_blocks(tree: Tree) -> None:
    tree.process(42)
    for tid in range(1000, 1600):
        tree.thread(f"42/task/{tid}", tid, 42)
    found = tree.head()
    assert len(found.threads) == 601
    assert found.kinds.count(blocks.PL_V9) == 3


def test_kernel_threads_and_zombies_are_left_out(tree: Tree) -> None:
    tree.process(2, comm=b"kthreadd", flags=0x208040, cmdline=b"")
    tree.process(3, state=b"Z", cmdline=b"")
    tree.process(42, cmdline=b"")
    assert list(tree.head().threads) == [42]


def test_a_main_thread_that_ended_before_the_others(tree: Tree) -> None:
    """Its own files are empty; the memory, and the fds, are those of the threads that live."""
    tree.process(42, state=b"Z", cmdline=b"")
    tree.thread("42/task/43", 43, 42)
    tree.file("42/task/43/cmdline", b"srv\0-d\0")
    tree.link("42/task/43/exe", "/usr/bin/srv")
    tree.link("42/task/43/fd/0", "pipe:[5]")
    found = tree.head()
    assert [(tid, item.exe, item.exepath) for tid, item in found.threads.items()] == [
        (42, b"srv", b"/usr/bin/srv"),
        (43, b"srv", b"/usr/bin/srv"),
    ]
    assert found.fds == {42: {0: FdEntry(0, 5, 7, b"pipe:[5]")}}


def test_ids_in_nested_namespaces_are_the_innermost(tree: Tree) -> None:
    tree.process(1, starttime=5)
    tree.process(50, ids="50 7 1", pids="50 7 1", starttime=300)
    tree.process(51, ids="51 8 2", pids="51 8 2", starttime=400)
    tree.process(52, ids="52 9", pids="52 9")
    for pid, namespace in ((50, "pid:[4026532000]"), (51, "pid:[4026532000]"), (52, "pid:[4026532111]")):
        tree.link(f"{pid}/ns/pid", namespace)
    found = tree.head().threads
    assert [(item.vtid, item.vpid, item.vpgid) for item in found.values()] == [
        (1, 1, 1),
        (1, 1, 1),
        (2, 2, 2),
        (9, 9, 9),
    ]
    tick = 10**9 // os.sysconf("SC_CLK_TCK")
    starts = [item.rest["pidns_init_start_ts"] for item in found.values()]
    assert starts == [BTIME * 10**9 + 5 * tick, BTIME * 10**9 + 300 * tick, BTIME * 10**9 + 300 * tick, 0]


@pytest.mark.parametrize("comm", [b") R 1 1 1 (", b"a b", b"x\ny", b"\n", b"]", b"\xff\xfe"])
def test_hostile_comm(tree: Tree, comm: bytes) -> None:
    tree.process(42, comm=comm)
    assert tree.head().threads[42].comm == comm


def test_long_texts_are_cut_to_what_readers_take(tree: Tree) -> None:
    arguments = b"\0".join([b"x" * 2000, *(b"%d" % i for i in range(50_000))]) + b"\0"
    tree.process(42, cmdline=arguments, environ=b"K=" + b"v" * 200_000 + b"\0")
    found = tree.head().threads[42]
    assert found.exe == b"x" * 1023
    assert found.args == arguments[2001:4095] + b"\0"
    assert found.env == (b"K=" + b"v" * 4093) + b"\0"


def test_a_process_that_wrote_over_its_arguments(tree: Tree) -> None:
    tree.process(42, cmdline=b"nginx: worker process")
    found = tree.head().threads[42]
    assert (found.exe, found.args) == (b"nginx: worker process", b"")


def test_a_process_of_which_little_can_be_read(tree: Tree) -> None:
    tree.process(42)
    for name in ("cmdline", "environ", "comm", "cgroup", "loginuid", "exe", "cwd", "root", "limits", "ns/net"):
        (tree.root / "42" / name).unlink()
    found = tree.head().threads[42]
    assert (found.uid, found.comm, found.exe, found.cwd, found.cgroups) == (1001, b"sh", b"", b"", b"")
    assert (found.loginuid, found.fdlimit) == (0xFFFFFFFF, 2**64 - 1)


@pytest.mark.parametrize("missing", ["stat", "status"])
def test_a_process_that_vanishes_is_left_out(tree: Tree, missing: str) -> None:
    tree.process(42)
    tree.process(43)
    (tree.root / "42" / missing).unlink()
    assert list(tree.head().threads) == [43]


def test_a_process_that_vanishes_while_its_turn_comes(tree: Tree) -> None:
    for pid in (42, 43, 44):
        tree.process(pid)
    found = Head()
    pieces = procfs.blocks(tree.root)
    for piece in pieces:
        if struct.unpack_from("<I", piece)[0] == blocks.PL_V9:
            shutil.rmtree(tree.root / "43", ignore_errors=True)
            found.threads.update((entry.tid, entry) for entry in lists.processes(blocks.PL_V9, piece[8:-4]))
    assert list(found.threads) == [42, 44]


def test_hostile_numbers_fit_the_fields(tree: Tree) -> None:
    tree.process(42)
    huge = b"9" * 40
    tree.file(
        "42/status", b"Tgid:\t42\nPPid:\t-5\nUid:\t%s %s\nVmSize:\t%s kB\nNSpid:\t%s\n" % (huge, huge, huge, huge)
    )
    tree.file("42/stat", b"42 (x) S %s %s %s %s -1 0 %s 0 %s 0 1 2 0 0 20 0 1 0 %s\n" % ((huge,) * 7))
    tree.file("42/limits", b"Max open files  %s x\n" % huge)
    tree.file("stat", b"btime %s\n" % huge)
    assert tree.head().threads[42].comm == b"sh"


FILES = (
    "status",
    "comm",
    "cgroup",
    "loginuid",
    "cmdline",
    "environ",
    "limits",
    "mountinfo",
    "fdinfo/3",
    "net/tcp",
    "net/unix",
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(FILES), st.binary(max_size=200) | st.text("0123456789:- \n\t", max_size=80)))
def test_whatever_the_files_hold_the_blocks_are_sound(contents: dict[str, bytes | str]) -> None:
    with TemporaryDirectory() as directory:
        tree = Tree(Path(directory))
        tree.process(42)
        tree.fd(42, 3, "/etc/hosts")
        tree.fd(42, 4, "socket:[1]")
        for name, data in contents.items():
            tree.file(f"42/{name}", data if isinstance(data, bytes) else data.encode())
        assert tree.head().fds[42][3].name == b"/etc/hosts"


def test_what_is_no_directory_of_processes(tree: Tree, tmp_path: Path) -> None:
    tree.file("self/stat", b"")
    tree.file("42", b"a file")
    tree.file("43/stat", b"\xff" * 5000)
    os.mkfifo(tree.root / "44")
    (tree.root / "45").mkdir()
    os.mkfifo(tree.root / "45" / "stat")
    assert tree.head().threads == {}
    with pytest.raises(InputError, match="No such file"):
        list(procfs.blocks(tmp_path / "nowhere"))


def test_cgroups_are_told_while_scanning(tree: Tree) -> None:
    tree.process(42, cgroup=b"0::/docker/abc\n")
    told: list[bytes] = []
    tree.head(on_cgroups=told.append)
    assert told == [b"unified=/docker/abc\0"]


def test_kinds_of_fds(tree: Tree) -> None:
    tree.process(42)
    links: list[tuple[str | bytes, int, int, bytes]] = [
        ("/var/log/x.log", os.O_WRONLY | os.O_APPEND, 16, b"/var/log/x.log"),
        ("/var/lib", os.O_DIRECTORY, 2, b"/var/lib"),
        ("pipe:[4711]", os.O_WRONLY, 7, b"pipe:[4711]"),
        ("/memfd:buffer (deleted)", os.O_RDWR, 10, b"/memfd:buffer (deleted)"),
        ("anon_inode:[eventfd]", 0, 9, b""),
        ("anon_inode:[signalfd]", 0, 11, b""),
        ("anon_inode:[eventpoll]", 0, 12, b""),
        ("anon_inode:inotify", 0, 13, b""),
        ("anon_inode:[timerfd]", 0, 14, b""),
        ("anon_inode:bpf-prog", 0, 10, b"anon_inode:bpf-prog"),
        ("anon_inode:[userfaultfd]", 0, 10, b"anon_inode:[userfaultfd]"),
        ("anon_inode:[io_uring]", 0, 10, b"anon_inode:[io_uring]"),
        ("anon_inode:[pidfd]", 0, 10, b"anon_inode:[pidfd]"),
        ("anon_inode:[perf_event]", 0, 10, b"anon_inode:[perf_event]"),
        ("/srv/gone (deleted)", os.O_RDWR, 16, b"/srv/gone (deleted)"),
        (b"/srv/a\nb \xff]", 0, 16, b"/srv/a\nb \xff]"),
        ("pipe:[x]", 0, 16, b"pipe:[x]"),
        ("net:[4026531840]", 0, 16, b"net:[4026531840]"),
    ]
    for fd, (target, flags, _, _) in enumerate(links):
        tree.fd(42, fd, target, flags=flags)
    found = tree.head().fds[42]
    assert [(found[fd].type, found[fd].name) for fd in range(len(links))] == [
        (kind, name) for _, _, kind, name in links
    ]
    assert found[0].open_flags == 2 | 8
    assert (found[0].ino, found[2].ino) == (77, 4711)


def test_the_device_of_a_file_is_its_mounts(tree: Tree) -> None:
    tree.process(42)
    tree.fd(42, 3, "/etc/hosts")
    tree.fd(42, 4, "/elsewhere", mount=999)
    piece = next(p for p in procfs.blocks(tree.root) if struct.unpack_from("<I", p)[0] == blocks.FDL_V2)
    assert piece[16:-4].rstrip(b"\0").endswith(b"/elsewhere")  # device 0
    # 259:300 as linux/kdev_t.h packs it
    assert struct.pack("<I", 300 & 0xFF | 259 << 8 | (300 & ~0xFF) << 12) in piece


def test_sockets_are_those_of_the_network_namespace(tree: Tree) -> None:
    row = b"   0: %s:1F90 %s 0A 00000000:00000000 00:00000000 00000000     0        0 33085 1 ffff888100000000 100\n"
    for pid, namespace, table in (
        (42, "net:[1]", row % (b"0100007F", b"00000000:0000")),
        (43, "net:[2]", row % (b"0200007F", b"0300007F:0050")),
        (44, "net:[1]", b""),
    ):
        tree.process(pid)
        (tree.root / str(pid) / "ns/net").unlink()
        tree.link(f"{pid}/ns/net", namespace)
        tree.file(f"{pid}/net/tcp", b"  sl  local_address\n" + table)
        tree.fd(pid, 3, "socket:[33085]")
        tree.fd(pid, 4, "socket:[1]")
    found = tree.head().fds
    assert found[42] == {3: FdEntry(3, 33085, 5, sip=ip4("127.0.0.1"), sport=8080, l4proto=2)}
    assert found[43] == {
        3: FdEntry(3, 33085, 3, sip=ip4("127.0.0.2"), dip=ip4("127.0.0.3"), sport=8080, dport=80, l4proto=2)
    }
    assert found[44] == found[42], "a namespace is read once"


def test_many_fds_are_several_blocks(tree: Tree) -> None:
    tree.process(42)
    for fd in range(600):
        tree.link(f"42/fd/{fd}", f"pipe:[{fd + 1}]")
    found = tree.head()
    assert list(found.fds[42]) == list(range(600))
    assert found.kinds.count(blocks.FDL_V2) == 3


def test_no_link_of_a_recorded_tree_is_followed(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("asked the host")

    tree.process(42)
    tree.fd(42, 3, "/etc")
    for name in ("stat", "interfaces", "users"):
        monkeypatch.setattr(procfs.host, name, forbidden)
    assert tree.head().fds[42][3].type == 16


# This host

WORKLOAD = """
import json, os, socket, sys, tempfile, threading
directory = tempfile.mkdtemp(dir=sys.argv[1])
os.chdir(directory)
fds = {}
def keep(name, fd, **more):
    fds[name] = {"fd": fd if isinstance(fd, int) else fd.fileno(), **more}
    keep.all.append(fd)
keep.all = []
keep("file", os.open("data", os.O_WRONLY | os.O_CREAT | os.O_APPEND), ino=os.stat("data").st_ino)
keep("directory", os.open(".", os.O_RDONLY))
keep("gone", os.open("gone", os.O_RDWR | os.O_CREAT)); os.unlink("gone")
os.mkfifo("fifo"); keep("fifo", os.open("fifo", os.O_RDWR))
keep("null", os.open("/dev/null", os.O_RDONLY))
r, w = os.pipe(); keep("read", r); keep("write", w)
keep("memfd", os.memfd_create("buffer"))
keep("eventfd", os.eventfd(0))
import select; keep("epoll", select.epoll())
keep("pidfd", os.pidfd_open(os.getpid()))
for name, family, host in (("4", socket.AF_INET, "127.0.0.1"), ("6", socket.AF_INET6, "::1")):
    try:
        server = socket.socket(family); server.bind((host, 0)); server.listen()
    except OSError:
        continue
    port = server.getsockname()[1]
    keep("server" + name, server, port=port)
    client = socket.create_connection((host, port)); own = client.getsockname()[1]
    keep("client" + name, client, sport=own, dport=port)
    keep("accepted" + name, server.accept()[0], sport=port, dport=own)
    udp = socket.socket(family, socket.SOCK_DGRAM); udp.bind((host, 0))
    keep("udp" + name, udp, port=udp.getsockname()[1])
    peer = socket.socket(family, socket.SOCK_DGRAM); peer.connect(udp.getsockname())
    keep("peer" + name, peer, sport=peer.getsockname()[1], dport=udp.getsockname()[1])
unix = socket.socket(socket.AF_UNIX); unix.bind("s o"); unix.listen(); keep("unix", unix)
a, b = socket.socketpair(); keep("pair", a); keep("pair2", b)
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); netlink.bind((0, 0)); keep("netlink", netlink)
ready = threading.Event()
def work():
    work.tid = threading.get_native_id()
    ready.set()
    threading.Event().wait()
threading.Thread(target=work, daemon=True).start()
ready.wait()
print(json.dumps({"fds": fds, "tid": work.tid, "cwd": os.getcwd()}), flush=True)
sys.stdin.read()
"""


@dataclass
class Workload:
    process: subprocess.Popen[bytes]
    says: dict[str, Any]


@pytest.fixture
def workload(tmp_path: Path) -> Iterator[Workload]:
    """A process with an fd of every kind, which says what it has."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc")
    process = subprocess.Popen(
        [sys.executable, "-c", WORKLOAD, str(tmp_path), "an argument"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"MARK": "here"},
    )
    assert process.stdout is not None
    try:
        yield Workload(process, json.loads(process.stdout.readline()))
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_a_process_of_this_host(workload: Workload) -> None:
    found = head(procfs.blocks())
    assert found.machine is not None
    assert found.machine.hostname == socket.gethostname().encode()
    assert found.machine.num_cpus == os.sysconf("SC_NPROCESSORS_ONLN")
    pid, says = workload.process.pid, workload.says
    entry = found.threads[pid]
    assert (entry.pid, entry.ptid, entry.uid, entry.gid) == (pid, os.getpid(), os.geteuid(), os.getegid())
    assert entry.exe == sys.executable.encode()
    assert entry.args.split(b"\0")[2:] == [str(Path(says["cwd"]).parent).encode(), b"an argument", b""]
    assert entry.env == b"MARK=here\0"
    assert entry.cwd == says["cwd"].encode()
    real = os.stat(f"/proc/{pid}/exe")
    assert entry.exepath == os.readlink(f"/proc/{pid}/exe").encode()
    assert (entry.rest["exe_ino"], entry.rest["exe_ino_mtime"]) == (real.st_ino, real.st_mtime_ns)
    assert found.threads[says["tid"]].pid == pid
    assert found.threads[says["tid"]].flags == 8193

    kinds = {
        "file": 16, "directory": 2, "gone": 16, "fifo": 7, "null": 16, "read": 7, "write": 7, "memfd": 10, "pidfd": 10,
        "eventfd": 9, "epoll": 12, "server4": 5, "client4": 3, "accepted4": 3, "udp4": 5, "peer4": 3,
        "server6": 6, "client6": 4, "accepted6": 4, "udp6": 6, "peer6": 4, "unix": 8, "pair": 8, "pair2": 8,
        "netlink": 15,
    }  # fmt: skip
    listed = {name: found.fds[pid][fd["fd"]] for name, fd in says["fds"].items()}
    assert {name: item.type for name, item in listed.items()} == {name: kinds[name] for name in says["fds"]}
    assert listed["file"].name == f"{says['cwd']}/data".encode()
    assert listed["file"].open_flags & 0xFFF == 2 | 8
    assert listed["file"].ino == says["fds"]["file"]["ino"]
    assert listed["gone"].name == f"{says['cwd']}/gone (deleted)".encode()
    assert listed["null"].name == b"/dev/null"
    assert listed["read"].name == listed["write"].name
    assert listed["memfd"].name == b"/memfd:buffer (deleted)"
    assert listed["unix"].name == b"s o"
    for name, item in listed.items():
        said = says["fds"][name]
        if item.type in (5, 6):
            assert item.sport == said["port"], name
        elif item.type in (3, 4):
            assert (item.sport, item.dport) == (said["sport"], said["dport"]), name
        if item.type in (3, 5):
            assert item.sip == ip4("127.0.0.1")
        elif item.type in (4, 6):
            assert item.sip6 == ip6("::1")
        if item.type in (3, 4, 5, 6):
            assert item.l4proto == (3 if name.startswith(("udp", "peer")) else 2), name


# What waits without end


def test_work_that_waits_without_end_is_left_alone() -> None:
    never = threading.Event()
    patience = Patience(seconds=120)
    try:
        assert patience.call(lambda: b"one") == b"one"
        patience._left = 0.02  # only the call that is in vain is not to last
        assert patience.call(lambda: bytes([never.wait()])) == b""
        assert patience._left < 0.02
        patience._left = 120
        assert patience.call(lambda: b"two") == b"two"
    finally:
        never.set()
        patience.close()


def test_no_more_threads_wait_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "MAX_LIVE_STUCK", 2)
    never = threading.Event()
    patience = Patience(seconds=0.02)
    begun = SimpleQueue[int]()

    def wait() -> bytes:
        begun.put(1)
        return bytes([never.wait()])

    try:
        assert [patience.call(wait) for _ in range(5)] == [b""] * 5
        assert [begun.get(timeout=60) for _ in range(2)] == [1, 1]
        assert patience.call(lambda: b"one") == b""
        assert begun.empty()
    finally:
        never.set()
        patience.close()


def test_a_process_whose_memory_cannot_be_had_holds_nothing_up(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where it holds the lock of its memory: its arguments are missing, all else of it and of others is there."""
    never = threading.Event()
    real = procfs.read_or_empty

    def read(name: str, directory: int, *limits: int, **options: bool) -> bytes:
        if name in ("cmdline", "environ") and real("stat", directory).startswith(b"%d " % workload.process.pid):
            never.wait()
        return real(name, directory, *limits, **options)

    monkeypatch.setattr(procfs, "read_or_empty", read)
    monkeypatch.setattr(procfs, "Patience", partial(Patience, seconds=0.1))
    try:
        entry = head(procfs.blocks()).threads[workload.process.pid]
    finally:
        never.set()
    assert (entry.exe, entry.args, entry.env) == (b"", b"", b"")
    assert entry.cwd == workload.says["cwd"].encode()


def test_this_hosts_users_and_interfaces(workload: Workload) -> None:
    found = head(procfs.blocks())
    assert UserEntry(0, 0, b"root", 0, b"/root", found.users[0].shell) in found.users
    assert (b"lo", ip4("127.0.0.1")) in {(item.name, item.addr) for item in found.interfaces if item.addr6 is None}


def capture(path: Path, pid: int) -> None:
    """The head of this host's capture and one event: sysdig reads no capture without."""
    with path.open("wb") as file:
        for piece in procfs.blocks():
            file.write(piece)
        out = io.BytesIO()
        ScapWriter(out).event(2_000_000_000_000_000_000, pid, "PPME_SYSCALL_WRITE_X", [4, b"data"])
        file.write(out.getvalue())


def test_sysporter_converts_the_head_without_a_word(workload: Workload, tmp_path: Path) -> None:
    capture(tmp_path / "host.scap", workload.process.pid)
    command = [sys.executable, "-m", "sftools.tools.sysporter", "--strict", "-r", "host.scap", "-w", "host.sf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | python_path())
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "host.sf").stat().st_size > 0


def python_path() -> dict[str, str]:
    """The package under test, wherever the command runs."""
    return {"PYTHONPATH": str(Path(procfs.__file__).parents[2])}


def test_sysdig_reads_the_head(workload: Workload, tmp_path: Path) -> None:
    program = shutil.which("sysdig")
    if program is None:
        pytest.skip("sysdig is not installed (apt-get install sysdig)")
    capture(tmp_path / "host.scap", workload.process.pid)
    fields = "%proc.pid|%proc.ppid|%proc.exepath|%proc.cwd|%user.uid|%thread.tid"
    command = [program, "-r", str(tmp_path / "host.scap"), "-p", fields]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pid = workload.process.pid
    exepath = os.readlink(f"/proc/{pid}/exe")
    assert done.stdout.strip() == f"{pid}|{os.getpid()}|{exepath}|{workload.says['cwd']}/|{os.geteuid()}|{pid}"
