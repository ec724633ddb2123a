"""The way of an event: paths, calls of all kinds, what filters leave, several captures, and captures that do harm."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftools.errors import InputError
from sftools.scap import blocks
from sftools.scap.event_table import EVENTS
from sftools.scap.scenario import build
from sftools.scap.writer import ScapWriter

Convert = Callable[..., Any]

SECOND = 10**9
SHELL = """process 1 comm=init exe=/sbin/init exepath=/sbin/init
process 500 parent=1 comm=sh exe=/bin/sh exepath=/bin/sh cwd=/srv/app
fd 500 3 dir /data
fd 500 4 file /srv/a.txt flags=O_RDWR
"""
ID = "0123456789ab" + "c" * 52


# Paths


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("mkdir path=/abs mode=0 res=0", ("MKDIR", "/abs")),
        ("mkdir path=rel mode=0 res=0", ("MKDIR", "/srv/app/rel")),
        ("mkdir path=../x/./y//z mode=0 res=0", ("MKDIR", "/srv/x/y/z")),
        ("mkdir path=../../../../.. mode=0 res=0", ("MKDIR", "/")),
        ("mkdirat dirfd=3 path=sub mode=0 res=0", ("MKDIR", "/data/sub")),
        ("mkdirat dirfd=AT_FDCWD path=sub mode=0 res=0", ("MKDIR", "/srv/app/sub")),
        ("mkdirat dirfd=77 path=sub mode=0 res=0", ("MKDIR", "sub")),
        ("mkdirat dirfd=77 path=/abs mode=0 res=0", ("MKDIR", "/abs")),
        ("mkdirat dirfd=-7 path=/abs mode=0 res=-EBADF", ("MKDIR", "/abs")),
        ("rmdir path=old res=0", ("RMDIR", "/srv/app/old")),
        ("unlink path=old res=-ENOENT", ("UNLINK", "/srv/app/old")),
        ("unlinkat dirfd=3 name=old flags=0 res=0", ("UNLINK", "/data/old")),
        ("link oldpath=a newpath=b res=0", ("LINK", "/srv/app/a", "/srv/app/b")),
        ("linkat olddir=3 oldpath=a newdir=AT_FDCWD newpath=b flags=0 res=0", ("LINK", "/data/a", "/srv/app/b")),
        ("symlinkat target=t linkdirfd=3 linkpath=l res=0", ("SYMLINK", "t", "/data/l")),
        ("rename oldpath=a newpath=/b res=0", ("RENAME", "/srv/app/a", "/b")),
        ("renameat olddirfd=3 oldpath=a newdirfd=3 newpath=b res=0", ("RENAME", "/data/a", "/data/b")),
        (
            "renameat2 olddirfd=3 oldpath=a newdirfd=AT_FDCWD newpath=b flags=0 res=0",
            ("RENAME", "/data/a", "/srv/app/b"),
        ),
    ],
)
def test_file_events(convert: Convert, call: str, expected: tuple[str, ...]) -> None:
    """Relative paths are seen from the dirfd or the working directory; a symlink's target is text."""
    done = convert(SHELL + "+ 500 " + call)
    assert done.file_events() == [expected]
    assert done.self_contained()


@pytest.mark.parametrize(
    ("call", "path"),
    [
        ("open name=a flags=O_RDWR fd=9 mode=0", "/srv/app/a"),
        ("openat dirfd=3 name=a flags=O_RDWR fd=9 mode=0", "/data/a"),
        ("openat dirfd=AT_FDCWD name=../a flags=O_RDWR fd=9 mode=0", "/srv/a"),
        ("openat2 dirfd=3 name=a flags=O_RDWR fd=9 mode=0 resolve=0", "/data/a"),
        ("creat name=a fd=9 mode=0", "/srv/app/a"),
        ("open_by_handle_at mountfd=5 flags=O_RDWR fd=9 path=/mnt/x", "/mnt/x"),
        ("openat dirfd=77 name=a flags=O_RDWR fd=9 mode=0", "<UNKNOWN>a"),
    ],
)
def test_opens(convert: Convert, call: str, path: str) -> None:
    assert convert(SHELL + "+ 500 " + call).flows() == [(500, 9, path, "OPEN TRUNCATE")]


def test_the_enter_events_path_is_preferred(convert: Convert) -> None:
    """Another thread may change the memory during the call."""
    text = SHELL + "+ 500 openat dirfd=AT_FDCWD enter.name=/real exit.name=/fake flags=O_RDONLY fd=9 mode=0"
    assert convert(text).flows()[0][2] == "/real"


def test_an_open_whose_enter_was_lost(convert: Convert) -> None:
    done = convert(SHELL + "+ 500 openat dirfd=3 name=a flags=O_RDWR fd=9 mode=0 -enter")
    assert done.flows() == [(500, 9, "/data/a", "OPEN TRUNCATE")]


def test_chdir_and_fchdir(convert: Convert) -> None:
    text = (
        SHELL + "+ 500 chdir path=sub res=0\n+ 500 mkdir path=a mode=0 res=0\n+ 500 fchdir fd=3 res=0\n"
        "+ 500 mkdir path=b mode=0 res=0\n"
    )
    text += "+ 500 chdir path=/nowhere res=-ENOENT\n+ 500 mkdir path=c mode=0 res=0\n"
    text += "+ 500 getcwd res=6 path=/other\n+ 500 mkdir path=d mode=0 res=0"
    assert convert(text).file_events() == [
        ("MKDIR", "/srv/app/sub/a"), ("MKDIR", "/data/b"), ("MKDIR", "/data/c"), ("MKDIR", "/other/d"),
    ]  # fmt: skip


def test_a_deep_chain_of_dirfds(convert: Convert) -> None:
    """Each directory is opened relative to the last: names do not grow without limit."""
    text = SHELL + "".join(
        f"+ 500 openat dirfd={9 + i} name={'d' * 200} flags=O_DIRECTORY fd={10 + i} mode=0\n" for i in range(150)
    ).replace("dirfd=9 ", "dirfd=3 ", 1)
    done = convert(text)
    longest = max(len(path) for path in done.paths().values())
    assert 10_000 < longest <= 16 * 1024 + 1
    assert any("TOO_LONG" in path for path in done.paths().values())


def test_a_working_directory_that_grows(convert: Convert) -> None:
    text = SHELL + f"+ 500 chdir path={'d' * 4000} res=0\n" * 10 + "+ 500 mkdir path=x mode=0 res=0"
    ((_, path),) = convert(text).file_events()
    assert len(path) <= 16 * 1024 + 1


# Calls of other kinds


def test_setns_is_an_operation_on_the_fd(convert: Convert) -> None:
    assert convert(SHELL + "+ 500 setns fd=4 nstype=0 res=0").flows() == [(500, 4, "/srv/a.txt", "SETNS TRUNCATE")]


def test_mmap_counts_once_by_its_enter_or_its_exit(convert: Convert) -> None:
    call = "+ 500 mmap addr=0 length=4096 prot=1 flags=0 fd=4 offset=0 res=140000000000000 vm_size=1 vm_rss=1 vm_swap=0"
    for text in (SHELL + call, "era exit-only\n" + SHELL + call, SHELL + call + " -exit"):
        assert convert(text).flows() == [(500, 4, "/srv/a.txt", "TRUNCATE MMAP")]


def test_an_anonymous_mapping_is_none_of_a_file(convert: Convert) -> None:
    text = SHELL + "+ 500 mmap addr=0 length=1 prot=1 flags=0 fd=-1 offset=0 res=1 vm_size=1 vm_rss=1 vm_swap=0"
    assert convert(text).flows() == []


@pytest.mark.parametrize(
    "call",
    [
        "splice fd_in=4 fd_out=9 size=5 flags=0 res=5",
        "copy_file_range fdin=4 offin=0 len=5 fdout=9 offout=0 res=5",
        "sendfile out_fd=9 in_fd=4 offset=0 size=5 res=5",
    ],
)
def test_data_that_moves_between_fds_is_read_and_written(convert: Convert, call: str) -> None:
    done = convert(SHELL + "fd 500 9 file /srv/b.txt flags=O_RDWR\n+ 500 " + call)
    assert sorted((fd, ops) for _, fd, _, ops in done.flows()) == [
        (4, "READ_RECV TRUNCATE"),
        (9, "WRITE_SEND TRUNCATE"),
    ]


@pytest.mark.parametrize(
    "event", ["EXECVE_8", "EXECVE_13", "EXECVE_14", "EXECVE_15", "EXECVE_16", "EXECVE_17", "EXECVE_18", "execve"]
)
def test_exec_in_all_its_layouts(convert: Convert, event: str) -> None:
    done = convert(SHELL + f"+ 500 {event} filename=/bin/next exe=next args=x")
    assert done.events() == [(500, 500, "EXEC", 0)]
    assert done.of("Process")[-1]["exeArgs"] == "x"


def test_an_exec_of_few_parameters_takes_none_from_the_event_before(convert: Convert) -> None:
    """The environment and the terminal of the exec before it are another process's."""

    def execve(pid: int) -> tuple[Any, ...]:
        return (0, b"/b", b"", pid, pid, 1, b"", 0, 0, 0, 0, 0, 0, b"b")

    out = io.BytesIO()
    writer = ScapWriter(out)
    writer.section()
    entry: dict[str, Any] = {
        "ptid": 1,
        "env": b"A=1",
        "pidns_init_start_ts": 0,
        "tty": 5,
        "loginuid": 0,
        "exe_writable": 0,
    }
    entry |= {"cap_inheritable": 0, "cap_permitted": 0}
    writer.process_list([{"tid": pid, "pid": pid, "vtid": pid, "vpid": pid, **entry} for pid in (500, 600)])
    writer.event(SECOND, 600, "PPME_SYSCALL_EXECVE_19_X", (*execve(600), b"cpu=/", b"B=2", 7))
    writer.event(SECOND, 500, "PPME_SYSCALL_EXECVE_19_X", execve(500))
    done = convert(out.getvalue())
    assert [(process["env"], process["tty"]) for process in done.of("Process")] == [(["B=2"], True), (["A=1"], True)]


def test_a_failed_exec_is_an_event_and_changes_nothing(convert: Convert) -> None:
    done = convert(SHELL + "+ 500 execve filename=/bin/next exe=next res=-ENOENT")
    assert done.events() == [(500, 500, "EXEC", -2)]
    assert {p["exe"] for p in done.of("Process")} == {"/sbin/init", "/bin/sh"}


def test_results_are_the_schemas_int(convert: Convert) -> None:
    done = convert(
        SHELL + "+ 500 mkdir path=/x mode=0 res=0x1ffffffff\n+ 500 mkdir path=/x mode=0 res=-9223372036854775808"
    )
    assert [e["ret"] for e in done.of("FileEvent")] == [-1, 0]


# Filters


def test_a_predicate_leaves_records_out_but_not_the_state(convert: Convert) -> None:
    seen = []

    def predicate(engine: Any) -> bool:
        seen.append((engine.cursor.type, engine.thread.tid, engine.fd, engine.res, engine.info and engine.info.name))
        return bool(engine.thread.tid == 501)

    done = convert(
        SHELL + "+ 500 openat dirfd=AT_FDCWD name=/n flags=O_WRONLY fd=9 mode=0\n+ 500 clone child=501 flags=0\n"
        "+ 501 write fd=9 size=3 res=3 data=abc",
        predicate=predicate,
    )
    assert done.flows() == [(501, 9, "/n", "WRITE_SEND TRUNCATE")]
    assert done.events() == [(501, 501, "CLONE", 0)]
    assert done.engine.filtered == 2
    assert seen[-1][1:] == (501, 9, 3, b"/n")


def test_a_predicate_that_fails_is_heard_of(convert: Convert) -> None:
    def predicate(engine: Any) -> bool:
        raise RuntimeError("predicate")

    with pytest.raises(RuntimeError, match="predicate"):
        convert(SHELL + "+ 500 mkdir path=/x mode=0 res=0", predicate=predicate)


def test_container_only(convert: Convert) -> None:
    text = (
        f"container web id={ID}\n" + SHELL + "process 700 parent=1 comm=n exe=/n container=web\n"
        "+ 500 mkdir path=/host mode=0 res=0\n+ 700 mkdir path=/inside mode=0 res=0\n+ 999 procexit ret=0\n"
    )
    done = convert(text, container_only=True)
    assert done.file_events() == [("MKDIR", "/inside")]
    assert done.engine.filtered == 1


# Several captures and sections


def test_a_section_begins_anew(convert: Convert) -> None:
    """The same numbers are other processes and files; what was open ends."""
    text = (
        SHELL + "+ 500 write fd=4 size=1 res=1 data=x\nsection\nprocess 500 comm=other exe=/bin/other\n"
        "+ 500 write fd=4 size=1 res=1 data=x\n"
    )
    done = convert(text + "+ 500 mkdir path=/x mode=0 res=0")
    assert done.flows() == [(500, 4, "/srv/a.txt", "WRITE_SEND TRUNCATE")]
    assert [p["exe"] for p in done.of("Process")] == ["/sbin/init", "/bin/sh", "/bin/other"]
    assert done.order.count("SFHeader") == 1
    assert done.self_contained()


def test_several_captures_become_one_trace(convert: Convert) -> None:
    text = SHELL + "+ 500 write fd=4 size=1 res=1 data=x\n"
    done = convert(text, text.replace("/srv/a.txt", "/srv/b.txt"))
    assert [path for _, _, path, _ in done.flows()] == ["/srv/a.txt", "/srv/b.txt"]
    assert done.order.count("SFHeader") == 1
    assert done.self_contained()


def test_a_capture_without_events_is_a_header(convert: Convert) -> None:
    assert convert("host node-7").records == [
        ("SFHeader", {"version": 5, "exporter": "node-7", "ip": "", "filename": "trace.sf"})
    ]


def test_lists_may_come_among_the_events(convert: Convert) -> None:
    out = io.BytesIO()
    writer = ScapWriter(out)
    writer.section()
    writer.process_list([{"tid": 500, "pid": 500, "ptid": 1, "vtid": 500, "vpid": 500, "exe": "/one"}])
    writer.event(SECOND, 500, "PPME_SYSCALL_MKDIR_2_X", (0, "/x"))
    writer.process_list([{"tid": 600, "pid": 600, "ptid": 500, "vtid": 600, "vpid": 600, "exe": "/two"}])
    writer.fd_list(600, [{"fd": 3, "type": 16, "open_flags": 2, "name": "/late"}])
    writer.event(SECOND, 600, "PPME_SYSCALL_CLOSE_X", (0, 3))
    done = convert(out.getvalue())
    assert done.flows() == [(600, 3, "/late", "CLOSE")]
    assert done.of("Process")[-1]["poid"]["hpid"] == 500


# Damage and attacks


def test_a_damaged_list_keeps_its_sound_entries(convert: Convert) -> None:
    data = bytearray(
        build(
            "process 500 comm=a exe=/a\nprocess 501 comm=b exe=/b\n"
            "+ 500 mkdir path=/x mode=0 res=0\n+ 501 mkdir path=/x mode=0 res=0"
        )
    )
    at = data.index(b"\2\0/b")
    data[at : at + 2] = b"\xff\xff"
    done = convert(bytes(data))
    assert [p["exe"] for p in done.of("Process")] == ["/a"]
    assert done.cursor.damaged == 1
    assert "cut" in done.cursor.damage[0][1]


def test_parameters_that_overrun_their_event_are_damage(convert: Convert) -> None:
    out = io.BytesIO()
    writer = ScapWriter(out)
    writer.section()
    writer.process_list([{"tid": 500, "pid": 500, "ptid": 1, "vtid": 500, "vpid": 500}])
    at = out.tell()
    writer.event(SECOND, 500, "PPME_SYSCALL_MKDIR_2_X", (0, "/x"))
    data = bytearray(out.getvalue())
    data[at + 36 : at + 38] = b"\xff\xff"
    done = convert(bytes(data))
    assert done.cursor.damaged == 1
    assert done.order == ["SFHeader"]


@pytest.mark.parametrize("ts", [0, 2**64 - 1, 2**63, 2**63 - 1, 1])
def test_timestamps_that_cannot_be(convert: Convert, ts: int) -> None:
    """0 and -1 are no time: the last one before is taken."""
    text = (
        SHELL
        + f"=1700000000000000000 500 mkdir path=/a mode=0 res=0 -enter\n={ts} 500 mkdir path=/b mode=0 res=0 -enter\n"
    )
    done = convert(text + "=1700000001000000000 500 mkdir path=/c mode=0 res=0 -enter", rotate_seconds=10)
    times = [e["ts"] for e in done.of("FileEvent")]
    assert times[1] == (ts if 0 < ts < 2**63 else 1_700_000_000_000_000_000)
    assert done.self_contained()


def test_a_capture_whose_first_time_is_0(convert: Convert) -> None:
    done = convert(
        SHELL + "=0 500 mkdir path=/a mode=0 res=0 -enter\n=0 500 clone child=501 flags=0\n=0 501 procexit ret=0"
    )
    assert done.self_contained()


@pytest.mark.parametrize("fd", [0x7FFFFFFF, 2**31, 2**32 + 4, -1, -100, 2**63 - 1, -(2**63)])
def test_fds_that_cannot_be(convert: Convert, fd: int) -> None:
    """In every place that an fd can stand in."""
    calls = [
        f"read fd={fd} size=1 res=1 data=x", f"write fd={fd} size=1 res=1 data=x", f"close fd={fd} res=0",
        f"dup fd={fd} oldfd={fd} res=9", f"dup fd=4 oldfd=4 res={fd}", f"socket domain=AF_INET type=1 proto=0 fd={fd}",
        f"accept4 flags=0 fd={fd} tuple=1.2.3.4:5->6.7.8.9:10", f"openat dirfd={fd} name=a flags=O_RDWR fd={fd} mode=0",
        f"pipe2 res=0 fd1={fd} fd2={fd} ino=1 flags=0", f"fcntl fd=4 cmd=1 res={fd}", f"setns fd={fd} nstype=0 res=0",
        f"connect fd={fd} addr=1.2.3.4:5 res=0 tuple=1.2.3.4:5->6.7.8.9:10", f"mkdirat dirfd={fd} path=a mode=0 res=0",
        f"fchdir fd={fd} res=0",
        f"sendfile out_fd={fd} in_fd={fd} offset=0 size=5 res=5", f"write fd={fd} size=1 res=1 data=x",
    ]  # fmt: skip
    done = convert(SHELL + "".join(f"+ 500 {call}\n" for call in calls))
    assert done.self_contained()
    # 2**32 + 4 is not 4.
    assert all(flow[1] in (fd, 4, 9) for flow in done.flows())
    assert all(ops == "TRUNCATE" for _, n, _, ops in done.flows() if n == 4)


@pytest.mark.parametrize(
    "tuple_",
    ["hex:02", "hex:0a", "hex:01", "hex:ff", "hex:0200", "hex:02010203", "none", "fill:70", "hex:0a" + "00" * 30],
)
@pytest.mark.parametrize(
    "call",
    [
        "accept4 flags=0 fd=9",
        "connect fd=8 addr=1.2.3.4:5 res=0",
        "sendto fd=8 size=1 res=1 data=x",
        "recvfrom fd=8 size=1 res=1 data=x",
    ],
)
def test_addresses_of_any_bytes(convert: Convert, call: str, tuple_: str) -> None:
    text = (
        SHELL + f"+ 500 socket domain=AF_INET type=2 proto=17 fd=8\n+ 500 {call} tuple={tuple_}\n"
        f"+ 500 bind fd=8 addr={tuple_} res=0\n"
    )
    for schema in (5, 6):
        assert convert(
            text + "+ 500 write fd=8 size=1 res=1 data=x\n+ 500 connect fd=8 addr=" + tuple_ + " res=0 tuple=none",
            schema=schema,
        ).self_contained()


def test_an_event_of_unknown_type_is_counted(convert: Convert) -> None:
    done = convert(SHELL + "+ 500 event 60000 hex:00ff\n+ 500 mkdir path=/x mode=0 res=0")
    assert done.engine.unknown_types == 1
    assert len(done.of("FileEvent")) == 1


@pytest.mark.parametrize("absent", [False, True])
def test_every_event_with_every_number_of_parameters(convert: Convert, absent: bool) -> None:
    """Whatever the program that wrote it left out."""
    out = io.BytesIO()
    writer = ScapWriter(out)
    writer.section()
    rows = [
        {"tid": tid, "pid": 500, "ptid": 1, "vtid": tid, "vpid": 500, "exe": "/a", "cwd": "/"} for tid in (500, 501)
    ]
    writer.process_list(rows)
    writer.fd_list(500, [{"fd": fd, "type": 16, "open_flags": 3, "name": f"/{fd}"} for fd in range(10)])
    for row in EVENTS:
        for count in range(len(row.params) + 1):
            sizes = {"PT_FD": 8, "PT_ERRNO": 8, "PT_PID": 8}
            values = [b"" if absent else bytes([1]) + bytes(sizes.get(p.type, 4) - 1) for p in row.params[:count]]
            writer.event(SECOND, 501, row.id, values)
            writer.event(SECOND, 500, row.id, values, block_type=blocks.EV_V2_LARGE)
    for schema in (5, 6):
        assert convert(out.getvalue(), schema=schema, proc_flow=False).self_contained()


EVENT = st.tuples(
    st.sampled_from([0, 1, SECOND, SECOND + 1, 40 * SECOND, 2**63, 2**64 - 1]),
    st.sampled_from([-1, 0, 1, 500, 501, 502]),
    st.sampled_from([row.id for row in EVENTS if row.params and row.name not in ("NA", "")]),
    st.lists(
        st.sampled_from([b"", b"/a\0", b"../b\0", b"<NA>\0", struct.pack("<q", -1), struct.pack("<q", -100)])
        | st.integers(0, 9).map(lambda n: struct.pack("<q", n))
        | st.sampled_from([500, 501, 502]).map(lambda n: struct.pack("<q", n))
        | st.integers(0, 2**32 - 1).map(lambda n: struct.pack("<I", n))
        | st.binary(max_size=40),
        max_size=31,
    ),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    events=st.lists(EVENT, max_size=25),
    rotate=st.sampled_from([0, 1]),
    mode=st.sampled_from(["flow", "consume", "nofiles"]),
    proc_flow=st.booleans(),
)
def test_any_events_make_self_contained_traces(
    convert: Convert, events: list[tuple[int, int, int, list[bytes]]], rotate: int, mode: str, proc_flow: bool
) -> None:
    out = io.BytesIO()
    writer = ScapWriter(out)
    writer.section()
    rows = [
        {"tid": tid, "pid": pid, "ptid": 1, "vtid": tid, "vpid": pid, "exe": "/a", "cwd": "/"}
        for tid, pid in ((500, 500), (501, 500), (1, 1))
    ]
    writer.process_list(rows)
    writer.fd_list(500, [{"fd": fd, "type": kind, "name": f"/{fd}"} for fd, kind in enumerate((16, 2, 7, 8))])
    for ts, tid, code, values in events:
        writer.event(ts, tid, code, values)
    done = convert(out.getvalue(), schema=6, rotate_seconds=rotate, mode=mode, proc_flow=proc_flow)
    assert done.self_contained()
    assert all(f["ts"] <= f["endTs"] for name in ("FileFlow", "NetworkFlow", "ProcessFlow") for f in done.of(name))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12), cut=st.integers(0, 3000))
def test_a_capture_with_wrong_bytes(convert: Convert, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(STORY)
    for at, value in changes:
        data[28 + at % (len(data) - 28)] = value
    try:
        done = convert(bytes(data[: max(28, len(data) - cut)]), schema=6)
    except InputError as error:
        if "byte-swapped" not in str(error):
            raise
    else:
        assert done.self_contained()


STORY = build(
    f"user 33 www\ninterface eth0 192.0.2.10\ncontainer web id={ID} label:io.kubernetes.pod.name=web-0\n"
    + SHELL
    + "process 700 parent=1 comm=n exe=/n container=web vpid=1\nfd 700 3 tcp 0.0.0.0:80\n+ -1 container web\n"
    "+ 700 accept4 flags=0 fd=10 tuple=192.0.2.20:5001->192.0.2.10:80\n+ 700 read fd=10 size=9 res=3 data=abc\n"
    "+ 700 clone child=701 flags=0 vpid=2 vtid=2\n+ 701 execve filename=/bin/sh exe=sh args=x\n"
    "+ 701 openat dirfd=AT_FDCWD name=/etc/passwd flags=O_RDONLY fd=11 mode=0\n"
    "+ 701 dup2 fd=11 oldfd=11 newfd=1 res=1\n"
    "+ 701 procexit ret=0\n+31s 700 close fd=10 res=0\n+ 500 rename oldpath=a newpath=b res=0\n"
)


def test_the_state_is_forgotten_at_the_end(convert: Convert) -> None:
    """The state's cycles are not collected: finish() must break them."""
    done = convert(STORY)
    assert (len(done.engine.threads.by_tid), len(done.engine.threads.groups), done.engine.flows.open) == (0, 0, 0)
