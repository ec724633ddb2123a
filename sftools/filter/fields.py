"""The fields: one table, from which the compiler, `--list-fields` and the documentation come.

A getter is called with the engine and gives the field's value (filter/values.py says in which form), or None where the
event has none. It must not raise: the engine calls it from C. Names and meanings are those of falcosecurity/libs,
userspace/libsinsp/sinsp_filtercheck_*.cpp.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from sftools.engine import containers
from sftools.engine.state_cy import ROLE_NONE, ROLE_SERVER
from sftools.engine.users import fallback
from sftools.filter.values import FieldType
from sftools.limits import MAX_ANCESTORS
from sftools.scap import fd_types, tables
from sftools.scap.event_table import EVENTS, Event

TEXT, NUMBER, BOOL, ADDRESS = FieldType.TEXT, FieldType.NUMBER, FieldType.BOOL, FieldType.ADDRESS

Getter = Callable[[Any], Any]


class Argument(Enum):
    """What may stand in a field's brackets."""

    NONE = "nothing"
    LEVEL = "how many parents up"
    NAME = "a name"


@dataclass(frozen=True, slots=True)
class Field:
    """A field has at least one way to its value.

    get: the value. each: several, of which one must fit (with differs_in_all: all, for `!=`). of_event: from the row of
    the event table alone. bind: the getter for an argument (an int for LEVEL, bytes for NAME).
    """

    name: str
    type: FieldType
    description: str
    get: Getter | None = None
    each: Callable[[Any], Iterable[Any]] | None = None
    differs_in_all: bool = False
    of_event: Callable[[Event], Any] | None = None
    argument: Argument = Argument.NONE
    bind: Callable[[Any], Getter] | None = None


# -- events

_OPENS = frozenset(
    event.id for event in EVENTS if event.id & 1 and event.name in ("open", "openat", "openat2", "open_by_handle_at")
)
# The result is the parameter `res`, or `fd` for what opens one.
_HAS_RESULT = tuple(bool(event.id & 1 and event.params and event.params[0].name in ("res", "fd")) for event in EVENTS)
_CATEGORIES = tuple(event.category for event in EVENTS)
_FILES = (fd_types.FD_FILE, fd_types.FD_FILE_V2)
_SOCKETS = (fd_types.FD_IPV4_SOCK, fd_types.FD_IPV6_SOCK)
_SERVERS = (fd_types.FD_IPV4_SERVSOCK, fd_types.FD_IPV6_SERVSOCK)
_IPS = (*_SOCKETS, *_SERVERS)
_IPC = (fd_types.FD_FIFO, fd_types.FD_UNIX_SOCK, fd_types.FD_EVENT, fd_types.FD_SIGNALFD, fd_types.FD_INOTIFY)
_FD_CATEGORIES = {
    **dict.fromkeys((*_FILES, fd_types.FD_DIRECTORY), b"file"),
    **dict.fromkeys(_IPS, b"net"),
    **dict.fromkeys(_IPC, b"ipc"),
}
# Of two names for a number, libsinsp's; and the kernel's own, which a tracer sees.
_ERRNO = {number: name.encode() for number, name in errno.errorcode.items()} | {
    35: b"EDEADLK", 95: b"EOPNOTSUPP", 512: b"ERESTARTSYS", 513: b"ERESTARTNOINTR", 514: b"ERESTARTNOHAND",
    515: b"ENOIOCTLCMD", 516: b"ERESTART_RESTARTBLOCK",
}  # fmt: skip


def _rawres(engine: Any) -> Any:
    return engine.res if _HAS_RESULT[engine.cursor.type] else None


def _res(engine: Any) -> Any:
    if not _HAS_RESULT[engine.cursor.type]:
        return None
    res = engine.res
    return b"SUCCESS" if res >= 0 else _ERRNO.get(-res) or b"%d" % -res


def _failed(engine: Any) -> bool:
    return bool(_HAS_RESULT[engine.cursor.type] and engine.res < 0)


def _category(engine: Any) -> bytes:
    category = _CATEGORIES[engine.cursor.type]
    if category.startswith("io_"):
        info = engine.info
        return b"unknown" if info is None else _FD_CATEGORIES.get(info.type, b"unknown")
    return b"IPC" if category == "ipc" else category.encode()


def _opened(flag: int) -> Getter:
    def get(engine: Any) -> bool:
        info = engine.info
        return engine.cursor.type in _OPENS and info is not None and info.openflags & flag != 0

    return get


def _clock(layout: str) -> Getter:
    before, after = layout.split("%N")

    def get(engine: Any) -> bytes:
        seconds, nanoseconds = divmod(engine.ts, 1_000_000_000)
        return f"{time.strftime(before, time.gmtime(seconds))}{nanoseconds:09}{after}".encode()

    return get


# -- threads


def _is_main(thread: Any) -> bool:
    return bool(thread.tid == thread.pid or thread.flags & tables.PPM_CL_IS_MAIN_THREAD)


def _main(thread: Any) -> Any:
    """The main thread of a thread's process, or None where it was never seen."""
    if _is_main(thread):
        return thread
    return None if thread.group is None else thread.group.leader


def _parent(engine: Any, thread: Any) -> Any:
    found = engine.threads.by_tid.get(thread.ptid)
    return None if found is thread else found


def _ancestors(engine: Any) -> Iterator[Any]:
    thread = _main(engine.thread)
    for _ in range(MAX_ANCESTORS):
        if thread is None or (thread := _parent(engine, thread)) is None:
            return
        yield thread


def _of_thread(of: Getter) -> Getter:
    return lambda engine: of(engine.thread)


def _of_parent(of: Getter) -> Getter:
    def get(engine: Any) -> Any:
        parent = _parent(engine, engine.thread)
        return None if parent is None else of(parent)

    return get


def _of_ancestors(of: Getter) -> Callable[[Any], Iterable[Any]]:
    return lambda engine: map(of, _ancestors(engine))


def _of_ancestor(of: Getter) -> Callable[[int], Getter]:
    def bind(level: int) -> Getter:
        def get(engine: Any) -> Any:
            thread = _main(engine.thread)
            for _ in range(level):
                if thread is None:
                    return None
                thread = _parent(engine, thread)
            return None if thread is None else of(thread)

        return get

    return bind


def _args(thread: Any) -> bytes:
    return bytes(thread.args).removesuffix(b"\0").replace(b"\0", b" ")


def _cmdline(thread: Any) -> bytes:
    return thread.comm + b" " + _args(thread) if thread.args else bytes(thread.comm)


def _exeline(thread: Any) -> bytes:
    return bytes(thread.exe + b" " + _args(thread))


def _count_args(thread: Any) -> int:
    return bytes(thread.args).removesuffix(b"\0").count(b"\0") + 1 if thread.args else 0


def _environment(thread: Any) -> bytes:
    main = _main(thread) or thread
    return bytes(main.env)


def _env(thread: Any) -> bytes:
    return _environment(thread).removesuffix(b"\0").replace(b"\0", b" ")


def _env_named(name: bytes) -> Getter:
    start = name + b"="

    def get(engine: Any) -> bytes:
        for entry in _environment(engine.thread).split(b"\0"):
            if entry.startswith(start):
                return entry[len(start) :]
        return b""

    return get


def _cwd(thread: Any) -> Any:
    return None if thread.group is None else thread.group.cwd


def _ppid(thread: Any) -> Any:
    main = _main(thread)
    return None if main is None else main.ptid


def _login_shell(engine: Any) -> Any:
    """The pid of the oldest shell (a name that ends in `sh`) among the process and its ancestors."""
    main = _main(engine.thread)
    if main is None:
        return None
    oldest = main.pid if main.comm.endswith(b"sh") else None
    for thread in _ancestors(engine):
        if thread.comm.endswith(b"sh"):
            oldest = thread.pid
    return oldest


def _duration(engine: Any) -> Any:
    started = engine.thread.clone_ts
    return None if started == 0 else max(0, engine.ts - started)


def _nthreads(thread: Any) -> Any:
    return None if thread.group is None else thread.group.alive


def _nchilds(thread: Any) -> Any:
    if thread.group is None:
        return None
    leader = thread.group.leader
    return thread.group.alive - (leader is not None and not leader.dead)


def _fd_count(thread: Any) -> Any:
    return None if thread.group is None else thread.group.fds.count


# -- users


def _container_id(thread: Any) -> bytes:
    return b"" if thread.container is None else thread.container.id


def _login_uid(thread: Any) -> int:
    return -1 if thread.loginuid == 0xFFFFFFFF else int(thread.loginuid)


def _login_name(engine: Any) -> Any:
    thread = engine.thread
    return engine.users.user(_container_id(thread), thread.loginuid) or fallback(thread.loginuid)


# -- containers and pods

_CONTAINER_TYPES = {
    containers.CT_DOCKER: b"docker", containers.CT_LXC: b"lxc", containers.CT_LIBVIRT_LXC: b"libvirt-lxc",
    containers.CT_MESOS: b"mesos", containers.CT_RKT: b"rkt", containers.CT_CUSTOM: b"podman",
    containers.CT_CRI: b"cri", containers.CT_CONTAINERD: b"containerd",
    containers.CT_CRIO: b"cri-o", containers.CT_BPM: b"bpm",
}  # fmt: skip
_TELL_PRIVILEGED = frozenset(
    {
        containers.CT_DOCKER,
        containers.CT_CUSTOM,
        containers.CT_CRI,
        containers.CT_CONTAINERD,
        containers.CT_CRIO,
    }
)


def _of_container(of: Getter, host: bytes | None = None) -> Getter:
    def get(engine: Any) -> Any:
        container = engine.thread.container
        return host if container is None else of(container)

    return get


def _image(container: Any) -> tuple[bytes, bytes]:
    """Repository and tag of the engine's `image:tag`."""
    repository, _, tag = container.image.rpartition(b":")
    return repository.removesuffix(b":" + tag) if tag else repository, tag


def _image_name(container: Any) -> Any:
    repository, tag = _image(container)
    return b":".join(filter(None, (repository, tag))) or None


def _privileged(container: Any) -> Any:
    return bool(container.privileged) if container.complete and container.type in _TELL_PRIVILEGED else None


def _of_pod(of: Getter) -> Getter:
    def get(engine: Any) -> Any:
        container = engine.thread.container
        if container is None or container.pod is None:
            return None
        return of(container.pod) or None

    return get


def _pod_label(name: bytes) -> Getter:
    return _of_pod(lambda pod: pod.labels.get(name))


# -- fds

_TYPE_NAMES = {
    fd_types.FD_FILE: b"file", fd_types.FD_FILE_V2: b"file", fd_types.FD_DIRECTORY: b"directory",
    fd_types.FD_IPV4_SOCK: b"ipv4", fd_types.FD_IPV4_SERVSOCK: b"ipv4", fd_types.FD_IPV6_SOCK: b"ipv6",
    fd_types.FD_IPV6_SERVSOCK: b"ipv6", fd_types.FD_FIFO: b"pipe", fd_types.FD_UNIX_SOCK: b"unix",
    fd_types.FD_EVENT: b"event", fd_types.FD_SIGNALFD: b"signalfd", fd_types.FD_EVENTPOLL: b"eventpoll",
    fd_types.FD_INOTIFY: b"inotify", fd_types.FD_TIMERFD: b"timerfd", fd_types.FD_NETLINK: b"netlink",
    fd_types.FD_BPF: b"bpf", fd_types.FD_USERFAULTFD: b"userfaultfd", fd_types.FD_IOURING: b"io_uring",
    fd_types.FD_MEMFD: b"memfd", fd_types.FD_PIDFD: b"pidfd",
}  # fmt: skip
# falcosecurity/libs fdinfo.h, CHAR_FD_*
_TYPE_CHARS = {
    fd_types.FD_FILE: b"f", fd_types.FD_FILE_V2: b"f", fd_types.FD_DIRECTORY: b"d",
    fd_types.FD_IPV4_SOCK: b"4", fd_types.FD_IPV6_SOCK: b"6", fd_types.FD_IPV4_SERVSOCK: b"4",
    fd_types.FD_IPV6_SERVSOCK: b"6", fd_types.FD_FIFO: b"p", fd_types.FD_UNIX_SOCK: b"u",
    fd_types.FD_EVENT: b"e", fd_types.FD_UNSUPPORTED: b"X", fd_types.FD_SIGNALFD: b"s",
    fd_types.FD_EVENTPOLL: b"l", fd_types.FD_INOTIFY: b"i", fd_types.FD_TIMERFD: b"t",
    fd_types.FD_NETLINK: b"n", fd_types.FD_BPF: b"b", fd_types.FD_USERFAULTFD: b"u",
    fd_types.FD_IOURING: b"r", fd_types.FD_MEMFD: b"m", fd_types.FD_PIDFD: b"P",
}  # fmt: skip
_PROTOCOLS = {fd_types.L4_TCP: b"tcp", fd_types.L4_UDP: b"udp", fd_types.L4_ICMP: b"icmp", fd_types.L4_RAW: b"raw"}


def _of_fd(of: Getter) -> Getter:
    def get(engine: Any) -> Any:
        info = engine.info
        return None if info is None else of(info)

    return get


def _ends(of: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], Iterable[Any]]:
    def each(engine: Any) -> tuple[Any, ...]:
        info = engine.info
        return () if info is None else of(info)

    return each


def _fd_number(engine: Any) -> Any:
    return engine.fd if engine.fd >= 0 else None


def _fd_name(info: Any) -> bytes:
    kind = info.type
    if kind not in _IPS:
        return info.name or b""
    source, target = (
        (info.sip6, info.dip6) if kind in (fd_types.FD_IPV6_SOCK, fd_types.FD_IPV6_SERVSOCK) else (info.sip, info.dip)
    )
    return _socket_name(kind, source, info.sport, target, info.dport)


@lru_cache(4096)
def _socket_name(kind: int, source: Any, sport: int, target: Any, dport: int) -> bytes:
    if kind in _SERVERS:
        return f"{_shown(kind, source)}:{sport}".encode()
    if not (source or sport or target or dport):
        return b""
    return f"{_shown(kind, source)}:{sport}->{_shown(kind, target)}:{dport}".encode()


def _shown(kind: int, address: Any) -> str:
    if kind in (fd_types.FD_IPV4_SOCK, fd_types.FD_IPV4_SERVSOCK):
        return socket.inet_ntop(socket.AF_INET, address.to_bytes(4, "little"))
    return socket.inet_ntop(socket.AF_INET6, address or bytes(16))


def _directory(info: Any) -> Any:
    name = info.name or b""
    if info.type == fd_types.FD_DIRECTORY:
        return name
    if info.type not in _FILES:
        return None
    head, _, tail = name.rpartition(b"/")
    return head + b"/" if head and not tail else head or b"/"


def _filename(info: Any) -> Any:
    if info.type not in _FILES:
        return None
    name = info.name or b""
    return name.rpartition(b"/")[2] or name if b"/" in name else b"/"


def _client_address(info: Any) -> Any:
    if info.type not in _SOCKETS or info.role == ROLE_NONE:
        return None
    return info.sip if info.type == fd_types.FD_IPV4_SOCK else info.sip6


def _server_address(info: Any) -> Any:
    if info.type in _SERVERS:
        return info.sip if info.type == fd_types.FD_IPV4_SERVSOCK else info.sip6
    if info.type not in _SOCKETS or info.role == ROLE_NONE:
        return None
    return info.dip if info.type == fd_types.FD_IPV4_SOCK else info.dip6


def _client_port(info: Any) -> Any:
    return info.sport if info.type in _SOCKETS and info.role != ROLE_NONE else None


def _server_port(info: Any) -> Any:
    if info.type in _SERVERS:
        return info.sport
    return info.dport if info.type in _SOCKETS and info.role != ROLE_NONE else None


def _by_role(of_server: Getter, of_client: Getter) -> Getter:
    """One getter where the process is the connection's server, another where it is the client."""

    def get(info: Any) -> Any:
        if info.type not in _SOCKETS or info.role == ROLE_NONE:
            return None
        return of_server(info) if info.role == ROLE_SERVER else of_client(info)

    return get


_local_address = _by_role(_server_address, _client_address)
_remote_address = _by_role(_client_address, _server_address)
_local_port = _by_role(_server_port, _client_port)
_remote_port = _by_role(_client_port, _server_port)


def _addresses(info: Any) -> tuple[Any, ...]:
    if info.type == fd_types.FD_IPV4_SOCK:
        return info.sip, info.dip
    if info.type == fd_types.FD_IPV4_SERVSOCK:
        return (info.sip,)
    if info.type in (fd_types.FD_IPV6_SOCK, fd_types.FD_IPV6_SERVSOCK):
        return tuple(address for address in (info.sip6, info.dip6) if address is not None)
    return ()


def _ports(info: Any) -> tuple[Any, ...]:
    if info.type in _SOCKETS:
        return info.sport, info.dport
    return (info.sport,) if info.type in _SERVERS else ()


def _protocol(info: Any) -> bytes:
    return _PROTOCOLS.get(info.l4proto, b"<NA>") if info.type in _IPS else b"<NA>"


def _family(info: Any) -> Any:
    return b"ip" if info.type in _IPS else b"unix" if info.type == fd_types.FD_UNIX_SOCK else None


def _is_server(info: Any) -> bool:
    return info.type in _SERVERS or (info.type in _SOCKETS and info.role == ROLE_SERVER)


def _container_fd_name(engine: Any) -> Any:
    info = engine.info
    return None if info is None else _container_id(engine.thread) + b":" + _fd_name(info)


# -- the table


def _lineage(name: str, type_: FieldType, what: str, of: Getter) -> tuple[Field, ...]:
    """A field of a process, and the same of its ancestors."""
    return (
        Field(f"proc.{name}", type_, what, get=_of_thread(of)),
        Field(
            f"proc.a{name}",
            type_,
            f"proc.{name} of any ancestor; with [n] of the nth: 0 is the process, 1 its parent",
            each=_of_ancestors(of),
            argument=Argument.LEVEL,
            bind=_of_ancestor(of),
        ),
    )


FIELDS: tuple[Field, ...] = (
    Field("evt.num", NUMBER, "number of the event in the capture, from 1", get=lambda engine: engine.cursor.events),
    Field("evt.type", TEXT, "name of the event: open, connect, execve", of_event=lambda event: event.name.encode()),
    Field("evt.dir", TEXT, "> where a system call begins, < where it ends",
          of_event=lambda event: b"<" if event.id & 1 else b">"),
    Field("evt.category", TEXT, "kind of event: file, net, process; reads and writes have that of their fd",
          get=_category),
    Field("evt.cpu", NUMBER, "the CPU it happened on, from 0", get=lambda engine: engine.cursor.cpuid),
    Field("evt.time", TEXT, "time of day in UTC: 13:05:59.000000001", get=_clock("%H:%M:%S.%N")),
    Field("evt.datetime", TEXT, "date and time in UTC: 2024-02-29 13:05:59.000000001",
          get=_clock("%Y-%m-%d %H:%M:%S.%N")),
    Field("evt.time.iso8601", TEXT, "the same as 2024-02-29T13:05:59.000000001+0000",
          get=_clock("%Y-%m-%dT%H:%M:%S.%N+0000")),
    Field("evt.rawtime", NUMBER, "nanoseconds since 1970", get=lambda engine: engine.ts),
    Field("evt.rawtime.s", NUMBER, "seconds since 1970", get=lambda engine: engine.ts // 1_000_000_000),
    Field("evt.rawtime.ns", NUMBER, "the nanoseconds of that second", get=lambda engine: engine.ts % 1_000_000_000),
    Field("evt.res", TEXT, "SUCCESS, or the error's name: ENOENT", get=_res),
    Field("evt.rawres", NUMBER, "the result: an fd, a length, or the error's number, negative", get=_rawres),
    Field("evt.failed", BOOL, "whether the call returned an error", get=_failed),
    Field("evt.is_io", BOOL, "whether it reads or writes",
          of_event=lambda event: event.category in ("io_read", "io_write", "io_other")),
    Field("evt.is_io_read", BOOL, "whether it reads", of_event=lambda event: event.category == "io_read"),
    Field("evt.is_io_write", BOOL, "whether it writes", of_event=lambda event: event.category == "io_write"),
    Field("evt.is_open_read", BOOL, "whether it opens a file for reading", get=_opened(tables.PPM_O_RDONLY)),
    Field("evt.is_open_write", BOOL, "whether it opens a file for writing", get=_opened(tables.PPM_O_WRONLY)),
    Field("evt.is_open_create", BOOL, "whether it opens a file that it made", get=_opened(tables.PPM_O_F_CREATED)),
    *_lineage("name", TEXT, "name of the program, at most 15 bytes (comm)", lambda thread: thread.comm),
    *_lineage("exe", TEXT, "first argument of the command line (argv[0])", lambda thread: thread.exe),
    *_lineage("exepath", TEXT, "path of the program", lambda thread: thread.exepath),
    *_lineage("cmdline", TEXT, "name and arguments, with blanks between", _cmdline),
    *_lineage("pid", NUMBER, "id of the process", lambda thread: thread.pid),
    Field("proc.pname", TEXT, "proc.name of the parent", get=_of_parent(lambda thread: thread.comm)),
    Field("proc.pexe", TEXT, "proc.exe of the parent", get=_of_parent(lambda thread: thread.exe)),
    Field("proc.pexepath", TEXT, "proc.exepath of the parent", get=_of_parent(lambda thread: thread.exepath)),
    Field("proc.pcmdline", TEXT, "proc.cmdline of the parent", get=_of_parent(_cmdline)),
    Field("proc.ppid", NUMBER, "id of the parent", get=_of_thread(_ppid)),
    Field("proc.vpid", NUMBER, "proc.pid as seen in its pid namespace", get=lambda engine: engine.thread.vpid),
    Field("proc.pvpid", NUMBER, "proc.vpid of the parent", get=_of_parent(lambda thread: thread.vpid)),
    Field("proc.args", TEXT, "arguments without the first, with blanks between", get=_of_thread(_args)),
    Field("proc.cmdnargs", NUMBER, "number of arguments without the first", get=_of_thread(_count_args)),
    Field("proc.cmdlenargs", NUMBER, "length of these arguments in bytes, blanks between not counted",
          get=lambda engine: len(engine.thread.args.replace(b"\0", b""))),
    Field("proc.exeline", TEXT, "proc.exe and arguments, with blanks between", get=_of_thread(_exeline)),
    Field("proc.env", TEXT, "environment, with blanks between; with [NAME] one variable's value", get=_of_thread(_env),
          argument=Argument.NAME, bind=_env_named),
    Field("proc.cwd", TEXT, "working directory, with a slash at its end", get=_of_thread(_cwd)),
    Field("proc.tty", NUMBER, "controlling terminal; 0 without", get=lambda engine: engine.thread.tty),
    Field("proc.sid", NUMBER, "session id", get=lambda engine: engine.thread.sid),
    Field("proc.vpgid", NUMBER, "process group id as seen in its pid namespace",
          get=lambda engine: engine.thread.vpgid),
    Field("proc.is_sid_leader", BOOL, "whether it leads its session",
          get=lambda engine: engine.thread.sid == engine.thread.vpid),
    Field("proc.is_vpgid_leader", BOOL, "whether it leads its process group",
          get=lambda engine: engine.thread.vpgid == engine.thread.vpid),
    Field("proc.loginshellid", NUMBER, "pid of the oldest shell among the process and its ancestors", get=_login_shell),
    Field("proc.duration", NUMBER, "nanoseconds since its start, where that was recorded", get=_duration),
    Field("proc.nthreads", NUMBER, "number of its threads", get=_of_thread(_nthreads)),
    Field("proc.nchilds", NUMBER, "number of its threads without the main one", get=_of_thread(_nchilds)),
    Field("proc.fdopencount", NUMBER, "number of its open fds", get=_of_thread(_fd_count)),
    Field("thread.tid", NUMBER, "id of the thread", get=lambda engine: engine.thread.tid),
    Field("thread.vtid", NUMBER, "thread.tid as seen in its pid namespace", get=lambda engine: engine.thread.vtid),
    Field("thread.ismain", BOOL, "whether it is its process's main thread", get=_of_thread(_is_main)),
    Field("user.uid", NUMBER, "user id", get=lambda engine: engine.thread.uid),
    Field("user.name", TEXT, "user name; <NA> where unknown",
          get=_of_thread(lambda thread: thread.user or fallback(thread.uid))),
    Field("user.loginuid", NUMBER, "id of the user who logged in; -1 without", get=_of_thread(_login_uid)),
    Field("user.loginname", TEXT, "name of the user who logged in; <NA> where unknown", get=_login_name),
    Field("group.gid", NUMBER, "group id", get=lambda engine: engine.thread.gid),
    Field("group.name", TEXT, "group name; <NA> where unknown",
          get=_of_thread(lambda thread: thread.group_name or fallback(thread.gid))),
    Field("container.id", TEXT, "container id, 12 characters; host outside of containers",
          get=_of_container(lambda container: container.id, b"host")),
    Field("container.name", TEXT, "container name; host outside of containers",
          get=_of_container(lambda container: container.name or None, b"host")),
    Field("container.image", TEXT, "image and tag", get=_of_container(_image_name)),
    Field("container.image.repository", TEXT, "image without its tag",
          get=_of_container(lambda container: _image(container)[0] or None)),
    Field("container.image.tag", TEXT, "the image's tag",
          get=_of_container(lambda container: _image(container)[1] or None)),
    Field("container.image.id", TEXT, "the image's id", get=_of_container(lambda container: container.imageid or None)),
    Field("container.type", TEXT, "docker, containerd, cri-o, lxc, ...; podman, also where none of them; host outside",
          get=_of_container(lambda container: _CONTAINER_TYPES.get(container.type), b"host")),
    Field("container.privileged", BOOL, "whether the container is privileged, where its engine tells",
          get=_of_container(_privileged)),
    Field("k8s.pod.name", TEXT, "name of the container's pod", get=_of_pod(lambda pod: pod.name)),
    Field("k8s.pod.id", TEXT, "id of the container's pod", get=_of_pod(lambda pod: pod.id)),
    Field("k8s.pod.label", TEXT, "the pod's label of that name", argument=Argument.NAME, bind=_pod_label),
    Field("k8s.ns.name", TEXT, "namespace of the container's pod", get=_of_pod(lambda pod: pod.namespace)),
    Field("fd.num", NUMBER, "number of the fd that the event is about", get=_fd_number),
    Field("fd.type", TEXT, "file, directory, ipv4, ipv6, unix, pipe, event, signalfd, eventpoll, inotify, memfd, ...",
          get=_of_fd(lambda info: _TYPE_NAMES.get(info.type, b"<NA>"))),
    Field("fd.typechar", TEXT, "the same as a character: f, d, 4, 6, u, p, e, s, l, i, t, m, ...",
          get=_of_fd(lambda info: _TYPE_CHARS.get(info.type, b"o"))),
    Field("fd.name", TEXT, "a file's path; a connection as 10.0.0.1:40000->10.0.0.2:80", get=_of_fd(_fd_name)),
    Field("fd.directory", TEXT, "directory of a file's path", get=_of_fd(_directory)),
    Field("fd.filename", TEXT, "a file's path without its directory", get=_of_fd(_filename)),
    Field("fd.containername", TEXT, "container id, colon, fd.name", get=_container_fd_name),
    Field("fd.ip", ADDRESS, "address of either end", each=_ends(_addresses), differs_in_all=True),
    Field("fd.cip", ADDRESS, "the client's address", get=_of_fd(_client_address)),
    Field("fd.sip", ADDRESS, "the server's address", get=_of_fd(_server_address)),
    Field("fd.dip", ADDRESS, "the address the connection goes to: fd.sip", get=_of_fd(_server_address)),
    Field("fd.lip", ADDRESS, "the process's own address", get=_of_fd(_local_address)),
    Field("fd.rip", ADDRESS, "the other end's address", get=_of_fd(_remote_address)),
    Field("fd.net", ADDRESS, "fd.ip, for networks", each=_ends(_addresses), differs_in_all=True),
    Field("fd.cnet", ADDRESS, "fd.cip, for networks", get=_of_fd(_client_address)),
    Field("fd.snet", ADDRESS, "fd.sip, for networks", get=_of_fd(_server_address)),
    Field("fd.lnet", ADDRESS, "fd.lip, for networks", get=_of_fd(_local_address)),
    Field("fd.rnet", ADDRESS, "fd.rip, for networks", get=_of_fd(_remote_address)),
    Field("fd.port", NUMBER, "port of either end", each=_ends(_ports), differs_in_all=True),
    Field("fd.cport", NUMBER, "the client's port", get=_of_fd(_client_port)),
    Field("fd.sport", NUMBER, "the server's port", get=_of_fd(_server_port)),
    Field("fd.dport", NUMBER, "the port the connection goes to: fd.sport", get=_of_fd(_server_port)),
    Field("fd.lport", NUMBER, "the process's own port", get=_of_fd(_local_port)),
    Field("fd.rport", NUMBER, "the other end's port", get=_of_fd(_remote_port)),
    Field("fd.l4proto", TEXT, "tcp, udp, icmp or raw; <NA> for what is no IP socket", get=_of_fd(_protocol)),
    Field("fd.sockfamily", TEXT, "ip or unix, for sockets", get=_of_fd(_family)),
    Field("fd.is_server", BOOL, "whether the process is the connection's server", get=_of_fd(_is_server)),
)  # fmt: skip

BY_NAME: dict[str, Field] = {field.name: field for field in FIELDS}
