"""Threads, processes and their parents, also where events were lost."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from sftools.limits import MAX_THREADS
from sftools.scap import tables
from sftools.scap.writer import ScapWriter

SHELL = """process 1 comm=init exe=/sbin/init exepath=/sbin/init
process 500 parent=1 comm=sh exe=/bin/sh exepath=/bin/sh cwd=/srv
fd 500 3 file /srv/shared.txt flags=O_RDWR
"""
THREAD = "CLONE_FILES|CLONE_FS|CLONE_THREAD|CLONE_VM|CLONE_SIGHAND"
SECOND = 10**9

Convert = Callable[..., Any]


def capture(write: Callable[[ScapWriter], object]) -> bytes:
    """A capture of a writer's calls."""
    out = io.BytesIO()
    writer = ScapWriter(out)
    writer.section()
    writer.machine_info()
    write(writer)
    return out.getvalue()


def processes(done: Any) -> list[tuple[int, str, int | None]]:
    """Process records as (pid, exe, parent's pid)."""
    return [(p["oid"]["hpid"], p["exe"], p["poid"] and p["poid"]["hpid"]) for p in done.of("Process")]


# Forks


def test_a_fork_is_seen_in_the_parent_and_in_the_child(convert: Convert) -> None:
    done = convert(SHELL + "+ 500 clone child=501 flags=0")
    assert done.events() == [(500, 500, "CLONE", 501), (501, 501, "CLONE", 0)]
    assert processes(done) == [(1, "/sbin/init", None), (500, "/bin/sh", 1), (501, "/bin/sh", 500)]


@pytest.mark.parametrize("which", ["only=parent", "only=child", "first=child", ""])
def test_a_child_is_the_same_whichever_side_was_recorded(convert: Convert, which: str) -> None:
    """It has its parent's program, working directory and fds."""
    done = convert(SHELL + f"+ 500 clone child=501 flags=0 {which}\n+ 501 write fd=3 size=1 res=1 data=x")
    child = next(p for p in done.of("Process") if p["oid"]["hpid"] == 501)
    assert (child["exe"], child["cwd"], child["poid"]["hpid"]) == ("/bin/sh", "/srv/", 500)
    assert (501, 3, "/srv/shared.txt", "WRITE_SEND TRUNCATE") in done.flows()
    assert done.self_contained()


def test_a_process_starts_when_it_was_cloned(convert: Convert) -> None:
    """createTS is the time of the first of the two exits of clone; 0 for who ran before the capture."""
    done = convert(SHELL + "=1700000000000000000 500 clone child=501 flags=0 only=child")
    created = {p["oid"]["hpid"]: p["oid"]["createTS"] for p in done.of("Process")}
    assert created == {1: 0, 500: 0, 501: 1_700_000_000_000_000_000}


def test_a_failed_clone_is_an_event_of_the_parent(convert: Convert) -> None:
    done = convert(SHELL + "+ 500 clone res=-EAGAIN flags=0", proc_flow=False)
    assert done.events() == [(500, 500, "CLONE", -11)]
    assert not any(pid == -11 for pid, _, _ in processes(done))


def test_vfork_makes_the_child_by_its_own_event(convert: Convert) -> None:
    done = convert(SHELL + "+ 500 vfork child=501 first=child")
    assert done.events() == [(501, 501, "CLONE", 0), (500, 500, "CLONE", 501)]


def test_a_child_in_a_pid_namespace_goes_by_its_own_event(convert: Convert) -> None:
    """The parent is told the number in the namespace: it is not the host's thread of that number."""
    text = SHELL + "+ 500 clone child=777 flags=CLONE_NEWPID vtid=1 vpid=1"
    done = convert(text, look=lambda engine: sorted(engine.threads.by_tid))
    assert done.seen == [1, 500, 777]
    child = next(p for p in done.of("Process") if p["oid"]["hpid"] == 777)
    assert child["entry"] is True


def test_a_container_has_its_entry_where_the_vpid_is_1(convert: Convert) -> None:
    text = (
        "process 900 parent=1 comm=a exe=/bin/a vpid=1 vtid=1\nprocess 901 parent=900 comm=b exe=/bin/b vpid=2 vtid=2\n"
    )
    done = convert(text + "+ 901 mkdir path=/x mode=0 res=0")
    assert {p["oid"]["hpid"]: p["entry"] for p in done.of("Process")} == {900: True, 901: False}


# Pids that return


def test_a_pid_returns_after_an_exit(convert: Convert) -> None:
    done = convert(
        SHELL + "+ 500 clone child=501 flags=0\n+ 501 procexit ret=0\n"
        "+5s 500 clone child=501 flags=0\n+ 501 mkdir path=/second mode=0 res=0"
    )
    ids = {(p["oid"]["hpid"], p["oid"]["createTS"]) for p in done.of("Process") if p["oid"]["hpid"] == 501}
    assert len(ids) == 2
    assert done.self_contained()


@pytest.mark.parametrize("which", ["only=parent", "only=child"])
def test_a_pid_returns_whose_exit_was_lost(convert: Convert, which: str) -> None:
    """Long after it was cloned, a clone of the same tid means another process: it has nothing of the old one's."""
    done = convert(
        SHELL + f"+ 500 clone child=501 flags=0 {which.replace('child', 'parent')}\n"
        "+ 501 openat dirfd=AT_FDCWD name=/srv/old flags=O_WRONLY fd=9 mode=0\n"
        f"+10s 500 clone child=501 flags=0 {which}\n+ 501 write fd=9 size=1 res=1 data=x\n"
        f"+ 501 mkdir path=/x mode=0 res=0"
    )
    assert len({p["oid"]["createTS"] for p in done.of("Process") if p["oid"]["hpid"] == 501}) == 2
    assert (501, 9, "/srv/old", "WRITE_SEND TRUNCATE") not in done.flows()


def test_the_clock_may_step_back_between_the_two_sides_of_a_clone(convert: Convert) -> None:
    """The child's event then has an earlier time than the parent's: it is one child, and began when its own event says.

    The ages are unsigned in libsinsp: a child that seems to be of the future is taken for one long gone.
    """
    text = SHELL + (
        "=1700000000000000000 500 clone child=501 flags=0 only=parent\n"
        "=1699999999999000000 500 clone child=501 flags=0 only=child -enter\n"
        "+ 501 mkdir path=/x mode=0 res=0"
    )
    done = convert(text)
    (child,) = [p for p in done.of("Process") if p["oid"]["hpid"] == 501]
    assert child["oid"]["createTS"] == 1_699_999_999_999_000_000
    assert done.of("Process")[-1]["oid"] == done.of("FileEvent")[-1]["procOID"]


# Threads of a process


def test_threads_are_no_processes(convert: Convert) -> None:
    """A record of a thread carries the process's OID and the thread's tid."""
    done = convert(SHELL + f"+ 500 clone child=502 flags={THREAD}\n+ 502 mkdir path=/x mode=0 res=0", proc_flow=False)
    event = done.one("FileEvent")
    assert (event["procOID"]["hpid"], event["tid"]) == (500, 502)
    assert sorted({pid for pid, _, _ in processes(done)}) == [1, 500]
    assert done.events() == [(500, 500, "CLONE", 502), (500, 502, "CLONE", 0)]


def test_threads_share_fds_and_working_directory(convert: Convert) -> None:
    done = convert(
        SHELL + f"+ 500 clone child=502 flags={THREAD}\n+ 502 chdir path=/tmp res=0\n"
        "+ 502 openat dirfd=AT_FDCWD name=a flags=O_WRONLY fd=7 mode=0\n+ 500 write fd=7 size=1 res=1 data=x"
    )
    assert (500, 7, "/tmp/a", "WRITE_SEND TRUNCATE") in done.flows()


def test_a_process_lives_as_long_as_its_threads(convert: Convert) -> None:
    """The main thread may exit first: the others still have its fds."""
    done = convert(
        SHELL + f"+ 500 clone child=502 flags={THREAD}\n+ 500 procexit ret=0\n+ 502 write fd=3 size=1 res=1 data=x\n"
        "+ 502 procexit ret=0",
        look=lambda engine: sorted(engine.threads.by_tid),
    )
    assert any(tid == 502 and path == "/srv/shared.txt" for tid, _, path, _ in done.flows())
    assert done.seen == [1]


def test_an_exec_ends_the_other_threads(convert: Convert) -> None:
    done = convert(
        SHELL + f"+ 500 clone child=502 flags={THREAD}\n+ 500 clone child=503 flags={THREAD}\n"
        "+ 500 execve filename=/bin/next exe=next",
        look=lambda engine: sorted(engine.threads.by_tid),
    )
    assert done.seen == [1, 500]
    assert done.of("Process")[-1]["exe"] == "/bin/next"


def test_a_thread_whose_main_thread_was_never_seen(convert: Convert) -> None:
    """What the thread's own event says of the process will do."""
    done = convert(
        SHELL + f"set 500 cwd=/srv\n+ 500 clone child=801 pid=800 vpid=800 flags={THREAD} only=child -enter\n"
        "+ 801 mkdir path=/x mode=0 res=0"
    )
    event = done.one("FileEvent")
    assert (event["procOID"]["hpid"], event["tid"]) == (800, 801)
    assert done.self_contained()


# Parents


def test_children_of_the_dead_belong_to_init(convert: Convert) -> None:
    done = convert(
        SHELL + "+ 500 clone child=501 flags=0\n+ 501 clone child=502 flags=0 only=child\n+ 501 procexit ret=0\n"
        "+3s 502 clone child=503 flags=0",
        look=lambda engine: engine.threads.by_tid[502].ptid,
    )
    assert done.seen == 1


def test_the_kernels_word_on_the_reaper_counts(convert: Convert) -> None:
    done = convert(
        SHELL + "+ 500 clone child=501 flags=0\n+ 501 clone child=502 flags=0\n+ 501 procexit ret=0 reaper_tid=500",
        look=lambda engine: engine.threads.by_tid[502].ptid,
    )
    assert done.seen == 500


def test_a_parent_that_is_known_only_as_an_exited_process_serves(convert: Convert) -> None:
    """A child that was orphaned before it was recorded still names its parent, for a second."""
    done = convert(
        SHELL + "+ 500 clone child=501 flags=0\n+ 501 procexit ret=0\n+ 500 clone child=502 ptid=501 flags=0 only=child"
    )
    parent, child = done.of("Process")[-2:]
    assert (parent["oid"]["hpid"], child["oid"]["hpid"]) == (501, 502)
    assert child["poid"] == parent["oid"]


CYCLES = {
    "own parent": "process 600 parent=600 comm=a exe=/bin/a\n+ 600 mkdir path=/x mode=0 res=0",
    "two": "process 600 parent=601 comm=a exe=/bin/a\nprocess 601 parent=600 comm=b exe=/bin/b\n"
    "+ 600 mkdir path=/x mode=0 res=0\n+ 601 procexit ret=0\n+ 600 procexit ret=0",
    "of a thread": "process 600 parent=602 comm=a exe=/bin/a\n"
    "process 601 parent=600 comm=b exe=/bin/b\nthread 602 of=601\n"
    "+ 602 mkdir path=/x mode=0 res=0\n+ 601 procexit ret=0 reaper_tid=601\n+ 602 procexit ret=0 reaper_tid=602",
    "by clone": "process 600 parent=601 comm=a exe=/bin/a\n+ 600 clone child=601 flags=0\n"
    "+ 601 clone child=600 flags=0\n"
    "+ 600 procexit ret=0\n+ 601 procexit ret=0",
    "exits reaped by each other": "process 600 parent=1 comm=a exe=/bin/a\nprocess 601 parent=600 comm=b exe=/bin/b\n"
    "+ 600 procexit ret=0 reaper_tid=601\n+ 601 procexit ret=0 reaper_tid=600",
}  # fmt: skip


@pytest.mark.parametrize("name", CYCLES)
def test_parents_in_a_circle_do_no_harm(convert: Convert, name: str) -> None:
    assert convert(CYCLES[name]).self_contained()


def test_a_line_of_ten_thousand_parents(convert: Convert) -> None:
    """Ancestors are written root first, without recursion; those beyond the limit are left out."""
    rows = [{"tid": tid, "pid": tid, "ptid": tid - 1, "vtid": tid, "vpid": tid} for tid in range(2, 10_002)]

    def write(writer: ScapWriter) -> None:
        writer.process_list(rows)
        writer.event(SECOND, 10_001, "PPME_SYSCALL_MKDIR_2_X", (0, "/x"))

    done = convert(capture(write))
    pids = [p["oid"]["hpid"] for p in done.of("Process")]
    assert pids == sorted(pids)
    assert pids[-1] == 10_001
    assert 100 < len(pids) < 2000


def test_a_process_that_each_forks_the_next_and_exits_is_not_kept(convert: Convert, needs_compiled: None) -> None:
    """A daemon's way of detaching, without end."""

    def write(writer: ScapWriter) -> None:
        writer.process_list([{"tid": 1, "pid": 1, "ptid": 0, "vtid": 1, "vpid": 1}])
        for pid in range(2, 30_000):
            ts = pid * SECOND // 10_000
            params = {"res": 0, "exe": "/a", "tid": pid, "pid": pid, "ptid": pid - 1, "flags": 0, "uid": 0, "gid": 0,
                      "vtid": pid, "vpid": pid, "comm": "a"}  # fmt: skip
            writer.event(ts, pid, "PPME_SYSCALL_CLONE_20_X", params)
            writer.event(ts + 1, pid - 1, "PPME_PROCEXIT_1_E", (0,)) if pid > 2 else None

    done = convert(capture(write), decoded=False, look=lambda engine: len(engine.threads.by_tid))
    assert done.seen < 10
    assert done.counts["Process"] >= 29_998


# Threads that nothing tells of


def test_events_of_unknown_threads_are_counted(convert: Convert) -> None:
    done = convert(SHELL + "+ 999 read fd=3 size=1 res=1 data=x -enter")
    assert done.engine.unknown_threads == 1
    assert done.order == ["SFHeader"]


@pytest.mark.parametrize(
    ("nparams", "cwd", "path"),
    [(31, "/srv/data", "/srv/data/new"), (31, "", "{}new"), (19, "/srv/data", "{}new")],
    ids=["live capture", "other recorders today", "older ones"],
)
@pytest.mark.parametrize(("pid", "known"), [(500, "/srv/old/"), (999, "")], ids=["known", "first seen"])
def test_the_working_directory_that_an_exec_tells(
    convert: Convert, nparams: int, cwd: str, path: str, pid: int, known: str
) -> None:
    """In live capture a filter by name or cgroup leaves out the clone, or a chdir: then the exec tells. Of the older
    layouts the existing collector, whose traces are the measure, takes no directory from an exec.
    """

    def write(writer: ScapWriter) -> None:
        writer.process_list([{"tid": 500, "pid": 500, "ptid": 1, "cwd": "/srv/old"}])
        exec_ = {"res": 0, "exe": "/b", "tid": pid, "pid": pid, "ptid": 1, "cwd": cwd, "comm": "b", "gid": 0}
        writer.event(SECOND, pid, "PPME_SYSCALL_EXECVE_19_X", exec_, nparams=nparams)
        writer.event(2 * SECOND, pid, "PPME_SYSCALL_MKDIR_2_X", {"res": 0, "path": "new", "mode": 0o755})

    assert [file["path"] for file in convert(capture(write)).of("File")] == [path.format(known)]


@pytest.mark.parametrize("tid", [-1, 0, 2**63 - 1, -(2**63)])
def test_tids_that_cannot_be(convert: Convert, tid: int) -> None:
    calls = ["openat dirfd=AT_FDCWD name=/a flags=O_RDONLY fd=3 mode=0", "close fd=3 res=0", "setuid uid=0 res=0",
             "mkdir path=/x mode=0 res=0", "procexit ret=0"]  # fmt: skip
    done = convert(SHELL + "".join(f"+ {tid} {call}\n" for call in calls))
    assert done.self_contained()


@pytest.mark.parametrize("pid", [-1, -(2**63), 0])
@pytest.mark.parametrize("ptid", [-1, 0, 2**63 - 1])
def test_pids_in_the_lists_that_cannot_be(convert: Convert, pid: int, ptid: int) -> None:
    def write(writer: ScapWriter) -> None:
        writer.process_list([{"tid": 500, "pid": pid, "ptid": ptid}, {"tid": pid, "pid": 500, "ptid": pid}])
        for tid in (500, pid):
            writer.event(SECOND, tid, "PPME_SYSCALL_MKDIR_2_X", (0, "/x"))
            writer.event(SECOND, tid, "PPME_PROCEXIT_1_E", (0,))

    assert convert(capture(write)).self_contained()


# Many


def test_the_thread_table_is_bounded(convert: Convert, needs_compiled: None) -> None:
    """Those longest without an event make room; one that returns is another unknown thread."""

    def write(writer: ScapWriter) -> None:
        for tid in range(1, MAX_THREADS + 20_000):
            writer.event(SECOND + tid, tid, "PPME_SYSCALL_READ_E", (3, 10))

    done = convert(
        capture(write), decoded=False, look=lambda e: (len(e.threads.by_tid), e.threads.evicted, e.threads.refused)
    )
    threads, evicted, refused = done.seen
    assert threads <= MAX_THREADS
    assert evicted > 10_000
    assert refused == 0


def test_the_newest_threads_stay(convert: Convert, needs_compiled: None) -> None:
    """A server's busy threads are not pushed out by a flood of new ones."""

    def write(writer: ScapWriter) -> None:
        writer.process_list([{"tid": 5, "pid": 5, "ptid": 1, "vtid": 5, "vpid": 5, "exe": "/bin/server"}])
        for tid in range(1000, MAX_THREADS + 40_000):
            writer.event(SECOND + tid, tid, "PPME_SYSCALL_READ_E", (3, 10))
            if tid % 1000 == 0:
                writer.event(SECOND + tid, 5, "PPME_SYSCALL_MKDIR_2_X", (0, "/x"))

    done = convert(capture(write), decoded=False, look=lambda e: 5 in e.threads.by_tid)
    assert done.seen
    assert done.counts["FileEvent"] == sum(tid % 1000 == 0 for tid in range(1000, MAX_THREADS + 40_000))


def test_main_threads_that_outlive_their_eviction_do_not_fill_the_table(convert: Convert, needs_compiled: None) -> None:
    """A quarter of the table are the main threads of processes whose other threads live on."""
    leaders = MAX_THREADS // 4

    def write(writer: ScapWriter) -> None:
        for tid in range(1, leaders + 1, 4096):
            pids = range(tid, min(tid + 4096, leaders + 1))
            writer.process_list([{"tid": pid, "pid": pid, "ptid": 0, "vtid": pid, "vpid": pid} for pid in pids])
            writer.process_list(
                [{"tid": pid + 50_000, "pid": pid, "ptid": 0, "vtid": pid, "vpid": pid} for pid in pids]
            )
        for tid in range(1, leaders + 1):
            writer.event(SECOND, tid + 50_000, "PPME_SYSCALL_READ_E", (3, 10))
        for tid in range(100_000, 100_000 + MAX_THREADS - 2 * leaders + 10):
            writer.event(SECOND, tid, "PPME_SYSCALL_READ_E", (3, 10))

    done = convert(capture(write), decoded=False, look=lambda e: e.threads.refused)
    assert done.seen == 0


# What another review found


def test_a_leader_by_flag_that_dies_leaves_nothing_behind(convert: Convert) -> None:
    """A thread that is flagged a main thread dies, and its tid returns as a plain thread of the same group."""
    thread_flag = tables.PPM_CL_CLONE_THREAD

    def write(writer: ScapWriter) -> None:
        def clone(second: int, tid: int, pid: int, ptid: int, flags: int = 0) -> None:
            params = (0, b"a", b"", tid, pid, ptid, b"", 0, 0, 0, 0, 0, 0, b"a", b"", flags, 0, 0, tid, pid, 0)
            writer.event(second * SECOND, tid, "PPME_SYSCALL_CLONE_20_X", params)

        clone(1, 501, 500, 1, thread_flag | tables.PPM_CL_IS_MAIN_THREAD)
        clone(1, 502, 500, 1, thread_flag)
        writer.event(1 * SECOND, 501, "PPME_PROCEXIT_1_E", (0, 0, 0, 0, 0))
        clone(4, 501, 500, 1, thread_flag)
        clone(4, 600, 600, 502)
        for tid in (600, 502):
            writer.event(4 * SECOND, tid, "PPME_SYSCALL_MKDIR_2_X", (0, "/x"))

    assert convert(capture(write)).self_contained()


def test_a_reused_pid_is_a_new_process_though_old_threads_never_exited(convert: Convert) -> None:
    done = convert(
        "process 1 comm=init exe=/sbin/init\nprocess 500 parent=1 comm=old exe=/bin/old\nthread 501 of=500\n"
        "+ 500 procexit ret=0\n+5s 1 clone child=500 flags=0\n+ 500 execve filename=/bin/new exe=new\n"
        "+ 500 clone child=800 flags=0"
    )
    old, new = (p["oid"] for p in done.of("Process") if p["oid"]["hpid"] == 500 and p["state"] != "MODIFIED")
    assert (old["createTS"], new["createTS"] > 0) == (0, True)
    (child,) = (process for process in done.of("Process") if process["oid"]["hpid"] == 800)
    assert child["poid"] == new
    assert [event["procOID"] for event in done.of("ProcessEvent") if event["tid"] == 500][-1] == new


def test_a_subreaper_inherits(convert: Convert) -> None:
    """prctl(PR_SET_CHILD_SUBREAPER), in a capture whose exits do not name the reaper."""
    done = convert(
        "process 1 comm=init exe=/sbin/init\nprocess 500 parent=1 comm=shim exe=/bin/shim\n"
        "+ 500 prctl option=36 arg2_str=none arg2_int=1 res=0\n+ 500 clone child=600 flags=0\n"
        "+ 600 clone child=700 flags=0\n+ 600 PROCEXIT_1 status=0\n+ 700 mkdir path=/x mode=0 res=0",
        look=lambda engine: engine.threads.by_tid[700].ptid,
    )
    assert done.seen == 500


def test_room_is_made_of_threads_that_can_go(needs_compiled: None, convert: Convert) -> None:
    """Dead main threads whose other threads live stay; the idle ones go instead, and each round frees some."""
    half = MAX_THREADS // 4

    def write(writer: ScapWriter) -> None:
        rows = []
        for i in range(half):
            pid = 10 + 2 * i
            rows += [{"tid": tid, "pid": pid, "ptid": 0, "vtid": tid, "vpid": pid} for tid in (pid, pid + 1)]
        rows += [
            {"tid": tid, "pid": tid, "ptid": 0, "vtid": tid, "vpid": tid} for tid in range(10**6, 10**6 + 2 * half)
        ]
        writer.process_list(rows)
        for i in range(half):
            writer.event(SECOND, 10 + 2 * i, "PPME_PROCEXIT_1_E", (0, 0, 0, 0, 0))
        for tid in range(5 * 10**6, 5 * 10**6 + half):
            writer.event(SECOND, tid, "PPME_SYSCALL_MKDIR_2_X", (0, "/x"))

    done = convert(capture(write), look=lambda engine: (engine.threads.refused, engine.threads.evicted), decoded=False)
    refused, evicted = done.seen
    assert refused == 0
    assert evicted < 2 * half


def test_a_long_working_directory_counts(convert: Convert) -> None:
    """It is the process's: counted with its main thread, not again with each of the others."""
    done = convert(
        f"process 500 comm=a exe=/a\nthread 501 of=500\n+ 501 chdir path=/{'d' * 10_000} res=0\n"
        "+ 501 chdir path=. res=0",
        look=lambda engine: engine.threads.text,
    )
    assert 10_000 < done.seen < 12_000


@pytest.mark.parametrize("rotate_seconds", [0, 5])
def test_a_line_of_parents_is_not_freed_link_by_link(convert: Convert, rotate_seconds: int) -> None:
    """It would take a thread's stack: at the end no Process holds another, or what another was."""
    number = 50
    text = "process 10 comm=a exe=/a\n" + "".join(f"+ {10 + i} clone child={11 + i} flags=0\n" for i in range(number))
    calls = "".join(f"+ {10 + i} mkdir path=/x mode=0 res=0\n" for i in range(number))

    def parents(engine: Any) -> list[Any]:
        found = [engine.threads.groups[10 + i].process for i in range(number)]
        assert all(below.parent is above for above, below in pairwise(found))
        return found

    done = convert(text + calls + calls.replace("+", "+20s", 1), look=parents, rotate_seconds=rotate_seconds)
    assert [process.parent for process in done.seen] == [None] * number
