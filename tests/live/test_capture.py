"""A running capture, of programs that are run for it: what the kernel records, how it begins and how it ends."""

from __future__ import annotations

import ctypes
import io
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sftools.live import procfs
from sftools.live.capture import SETTLE_NS, Capture
from sftools.live.loader import ProbeOptions
from sftools.scap import blocks, lists, tables
from sftools.scap.events_cy import BLOCK, END, EVENT, EventCursor
from sftools.scap.writer import ScapWriter
from tests.live.conftest import Recorded, blocks_of, events_of

Record = Callable[..., tuple[bytes, int]]


def named(found: list[Recorded], *names: str) -> list[Recorded]:
    return [event for event in found if event.name in names]


def test_lists_come_first_and_events_after_them(record: Record) -> None:
    data, pid = record("true")
    kinds = [kind for kind, _ in blocks_of(data)]
    first = kinds.index(blocks.EV_V2)
    assert kinds[0] == blocks.SHB
    assert kinds[1] == blocks.MI
    assert set(kinds[first:]) == {blocks.EV_V2}
    listed = [e for kind, body in blocks_of(data) if kind == blocks.PL_V9 for e in lists.processes(kind, body)]
    assert pid in {entry.tid for entry in listed}


def test_events_are_in_order_of_time(record: Record) -> None:
    data, _ = record("for i in 1 2 3 4 5; do cat /dev/null & done; wait")
    times = [event.ts for event in events_of(data)]
    assert times == sorted(times)


def test_a_process_from_clone_to_exit(record: Record) -> None:
    data, pid = record("/bin/echo one two >/dev/null; exit 3")
    found = events_of(data)
    caller, child = sorted(named(found, "CLONE_20", "VFORK_20", "FORK_20", "CLONE3"), key=lambda e: -e.params["res"])
    assert (caller.tid, caller.params["pid"]) == (pid, pid)
    assert caller.params["res"] == child.tid
    assert child.params["ptid"] == pid
    (run,) = named(found, "EXECVE_19")
    assert (run.tid, run.params["res"]) == (child.tid, 0)
    assert run.params["exe"] == b"/bin/echo"
    assert run.params["args"] == b"one\0two\0"
    assert run.params["comm"] == b"echo"
    assert run.params["filename"] == b"/bin/echo"
    assert run.params["trusted_exepath"] == os.fsencode(os.path.realpath("/bin/echo"))
    assert run.params["exe_ino"] == os.stat("/bin/echo").st_ino
    assert run.params["uid"] == os.geteuid()
    assert b"PATH=" in run.params["env"]
    exits = {event.tid: event.params["ret"] for event in named(found, "PROCEXIT_1_E")}
    assert exits == {child.tid: 0, pid: 3}


def test_a_failed_exec_tells_what_was_asked_for(record: Record) -> None:
    data, _ = record("/no/such/program with arguments")
    (run,) = named(events_of(data), "EXECVE_19")
    assert run.params["res"] == -2
    assert (run.params["exe"], run.params["args"]) == (b"/no/such/program", b"with\0arguments\0")
    assert run.params["filename"] == b"/no/such/program"


def test_a_signal_that_ends_a_process(record: Record) -> None:
    data, pid = record("kill -9 $$")
    (ended,) = (event for event in named(events_of(data), "PROCEXIT_1_E") if event.tid == pid)
    assert (ended.params["status"], ended.params["sig"], ended.params["ret"]) == (9, 9, 0)


def test_files_are_named_and_numbered(record: Record, tmp_path: Path) -> None:
    data, pid = record("exec 5>made; echo text >&5; exec 5>&-; mkdir d; mv made d/moved; ln -s d s; rm -r d")
    found = events_of(data)
    opened = next(e for e in named(found, "OPENAT_2") if e.params["name"] == b"made")
    assert opened.params["flags"] == (
        tables.PPM_O_WRONLY | tables.PPM_O_CREAT | tables.PPM_O_TRUNC | tables.PPM_O_F_CREATED
    )
    assert opened.params["mode"] == 0o666
    assert opened.params["dirfd"] == tables.PPM_AT_FDCWD
    written = next(e for e in named(found, "WRITE") if e.tid == pid)
    assert (written.params["res"], written.params["data"], written.params["fd"]) == (5, b"text\n", 1)
    assert [e.params["path"] for e in named(found, "MKDIR_2")] == [b"d"]
    (moved,) = named(found, "RENAMEAT2", "RENAMEAT", "RENAME")
    assert {moved.params["oldpath"], moved.params["newpath"]} == {b"made", b"d/moved"}
    assert [e.params["target"] for e in named(found, "SYMLINK", "SYMLINKAT")] == [b"d"]
    assert any(e.params["flags"] == tables.PPM_AT_REMOVEDIR for e in named(found, "UNLINKAT_2"))


NETWORK = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
other, _ = server.accept()
client.send(b"question")
other.recv(100)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
try:
    six.sendto(b"datagram", ("::1", 9))
except OSError:
    pass
one, two = socket.socketpair()
one.sendmsg([b"in ", b"pieces"])
abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
abstract.bind("\\0name")
print(*client.getsockname(), *server.getsockname())
"""


def test_sockets_have_both_ends(record: Record, tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text(NETWORK)
    data, _ = record(f"{sys.executable} -S network.py >said")
    found = events_of(data)
    client_ip, client_port, server_ip, server_port = (tmp_path / "said").read_text().split()

    def end(ip: str, port: str) -> bytes:
        return socket.inet_aton(ip) + int(port).to_bytes(2, "little")

    tuple_ = b"\x02" + end(client_ip, client_port) + end(server_ip, server_port)
    (connected,) = named(found, "CONNECT")
    assert (connected.params["res"], connected.params["tuple"]) == (0, tuple_)
    assert connected.params["addr"] == b"\x02" + end(server_ip, server_port)
    (accepted,) = named(found, "ACCEPT4_6")
    assert accepted.params["tuple"] == tuple_
    received = next(e for e in named(found, "RECVFROM") if e.params["fd"] == accepted.params["fd"])
    assert (received.params["data"], received.params["tuple"]) == (b"question", tuple_)
    datagram = next(e for e in named(found, "SENDTO") if e.params["data"] == b"datagram")
    assert datagram.params["tuple"][19:] == socket.inet_pton(socket.AF_INET6, "::1") + (9).to_bytes(2, "little")
    pieces = next(e for e in named(found, "SENDMSG") if e.params["data"] == b"in pieces")
    assert (pieces.params["res"], pieces.params["size"]) == (9, 9)
    assert b"\x01name\0" in [e.params["addr"] for e in named(found, "BIND")]


def test_no_more_data_than_snaplen(record: Record) -> None:
    data, _ = record("echo 0123456789abcdef >/dev/null", snaplen=10)
    assert b"0123456789" in [e.params["data"] for e in named(events_of(data), "WRITE")]
    data, _ = record("head -c 100000 /dev/zero >/dev/null", snaplen=65535)
    assert max(len(e.params["data"] or b"") for e in named(events_of(data), "WRITE")) > 1000


def test_only_the_named_events(record: Record) -> None:
    data, _ = record("mkdir d; rmdir d", events=frozenset({tables.PPME_SYSCALL_RMDIR_2_X}))
    assert [(e.name, e.params["path"]) for e in events_of(data)] == [("RMDIR_2", b"d")]


def test_children_are_followed_unless_not_wanted(record: Record) -> None:
    data, pid = record("sh -c 'mkdir d'; rmdir d")
    assert {e.name for e in events_of(data) if e.tid != pid} >= {"MKDIR_2", "RMDIR_2"}
    data, pid = record("mkdir d; cd /", follow=False)
    found = events_of(data)
    assert {e.tid for e in found if e.name != "PROCEXIT_1_E"} == {pid}
    assert "CHDIR" in {e.name for e in found}


LEAVERS = "for i in 1 2 3; do /bin/true; done; (exit 4); sleep 0.01"


@pytest.mark.parametrize(
    "options", [{"comms": frozenset({b"sh"}), "pids": frozenset()}, {"follow": False}], ids=["by name", "not followed"]
)
def test_whatever_is_recorded_to_begin_is_recorded_to_end(record: Record, options: dict[str, Any]) -> None:
    """Else a capture of one name, or of one process, would collect the threads of all that it ever started."""
    data, pid = record(LEAVERS, **options)
    found = events_of(data)
    begun = {e.params["res"] for e in named(found, "CLONE_20", "VFORK_20", "FORK_20", "CLONE3") if e.tid == pid}
    assert len(begun) == 5
    assert begun <= {e.tid for e in named(found, "PROCEXIT_1_E")}


def test_only_threads_of_a_name(record: Record, tmp_path: Path) -> None:
    data, _ = record("mkdir d; rmdir d", comms=frozenset({b"rmdir"}))
    names = {e.name for e in events_of(data)}
    assert "RMDIR_2" in names
    assert "MKDIR_2" not in names


def test_only_what_is_in_a_cgroup_or_below(record: Record) -> None:
    """On a host with version 1 or 2 that lets us make one."""
    base = next(
        (p for p in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")) if (p / "cgroup.procs").exists()), None
    )
    if base is None or not os.access(base, os.W_OK):
        pytest.skip("no writable cgroup hierarchy")
    try:
        outer = Path(tempfile.mkdtemp(prefix="sftools-test-", dir=base))
        inner = outer / "inner"
        inner.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error.strerror}")
    try:
        script = f"mkdir outside; (echo 0 >{inner}/cgroup.procs; mkdir inside); rmdir outside"
        data, _ = record(script, pids=frozenset(), cgroups=frozenset({outer}))
        assert [e.params["path"] for e in named(events_of(data), "MKDIR_2")] == [b"inside"]
        assert named(events_of(data), "RMDIR_2") == []
    finally:
        inner.rmdir()
        outer.rmdir()


def remove_nothing(times: int, path: bytes = b"/nonexistent/directory") -> None:
    """Fails to remove a directory: one event each, made by the capturing process itself."""
    rmdir = ctypes.CDLL(None).rmdir
    for _ in range(times):
        rmdir(path)


def settle(capture: Capture) -> None:
    """Until all that has happened so far may be taken."""
    now = capture.now()
    while capture.now() <= now + SETTLE_NS:
        pass


def own_rmdirs(buffer: int) -> ProbeOptions:
    only = frozenset({tables.PPME_SYSCALL_RMDIR_2_X})
    return ProbeOptions(buffer=buffer, pids=frozenset({os.getpid()}), events=only, include_self=True)


def read_all(capture: Capture) -> bytes:
    out = bytearray()
    while data := capture.read(1 << 20):
        out += data
    return bytes(out)


def test_losses_are_counted_and_marked(permitted: None) -> None:
    """Nobody reads the ring meanwhile: each event is recorded or counted, and the capture says at its end."""
    with Capture(own_rmdirs(8192)) as capture:

        def idle() -> None:
            remove_nothing(1000)
            capture.stop()

        capture.on_idle = idle
        found = events_of(read_all(capture))
        counted = capture.statistics
    recorded = len(named(found, "RMDIR_2"))
    assert 0 < recorded < 1000
    assert recorded + counted["ring_full"] == 1000
    assert [e.row.code for e in found[recorded:]] == ["PPME_DROP_E", "PPME_DROP_X"]


def test_a_capture_goes_on_after_losses_and_marks_where_they_were(permitted: None) -> None:
    rounds = iter([1000, 1])
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})  # each CPU marks its own losses
    try:
        with Capture(own_rmdirs(8192)) as capture:

            def idle() -> None:
                times = next(rounds, 0)
                remove_nothing(times)
                settle(capture)  # then all of them are taken before the next round
                if not times:
                    capture.stop()

            capture.on_idle = idle
            found = events_of(read_all(capture))
    finally:
        os.sched_setaffinity(0, before)
    assert [e.row.code for e in found[-3:]] == ["PPME_DROP_E", "PPME_DROP_X", "PPME_SYSCALL_RMDIR_2_X"]
    assert [e.ts for e in found] == sorted(e.ts for e in found)


def test_marks_come_in_pairs(permitted: None) -> None:
    """Where the ring has room for one mark only, neither comes: the gap ends later."""
    # A record of 144 bytes, of which 28 fit into a page with 56 bytes left: a mark's record has 56.
    rounds = iter([(40, b"x" * 80), (1, b"short"), (0, b"")])
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        with Capture(own_rmdirs(4096)) as capture:

            def idle() -> None:
                times, path = next(rounds)
                remove_nothing(times, path)
                settle(capture)
                if not times:
                    capture.stop()

            capture.on_idle = idle
            found = events_of(read_all(capture))
            lost = capture.statistics["ring_full"]
    finally:
        os.sched_setaffinity(0, before)
    codes = [e.row.code.removeprefix("PPME_") for e in found]
    assert codes == [*28 * ["SYSCALL_RMDIR_2_X"], "DROP_E", "DROP_X", "SYSCALL_RMDIR_2_X"]
    assert lost == 12


def test_a_length_that_the_kernel_does_not_look_at_is_not_unread(permitted: None) -> None:
    """recvfrom's length means something only where there is an address to fill in."""
    libc = ctypes.CDLL(None, use_errno=True)
    only = frozenset({tables.PPME_SOCKET_RECVFROM_X})
    with Capture(ProbeOptions(pids=frozenset({os.getpid()}), events=only, include_self=True)) as capture:

        def idle() -> None:
            one, two = socket.socketpair()
            with one, two:
                one.send(b"question")
                room = ctypes.create_string_buffer(100)
                assert libc.recvfrom(two.fileno(), room, 100, 0, None, ctypes.c_void_p(1)) == 8
                assert libc.recvfrom(-1, room, 100, 0, room, ctypes.c_void_p(1)) == -1
            capture.stop()

        capture.on_idle = idle
        found = events_of(read_all(capture))
        unread = capture.statistics["unread"]
    own = [e for e in found if e.tid == threading.get_native_id()]  # other tests' servers may have threads yet
    assert [e.params["data"] for e in own] == [b"question", None]
    assert unread == 0


def test_an_event_cursor_reads_it_as_it_reads_a_file(permitted: None) -> None:
    rounds = iter([500])
    with Capture(own_rmdirs(1 << 20)) as capture:

        def idle() -> None:
            times = next(rounds, 0)
            remove_nothing(times)
            if not times:
                capture.stop()

        capture.on_idle = idle
        cursor = EventCursor(capture, "live", strict=True)
        seen = []
        while (what := cursor.advance()) != END:
            seen.append((what, cursor.type if what == EVENT else cursor.block_type))
    assert seen[0] == (BLOCK, blocks.SHB)
    assert seen[-500:] == [(EVENT, tables.PPME_SYSCALL_RMDIR_2_X)] * 500


def test_blocks_of_other_origin_come_between(permitted: None) -> None:
    made = io.BytesIO()
    ScapWriter(made).event(5, -1, "PPME_CONTAINER_JSON_2_E", ["{}"])
    with Capture(ProbeOptions(pids=frozenset({1 << 22}))) as capture:
        capture.on_idle = capture.stop
        capture.inject(made.getvalue())
        out = read_all(capture)
    assert [e.row.code for e in events_of(out)] == ["PPME_CONTAINER_JSON_2_E"]


def test_a_capture_of_a_long_list_keeps_what_happens_meanwhile(
    permitted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring is smaller than what happens while the lists are made."""
    real = procfs.blocks

    def slowly(*arguments: Any, **options: Any) -> Iterator[bytes]:
        yield from real(*arguments, **options)
        for _ in range(20):
            remove_nothing(100)
            settle(capture)
            made = io.BytesIO()
            ScapWriter(made).process_list([{"tid": 1 << 22, "pid": 1 << 22}])
            yield made.getvalue()

    monkeypatch.setattr(procfs, "blocks", slowly)
    with Capture(own_rmdirs(64 << 10)) as capture:
        capture.on_idle = capture.stop
        out = read_all(capture)
        counted = capture.statistics
    assert counted["ring_full"] == 0
    assert len(events_of(out)) == 2000
