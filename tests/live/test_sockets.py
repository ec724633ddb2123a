"""Socket tables: rows as kernels print them, hostile ones, and this host's own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.live import sockets
from sftools.live.sockets import Socket
from sftools.scap.writer import ip4, ip6

HEADING = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LISTENING = (
    b"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 33085 1 "
    b"ffff888100000000 100 0 0 10 0\n"
)
CONNECTED = (
    b"   1: 0200A8C0:D431 22D8B85D:01BB 01 00000000:00000000 02:000A7214 00000000  1000        0 40321 2 "
    b"ffff888100000000 20 4 30 10 -1\n"
)
TIME_WAIT = (
    b"   2: 0200A8C0:D432 22D8B85D:01BB 06 00000000:00000000 03:00001770 00000000     0        0 0 3 ffff888100000000\n"
)
CONNECTED6 = (
    b"   3: 0000000000000000FFFF00000100007F:0016 B80D0120000000000000000001000000:C350 01 00000000:00000000 "
    b"02:000A7214 00000000     0        0 50001 2 ffff888100000000 20 4 30 10 -1\n"
)
LISTENING6 = (
    b"   4: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 "
    b"00:00000000 00000000     0        0 50002 1 ffff888100000000 100 0 0 10 0\n"
)
UNIX_HEADING = b"Num       RefCount Protocol Flags    Type St Inode Path\n"


def unix_row(ino: int, name: bytes = b"", pointer: int = 0xFFFF888100000000) -> bytes:
    return b"%016x: 00000002 00000000 00010000 0001 01 %5d" % (pointer, ino) + (b" " + name if name else b"") + b"\n"


def table(tmp_path: Path, **files: bytes) -> dict[int, Socket]:
    """The sockets of a process whose net directory holds these files."""
    (tmp_path / "net").mkdir()
    for name, data in files.items():
        (tmp_path / "net" / name).write_bytes(data)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        return sockets.read(fd)
    finally:
        os.close(fd)


def test_a_listening_socket_is_a_servers() -> None:
    assert sockets.inet(LISTENING, False, 2) == (33085, Socket(5, 2, socket.inet_aton("127.0.0.1"), 8080))


def test_a_connected_socket_has_both_ends() -> None:
    source, dest = socket.inet_aton("192.168.0.2"), socket.inet_aton("93.184.216.34")
    assert sockets.inet(CONNECTED, False, 2) == (40321, Socket(3, 2, source, 54321, dest, 443))


def test_ipv6_addresses_are_printed_as_four_words() -> None:
    source, dest = ip6("::ffff:127.0.0.1"), ip6("2001:db8::1")
    assert sockets.inet(CONNECTED6, True, 2) == (50001, Socket(4, 2, source, 22, dest, 50000))
    assert sockets.inet(LISTENING6, True, 2) == (50002, Socket(6, 2, bytes(16), 22))


@pytest.mark.parametrize("row", [HEADING, TIME_WAIT, b"", b"\n", b"   0: 0100007F 00000000:0000 0A 1 1 1 1 1 5\n"])
def test_headings_and_sockets_without_a_process_are_no_rows(row: bytes) -> None:
    assert sockets.inet(row, False, 2) is None


def test_a_unix_socket_has_its_kernel_address_and_path() -> None:
    assert sockets.unix(unix_row(45, b"/run/a b.sock")) == (
        45,
        Socket(8, pointer=0xFFFF888100000000, name=b"/run/a b.sock"),
    )
    assert sockets.unix(unix_row(46, b"@abstract")) == (46, Socket(8, pointer=0xFFFF888100000000, name=b"@abstract"))
    assert sockets.unix(unix_row(47)) == (47, Socket(8, pointer=0xFFFF888100000000))
    assert sockets.unix(UNIX_HEADING) is None


def test_entries_are_those_of_the_fd_list() -> None:
    inode, found = sockets.inet(CONNECTED, False, 2) or (0, Socket(0))
    assert found.entry(7, inode) == {
        "fd": 7, "ino": 40321, "type": 3, "sip": ip4("192.168.0.2"), "sport": 54321,
        "dip": ip4("93.184.216.34"), "dport": 443, "l4proto": 2,
    }  # fmt: skip
    inode, found = sockets.inet(LISTENING6, True, 2) or (0, Socket(0))
    assert found.entry(8, inode) == {"fd": 8, "ino": 50002, "type": 6, "ip": bytes(16), "port": 22, "l4proto": 2}
    assert Socket(8, pointer=5, name=b"/s").entry(9, 1) == {
        "fd": 9, "ino": 1, "type": 8, "source": 5, "destination": 0, "name": b"/s",
    }  # fmt: skip
    assert Socket(15).entry(3, 4) == {"fd": 3, "ino": 4, "type": 15, "name": b""}


def test_all_tables_are_read(tmp_path: Path) -> None:
    found = table(
        tmp_path,
        tcp=HEADING + LISTENING + CONNECTED + TIME_WAIT,
        udp6=HEADING + LISTENING6,
        unix=UNIX_HEADING + unix_row(45, b"/run/x"),
        netlink=b"sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode\n0000000012f8650f 0 0 00000000 0 0 0 2 0 4\n",
    )
    assert {ino: (item.type, item.l4proto) for ino, item in found.items()} == {
        33085: (5, 2), 40321: (3, 2), 50002: (6, 3), 45: (8, 0), 4: (15, 0),
    }  # fmt: skip


def test_a_forged_row_of_a_unix_path_renames_no_socket(tmp_path: Path) -> None:
    """A path with a newline and a whole row after it: what looks like two names of one inode is none."""
    rows = unix_row(60, b"/srv/x\n" + unix_row(61, b"/run/docker.sock").rstrip(b"\n")) + unix_row(61, b"/srv/own")
    found = table(tmp_path, unix=UNIX_HEADING + rows)
    assert (found[60].name, found[61].name) == (b"/srv/x", b"")


def test_a_forged_row_of_a_unix_path_replaces_no_other_kind_of_socket(tmp_path: Path) -> None:
    rows = unix_row(60, b"/srv/x\n" + unix_row(33085, b"/run/docker.sock").rstrip(b"\n"))
    assert table(tmp_path, tcp=HEADING + LISTENING, unix=UNIX_HEADING + rows)[33085].type == 5


def test_tables_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_LIVE_SOCKETS", 10)
    assert len(table(tmp_path, unix=UNIX_HEADING + b"".join(unix_row(i + 1) for i in range(100)))) == 10


def test_no_tables_at_all(tmp_path: Path) -> None:
    assert table(tmp_path) == {}


@given(st.binary(max_size=300))
def test_any_row_is_a_socket_or_none(row: bytes) -> None:
    for pair in (sockets.inet(row, False, 2), sockets.inet(row, True, 3), sockets.unix(row), sockets.netlink(row)):
        assert pair is None or 0 <= pair[0] < 1 << 64


@given(
    st.binary(max_size=100).filter(lambda name: b"\0" not in name and b"\n" not in name and not name.startswith(b" ")),
    st.integers(1, 2**63),
)
def test_any_unix_path_survives(name: bytes, ino: int) -> None:
    found = sockets.unix(unix_row(ino, name))
    assert found is not None
    assert (found[0], found[1].name) == (ino, name)


def test_this_hosts_own_sockets_are_found() -> None:
    if not Path("/proc/self/net/tcp").exists():
        pytest.skip("no /proc/net")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        fd = os.open("/proc/self", os.O_RDONLY)
        try:
            found = sockets.read(fd)
        finally:
            os.close(fd)
        port = server.getsockname()[1]
        assert found[os.fstat(server.fileno()).st_ino] == Socket(5, 2, socket.inet_aton("127.0.0.1"), port)
        assert found[os.fstat(local.fileno()).st_ino].type == 8
