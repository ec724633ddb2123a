"""Fd tables: what is open under which number, whose it is, and what an exec or a fork makes of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from sftools.engine.state_cy import FdInfo, FdTable
from sftools.limits import MAX_FDS, MAX_FDS_PER_PROCESS
from sftools.scap.writer import ScapWriter

Convert = Callable[..., Any]

visible = pytest.mark.skipif(not hasattr(FdTable, "put"), reason="compiled: these methods are C only")

SHELL = """process 1 comm=init exe=/sbin/init exepath=/sbin/init
process 500 parent=1 comm=sh exe=/bin/sh exepath=/bin/sh cwd=/srv
fd 500 0 file /dev/null
fd 500 3 file /srv/keep.txt flags=O_RDWR
fd 500 4 file /srv/drop.txt flags=O_RDWR|O_CLOEXEC
fd 500 5000 file /srv/far-keep.txt flags=O_RDWR
fd 500 5001 file /srv/far-drop.txt flags=O_RDWR|O_CLOEXEC
"""


def fds(pid: int) -> Callable[[Any], list[int]]:
    """The open fd numbers of a process, as `look` of convert wants it."""
    return lambda engine: numbers(engine.threads.groups[pid].fds)


def entry(name: bytes = b"/a", cloexec: bool = False) -> Any:
    info: Any = FdInfo()
    info.type = 16
    info.name = name
    info.cloexec = cloexec
    return info


def numbers(table: Any) -> list[int]:
    """All open fd numbers of a table."""
    found: list[int] = table.numbers(0, 2**31 - 1)
    return found


# The table itself

NUMBERS = [0, 1, 1023, 1024, 1025, 65_536, 0x7FFFFFFF]


@visible
@pytest.mark.parametrize("fd", NUMBERS)
def test_put_get_remove(fd: int) -> None:
    """Numbers are looked up in a list or, far ones, in a dict: the same either way."""
    table: Any = FdTable()
    info = entry()
    assert table.get(fd) is None
    assert table.put(fd, info)
    assert table.get(fd) is info
    assert (table.count, numbers(table)) == (1, [fd])
    table.remove(fd)
    assert table.get(fd) is None
    assert (table.count, numbers(table)) == (0, [])
    table.remove(fd)
    assert table.count == 0


@visible
@pytest.mark.parametrize("fd", [-1, -100, -(2**63), 2**31, 2**63 - 1])
def test_numbers_that_are_no_fd(fd: int) -> None:
    table: Any = FdTable()
    assert not table.put(fd, entry())
    assert table.get(fd) is None
    table.remove(fd)
    assert table.count == 0


@visible
@pytest.mark.parametrize("fd", NUMBERS)
def test_put_replaces(fd: int) -> None:
    table: Any = FdTable()
    table.put(fd, entry(b"/old"))
    table.put(fd, entry(b"/new"))
    assert (table.get(fd).name, table.count) == (b"/new", 1)


@visible
def test_numbers_are_ascending() -> None:
    table: Any = FdTable()
    for fd in (70_000, 3, 1024, 0, 5000):
        table.put(fd, entry())
    assert numbers(table) == [0, 3, 1024, 5000, 70_000]


@visible
@pytest.mark.parametrize(
    ("first", "last", "found"),
    [
        (0, 0, [0]),
        (1, 1024, [3, 1024]),
        (4, 1023, []),
        (1024, 1024, [1024]),
        (1025, 69_999, [5000]),
        (5000, 2**32 - 1, [5000, 70_000]),
        (9, 3, []),
        (2**32 - 1, 2**32 - 1, []),
    ],
)
def test_numbers_of_a_range(first: int, last: int, found: list[int]) -> None:
    """The ends belong to it; both the list and the dict are looked at."""
    table: Any = FdTable()
    for fd in (70_000, 3, 1024, 0, 5000):
        table.put(fd, entry())
    assert table.numbers(first, last) == found


@visible
def test_a_copy_is_apart() -> None:
    table: Any = FdTable()
    table.put(3, entry(b"/three"))
    table.put(5000, entry(b"/far"))
    other = table.copy()
    other.remove(3)
    other.put(5000, entry(b"/other"))
    assert numbers(table) == [3, 5000]
    assert table.get(5000).name == b"/far"
    assert (table.count, other.count) == (2, 1)


@visible
@pytest.mark.parametrize("fd", [3, 5000])
def test_an_entry_is_cloned_before_one_of_two_tables_changes_it(fd: int) -> None:
    table: Any = FdTable()
    table.put(fd, entry(b"/shared"))
    assert table.own(fd, table.get(fd)) is table.get(fd)
    other = table.copy()
    for mine, name in ((table, b"/mine"), (other, b"/theirs")):
        info = mine.own(fd, mine.get(fd))
        info.name = name
        assert mine.get(fd) is info
    assert (table.get(fd).name, other.get(fd).name) == (b"/mine", b"/theirs")
    assert (table.count, other.count) == (1, 1)


@visible
def test_close_on_exec() -> None:
    table: Any = FdTable()
    for fd in (3, 1023, 1024, 5000):
        table.put(fd, entry())
        table.put(fd + 10_000, entry(cloexec=True))
    table.put(4, entry(cloexec=True))
    table.close_on_exec()
    assert (numbers(table), table.count) == ([3, 1023, 1024, 5000], 4)


@visible
def test_an_entry_costs_what_it_did_when_it_was_put() -> None:
    """Else the room for fds shrinks, or grows, with every name that changes while the fd is open."""
    table: Any = FdTable()
    for before, after in ((b"/a", b"/" + b"b" * 16_000), (b"/" + b"b" * 16_000, b"/a")):
        info = entry(before)
        table.put(2000, info)
        info.name = after
        table.remove(2000)
        assert table.weight == 0


@visible
def test_places_for_near_fds_cost() -> None:
    """A process with nothing but fd 1023 open has a list of a thousand."""
    table: Any = FdTable()
    table.put(1023, entry())
    assert table.weight >= len(table.near) // 32 == 32


@visible
def test_a_table_is_bounded() -> None:
    """Full, it takes no further number, but still a new file under one that it has."""
    table: Any = FdTable()
    assert all(table.put(fd, entry()) for fd in range(1000, 1000 + MAX_FDS_PER_PROCESS))
    assert not table.put(0, entry())
    assert not table.put(10**6, entry())
    assert table.count == MAX_FDS_PER_PROCESS
    assert table.put(70_000 - 10_000, entry(b"/new"))
    table.remove(1000)
    assert table.put(10**6, entry())


# By way of captures


def test_fds_of_the_list_are_open(convert: Convert) -> None:
    assert convert(SHELL, look=fds(500)).seen == [0, 3, 4, 5000, 5001]


@pytest.mark.parametrize("fd", [4, 1023, 1024, 65_535, 0x7FFFFFFF])
def test_a_file_is_open_from_open_to_close(convert: Convert, fd: int) -> None:
    text = f"process 500 comm=sh exe=/bin/sh\n+ 500 openat dirfd=AT_FDCWD name=/a flags=O_WRONLY fd={fd} mode=0\n"
    assert convert(text, look=fds(500)).seen == [fd]
    done = convert(text + f"+ 500 close fd={fd} res=0", look=fds(500))
    assert done.seen == []
    assert done.flows() == [(500, fd, "/a", "OPEN CLOSE")]


@pytest.mark.parametrize("fd", [-1, -9, 2**31, 2**62])
def test_a_result_that_is_no_fd_opens_nothing(convert: Convert, fd: int) -> None:
    text = f"process 500 comm=sh exe=/bin/sh\n+ 500 openat dirfd=AT_FDCWD name=/a flags=O_WRONLY fd={fd} mode=0\n"
    done = convert(text, look=fds(500))
    assert (done.seen, done.flows()) == ([], [])


def test_a_close_that_failed_closes_nothing(convert: Convert) -> None:
    assert 3 in convert(SHELL + "+ 500 close fd=3 res=-EIO", look=fds(500)).seen


def test_an_exec_closes_what_is_close_on_exec(convert: Convert) -> None:
    done = convert(SHELL + "+ 500 execve filename=/bin/next", look=fds(500))
    assert done.seen == [0, 3, 5000]


def test_an_exec_that_failed_closes_nothing(convert: Convert) -> None:
    done = convert(SHELL + "+ 500 execve filename=/bin/next res=-ENOENT", look=fds(500))
    assert done.seen == [0, 3, 4, 5000, 5001]


@pytest.mark.parametrize(
    ("call", "stays"),
    [
        ("openat dirfd=AT_FDCWD name=/a flags=O_RDONLY|O_CLOEXEC fd=9 mode=0", False),
        ("openat dirfd=AT_FDCWD name=/a flags=O_RDONLY fd=9 mode=0", True),
        ("socket domain=AF_INET type=0x80001 proto=0 fd=9", False),
        ("socket domain=AF_INET type=1 proto=0 fd=9", True),
        ("accept4 flags=0x80000 fd=9 tuple=1.2.3.4:5->6.7.8.9:10", False),
        ("accept4 flags=0 fd=9 tuple=1.2.3.4:5->6.7.8.9:10", True),
        ("dup fd=4 res=9 oldfd=4", True),
        ("dup3 enter.fd=3 oldfd=3 newfd=9 flags=O_CLOEXEC res=9", False),
        ("dup2 enter.fd=4 oldfd=4 newfd=9 res=9", True),
        ("fcntl fd=4 cmd=1 res=9", True),
        ("fcntl fd=3 cmd=26 res=9", False),
        ("pipe2 res=0 fd1=9 fd2=10 ino=1 flags=O_CLOEXEC", False),
        ("pipe2 res=0 fd1=9 fd2=10 ino=1 flags=0", True),
        ("memfd_create fd=9 name=m flags=0", True),
    ],
)
def test_who_stays_open_over_an_exec(convert: Convert, call: str, stays: bool) -> None:
    """The flag belongs to the number, not to the file: a duplicate begins without it."""
    text = SHELL + f"+ 500 {call}\n"
    assert 9 in convert(text, look=fds(500)).seen
    assert (9 in convert(text + "+ 500 execve filename=/bin/next", look=fds(500)).seen) == stays


@pytest.mark.parametrize(
    "call",
    [
        "eventfd2 res=9 initval=0 flags=O_CLOEXEC",
        "inotify_init1 res=9 flags=O_CLOEXEC",
        "signalfd4 res=9 flags=O_CLOEXEC",
    ],
)
def test_other_fds_that_are_close_on_exec(convert: Convert, call: str) -> None:
    assert 9 not in convert(SHELL + f"+ 500 {call}\n+ 500 execve filename=/bin/next", look=fds(500)).seen


def test_a_forked_process_has_a_copy(convert: Convert) -> None:
    text = SHELL + "+ 500 clone child=501 flags=0\n+ 501 close fd=3 res=0\n+ 500 close fd=0 res=0\n"
    assert convert(text, look=fds(500)).seen == [3, 4, 5000, 5001]
    assert convert(text, look=fds(501)).seen == [0, 4, 5000, 5001]


def test_with_clone_files_the_table_is_one(convert: Convert) -> None:
    text = SHELL + "+ 500 clone child=501 flags=CLONE_FILES\n+ 501 close fd=3 res=0\n"
    assert convert(text, look=fds(500)).seen == [0, 4, 5000, 5001]
    assert convert(text, look=lambda e: e.threads.groups[500].fds is e.threads.groups[501].fds).seen


@pytest.mark.parametrize("call", ["unshare flags=CLONE_FILES res=0", "execve filename=/bin/next"])
def test_unshare_and_exec_end_the_sharing(convert: Convert, call: str) -> None:
    text = SHELL + f"+ 500 clone child=501 flags=CLONE_FILES\n+ 501 {call}\n+ 501 close fd=3 res=0\n"
    done = convert(text, look=lambda e: (fds(500)(e), fds(501)(e)))
    assert 3 in done.seen[0]
    assert 4 in done.seen[0]
    assert 3 not in done.seen[1]


def test_a_shared_table_outlives_one_of_its_processes(convert: Convert) -> None:
    text = SHELL + "+ 500 clone child=501 flags=CLONE_FILES\n+ 500 procexit ret=0\n"
    assert convert(text, look=fds(501)).seen == [0, 3, 4, 5000, 5001]


def test_a_change_in_a_forked_process_is_its_own(convert: Convert) -> None:
    """Both have the socket; the child connects it."""
    text = (
        "process 500 comm=sh exe=/bin/sh\n+ 500 socket domain=AF_INET type=2 proto=17 fd=3\n"
        "+ 500 clone child=501 flags=0\n"
        "+ 501 connect fd=3 addr=192.0.2.53:53 res=0 tuple=192.0.2.20:6001->192.0.2.53:53\n"
        "+ 501 write fd=3 size=1 res=1 data=x\n+ 500 write fd=3 size=1 res=1 data=x\n"
    )
    done = convert(text)
    assert done.net() == [("192.0.2.20:6001->192.0.2.53:53", "CONNECT WRITE_SEND TRUNCATE")]
    assert done.of("NetworkFlow")[0]["procOID"]["hpid"] == 501


@pytest.mark.parametrize(
    ("call", "left"),
    [
        ("close_range first=4 last=5000 flags=0 res=0", [0, 3, 5001]),
        ("close_range first=3 last=0xffffffff flags=0 res=0", [0]),
        ("close_range first=3 last=0xffffffff flags=0 res=-EINVAL", [0, 3, 4, 5000, 5001]),
        ("close_range first=9 last=3 flags=0 res=0", [0, 3, 4, 5000, 5001]),
        ("close_range first=5000 last=5000 flags=0 res=0", [0, 3, 4, 5001]),
    ],
)
def test_close_range(convert: Convert, call: str, left: list[int]) -> None:
    assert convert(SHELL + f"+ 500 {call}", look=fds(500)).seen == left


def test_close_range_close_on_exec(convert: Convert) -> None:
    """Also in a table that another process shares the entries of: there nothing changes."""
    text = SHELL + (
        "+ 500 clone child=600 flags=0\n+ 600 close_range first=3 last=0xffffffff flags=4 res=0\n"
        "+ 600 execve filename=/x exe=x\n+ 500 execve filename=/x exe=x"
    )
    assert convert(text, look=lambda engine: (fds(600)(engine), fds(500)(engine))).seen == ([0], [0, 3, 5000])


def test_pidfd_getfd_takes_another_processes_fd(convert: Convert) -> None:
    text = SHELL + (
        "process 600 comm=d exe=/bin/d\n+ 600 pidfd_open fd=3 pid=500 flags=0\n"
        "+ 600 pidfd_getfd fd=8 pid_fd=3 target_fd=3 flags=0\n+ 600 write fd=8 size=1 res=1 data=x"
    )
    done = convert(text)
    assert done.flows() == [(600, 8, "/srv/keep.txt", "WRITE_SEND TRUNCATE")]


def test_the_fds_of_a_process_are_bounded(convert: Convert, needs_compiled: None) -> None:
    out = io.BytesIO()
    writer = ScapWriter(out)
    writer.section()
    writer.process_list([{"tid": 500, "pid": 500, "ptid": 1, "vtid": 500, "vpid": 500}])
    for fd in range(MAX_FDS_PER_PROCESS + 100):
        writer.event(10**9, 500, "PPME_SYSCALL_SIGNALFD4_X", (fd, 0))
    done = convert(out.getvalue(), decoded=False, look=lambda e: len(fds(500)(e)))
    assert done.seen == MAX_FDS_PER_PROCESS


def test_fds_are_given_back_where_a_group_gets_a_new_table(convert: Convert) -> None:
    """A main thread that is flagged as one joins a group that is there, with its parent's fds, again and again."""
    out = io.BytesIO()
    writer = ScapWriter(out)
    writer.section()
    writer.process_list([{"tid": 400, "pid": 400, "ptid": 1, "vtid": 400, "vpid": 400}])
    for fd in range(300):
        params = (fd, -100, b"/" + b"a" * 16_000, 1, 0, 0, 0)
        writer.event(10**9, 400, "PPME_SYSCALL_OPENAT_2_X", params)
    weight = 300 * (1 + (16_001 >> 8))
    for i in range(MAX_FDS // weight + 10):
        tid = 1000 + i
        params = (0, b"a", b"", tid, 500, 400, b"", 0, 0, 0, 0, 0, 0, b"a", b"", 0, 0, 0, tid, 500, 0)
        writer.event(10**9 + i, tid, "PPME_SYSCALL_CLONE_20_X", params)
    done = convert(out.getvalue(), look=lambda engine: (engine.threads.refused, len(fds(500)(engine))))
    assert done.seen == (0, 300)
