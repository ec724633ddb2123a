"""What heads a capture beside the processes: machine, users, network interfaces; and a stat() that never waits.

Everything but users and interfaces comes from the process file system, so that a recorded tree can stand for a host.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sftools.limits import KIB, MAX_INTERFACES, MAX_LIVE_FILE_BYTES, MAX_LIVE_TABLE_BYTES, MAX_USERS
from sftools.scap.writer import Entry

# libscap's readers refuse longer names (MAX_CREDENTIALS_STR_LEN, with its NUL).
_MAX_CREDENTIAL = 255


def read_file(name: str, directory: int, limit: int = MAX_LIVE_FILE_BYTES, *, table: bool = False) -> bytes:
    """At most `limit` bytes of a file in a directory that is open as an fd. Raises OSError.

    The kernel gives its small files in one piece, so that a short read is the last; a table comes in several. Does not
    wait on a FIFO, which a hostile recorded tree may hold.
    """
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=directory)
    try:
        data = os.read(fd, limit)
        if not table:
            return data
        pieces, left = [data], limit - len(data)
        while left > 0 and (data := os.read(fd, left)):
            pieces.append(data)
            left -= len(data)
        return b"".join(pieces)
    finally:
        os.close(fd)


def read_or_empty(name: str, directory: int, limit: int = MAX_LIVE_FILE_BYTES, *, table: bool = False) -> bytes:
    """The same; nothing where the file cannot be read."""
    try:
        return read_file(name, directory, limit, table=table)
    except OSError:
        return b""


# Machine


class Machine(NamedTuple):
    """The machine info block's contents; boot_ts in ns since 1970."""

    hostname: bytes
    num_cpus: int
    memory_bytes: int
    max_pid: int
    boot_ts: int


def machine(root: int) -> Machine:
    """From a /proc directory (an fd). What is missing there is 0 or empty."""
    num_cpus = boot = memory = 0
    for line in read_or_empty("stat", root, MAX_LIVE_TABLE_BYTES, table=True).split(b"\n"):
        if line.startswith(b"cpu") and line[3:4].isdigit():
            num_cpus += 1
        elif line.startswith(b"btime "):
            boot = number(line[6:], 34)
    for line in read_or_empty("meminfo", root).split(b"\n"):
        if line.startswith(b"MemTotal:"):
            memory = number(line[9:].split()[:1], 53) * KIB
    hostname = read_or_empty("sys/kernel/hostname", root, 256).rstrip(b"\n")
    max_pid = number(read_or_empty("sys/kernel/pid_max", root, 256), 32)
    return Machine(hostname, min(num_cpus, 2**32 - 1), memory, max_pid, boot * 1_000_000_000)


def number(text: bytes | list[bytes], bits: int = 64, base: int = 10) -> int:
    """An unsigned number as far as `bits` go; of a list its first; 0 where there is none."""
    if isinstance(text, list):
        text = text[0] if text else b""
    try:
        return int(text, base) & ((1 << bits) - 1)
    except ValueError:
        return 0


# Users and groups


def users(etc: Path | None) -> list[Entry]:
    """The user list: of passwd and group in `etc`, or, with None, all that this host's name services list."""
    if etc is None:
        found: list[Entry] = [
            _user(user.pw_uid, user.pw_gid, user.pw_name, user.pw_dir, user.pw_shell) for user in pwd.getpwall()
        ]
        found += [_group(group.gr_gid, group.gr_name) for group in grp.getgrall()]
        return found[:MAX_USERS]
    found = []
    for words in _lines(etc / "passwd", 7):
        if words[2].isdigit() and words[3].isdigit():
            found.append(_user(number(words[2], 32), number(words[3], 32), words[0], words[5], words[6]))
    for words in _lines(etc / "group", 4):
        if words[2].isdigit():
            found.append(_group(number(words[2], 32), words[0]))
    return found[:MAX_USERS]


def _lines(path: Path, least: int) -> Iterator[list[bytes]]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LIVE_TABLE_BYTES)
    except OSError:
        return
    for line in data.split(b"\n"):
        words = line.split(b":")
        if len(words) >= least and not line.startswith((b"#", b"+", b"-")):
            yield words


def _user(uid: int, gid: int, name: str | bytes, home: str | bytes, shell: str | bytes) -> Entry:
    return {
        "uid": uid & 0xFFFFFFFF,
        "gid": gid & 0xFFFFFFFF,
        "name": _credential(name),
        "home": _credential(home),
        "shell": _credential(shell),
    }


def _group(gid: int, name: str | bytes) -> Entry:
    return {"gid": gid & 0xFFFFFFFF, "name": _credential(name)}


def _credential(text: str | bytes) -> bytes:
    return (os.fsencode(text) if isinstance(text, str) else text)[:_MAX_CREDENTIAL]


# Interfaces

_TYPE_IPV4, _TYPE_IPV6 = 1, 2


class _IfAddrs(ctypes.Structure):
    """struct ifaddrs, getifaddrs(3)."""


_IfAddrs._fields_ = [
    ("next", ctypes.POINTER(_IfAddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("addr", ctypes.c_void_p),
    ("netmask", ctypes.c_void_p),
    ("broadcast", ctypes.c_void_p),
    ("data", ctypes.c_void_p),
]


def interfaces() -> list[Entry]:
    """This host's network addresses (getifaddrs), the IPv4 ones first, as libscap lists them."""
    libc = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_IfAddrs)()
    if libc.getifaddrs(ctypes.byref(first)) != 0:
        return []
    found: list[Entry] = []
    try:
        at = first
        while at and len(found) < MAX_INTERFACES:
            item = at.contents
            if entry := _interface(item.name or b"", item.addr, item.netmask, item.broadcast):
                found.append(entry)
            at = item.next
    finally:
        libc.freeifaddrs(first)
    return sorted(found, key=lambda entry: int(entry["type"]))


def _interface(name: bytes, addr: int | None, netmask: int | None, broadcast: int | None) -> Entry | None:
    if not addr:
        return None
    (family,) = struct.unpack("=H", ctypes.string_at(addr, 2))
    if family == socket.AF_INET:
        # struct sockaddr_in: family, port, address
        kind, offset, size = _TYPE_IPV4, 4, 4
    elif family == socket.AF_INET6:
        # struct sockaddr_in6: family, port, flowinfo, address
        kind, offset, size = _TYPE_IPV6, 8, 16
    else:
        return None
    entry: dict[str, int | str | bytes] = {"type": kind, "linkspeed": 0, "name": name}
    for field, pointer in (("addr", addr), ("mask", netmask), ("bcast", broadcast)):
        value = ctypes.string_at(pointer, offset + size)[offset:] if pointer else bytes(size)
        entry[field] = int.from_bytes(value, "little") if size == 4 else value
    return entry


def recorded_interfaces(root: int) -> list[Entry]:
    """The IPv6 addresses that net/if_inet6 of a recorded tree tells; /proc has no such table of the IPv4 ones."""
    found: list[Entry] = []
    for line in read_or_empty("net/if_inet6", root, MAX_LIVE_TABLE_BYTES, table=True).split(b"\n"):
        words = line.split()
        if len(words) == 6 and len(words[0]) == 32 and len(found) < MAX_INTERFACES:
            try:
                address, bits = bytes.fromhex(words[0].decode("ascii")), min(int(words[2], 16), 128)
            except ValueError:
                continue
            mask = (((1 << bits) - 1) << (128 - bits)).to_bytes(16, "big")
            found.append(
                {
                    "type": _TYPE_IPV6,
                    "addr": address,
                    "mask": mask,
                    "bcast": bytes(16),
                    "linkspeed": 0,
                    "name": words[5],
                }
            )
    return found


# stat


class Stat(NamedTuple):
    """What a scan needs of a file. ctime, mtime: ns since 1970."""

    mode: int
    uid: int
    gid: int
    ino: int
    ctime: int
    mtime: int


_AT_STATX_DONT_SYNC = 0x4000
_STATX_BASIC_STATS = 0x7FF
_BUFFER = 256
# struct statx: mask, blksize, attributes, nlink, uid, gid, mode, ino (linux/stat.h); its times at fixed places.
_HEAD = struct.Struct("=IIQIIIHxxQ")
_TIME = struct.Struct("=qI")
_CTIME_AT, _MTIME_AT = 96, 112

# None where the C library is from before 2018.
_statx: Any = getattr(ctypes.CDLL(None), "statx", None)


def stat(name: bytes, directory: int) -> Stat | None:
    """stat() of a name in a directory (an fd), following links; None where it fails.

    With statx's DONT_SYNC, because an fd may be of a FUSE or network file system whose server never answers: any user
    could so stop the capture.
    """
    if _statx is None:
        try:
            found = os.stat(name, dir_fd=directory)
        except OSError:
            return None
        return Stat(found.st_mode, found.st_uid, found.st_gid, found.st_ino, found.st_ctime_ns, found.st_mtime_ns)
    buffer = ctypes.create_string_buffer(_BUFFER)
    if _statx(directory, name, _AT_STATX_DONT_SYNC, _STATX_BASIC_STATS, buffer) != 0:
        return None
    _, _, _, _, uid, gid, mode, ino = _HEAD.unpack_from(buffer)
    ctime, mtime = (
        seconds * 1_000_000_000 + ns
        for seconds, ns in (_TIME.unpack_from(buffer, _CTIME_AT), _TIME.unpack_from(buffer, _MTIME_AT))
    )
    return Stat(mode, uid, gid, ino, ctime, mtime)
