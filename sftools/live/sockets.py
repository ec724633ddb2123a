"""The sockets of a network namespace, as the tables under /proc/<pid>/net tell of them, by inode.

Layouts: Linux, Documentation/networking/proc_net_tcp.rst, net/unix/af_unix.c (unix_seq_show), net/netlink/af_netlink.c.
What a table's row becomes in the fd list follows falcosecurity/libs userspace/libscap/linux/scap_fds.c.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from sftools.limits import MAX_LIVE_ROW_BYTES, MAX_LIVE_SOCKETS
from sftools.scap.writer import Entry

IPV4, IPV6, IPV4_SERVER, IPV6_SERVER, UNIX, NETLINK = 3, 4, 5, 6, 8, 15
_TCP, _UDP, _ICMP, _RAW = 2, 3, 4, 5

# The tables with addresses: (file, IPv6, l4proto). libscap knows all but the ICMP ones (ping's datagram sockets).
_INET = (
    ("tcp", False, _TCP), ("udp", False, _UDP), ("icmp", False, _ICMP), ("raw", False, _RAW),
    ("tcp6", True, _TCP), ("udp6", True, _UDP), ("icmp6", True, _ICMP), ("raw6", True, _RAW),
)  # fmt: skip


@dataclass(slots=True)
class Socket:
    """A row of a table. Addresses: bytes in network order; ports: host order; dest and dport 0 where not connected."""

    type: int
    l4proto: int = 0
    source: bytes = b""
    sport: int = 0
    dest: bytes = b""
    dport: int = 0
    pointer: int = 0
    name: bytes = b""

    def entry(self, fd: int, ino: int) -> Entry:
        """The socket as an entry of the fd list."""
        entry: dict[str, int | str | bytes] = {"fd": fd, "ino": ino, "type": self.type}
        if self.type == UNIX:
            # /proc does not tell the other end; libscap writes 0 too.
            entry |= {"source": self.pointer, "destination": 0, "name": self.name}
        elif self.type == NETLINK:
            entry |= {"name": b""}
        elif self.type in (IPV4_SERVER, IPV6_SERVER):
            entry |= {"ip": _address(self.source), "port": self.sport, "l4proto": self.l4proto}
        else:
            entry |= {"sip": _address(self.source), "sport": self.sport}
            entry |= {"dip": _address(self.dest), "dport": self.dport, "l4proto": self.l4proto}
        return entry


def _address(address: bytes) -> int | bytes:
    """An address as fd lists hold it: an IPv4 one as its network-order bytes read little-endian."""
    return int.from_bytes(address, "little") if len(address) == 4 else address


def inet(row: bytes, ipv6: bool, l4proto: int) -> tuple[int, Socket] | None:
    """(inode, socket) of a row of tcp, udp, raw and the like; None for the heading and for sockets without an inode.

    A socket without a remote address is a server's, be it TCP that listens or UDP that is bound, as in libscap.
    """
    words = row.split()
    if len(words) < 10 or not words[0].endswith(b":"):
        return None
    digits = 32 if ipv6 else 8
    try:
        source, sport = _endpoint(words[1], digits)
        dest, dport = _endpoint(words[2], digits)
        ino = int(words[9])
    except ValueError:
        return None
    if not 0 < ino < 1 << 64:
        return None  # TIME_WAIT and the like belong to no process
    if not any(dest):
        return ino, Socket(IPV6_SERVER if ipv6 else IPV4_SERVER, l4proto, source, sport)
    return ino, Socket(IPV6 if ipv6 else IPV4, l4proto, source, sport, dest, dport)


def _endpoint(word: bytes, digits: int) -> tuple[bytes, int]:
    """ADDRESS:PORT. The kernel prints addresses as 32-bit words of its own byte order."""
    address, colon, port = word.partition(b":")
    if not colon or len(address) != digits or len(port) != 4:
        raise ValueError
    numbers = bytes.fromhex(address.decode("ascii"))
    return b"".join(numbers[i : i + 4][::-1] for i in range(0, len(numbers), 4)), int(port, 16)


def unix(row: bytes) -> tuple[int, Socket] | None:
    """(inode, socket) of a row of the unix table; an abstract name begins with @, as printed there."""
    words = row.rstrip(b"\n").split(None, 6)
    if len(words) < 7 or not words[0].endswith(b":"):
        return None
    number, _, name = words[6].partition(b" ")
    try:
        pointer, ino = int(words[0][:-1], 16), int(number)
    except ValueError:
        return None
    if not 0 < ino < 1 << 64 or not 0 <= pointer < 1 << 64:
        return None
    return ino, Socket(UNIX, pointer=pointer, name=name)


def netlink(row: bytes) -> tuple[int, Socket] | None:
    """(inode, socket) of a row of the netlink table."""
    words = row.split()
    if len(words) < 10 or not words[9].isdigit() or len(words[9]) > 19:
        return None
    return int(words[9]), Socket(NETLINK)


def read(process: int) -> dict[int, Socket]:
    """All sockets of a process's network namespace, at most MAX_LIVE_SOCKETS. process: fd of its /proc directory.

    A table that is missing or cannot be read (no IPv6, no rights) counts as empty.
    """
    found: dict[int, Socket] = {}
    for table, ipv6, l4proto in _INET:
        for row in _rows(process, table):
            _add(found, inet(row, ipv6, l4proto))
    for row in _rows(process, "netlink"):
        _add(found, netlink(row))
    named: dict[int, Socket] = {}
    for row in _rows(process, "unix"):
        pair = unix(row)
        if pair is not None and pair[0] in named:
            # Names are printed raw: one with a newline forges a row. Whose name is which cannot be told any more.
            named[pair[0]].name = b""
        else:
            _add(named, pair)
    for ino, socket in named.items():
        if ino not in found:
            _add(found, (ino, socket))
    return found


def _add(found: dict[int, Socket], pair: tuple[int, Socket] | None) -> None:
    if pair is not None and len(found) < MAX_LIVE_SOCKETS:
        found[pair[0]] = pair[1]


def _rows(process: int, table: str) -> Iterator[bytes]:
    try:
        fd = os.open(f"net/{table}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=process)
    except OSError:
        return
    with open(fd, "rb") as file:
        try:
            while row := file.readline(MAX_LIVE_ROW_BYTES):
                yield row
        except OSError:
            return
