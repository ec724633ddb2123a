"""Scripted workloads: python -I -S workloads.py NAME LOG runs one in the working directory and logs what it did.

The log is JSON: `read` and `written`, bytes by path or by kind of socket; `events`, pairs of an operation and its path;
`processes`, how often which operation on processes had which result ("EXEC -2"; a clone's is 1 in the parent, whatever
the child's pid). A workload does nothing by chance, so that two runs of it do the same. Only the standard library,
without site.

With a third argument, `wait`, it says `ready` when all is imported and begins with the next line of its input.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import socket
import sys
import threading
from collections import Counter

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
# x86-64's numbers of calls that os has not, or has by another name.
OPEN, DUP2, FORK, VFORK, RENAME, MKDIR, RMDIR, CREAT, LINK, UNLINK, SYMLINK = 2, 33, 57, 58, 82, 83, 84, 85, 86, 87, 88
RENAMEAT, RENAMEAT2, SENDMMSG, CLOSE_RANGE, OPENAT2, RECVMMSG, EXECVEAT = 264, 316, 307, 436, 437, 299, 322
SETUID = 105
CLONE_NEWUTS, CLONE_NEWPID = 0x04000000, 0x20000000

read: Counter[str] = Counter()
written: Counter[str] = Counter()
events: list[tuple[str, str]] = []
did: Counter[str] = Counter()


def call(number: int, *arguments: object) -> int:
    """A system call; its result, or the error as a negative number."""
    given = [
        ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) if isinstance(a, int) else a for a in arguments
    ]
    result = libc.syscall(ctypes.c_long(number), *given)
    return -ctypes.get_errno() if result < 0 else result


def fill(name: str, size: int) -> None:
    fd = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    written[name] += os.write(fd, b"x" * size)
    os.close(fd)


def fork(*operations: str) -> int:
    """os.fork(). The child ends, after what of `operations` it does."""
    did.update(["CLONE 1", "CLONE 0", *operations, "EXIT 0"])
    return os.fork()


def open_forms() -> None:
    """open, creat, openat with a directory's fd and from it upwards, openat2, O_TMPFILE, failures."""
    os.mkdir("dir")
    events.append(("MKDIR", "dir"))
    directory = os.open("dir", os.O_RDONLY | os.O_DIRECTORY)
    for number, (fd, name) in enumerate(
        [
            (call(OPEN, b"plain", os.O_CREAT | os.O_RDWR, 0o600), "plain"),
            (call(CREAT, b"created", 0o644), "created"),
            (os.open("inside", os.O_CREAT | os.O_RDWR, 0o644, dir_fd=directory), "dir/inside"),
            (os.open("../up", os.O_CREAT | os.O_RDWR, 0o644, dir_fd=directory), "up"),
            (os.open("./dir/.././dir/dots", os.O_CREAT | os.O_RDWR, 0o644), "dir/dots"),
            (os.open(os.path.abspath("absolute"), os.O_CREAT | os.O_RDWR, 0o644, dir_fd=directory), "absolute"),
            (
                call(OPENAT2, directory, b"second", (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_RDWR, 0o644, 0), 24),
                "dir/second",
            ),
        ]
    ):
        assert fd >= 0, name
        written[name] += os.write(fd, b"w" * (number + 1))
        os.close(fd)
    assert call(OPEN, b"missing", os.O_RDONLY, 0) == -2
    hidden = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)  # has the name of its directory
    written["."] += os.write(hidden, b"t" * 77)
    os.close(hidden)
    os.close(directory)


def input_output() -> None:
    """read and write, positioned, vectors, sendfile, splice, copy_file_range, memfd, mmap."""
    fill("source", 5000)
    fd = os.open("source", os.O_RDWR)
    read["source"] += len(os.read(fd, 100)) + len(os.pread(fd, 200, 1000)) + len(os.read(fd, 10000))
    read["source"] += len(os.read(fd, 10))  # at the end: nothing
    read["source"] += os.readv(fd, [bytearray(5)]) + os.preadv(fd, [bytearray(30), bytearray(40)], 0)
    written["source"] += os.pwrite(fd, b"p" * 11, 0) + os.writev(fd, [b"a" * 3, b"b" * 4, b""])
    written["source"] += os.pwritev(fd, [b"a" * 5, b"b" * 6], 7)
    area = mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ)
    area.close()
    target = os.open("target", os.O_CREAT | os.O_RDWR, 0o644)
    os.lseek(fd, 0, os.SEEK_SET)
    sent = os.sendfile(target, fd, 0, 300)
    read["source"] += sent
    written["target"] += sent
    copied = os.copy_file_range(fd, target, 123, 0, 0)
    read["source"] += copied
    written["target"] += copied
    a, b = os.pipe()
    read["source"] += os.splice(fd, b, 50, 0)
    os.read(a, 50)
    os.close(a)
    os.close(b)
    os.close(target)
    os.close(fd)
    memory = os.memfd_create("in-memory")
    os.write(memory, b"m" * 9)
    os.close(memory)
    with contextlib.suppress(OSError):
        os.write(9999, b"lost")


def names() -> None:
    """Renames, links and directories, by path and relative to fds; failures."""
    os.makedirs("a/b")
    events.extend([("MKDIR", "a"), ("MKDIR", "a/b")])
    a, b = os.open("a", os.O_RDONLY), os.open("a/b", os.O_RDONLY)
    fill("one", 1)
    assert call(RENAME, b"one", b"two") == 0
    assert call(RENAMEAT, AT_FDCWD, b"two", a, b"three") == 0
    assert call(RENAMEAT2, a, b"three", b, b"../four", 0) == 0
    events.extend([("RENAME", "one"), ("RENAME", "two"), ("RENAME", "a/three")])
    assert call(LINK, b"a/four", b"hard") == 0
    os.link("four", "hard-at", src_dir_fd=a, dst_dir_fd=b)
    events.extend([("LINK", "a/four"), ("LINK", "a/four")])
    assert call(SYMLINK, b"a/four", b"soft") == 0
    os.symlink("../four", "soft-at", dir_fd=b)
    assert call(UNLINK, b"hard") == 0
    os.unlink("hard-at", dir_fd=b)
    os.unlink("soft-at", dir_fd=b)
    os.unlink("soft")
    events.extend([("UNLINK", "hard"), ("UNLINK", "a/b/hard-at"), ("UNLINK", "a/b/soft-at"), ("UNLINK", "soft")])
    os.mkdir("made", dir_fd=b)
    os.rmdir("made", dir_fd=b)
    events.extend([("MKDIR", "a/b/made"), ("UNLINK", "a/b/made")])  # the call is unlinkat
    assert call(MKDIR, b"a/b/old", 0o700) == 0
    assert call(RMDIR, b"a/b/old") == 0
    events.extend([("MKDIR", "a/b/old"), ("RMDIR", "a/b/old")])
    assert call(UNLINK, b"missing") == -2
    assert call(MKDIR, b"a", 0o700) == -17
    assert call(RMDIR, b"a") == -39
    assert call(RENAME, b"missing", b"other") == -2
    os.close(b)
    os.close(a)
    os.unlink("a/four")
    os.rmdir("a/b")
    os.rmdir("a")
    events.extend([("UNLINK", "a/four"), ("RMDIR", "a/b"), ("RMDIR", "a")])


def descriptors() -> None:
    """dup, dup2, fcntl, pipes, close_range: bytes go to the file that the fd stands for."""
    fd = os.open("first", os.O_CREAT | os.O_RDWR, 0o644)
    copy = libc.dup(fd)
    assert call(DUP2, fd, 20) == 20
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 30)
    written["first"] += sum(os.write(each, b"d" * size) for each, size in ((fd, 1), (copy, 2), (20, 4), (high, 8)))
    os.close(fd)
    written["first"] += os.write(copy, b"e" * 16)
    other = os.open("second", os.O_CREAT | os.O_RDWR, 0o644)
    assert call(DUP2, other, 20) == 20  # closes what 20 was
    written["second"] += os.write(20, b"f" * 32)
    assert call(CLOSE_RANGE, 20, 40, 0) == 0
    os.close(copy)
    os.close(other)
    for pair in (os.pipe(), os.pipe2(os.O_CLOEXEC)):
        os.write(pair[1], b"pipe")
        os.read(pair[0], 10)
        for each in pair:
            os.close(each)


def directories() -> None:
    """chdir, fchdir and relative paths after them; a child changes its own directory only."""
    os.mkdir("down")
    events.append(("MKDIR", "down"))
    top = os.open(".", os.O_RDONLY)
    os.chdir("down")
    fd = os.open("file", os.O_CREAT | os.O_WRONLY, 0o644)
    written["down/file"] += os.write(fd, b"x" * 10)
    os.close(fd)
    os.chdir("..")
    fill("top", 3)
    os.fchdir(top)
    os.chdir("./down/../down/.")
    child = fork()
    if child == 0:
        os.chdir("..")
        call(CREAT, b"of-child", 0o644)
        os._exit(3)
    os.waitpid(child, 0)
    call(CREAT, b"of-parent", 0o644)
    os.fchdir(top)
    call(CREAT, b"of-top", 0o644)


def processes() -> None:
    """fork, vfork by subprocesses, clone with threads; exits with codes; a storm of each."""
    for i in range(20):
        child = fork()
        if child == 0:
            os._exit(i)
        os.waitpid(child, 0)
    for _ in range(3):
        child = os.posix_spawn("/bin/true", ["true"], {})
        os.waitpid(child, 0)
        did.update(["CLONE 1", "CLONE 0", "EXEC 0", "EXIT 0"])
    for _ in range(20):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        did.update(["CLONE 1", "CLONE 0", "EXIT 0"])


def programs() -> None:
    """exec that succeeds, by path and by fd, and fails: no such file, no permission, no program."""
    fill("no-program", 10)
    os.chmod("no-program", 0o644)
    for path, operation in (("missing", "EXEC -2"), ("no-program", "EXEC -13"), (".", "EXEC -13")):
        child = fork(operation)
        if child == 0:
            try:
                os.execv(path, [path, "argument"])
            except OSError:
                os._exit(7)
        os.waitpid(child, 0)
    child = fork("EXEC 0")
    if child == 0:
        os.execv("/bin/echo", ["echo", "-n", "some", "words"])
    os.waitpid(child, 0)
    child = fork("EXEC 0")
    if child == 0:
        fd = os.open("/bin/true", os.O_RDONLY | os.O_CLOEXEC)
        argv = (ctypes.c_char_p * 3)(b"by-fd", b"x", None)
        call(EXECVEAT, fd, b"", argv, (ctypes.c_char_p * 1)(None), 0x1000)
        os._exit(9)
    assert os.waitpid(child, 0)[1] == 0


def identities() -> None:
    """setuid and its kin in children; unshare and setns; a process that is 1 in a pid namespace."""
    for change, operations in (
        (lambda: os.setuid(1234), ["SETUID 0"]),
        (lambda: os.setreuid(1, 2), []),
        (lambda: os.setresuid(5, 6, 7), ["SETUID 0"]),
        (lambda: (os.setgid(77), os.setresgid(8, 9, 10)), []),
        (lambda: (os.setuid(1000), call(SETUID, 0)), ["SETUID 0", "SETUID -1"]),
        (lambda: libc.unshare(CLONE_NEWUTS), []),
        (lambda: libc.setns(os.open("/proc/self/ns/uts", os.O_RDONLY), 0), []),
    ):
        child = fork(*operations)
        if child == 0:
            change()
            call(CREAT, b"by-%d" % os.geteuid(), 0o644)
            os._exit(0)
        os.waitpid(child, 0)
    child = fork("CLONE 1", "CLONE 0", "EXIT 0")
    if child == 0:
        libc.unshare(CLONE_NEWPID)
        first = os.fork()
        if first == 0:
            call(CREAT, b"by-pid-%d" % os.getpid(), 0o644)
            os._exit(0)
        os.waitpid(first, 0)
        os._exit(0)
    os.waitpid(child, 0)
    assert os.path.exists("by-pid-1")


class Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = [
        ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.c_void_p), ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_size_t),
        ("len", ctypes.c_size_t),
    ]  # fmt: skip


def _messages(count: int, size: int) -> tuple[ctypes.Array[Message], list[object]]:
    kept: list[object] = []
    messages = (Message * count)()
    for i in range(count):
        data = ctypes.create_string_buffer(b"m" * (size + i), size + i)
        iov = (ctypes.c_size_t * 2)(ctypes.addressof(data), size + i)
        messages[i].iov, messages[i].iovlen = ctypes.addressof(iov), 1
        kept += [data, iov]
    return messages, kept


def _talk(client: socket.socket, server: socket.socket, kind: str) -> None:
    """Both ends, every family of calls; what one sends the other takes."""
    client.sendall(b"c" * 100)
    read[kind] += len(server.recv(1000))
    server.sendmsg([b"s" * 10, b"t" * 20])
    read[kind] += len(client.recvmsg(1000)[0])
    os.write(client.fileno(), b"w" * 7)
    read[kind] += len(os.read(server.fileno(), 1000))
    os.writev(client.fileno(), [b"v" * 3, b"v" * 4])
    into = bytearray(1000)
    read[kind] += os.readv(server.fileno(), [into])
    messages, _kept = _messages(3, 40)
    assert call(SENDMMSG, client.fileno(), messages, 3, 0) == 3
    if client.type == socket.SOCK_DGRAM:
        for _ in range(3):
            read[kind] += len(server.recv(1000))
    else:  # in one call, though TCP may hold back what follows the first
        read[kind] += len(server.recv(40 + 41 + 42, socket.MSG_WAITALL))
    written[kind] += 100 + 30 + 7 + 7 + 40 + 41 + 42


def _stream(family: int, address: object, kind: str) -> None:
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.bind(address)  # type: ignore[arg-type]
    listening.listen(5)
    client = socket.socket(family, socket.SOCK_STREAM)
    client.connect(listening.getsockname())
    server, _ = listening.accept()
    _talk(client, server, kind)
    client.shutdown(socket.SHUT_WR)
    server.recv(10)
    for each in (client, server, listening):
        each.close()


def tcp() -> None:
    """IPv4 and IPv6: bind, listen, connect, accept, all calls that send and receive; a refused connection."""
    _stream(socket.AF_INET, ("127.0.0.1", 0), "TCP")
    _stream(socket.AF_INET6, ("::1", 0), "TCPv6")
    lonely = socket.socket()
    lonely.bind(("127.0.0.1", 0))
    refused = socket.socket()
    assert refused.connect_ex(lonely.getsockname()) == 111
    waiting = socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listening = socket.create_server(("127.0.0.1", 0))
    assert waiting.connect_ex(listening.getsockname()) == 115
    server, _ = listening.accept()
    waiting.setblocking(True)
    written["TCP"] += waiting.send(b"late")
    read["TCP"] += len(server.recv(10))


def udp() -> None:
    """Datagrams, connected and not, over IPv4 and IPv6."""
    for family, host, kind in ((socket.AF_INET, "127.0.0.1", "UDP"), (socket.AF_INET6, "::1", "UDPv6")):
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind((host, 0))
        client = socket.socket(family, socket.SOCK_DGRAM)
        written[kind] += client.sendto(b"u" * 50, server.getsockname())
        data, address = server.recvfrom(1000)
        read[kind] += len(data)
        written[kind] += server.sendto(b"r" * 60, address)
        read[kind] += len(client.recv(1000))
        client.connect(server.getsockname())
        server.connect(client.getsockname())
        _talk(client, server, kind)
        client.close()
        server.close()


def unix() -> None:
    """Unix sockets: of a path, abstract, a pair."""
    for address in (os.path.abspath("socket"), "\0abstract-socket"):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(address)
        listening.listen(2)
        client = socket.socket(socket.AF_UNIX)
        client.connect(address)
        server, _ = listening.accept()
        _talk(client, server, "UNIX")
        for each in (client, server, listening):
            each.close()
    a, b = socket.socketpair()
    _talk(a, b, "UNIX")
    a.close()
    b.close()


WORKLOADS = (open_forms, input_output, names, descriptors, directories, processes, programs, identities, tcp, udp, unix)


if __name__ == "__main__":
    workload = next(each for each in WORKLOADS if each.__name__ == sys.argv[1])
    if sys.argv[3:] == ["wait"]:
        os.write(1, b"ready\n")
        os.read(0, 1)
    workload()
    did["EXIT 0"] += 1
    with open(sys.argv[2], "w") as log:
        json.dump({"read": read, "written": written, "events": events, "processes": did}, log)
