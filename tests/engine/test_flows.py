"""Flows: what is added up, when a flow is written, and what is left out."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from sftools.engine.options import CONSUME, NOFILES, READ_ALL, READ_NONE, READ_SELECTED
from sftools.limits import MAX_FLOWS_PER_FD
from sftools.scap.writer import ScapWriter
from sftools.schema import opflags

Convert = Callable[..., Any]

CAT = """process 1 comm=init exe=/sbin/init exepath=/sbin/init
process 500 parent=1 comm=cat exe=/bin/cat exepath=/bin/cat cwd=/srv
thread 501 of=500
fd 500 3 file /srv/a.txt flags=O_RDWR
fd 500 4 file /srv/b.txt flags=O_RDWR
fd 500 5 tcp 192.0.2.10:5000->192.0.2.20:80
"""
THREAD = "CLONE_FILES|CLONE_FS|CLONE_THREAD|CLONE_VM|CLONE_SIGHAND"
SECOND = 10**9


def write(fd: int, tid: int = 500) -> str:
    return f"{tid} write fd={fd} size=1 res=1 data=x\n"


# Adding up


def test_operations_and_bytes_are_added_up(convert: Convert) -> None:
    done = convert(
        CAT + "+ 500 openat dirfd=AT_FDCWD name=n flags=O_RDWR|O_CREAT fd=7 mode=0\n"
        "+ 500 read fd=7 size=9 res=5 data=hello\n"
        "+ 500 read fd=7 size=9 res=0\n+ 500 pread fd=7 size=9 pos=0 res=3 data=abc\n"
        "+ 500 writev fd=7 size=4 res=4 data=abcd\n"
        "+ 500 close fd=7 res=0\n+ 500 mkdir path=/end mode=0 res=0"
    )
    flow = done.one("FileFlow")
    assert (flow["numRRecvOps"], flow["numRRecvBytes"], flow["numWSendOps"], flow["numWSendBytes"]) == (3, 8, 1, 4)
    assert (flow["fd"], flow["openFlags"]) == (7, 3 | 4)
    assert done.flows() == [(500, 7, "/srv/n", "OPEN READ_RECV WRITE_SEND CLOSE")]


def test_a_failed_read_is_an_operation_without_bytes(convert: Convert) -> None:
    flow = convert(CAT + "+ 500 read fd=3 size=9 res=-EAGAIN\n+ 500 read fd=3 size=9 res=4 data=abcd").one("FileFlow")
    assert (flow["numRRecvOps"], flow["numRRecvBytes"]) == (2, 4)


def test_results_over_2_gib_are_64_bit(convert: Convert) -> None:
    """The existing collector narrows them to 32 bits."""
    text = CAT + "".join(
        f"+ 500 sendfile out_fd=5 in_fd=3 offset=0 size=3000000000 res={res}\n" for res in (3 * 10**9, 5 * 10**9)
    )
    done = convert(text)
    assert done.one("FileFlow")["numRRecvBytes"] == 8 * 10**9
    assert done.one("NetworkFlow")["numWSendBytes"] == 8 * 10**9


def test_bytes_do_not_overflow(convert: Convert) -> None:
    text = CAT + "".join("+ 500 write fd=3 size=1 res=0x7fffffffffffffff data=x\n" for _ in range(3))
    assert convert(text).one("FileFlow")["numWSendBytes"] == 2**63 - 1


def test_each_thread_and_fd_has_its_own_flow(convert: Convert) -> None:
    done = convert(CAT + "+ " + write(3) + "+ " + write(3, 501) + "+ " + write(4) + "+ " + write(3))
    assert sorted((f["tid"], f["fd"], f["numWSendOps"]) for f in done.of("FileFlow")) == [
        (500, 3, 2), (500, 4, 1), (501, 3, 1),
    ]  # fmt: skip


def test_an_fd_that_was_never_opened_has_no_flow(convert: Convert) -> None:
    done = convert(CAT + "+ " + write(77) + "+ 500 close fd=77 res=0")
    assert done.order == ["SFHeader"]


def test_a_read_whose_enter_was_lost_has_no_fd(convert: Convert) -> None:
    """In captures with enter events only they name it."""
    assert convert(CAT + "+ 500 read -enter fd=3 size=9 res=5 data=hello").of("FileFlow") == []


def test_a_stale_enter_lends_nothing(convert: Convert) -> None:
    """read's enter, then (its exit and write's enter lost) write's exit."""
    done = convert(CAT + "+ 500 read -exit fd=3 size=9\n+ 500 write -enter fd=4 size=1 res=1 data=x")
    assert done.of("FileFlow") == []


def test_an_enter_event_serves_one_exit(convert: Convert) -> None:
    done = convert(CAT + "+ " + write(3) + "+ 500 write -enter fd=4 size=1 res=1 data=x")
    assert done.one("FileFlow")["numWSendOps"] == 1


def test_enters_of_threads_do_not_mix(convert: Convert) -> None:
    done = convert(
        CAT + "+ 500 read -exit fd=3 size=9\n+ 501 read -exit fd=4 size=9\n"
        "+ 500 read -enter res=1 data=x\n+ 501 read -enter res=2 data=xx"
    )
    assert sorted((f["tid"], f["fd"], f["numRRecvBytes"]) for f in done.of("FileFlow")) == [(500, 3, 1), (501, 4, 2)]


def test_exit_events_alone_will_do(convert: Convert) -> None:
    """libs 0.22 and later record no enter events: the exits have all parameters."""
    done = convert("era exit-only\n" + CAT + "+ 500 read fd=3 size=9 res=5 data=hello\n+ 500 close fd=3 res=0")
    assert done.flows() == [(500, 3, "/srv/a.txt", "READ_RECV CLOSE")]
    assert done.one("FileFlow")["numRRecvBytes"] == 5


@pytest.mark.parametrize("era", ["2018", "2021", "0.10", "0.18", "exit-only"])
def test_a_file_in_captures_of_all_times(convert: Convert, era: str) -> None:
    done = convert(
        f"era {era}\nprocess 500 comm=cat exe=/bin/cat cwd=/srv\n"
        "+ 500 open name=a.txt flags=O_RDWR fd=3 mode=0\n+ 500 write fd=3 size=4 res=4 data=abcd\n"
        "+ 500 close fd=3 res=0"
    )
    assert done.flows() == [(500, 3, "/srv/a.txt", "OPEN WRITE_SEND CLOSE")]
    assert done.one("FileFlow")["openFlags"] & 3 == 3


# Ends of flows


def test_a_flow_begins_with_its_first_operation_and_ends_with_close(convert: Convert) -> None:
    done = convert(CAT + "=5000000000 " + write(3) + "=7000000000 500 close fd=3 res=0")
    flow = done.one("FileFlow")
    assert (flow["ts"], flow["endTs"]) == (5_000_001_000, 7_000_001_000)


def test_a_close_alone_is_a_flow(convert: Convert) -> None:
    done = convert(CAT + "+ 500 close fd=3 res=0")
    assert done.flows() == [(500, 3, "/srv/a.txt", "CLOSE")]


def test_at_the_end_of_input_open_flows_are_truncated(convert: Convert) -> None:
    done = convert(CAT + "+ " + write(3) + "+ " + write(5) + "+10s 1 mkdir path=/end mode=0 res=0")
    assert done.flows() == [(500, 3, "/srv/a.txt", "WRITE_SEND TRUNCATE")]
    assert done.net() == [("192.0.2.10:5000->192.0.2.20:80", "WRITE_SEND TRUNCATE")]
    last = done.one("FileEvent")["ts"]
    assert [done.one(name)["endTs"] for name in ("FileFlow", "NetworkFlow")] == [last, last]
    assert done.order[-2:] == ["NetworkFlow", "FileFlow"]


def test_at_exit_a_processs_flows_are_truncated_before_the_event(convert: Convert) -> None:
    done = convert(
        CAT
        + "+ "
        + write(3)
        + "+ "
        + write(4, 501)
        + "+ "
        + write(5)
        + "+ 500 procexit ret=0\n+ 1 mkdir path=/x mode=0 res=0"
    )
    assert done.order[-6:-2] == ["FileFlow", "FileFlow", "NetworkFlow", "ProcessEvent"]
    assert all(ops.endswith("TRUNCATE") for _, _, _, ops in done.flows())


def test_at_a_threads_exit_its_flows_are_truncated(convert: Convert) -> None:
    done = convert(
        CAT + "+ " + write(3) + "+ " + write(4, 501) + "+ 501 procexit ret=0\n+ " + write(3), proc_flow=False
    )
    flows = done.of("FileFlow")
    assert [(f["tid"], f["numWSendOps"]) for f in flows] == [(501, 1), (500, 2)]
    assert done.order.index("FileFlow") < done.order.index("ProcessEvent")


def test_a_close_truncates_the_other_threads_flows_first(convert: Convert) -> None:
    """Those that opened the file before the others, then the closing thread's own."""
    done = convert(
        CAT + "thread 502 of=500\n+ 501 openat dirfd=AT_FDCWD name=/srv/n flags=O_RDWR fd=9 mode=0\n"
        "+ " + write(9, 502) + "+ " + write(9) + "+ 500 close fd=9 res=0\n"
    )  # fmt: skip
    assert [(tid, ops) for tid, fd, _, ops in done.flows() if fd == 9] == [
        (501, "OPEN TRUNCATE"), (502, "WRITE_SEND TRUNCATE"), (500, "WRITE_SEND CLOSE"),
    ]  # fmt: skip


def test_a_close_by_a_thread_without_flow_ends_the_others(convert: Convert) -> None:
    done = convert(CAT + "+ " + write(5) + "+ 501 close fd=5 res=0")
    assert [(f["tid"], f["opFlags"]) for f in done.of("NetworkFlow")] == [
        (500, opflags.OP_WRITE_SEND | opflags.OP_TRUNCATE), (501, opflags.OP_CLOSE),
    ]  # fmt: skip


def test_a_duplicate_has_a_flow_of_its_own(convert: Convert) -> None:
    """The same file under another number; closing one leaves the other open."""
    done = convert(CAT + "+ 500 dup fd=3 res=8 oldfd=3\n+ " + write(8) + "+ 500 close fd=3 res=0\n+ " + write(8))
    assert done.flows() == [(500, 3, "/srv/a.txt", "CLOSE"), (500, 8, "/srv/a.txt", "WRITE_SEND TRUNCATE")]
    assert done.of("FileFlow")[1]["numWSendOps"] == 2


@pytest.mark.parametrize("clocks", ["=5000000000", "=1", "=0", "=0xffffffffffffffff"])
def test_no_flow_ends_before_it_starts(convert: Convert, clocks: str) -> None:
    """Time may go back, or be 0 or -1."""
    when = clocks if "x" not in clocks else "=18446744073709551615"
    done = convert(
        CAT + "=9000000000 " + write(3) + when + " 500 write fd=3 -enter -exit\n" + when + " 500 close fd=3 res=0"
    )
    flow = done.one("FileFlow")
    assert flow["ts"] <= flow["endTs"] < 2**62


# Time


def test_a_busy_flow_is_exported_every_30_seconds(convert: Convert) -> None:
    """Without TRUNCATE; counters, flags and start begin anew, openFlags stay."""
    text = (
        CAT
        + "+ 500 openat dirfd=AT_FDCWD name=n flags=O_RDWR fd=7 mode=0\n"
        + ("+10s " + write(7)) * 7
        + "+ 500 close fd=7 res=0"
    )
    flows = convert(text).of("FileFlow")
    assert [opflags.op_names(f["opFlags"]) for f in flows] == [
        ["OPEN", "WRITE_SEND"],
        ["WRITE_SEND"],
        ["WRITE_SEND", "CLOSE"],
    ]
    assert sum(f["numWSendOps"] for f in flows) == 7
    assert {f["openFlags"] for f in flows} == {3}
    assert [f["endTs"] for f in flows[:2]] == [f["ts"] for f in flows[1:]]


def test_an_idle_flow_is_dropped_after_a_minute(convert: Convert) -> None:
    """Exported once, with what had happened; what comes later is a new flow with openFlags 0."""
    text = (
        CAT
        + "+ 500 openat dirfd=AT_FDCWD name=n flags=O_RDWR fd=7 mode=0\n"
        + "".join(f"+10s 1 mkdir path=/{i} mode=0 res=0\n" for i in range(20))
    )
    done = convert(text + "+ " + write(7))
    assert [(f["openFlags"], opflags.op_names(f["opFlags"])) for f in done.of("FileFlow")] == [
        (3, ["OPEN"]), (0, ["WRITE_SEND", "TRUNCATE"]),
    ]  # fmt: skip


def test_a_silence_of_minutes_drops_a_flow_unwritten(convert: Convert) -> None:
    """As the existing collector: what is a minute old when it is looked at is dropped silently."""
    done = convert(CAT + "+ " + write(3) + "+5m 1 mkdir path=/x mode=0 res=0\n+ 500 close fd=3 res=0")
    assert [ops for _, _, _, ops in done.flows()] == ["CLOSE"]


def test_flows_are_looked_over_once_a_second(convert: Convert) -> None:
    """29 s are not 30."""
    at = "=1000000000000 "
    text = CAT + at + write(3) + "=1029900000000 1 mkdir path=/x mode=0 res=0\n"
    assert [ops for _, _, _, ops in convert(text).flows()] == ["WRITE_SEND TRUNCATE"]
    later = "=1030100000000 1 mkdir path=/y mode=0 res=0\n"
    assert [ops for _, _, _, ops in convert(text + later).flows()] == ["WRITE_SEND"]


def test_a_flow_is_exported_after_its_process_was_written_again(convert: Convert) -> None:
    text = CAT + ("+10s " + write(3)) * 12
    done = convert(text, rotate_seconds=25)
    assert len(done.files) > 3
    assert done.self_contained()


def test_time_that_goes_back_exports_nothing(convert: Convert) -> None:
    text = CAT + "=1000000000000 " + write(3) + "=900000000000 " + write(3) + "=1000000000000 " + write(3)
    assert convert(text).one("FileFlow")["numWSendOps"] == 3


# Process flows


def test_thread_clones_and_exits_are_counted(convert: Convert) -> None:
    done = convert(
        CAT + f"+ 500 clone child=502 flags={THREAD}\n+ 500 clone res=-EAGAIN flags={THREAD}\n+ 502 procexit ret=0\n"
        "+ 500 procexit ret=0"
    )
    flow = done.one("ProcessFlow")
    assert (flow["numThreadsCloned"], flow["numThreadsExited"], flow["numCloneErrors"]) == (1, 1, 1)
    assert [name for _, _, name, _ in done.events()] == ["EXIT"]


def test_without_process_flows_each_is_an_event(convert: Convert) -> None:
    done = convert(CAT + f"+ 500 clone child=502 flags={THREAD}\n+ 502 procexit status=7", proc_flow=False)
    assert done.events() == [(500, 500, "CLONE", 502), (500, 502, "CLONE", 0), (500, 502, "EXIT", 7)]
    assert done.of("ProcessFlow") == []


def test_a_process_flow_ends_with_truncate_or_with_the_process(convert: Convert) -> None:
    text = CAT + f"+ 500 clone child=502 flags={THREAD}\n"
    assert opflags.op_names(convert(text).one("ProcessFlow")["opFlags"]) == ["CLONE", "TRUNCATE"]
    assert opflags.op_names(convert(text + "+ 500 procexit ret=0").one("ProcessFlow")["opFlags"]) == ["CLONE"]


def test_a_process_flow_is_exported_every_30_seconds(convert: Convert) -> None:
    text = CAT + "".join(f"+10s 500 clone child={600 + i} flags={THREAD}\n" for i in range(7))
    flows = convert(text).of("ProcessFlow")
    assert len(flows) == 3
    assert sum(f["numThreadsCloned"] for f in flows) == 7


# What is left out

KINDS = CAT + (
    "fd 500 23 unix /run/x.sock\n"
    "+ 500 pipe2 res=0 fd1=20 fd2=21 ino=1 flags=0\n+ " + write(21)
    + "+ 500 openat dirfd=AT_FDCWD name=/srv flags=O_RDONLY|O_DIRECTORY fd=22 mode=0\n"
    + "+ " + write(23)
    + "+ 500 eventfd2 res=25 initval=0 flags=0\n+ " + write(25) + "+ " + write(3)
)  # fmt: skip


def test_with_file_only_there_are_files_and_no_other_kinds(convert: Convert) -> None:
    assert [fd for _, fd, _, _ in convert(KINDS, file_only=True).flows()] == [3]


def test_without_file_only_there_are_directories_pipes_and_unix_sockets(convert: Convert) -> None:
    """But no eventfds and the like."""
    done = convert(KINDS)
    kinds = {f["oid"]: chr(f["restype"]) for f in done.of("File")}
    assert sorted((f["fd"], kinds[f["fileOID"]]) for f in done.of("FileFlow")) == [
        (3, "f"),
        (21, "p"),
        (22, "d"),
        (23, "u"),
    ]


READS = CAT + "".join(
    f"+ 500 openat dirfd=AT_FDCWD name={name} flags={flags} fd=9 mode=0\n{use}+ 500 close fd=9 res=0\n"
    for name, flags, use in [
        ("/srv/read", "O_RDONLY", "+ 500 read fd=9 size=1 res=1 data=x\n"),
        ("/proc/read", "O_RDONLY", "+ 500 read fd=9 size=1 res=1 data=x\n"),
        ("/usr/lib/libc.so", "O_RDONLY", "+ 500 read fd=9 size=1 res=1 data=x\n"),
        ("/usr/libexec/x", "O_RDONLY", "+ 500 read fd=9 size=1 res=1 data=x\n"),
        ("/dev/written", "O_WRONLY", "+ " + write(9)),
        ("/srv/written", "O_WRONLY", "+ " + write(9)),
    ]
)


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        (READ_ALL, ["/srv/read", "/proc/read", "/usr/lib/libc.so", "/usr/libexec/x", "/dev/written", "/srv/written"]),
        (READ_NONE, ["/dev/written", "/srv/written"]),
        (READ_SELECTED, ["/srv/read", "/usr/libexec/x", "/dev/written", "/srv/written"]),
    ],
)
def test_file_read_mode(convert: Convert, mode: int, names: list[str]) -> None:
    assert [path for _, _, path, _ in convert(READS, file_read_mode=mode).flows()] == names


def test_the_end_of_input_is_not_selected(convert: Convert) -> None:
    """As in the existing collector: FILE_READ_MODE does not concern what is still open then."""
    text = CAT + "+ 500 openat dirfd=AT_FDCWD name=/proc/x flags=O_RDONLY fd=9 mode=0"
    assert [path for _, _, path, _ in convert(text, file_read_mode=READ_NONE).flows()] == ["/proc/x"]


def test_consume_writes_an_open_file_as_one_record(convert: Convert) -> None:
    done = convert(READS, mode=CONSUME)
    assert {ops for _, _, _, ops in done.flows()} == {"OPEN"}
    assert len(done.flows()) == 6


def test_consume_keeps_connections_without_their_data(convert: Convert) -> None:
    text = CAT + "+ " + write(5) + "+ 500 socket domain=AF_INET type=1 proto=6 fd=6\n" + (
        "+ 500 connect fd=6 addr=192.0.2.9:80 res=0 tuple=192.0.2.8:1->192.0.2.9:80\n"
        "+ " + write(6) + "+ 500 close fd=6 res=0"
    )  # fmt: skip
    done = convert(text, mode=CONSUME)
    assert [ops.split()[0] for _, ops in done.net()] == ["CONNECT"]


def test_nofiles_writes_no_file_records(convert: Convert) -> None:
    done = convert(READS + "+ 500 mkdir path=/x mode=0 res=0\n+ " + write(5), mode=NOFILES)
    assert {"File", "FileFlow", "FileEvent"} & set(done.order) == set()
    assert len(done.of("NetworkFlow")) == 1


# Connections


def test_both_ends_of_a_connection_name_the_client_first(convert: Convert) -> None:
    server, client = "192.0.2.10:80", "192.0.2.20:5000"
    done = convert(
        "process 500 comm=s exe=/bin/s\nprocess 600 comm=c exe=/bin/c\n"
        "+ 600 socket domain=AF_INET type=1 proto=6 fd=3\n"
        f"+ 600 connect fd=3 addr={server} res=0 tuple={client}->{server}\n"
        f"+ 500 accept4 flags=0 fd=4 tuple={client}->{server} queuepct=0 queuelen=0 queuemax=9\n"
        f"+ 600 sendto fd=3 size=1 tuple={client}->{server} res=1 data=x\n"
        f"+ 500 recvfrom fd=4 size=1 res=1 data=x tuple={client}->{server}\n"
        "+ 600 close fd=3 res=0\n+ 500 close fd=4 res=0"
    )
    assert done.net() == [
        (f"{client}->{server}", "CONNECT WRITE_SEND CLOSE"),
        (f"{client}->{server}", "ACCEPT READ_RECV CLOSE"),
    ]
    assert {f["proto"] for f in done.of("NetworkFlow")} == {6}


@pytest.mark.parametrize("layout", ["accept", "ACCEPT", "accept4", "ACCEPT4", "ACCEPT4_5", "ACCEPT_5", "ACCEPT4_6"])
def test_accept_in_all_its_layouts(convert: Convert, layout: str) -> None:
    flags = " flags=0" if "4" in layout.lower() else ""
    done = convert(
        f"process 500 comm=s exe=/bin/s\n+ 500 {layout}{flags} fd=4 tuple=192.0.2.20:5001->192.0.2.10:80 queuepct=0"
    )
    assert done.net() == [("192.0.2.20:5001->192.0.2.10:80", "ACCEPT TRUNCATE")]


def test_a_refused_connection_names_whom_it_was_meant_for(convert: Convert) -> None:
    done = convert(
        "process 500 comm=c exe=/bin/c\n+ 500 socket domain=AF_INET type=1 proto=6 fd=3\n"
        "+ 500 connect fd=3 addr=192.0.2.30:81 res=-ECONNREFUSED tuple=none\n+ 500 close fd=3 res=0"
    )
    assert done.net() == [("0.0.0.0:0->192.0.2.30:81", "CONNECT CLOSE")]


def test_a_socket_that_was_never_used_has_no_flow(convert: Convert) -> None:
    """The existing collector writes one of zeros."""
    done = convert(
        "process 500 comm=c exe=/bin/c\n+ 500 socket domain=AF_INET type=1 proto=6 fd=3\n+ 500 close fd=3 res=0"
    )
    assert done.of("NetworkFlow") == []


def test_each_peer_of_a_datagram_socket_has_a_flow(convert: Convert) -> None:
    me = "192.0.2.20:6000"
    text = "process 500 comm=c exe=/bin/c\n+ 500 socket domain=AF_INET type=2 proto=17 fd=4\n" + "".join(
        f"+ 500 sendto fd=4 size=1 tuple={me}->192.0.2.{peer}:53 res=1 data=x\n"
        f"+ 500 recvfrom fd=4 size=9 res=9 data=xxxxxxxxx tuple=192.0.2.{peer}:53->{me}\n"
        for peer in (1, 2, 3)
    )
    done = convert(text)
    assert sorted(done.net()) == [(f"{me}->192.0.2.{peer}:53", "READ_RECV WRITE_SEND TRUNCATE") for peer in (1, 2, 3)]
    assert {(f["proto"], f["numRRecvBytes"], f["numWSendBytes"]) for f in done.of("NetworkFlow")} == {(17, 9, 1)}


def test_a_datagram_server_is_the_second_end(convert: Convert) -> None:
    done = convert(
        "process 500 comm=s exe=/bin/s\n+ 500 socket domain=AF_INET type=2 proto=17 fd=4\n"
        "+ 500 bind fd=4 addr=192.0.2.10:53 res=0\n"
        "+ 500 recvfrom fd=4 size=9 res=9 data=xxxxxxxxx tuple=192.0.2.20:6000->192.0.2.10:53\n"
        "+ 500 sendto fd=4 size=1 tuple=192.0.2.10:53->192.0.2.20:6000 res=1 data=x\n"
    )
    assert done.net() == [("192.0.2.20:6000->192.0.2.10:53", "READ_RECV WRITE_SEND TRUNCATE")]


# IPv6

SIX = (
    "process 500 comm=c exe=/bin/c\n+ 500 socket domain=AF_INET6 type=1 proto=6 fd=3\n"
    "+ 500 connect fd=3 addr=[2001:db8::1]:443 res=0 tuple=[2001:db8::2]:5000->[2001:db8::1]:443\n"
    "+ 500 write fd=3 size=1 res=1 data=x\n+ 500 close fd=3 res=0\n"
)


def test_version_5_leaves_ipv6_out_and_counts_the_connections(convert: Convert) -> None:
    done = convert(SIX + SIX.partition("\n")[2])
    assert done.of("NetworkFlow") == []
    assert done.engine.flows.ipv6_left_out == 2


def test_version_6_has_the_addresses(convert: Convert) -> None:
    done = convert(SIX, schema=6)
    flow = done.one("NetworkFlow")
    assert flow["sip6"] == bytes.fromhex("20010db8000000000000000000000002")
    assert flow["dip6"] == bytes.fromhex("20010db8000000000000000000000001")
    assert (flow["sip"], flow["dip"], flow["sport"], flow["dport"], flow["proto"]) == (0, 0, 5000, 443, 6)
    assert done.engine.flows.ipv6_left_out == 0


@pytest.mark.parametrize("schema", [5, 6])
def test_mapped_addresses_are_ipv4(convert: Convert, schema: int) -> None:
    mapped = SIX.replace("2001:db8::", "::ffff:192.0.2.")
    done = convert(mapped, schema=schema)
    assert done.net() == [("192.0.2.2:5000->192.0.2.1:443", "CONNECT WRITE_SEND CLOSE")]
    assert done.of("NetworkFlow")[0].get("sip6") is None


def test_mapped_addresses_in_the_fd_list_are_ipv4(convert: Convert) -> None:
    text = "process 500 comm=c exe=/bin/c\nfd 500 3 tcp [::ffff:192.0.2.2]:5000->[::ffff:192.0.2.1]:443\n+ " + write(3)
    assert convert(text).net() == [("192.0.2.2:5000->192.0.2.1:443", "WRITE_SEND TRUNCATE")]


def test_ipv6_peers_of_a_datagram_socket(convert: Convert) -> None:
    text = "process 500 comm=c exe=/bin/c\n+ 500 socket domain=AF_INET6 type=2 proto=17 fd=4\n" + "".join(
        f"+ 500 sendto fd=4 size=1 tuple=[2001:db8::9]:6000->[2001:db8::{peer}]:53 res=1 data=x\n" for peer in (1, 2)
    )
    done = convert(text, schema=6)
    assert sorted(f["dip6"][-1] for f in done.of("NetworkFlow")) == [1, 2]
    assert convert(text).of("NetworkFlow") == []


# Many


def capture(write_events: Callable[[ScapWriter], object]) -> bytes:
    out = io.BytesIO()
    writer = ScapWriter(out)
    writer.section()
    writer.process_list([{"tid": 500, "pid": 500, "ptid": 1, "vtid": 500, "vpid": 500}])
    write_events(writer)
    return out.getvalue()


def opened(writer: ScapWriter, ts: int, fd: int, name: str) -> None:
    writer.event(ts, 500, "PPME_SYSCALL_OPENAT_2_X", (fd, -100, name, 1, 0, 0, 0))


def test_flows_on_one_fd_are_bounded(convert: Convert) -> None:
    """An fd opened on ever other files and never closed: the oldest is written early."""
    number = MAX_FLOWS_PER_FD + 80

    def write_events(writer: ScapWriter) -> None:
        for i in range(number):
            opened(writer, SECOND + i, 3, f"/srv/{i}")

    done = convert(capture(write_events), look=lambda engine: engine.flows.open)
    assert done.seen <= MAX_FLOWS_PER_FD + 1
    assert done.engine.flows.dropped == number - done.seen
    paths = done.paths()
    assert [paths[f["fileOID"]] for f in done.of("FileFlow")][:3] == ["/srv/0", "/srv/1", "/srv/2"]
    assert len(done.of("FileFlow")) == number


def test_datagram_peers_on_one_fd_are_bounded(convert: Convert) -> None:
    """A server that ever other clients talk to, from one fd."""
    lines = "process 500 comm=s exe=/bin/s\n+ 500 socket domain=AF_INET type=2 proto=17 fd=4\n" + "".join(
        f"+ 500 sendto -enter fd=4 size=1 res=1 data=x tuple=10.0.0.1:53->10.1.{i >> 8}.{i & 255}:{1024 + i}\n"
        for i in range(1200)
    )
    done = convert("era exit-only\n" + lines, look=lambda engine: engine.flows.open)
    assert done.seen <= MAX_FLOWS_PER_FD + 1
    assert len(done.of("NetworkFlow")) == 1200
    assert done.self_contained()


@pytest.mark.parametrize("fd", [5, 2000])
def test_a_flow_that_is_written_early_may_go_on(convert: Convert, fd: int) -> None:
    def write_events(writer: ScapWriter) -> None:
        for i in range(MAX_FLOWS_PER_FD + 200):
            opened(writer, SECOND + i, fd, f"/srv/{i}")
        opened(writer, 2 * SECOND, fd, "/srv/0")
        writer.event(2 * SECOND, 500, "PPME_SYSCALL_CLOSE_X", (0, fd))

    done = convert(capture(write_events))
    assert done.flows().count((500, fd, "/srv/0", "OPEN TRUNCATE")) == 1
    assert (500, fd, "/srv/0", "OPEN CLOSE") in done.flows()


def test_a_file_that_is_open_over_an_exec_into_a_container_becomes_the_containers(convert: Convert) -> None:
    """As runc begins: what was written before belongs to the host's file."""
    done = convert(
        f"container plain id={'1' * 64} image=alpine:3.19\nprocess 1 comm=init exe=/sbin/init\n"
        "process 500 parent=1 comm=runc exe=/bin/runc\nfd 500 1 file /srv/log.txt flags=O_RDWR\n"
        '+ 500 write fd=1 size=10 res=10 data="1"\n+ 500 execve filename=/bin/app exe=app container=plain\n'
        '+ 500 write fd=1 size=7 res=7 data="1"\n+ 500 close fd=1 res=0'
    )
    container = {file["oid"]: file["containerId"] for file in done.of("File")}
    written = {container[flow["fileOID"]]: flow["numWSendBytes"] for flow in done.of("FileFlow")}
    assert written == {None: 10, "1" * 12: 7}


def test_a_bpf_command_that_returns_0_opens_no_fd_0(convert: Convert) -> None:
    start = "process 500 parent=1 comm=a exe=/bin/a\nfd 500 0 file /srv/in.txt flags=O_RDWR\n"
    writes = '+ 500 write fd=0 size=1 res=1 data="1"\n+ 500 close fd=0 res=0'
    assert [flow[3] for flow in convert(start + "+ 500 bpf cmd=1 fd=0\n" + writes).flows()] == ["WRITE_SEND CLOSE"]
    assert convert(start + "+ 500 bpf cmd=5 fd=0\n" + writes).flows() == []
