"""The engine: facts of a capture in, SysFlow records out.

Every event first changes the state (threads, fds) by libsinsp's rules (parsers.cpp), then becomes an operation of a
record, as the SysFlow collector's processors have it. docs/engine.md tells the way of an event.
"""

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

if cython.compiled:
    from cython.cimports.sftools.avro.encoder_cy import Encoder, int32
    from cython.cimports.sftools.engine.entities_cy import Entities
    from cython.cimports.sftools.engine.flows_cy import Flows
    from cython.cimports.sftools.engine.paths_cy import join, normal
    from cython.cimports.sftools.engine.sockets_cy import (
        Interfaces,
        init_socket,
        set_bound,
        set_destination,
        set_tuple,
        swap,
        unix_name,
    )
    from cython.cimports.sftools.engine.state_cy import Container, FdInfo, FdTable, Group, Process, Thread
    from cython.cimports.sftools.engine.threads_cy import Threads
    from cython.cimports.sftools.scap.events_cy import EventCursor, SavedEvent
else:
    from sftools.avro.encoder_cy import Encoder, int32
    from sftools.engine.entities_cy import Entities
    from sftools.engine.flows_cy import Flows
    from sftools.engine.paths_cy import join, normal
    from sftools.engine.sockets_cy import (
        Interfaces,
        init_socket,
        set_bound,
        set_destination,
        set_tuple,
        swap,
        unix_name,
    )
    from sftools.engine.state_cy import Container, FdInfo, FdTable, Group, Process, Thread
    from sftools.engine.threads_cy import Threads
    from sftools.scap.events_cy import EventCursor, SavedEvent

from sftools.engine import containers
from sftools.engine.options import CONSUME, NOFILES
from sftools.engine.state_cy import ROLE_CLIENT, ROLE_NONE, ROLE_SERVER, Pod
from sftools.engine.users import UNKNOWN, Users, fallback
from sftools.limits import MAX_CLOCK_RETURNS, MAX_NAME_BYTES, MAX_ROTATE_SECONDS, MAX_STRINGS_BYTES
from sftools.scap import blocks, fd_types, lists, tables
from sftools.schema import opflags

_SECOND = cython.declare(cython.ulonglong, 1_000_000_000)
_MAX_TIME = cython.declare(cython.ulonglong, 1 << 63)
# A child whose clone was seen longer ago than this is another thread with a reused tid (libsinsp CLONE_STALE_TIME_NS).
_CLONE_STALE = cython.declare(cython.ulonglong, 2_000_000_000)
# The kernel's fds, and a record's, are 32-bit ints.
_MAX_FD = cython.declare(cython.longlong, 0x7FFFFFFF)
_EINPROGRESS = cython.declare(cython.longlong, -115)
_AT_FDCWD = cython.declare(cython.longlong, -100)
_MAX_NAME = cython.declare(cython.Py_ssize_t, MAX_NAME_BYTES)
_MAX_STRINGS = cython.declare(cython.Py_ssize_t, MAX_STRINGS_BYTES)
_SOCK_CLOEXEC = cython.declare(cython.uint, 0x80000)
# PPM_CLOSE_RANGE_*, PPM_EXVAT_AT_EMPTY_PATH and PPM_FCNTL_F_* of falcosecurity/libs, ppm_events_public.h.
_CLOSE_RANGE_UNSHARE = cython.declare(cython.uint, 2)
_CLOSE_RANGE_CLOEXEC = cython.declare(cython.uint, 4)
_EXVAT_AT_EMPTY_PATH = cython.declare(cython.uint, 1)
_F_DUPFD = cython.declare(cython.uint, 1)
_F_SETFD = cython.declare(cython.uint, 3)
_F_DUPFD_CLOEXEC = cython.declare(cython.uint, 26)

_AF_UNIX = cython.declare(cython.int, tables.PPM_AF_UNIX)
_AF_INET = cython.declare(cython.int, tables.PPM_AF_INET)
_AF_INET6 = cython.declare(cython.int, tables.PPM_AF_INET6)
_FD_DIRECTORY = cython.declare(cython.int, fd_types.FD_DIRECTORY)
_FD_FIFO = cython.declare(cython.int, fd_types.FD_FIFO)
_FD_FILE = cython.declare(cython.int, fd_types.FD_FILE)
_FD_FILE_V2 = cython.declare(cython.int, fd_types.FD_FILE_V2)
_FD_IPV4_SERVSOCK = cython.declare(cython.int, fd_types.FD_IPV4_SERVSOCK)
_FD_IPV4_SOCK = cython.declare(cython.int, fd_types.FD_IPV4_SOCK)
_FD_IPV6_SERVSOCK = cython.declare(cython.int, fd_types.FD_IPV6_SERVSOCK)
_FD_IPV6_SOCK = cython.declare(cython.int, fd_types.FD_IPV6_SOCK)
_FD_MEMFD = cython.declare(cython.int, fd_types.FD_MEMFD)
_FD_PIDFD = cython.declare(cython.int, fd_types.FD_PIDFD)
_FD_UNIX_SOCK = cython.declare(cython.int, fd_types.FD_UNIX_SOCK)
_L4_TCP = cython.declare(cython.int, fd_types.L4_TCP)
_L4_UDP = cython.declare(cython.int, fd_types.L4_UDP)
_ROLE_CLIENT = cython.declare(cython.int, ROLE_CLIENT)
_ROLE_NONE = cython.declare(cython.int, ROLE_NONE)
_ROLE_SERVER = cython.declare(cython.int, ROLE_SERVER)

_O_DIRECTORY = cython.declare(cython.uint, tables.PPM_O_DIRECTORY)
_O_CLOEXEC = cython.declare(cython.uint, tables.PPM_O_CLOEXEC)
# Flags that only the exit probe knows (PPM_O_F_CREATED and above) stay when the enter event's flags are preferred.
_O_FROM_EXIT = cython.declare(cython.uint, 0xFFFFFFFF & ~(tables.PPM_O_F_CREATED - 1))
_O_CREAT = cython.declare(cython.uint, tables.PPM_O_CREAT | tables.PPM_O_WRONLY | tables.PPM_O_TRUNC)
_CLONE_FILES = cython.declare(cython.uint, tables.PPM_CL_CLONE_FILES)
_CLONE_THREAD = cython.declare(cython.uint, tables.PPM_CL_CLONE_THREAD)
_CLONE_VFORK = cython.declare(cython.uint, tables.PPM_CL_CLONE_VFORK)
_CLONE_PARENT = cython.declare(cython.uint, tables.PPM_CL_CLONE_PARENT)
_CLONE_NEWPID = cython.declare(cython.uint, tables.PPM_CL_CLONE_NEWPID)
_CLONE_INVERTED = cython.declare(cython.uint, tables.PPM_CL_CLONE_INVERTED)
_CHILD_IN_PIDNS = cython.declare(cython.uint, tables.PPM_CL_CHILD_IN_PIDNS)
_IS_MAIN_THREAD = cython.declare(cython.uint, tables.PPM_CL_IS_MAIN_THREAD)

_OP_CLONE = cython.declare(cython.int, opflags.OP_CLONE)
_OP_EXEC = cython.declare(cython.int, opflags.OP_EXEC)
_OP_EXIT = cython.declare(cython.int, opflags.OP_EXIT)
_OP_SETUID = cython.declare(cython.int, opflags.OP_SETUID)
_OP_SETNS = cython.declare(cython.int, opflags.OP_SETNS)
_OP_ACCEPT = cython.declare(cython.int, opflags.OP_ACCEPT)
_OP_CONNECT = cython.declare(cython.int, opflags.OP_CONNECT)
_OP_OPEN = cython.declare(cython.int, opflags.OP_OPEN)
_OP_READ = cython.declare(cython.int, opflags.OP_READ_RECV)
_OP_WRITE = cython.declare(cython.int, opflags.OP_WRITE_SEND)
_OP_CLOSE = cython.declare(cython.int, opflags.OP_CLOSE)
_OP_SHUTDOWN = cython.declare(cython.int, opflags.OP_SHUTDOWN)
_OP_MMAP = cython.declare(cython.int, opflags.OP_MMAP)
_OP_MKDIR = cython.declare(cython.int, opflags.OP_MKDIR)
_OP_RMDIR = cython.declare(cython.int, opflags.OP_RMDIR)
_OP_LINK = cython.declare(cython.int, opflags.OP_LINK)
_OP_UNLINK = cython.declare(cython.int, opflags.OP_UNLINK)
_OP_SYMLINK = cython.declare(cython.int, opflags.OP_SYMLINK)
_OP_RENAME = cython.declare(cython.int, opflags.OP_RENAME)

_CREATED = cython.declare(cython.int, 0)
_REUP = cython.declare(cython.int, 2)

# What an event id means to the engine. Even (enter) ids without an entry only mark their thread.
_NOTHING = cython.declare(cython.uint, 0)
_READ = cython.declare(cython.uint, 1)
_WRITE = cython.declare(cython.uint, 2)
_CLOSE = cython.declare(cython.uint, 3)
_OPEN = cython.declare(cython.uint, 4)
_SOCKET = cython.declare(cython.uint, 5)
_BIND = cython.declare(cython.uint, 6)
_CONNECT = cython.declare(cython.uint, 7)
_ACCEPT = cython.declare(cython.uint, 8)
_SHUTDOWN = cython.declare(cython.uint, 9)
_PIPE = cython.declare(cython.uint, 10)
_SOCKETPAIR = cython.declare(cython.uint, 11)
_DUP = cython.declare(cython.uint, 12)
_FCNTL = cython.declare(cython.uint, 13)
_SIMPLE_FD = cython.declare(cython.uint, 14)
_CHDIR = cython.declare(cython.uint, 15)
_FCHDIR = cython.declare(cython.uint, 16)
_GETCWD = cython.declare(cython.uint, 17)
_CLONE = cython.declare(cython.uint, 18)
_EXEC = cython.declare(cython.uint, 19)
_SETUID = cython.declare(cython.uint, 20)
_SETNS = cython.declare(cython.uint, 21)
_UNSHARE = cython.declare(cython.uint, 22)
_MMAP = cython.declare(cython.uint, 23)
_FILE_EVENT = cython.declare(cython.uint, 24)
_SENDFILE = cython.declare(cython.uint, 25)
_SPLICE = cython.declare(cython.uint, 26)
_COPY_FILE_RANGE = cython.declare(cython.uint, 27)
_CLOSE_RANGE = cython.declare(cython.uint, 28)
_PIDFD_GETFD = cython.declare(cython.uint, 29)
_SETSID = cython.declare(cython.uint, 30)
_PRCTL = cython.declare(cython.uint, 31)
_PROCEXIT = cython.declare(cython.uint, 40)
_META = cython.declare(cython.uint, 41)
_IGNORED = cython.declare(cython.uint, 42)
_SAVED_ENTER = cython.declare(cython.uint, 50)
_MMAP_ENTER = cython.declare(cython.uint, 51)
_CONNECT_ENTER = cython.declare(cython.uint, 52)
_SENDTO_ENTER = cython.declare(cython.uint, 60)

_KINDS = {
    _READ: "READ READV PREAD PREADV RECV RECVFROM RECVMSG RECVMMSG",
    _WRITE: "WRITE WRITEV PWRITE PWRITEV SEND SENDTO SENDMSG SENDMMSG",
    _CLOSE: "CLOSE",
    _OPEN: "OPEN OPENAT OPENAT_2 OPENAT2 CREAT OPEN_BY_HANDLE_AT",
    _SOCKET: "SOCKET",
    _BIND: "BIND",
    _CONNECT: "CONNECT",
    _ACCEPT: "ACCEPT ACCEPT_5 ACCEPT4 ACCEPT4_5 ACCEPT4_6",
    _SHUTDOWN: "SHUTDOWN",
    _PIPE: "PIPE PIPE2",
    _SOCKETPAIR: "SOCKETPAIR",
    _DUP: "DUP DUP_1 DUP2 DUP3",
    _FCNTL: "FCNTL",
    _SIMPLE_FD: "EVENTFD EVENTFD2 SIGNALFD SIGNALFD4 TIMERFD_CREATE INOTIFY_INIT INOTIFY_INIT1 EPOLL_CREATE EPOLL_CREATE1"
    " BPF BPF_2 USERFAULTFD IO_URING_SETUP MEMFD_CREATE PIDFD_OPEN",
    _CHDIR: "CHDIR",
    _FCHDIR: "FCHDIR",
    _GETCWD: "GETCWD",
    _CLONE: "CLONE_11 CLONE_16 CLONE_17 CLONE_20 FORK FORK_17 FORK_20 VFORK VFORK_17 VFORK_20 CLONE3",
    _EXEC: "EXECVE_8 EXECVE_13 EXECVE_14 EXECVE_15 EXECVE_16 EXECVE_17 EXECVE_18 EXECVE_19 EXECVEAT",
    _SETUID: "SETUID SETRESUID SETREUID SETGID SETRESGID SETREGID",
    _SETNS: "SETNS",
    _UNSHARE: "UNSHARE",
    _MMAP: "MMAP MMAP2",
    _FILE_EVENT: "MKDIR MKDIR_2 MKDIRAT RMDIR RMDIR_2 LINK LINK_2 LINKAT LINKAT_2 UNLINK UNLINK_2 UNLINKAT UNLINKAT_2"
    " SYMLINK SYMLINKAT RENAME RENAMEAT RENAMEAT2",
    _SENDFILE: "SENDFILE",
    _SPLICE: "SPLICE",
    _COPY_FILE_RANGE: "COPY_FILE_RANGE",
    _CLOSE_RANGE: "CLOSE_RANGE",
    _PIDFD_GETFD: "PIDFD_GETFD",
    _SETSID: "SETSID",
    _PRCTL: "PRCTL",
}  # fmt: skip

_META_EVENTS = "CONTAINER_E CONTAINER_JSON_E CONTAINER_JSON_2_E ASYNCEVENT_E USER_ADDED_E USER_DELETED_E GROUP_ADDED_E GROUP_DELETED_E"

# Which parameter of the newest layout is the fd, and which the socket tuple.
_FD_AT_NAMES = {
    "READ": 2, "READV": 3, "PREAD": 2, "PREADV": 3, "RECV": 2, "RECVFROM": 3, "RECVMSG": 5, "RECVMMSG": 1, "WRITE": 2,
    "WRITEV": 2, "PWRITE": 2, "PWRITEV": 2, "SEND": 2, "SENDTO": 2, "SENDMSG": 2, "SENDMMSG": 1,
}  # fmt: skip
_TUPLE_AT_NAMES = {
    "SEND": 4, "SENDTO": 4, "SENDMSG": 4, "SENDMMSG": 4, "RECV": 4, "RECVFROM": 2, "RECVMSG": 3, "RECVMMSG": 4,
}  # fmt: skip

_SIMPLE_FD_TYPES = {
    "EVENTFD": fd_types.FD_EVENT,
    "EVENTFD2": fd_types.FD_EVENT,
    "SIGNALFD": fd_types.FD_SIGNALFD,
    "SIGNALFD4": fd_types.FD_SIGNALFD,
    "TIMERFD_CREATE": fd_types.FD_TIMERFD,
    "INOTIFY_INIT": fd_types.FD_INOTIFY,
    "INOTIFY_INIT1": fd_types.FD_INOTIFY,
    "EPOLL_CREATE": fd_types.FD_EVENTPOLL,
    "EPOLL_CREATE1": fd_types.FD_EVENTPOLL,
    "BPF": fd_types.FD_BPF,
    "BPF_2": fd_types.FD_BPF,
    "USERFAULTFD": fd_types.FD_USERFAULTFD,
    "IO_URING_SETUP": fd_types.FD_IOURING,
    "MEMFD_CREATE": fd_types.FD_MEMFD,
    "PIDFD_OPEN": fd_types.FD_PIDFD,
}


def _code(name: str, side: str):
    """An event id by its short name, whichever of the two prefixes it has; None where the table has none."""
    for prefix in ("PPME_SYSCALL_", "PPME_SOCKET_"):
        found = getattr(tables, prefix + name + side, None)
        if found is not None:
            return found
    return None


_EVENT_COUNT = cython.declare(cython.uint, len(tables.EVENT_CODES))


def _by_type(numbers: dict, side: str) -> bytes:
    out = bytearray(_EVENT_COUNT + 1)
    for name, number in numbers.items():
        code = _code(name, side)
        if code is not None:
            out[code] = number
    return bytes(out)


def _kinds() -> bytes:
    out = bytearray(_EVENT_COUNT + 1)
    for code, name in enumerate(tables.EVENT_CODES):
        if code % 2 == 0 and not name.startswith(("PPME_SYSCALL_", "PPME_SOCKET_", "PPME_GENERIC_E")):
            out[code] = _IGNORED
    for kind, names in _KINDS.items():
        for name in names.split():
            code = _code(name, "_X")
            if code is not None:
                out[code] = kind
                enter = _code(name, "_E")
                if enter is not None:
                    out[enter] = _SAVED_ENTER
    for name in _META_EVENTS.split():
        out[getattr(tables, "PPME_" + name)] = _META
    out[tables.PPME_PROCEXIT_E] = _PROCEXIT
    out[tables.PPME_PROCEXIT_1_E] = _PROCEXIT
    out[tables.PPME_SYSCALL_MMAP_E] = _MMAP_ENTER
    out[tables.PPME_SYSCALL_MMAP2_E] = _MMAP_ENTER
    out[tables.PPME_SOCKET_CONNECT_E] = _CONNECT_ENTER
    out[tables.PPME_SOCKET_SENDTO_E] = _SENDTO_ENTER
    return bytes(out)


_KIND = cython.declare(bytes, _kinds())
_FD_AT = cython.declare(bytes, _by_type(_FD_AT_NAMES, "_X"))
_TUPLE_AT = cython.declare(bytes, _by_type(_TUPLE_AT_NAMES, "_X"))
_SIMPLE_FD_TYPE = cython.declare(bytes, _by_type(_SIMPLE_FD_TYPES, "_X"))


def events_of_use() -> frozenset:
    """The ids of exit and other events that the engine makes something of. What recorders may leave out are the others."""
    meta = {getattr(tables, "PPME_" + name) for name in _META_EVENTS.split()}
    exits = {code for code in range(_EVENT_COUNT) if code & 1 and _KIND[code] not in (_NOTHING, _IGNORED)}
    return frozenset(exits | meta | {tables.PPME_PROCEXIT_1_E})


def data_events() -> frozenset:
    """Those of them that only count in flows: reads and writes of all kinds, which change nothing that others need."""
    return frozenset(
        code for code in events_of_use() if _KIND[code] in (_READ, _WRITE, _SENDFILE, _SPLICE, _COPY_FILE_RANGE)
    )


# Of these the second parameter is PPM_O_ flags.
_FLAGS_AT_1 = frozenset(
    (
        tables.PPME_SYSCALL_EVENTFD2_X,
        tables.PPME_SYSCALL_SIGNALFD4_X,
        tables.PPME_SYSCALL_INOTIFY_INIT1_X,
        tables.PPME_SYSCALL_EPOLL_CREATE1_X,
    )
)

_MAX_CLOCK_RETURNS = cython.declare(cython.uint, MAX_CLOCK_RETURNS)

# The bpf commands that return an fd, by the kernel's numbers: those that create, load or get something.
_BPF_OPENS = frozenset((0, 5, 7, 13, 14, 17, 18, 19, 28, 30, 32, 33))

# PR_SET_CHILD_SUBREAPER, and PR_GET_CHILD_SUBREAPER, whose event tells how it is.
_SUBREAPER = frozenset((36, 37))

_LINKAT_2_X = cython.declare(cython.uint, tables.PPME_SYSCALL_LINKAT_2_X)
_LINK_2_X = cython.declare(cython.uint, tables.PPME_SYSCALL_LINK_2_X)
_MKDIRAT_X = cython.declare(cython.uint, tables.PPME_SYSCALL_MKDIRAT_X)
_MKDIR_2_X = cython.declare(cython.uint, tables.PPME_SYSCALL_MKDIR_2_X)
_RENAME_X = cython.declare(cython.uint, tables.PPME_SYSCALL_RENAME_X)
_RMDIR_2_X = cython.declare(cython.uint, tables.PPME_SYSCALL_RMDIR_2_X)
_SETGID_X = cython.declare(cython.uint, tables.PPME_SYSCALL_SETGID_X)
_SETREGID_X = cython.declare(cython.uint, tables.PPME_SYSCALL_SETREGID_X)
_SETRESUID_X = cython.declare(cython.uint, tables.PPME_SYSCALL_SETRESUID_X)
_SETREUID_X = cython.declare(cython.uint, tables.PPME_SYSCALL_SETREUID_X)
_SETUID_X = cython.declare(cython.uint, tables.PPME_SYSCALL_SETUID_X)
_SYMLINKAT_X = cython.declare(cython.uint, tables.PPME_SYSCALL_SYMLINKAT_X)
_SYMLINK_X = cython.declare(cython.uint, tables.PPME_SYSCALL_SYMLINK_X)
_UNLINKAT_2_X = cython.declare(cython.uint, tables.PPME_SYSCALL_UNLINKAT_2_X)
_UNLINK_2_X = cython.declare(cython.uint, tables.PPME_SYSCALL_UNLINK_2_X)
_BPF_2_X = cython.declare(cython.uint, tables.PPME_SYSCALL_BPF_2_X)
_EXECVE_19_X = cython.declare(cython.uint, tables.PPME_SYSCALL_EXECVE_19_X)
_EXECVEAT_E = cython.declare(cython.uint, tables.PPME_SYSCALL_EXECVEAT_E)
_VFORK_20_X = cython.declare(cython.uint, tables.PPME_SYSCALL_VFORK_20_X)
_OPEN_X = cython.declare(cython.uint, tables.PPME_SYSCALL_OPEN_X)
_CREAT_X = cython.declare(cython.uint, tables.PPME_SYSCALL_CREAT_X)
_OPEN_BY_HANDLE_AT_X = cython.declare(cython.uint, tables.PPME_SYSCALL_OPEN_BY_HANDLE_AT_X)
_SEND_X = cython.declare(cython.uint, tables.PPME_SOCKET_SEND_X)
_SENDTO_X = cython.declare(cython.uint, tables.PPME_SOCKET_SENDTO_X)
_SENDMSG_X = cython.declare(cython.uint, tables.PPME_SOCKET_SENDMSG_X)


@cython.cclass
class Engine:
    """Turns one capture, or several one after the other, into records.

    encoder: takes the records. on_start: called with the first capture's hostname before the first record, to write the
    header. on_rotate: called with the capture time in ns at which a new output file begins.

    run(cursor) reads a capture to its end and leaves its flows open; finish() writes them.
    Raises what the cursor raises; the state is then as far as the capture was read.
    """

    def __init__(self, encoder: Encoder, options, on_start, on_rotate=None):
        self.encoder = encoder
        self.on_start = on_start
        self.on_rotate = on_rotate
        self.predicate = options.predicate
        self.file_only = options.file_only
        self.no_files = options.mode == NOFILES
        self.consume = options.mode == CONSUME
        self.proc_flow = options.proc_flow
        self.container_only = options.container_only
        self.rotate_ns = min(options.rotate_seconds, MAX_ROTATE_SECONDS) * 1_000_000_000
        self.clock_returns = 0
        self.file_read_mode = options.file_read_mode
        self.started = False
        self.ts = 0
        self.first_ts = 0
        self.fd = -1
        self.hostname = b""
        self.cgroups = containers.CgroupIds()
        self.threads = None
        self.entities = None
        self._reset()

    def _reset(self):
        """A new section: nothing of what was known holds."""
        epoch = 1 if self.entities is None else self.entities.epoch
        left_out = 0 if self.flows is None else self.flows.ipv6_left_out
        dropped = 0 if self.flows is None else self.flows.dropped
        refused = 0 if self.threads is None else self.threads.refused
        evicted = 0 if self.threads is None else self.threads.evicted
        self.users = Users()
        self.threads = Threads(None)
        self.threads.refused = refused
        self.threads.evicted = evicted
        self.entities = Entities(self.encoder, self.threads)
        self.threads.on_remove = self.entities.forget_group
        self.entities.epoch = epoch
        self.flows = Flows(self.encoder, self.entities, self.file_read_mode, self.consume, not self.proc_flow)
        self.flows.ipv6_left_out = left_out
        self.flows.dropped = dropped
        self.server_ports = set()
        self.interfaces = Interfaces()
        self.listed = []
        self.listed_sockets = []
        self.next_tick = 0
        self.last_tick = 0
        self.sections = 0

    # -- the way of a capture

    def run(self, cursor: EventCursor, until: cython.longlong = -1) -> bool:
        """Read a capture. until: stop after so many more events (for progress and signals); -1: at the end.

        Returns False at the end of the capture.
        """
        what: cython.int
        left: cython.longlong = until
        if self.cursor is not cursor:
            self.cursor = cursor
        while True:
            what = cursor.advance()
            if what == 1:
                self._event()
                left -= 1
                if left == 0:
                    return True
            elif what == 2:
                self._block()
            else:
                return False

    def start(self):
        """Write the header, if no event has brought it about."""
        if not self.started:
            self.started = True
            self.on_start(self.hostname)

    def finish(self):
        """The end of input: all open flows are written, and the state is forgotten."""
        self.start()
        self.flows.finish(self.ts)
        self.threads.clear()
        self.entities.clear()

    def close(self):
        """Forget the state without writing it: for a conversion that is given up."""
        self.flows.forget()
        self.threads.clear()
        self.entities.clear()

    def _block(self):
        """A list block."""
        kind: cython.uint = self.cursor.block_type
        try:
            if kind == 0x0A0D0D0A:
                self.sections += 1
                if self.sections > 1:
                    self.finish()
                    self._reset()
                    self.sections = 1
            elif kind in blocks.PROCESS_LISTS:
                for entry in lists.processes(kind, self.cursor.body()):
                    self._listed_thread(entry)
            elif kind in blocks.FD_LISTS:
                tid, entries = lists.fds(kind, self.cursor.body())
                self._listed_fds(tid, entries)
            elif kind in blocks.USER_LISTS:
                for entry in lists.users(kind, self.cursor.body()):
                    if entry.kind == 0:
                        self.users.add_user(b"", entry.id, entry.name)
                    else:
                        self.users.add_group(b"", entry.id, entry.name)
            elif kind in blocks.INTERFACE_LISTS:
                for entry in lists.interfaces(kind, self.cursor.body()):
                    self.interfaces.add(entry)
            elif kind in blocks.MACHINE_INFOS:
                self.hostname = lists.machine_info(self.cursor.body()).hostname
        except lists.ListDamage as error:
            self.cursor.damage_here(str(error))

    def _listed_thread(self, entry):
        thread: Thread = self.threads.make(entry.tid)
        group: Group
        thread.pid = entry.pid
        thread.ptid = entry.ptid
        thread.sid = entry.sid
        thread.vpgid = entry.vpgid
        thread.vtid = entry.vtid
        thread.vpid = entry.vpid
        thread.flags = entry.flags
        thread.uid = entry.uid
        thread.gid = entry.gid
        # libsinsp names the users of listed processes before it has read the user list: only root is known then.
        thread.user = fallback(entry.uid)
        thread.group_name = fallback(entry.gid)
        thread.loginuid = entry.loginuid
        thread.tty = entry.tty
        thread.comm = entry.comm
        thread.exe = entry.exe
        thread.exepath = entry.exepath
        # An empty last argument is none: a process that wrote over its arguments leaves NULs behind.
        thread.args = entry.args[: len(entry.args) - 1] if entry.args.endswith(b"\0\0") else entry.args
        thread.env = entry.env
        self._set_container(thread, entry.cgroups)
        old: Thread = self.threads.find(entry.tid)
        if old is not None:
            self.threads.remove(old)
        if self.threads.full() or not self.threads.add(thread):
            # A list never pushes out what it listed before.
            self.threads.refused += 1
            return
        self.threads.weigh(thread)
        self.listed.append(thread)
        if thread.is_leader() and thread.group is not None:
            group = thread.group
            group.cwd = _directory(join(b"", entry.cwd))

    def _listed_fds(self, tid, entries):
        thread: Thread = self.threads.find(tid)
        fds: FdTable = None
        info: FdInfo
        if thread is not None:
            fds = self.threads.fds(thread)
        for entry in entries:
            if fds is None:
                continue
            info = FdInfo.__new__(FdInfo)
            info.type = entry.type
            info.name = entry.name
            info.openflags = entry.open_flags
            info.cloexec = entry.open_flags & _O_CLOEXEC != 0
            info.l4proto = entry.l4proto
            info.sip = entry.sip
            info.dip = entry.dip
            info.sport = entry.sport
            info.dport = entry.dport
            if info.type in (_FD_IPV6_SOCK, _FD_IPV6_SERVSOCK):
                if lists.is_ipv4_mapped(entry.sip6) and (entry.dip6 is None or lists.is_ipv4_mapped(entry.dip6)):
                    info.type -= 1
                    info.sip = int.from_bytes(entry.sip6[12:], "little")
                    info.dip = int.from_bytes(entry.dip6[12:], "little") if entry.dip6 is not None else 0
                else:
                    info.sip6 = entry.sip6
                    info.dip6 = entry.dip6
            if info.type in (_FD_IPV4_SERVSOCK, _FD_IPV6_SERVSOCK):
                self.server_ports.add(info.sport)
            info.named = (
                info.type in (_FD_IPV4_SOCK, _FD_IPV6_SOCK, _FD_IPV4_SERVSOCK, _FD_IPV6_SERVSOCK) or len(info.name) > 0
            )
            if info.type == _FD_UNIX_SOCK:
                info.role = _ROLE_CLIENT if not info.name else _ROLE_SERVER
            self.interfaces.complete(info)
            before: cython.longlong = fds.weight
            if self.threads.fd_budget > 0 and fds.put(entry.fd, info):
                self.threads.fd_budget -= fds.weight - before
                if info.is_ip():
                    self.listed_sockets.append(info)

    def _close_tables(self):
        """Lists are complete: link children to parents, tell servers' sockets from clients'.

        Only what came since the last time is looked at: lists may come between events as often as a capture likes.
        """
        thread: Thread
        parent: Thread
        info: FdInfo
        for item in self.listed:
            thread = cython.cast(Thread, item)
            parent = self.threads.parent(thread)
            if parent is not None and not parent.is_invalid() and thread.pid != 1:
                if parent.children is None:
                    parent.children = set()
                parent.children.add(thread.tid)
        for item in self.listed_sockets:
            info = cython.cast(FdInfo, item)
            if info.sport in self.server_ports:
                swap(info)
                info.role = _ROLE_SERVER
            else:
                info.role = _ROLE_CLIENT
        self.listed = []
        self.listed_sockets = []

    # -- the way of an event

    def _event(self):
        cursor: EventCursor = self.cursor
        type_: cython.uint = cursor.type
        kind: cython.uint
        ts: cython.ulonglong = cursor.ts
        if type_ >= _EVENT_COUNT:
            self.unknown_types += 1
            return 0
        if 0 < ts < _MAX_TIME:
            self.ts = ts
            if ts >= self.next_tick or ts + _SECOND < self.last_tick:
                self._tick(ts)
        kind = _KIND[type_]
        if kind == _IGNORED:
            return 0
        if self.listed or self.listed_sockets:
            self._close_tables()
        if not self.started and kind != _META:
            # Container events come first and have no time; the output's name may be a time.
            self.start()
        if type_ & 1:
            if kind != _NOTHING:
                self._exit(type_, kind)
        elif kind == _PROCEXIT:
            self._exit(type_, kind)
        elif kind == _META:
            if cursor.load(None):
                self._meta(type_)
            else:
                self._bad_event()
        else:
            self._enter(type_, kind)

    def _bad_event(self):
        self.cursor.damage_here("an event's parameters do not fit its length")

    def _tick(self, ts):
        """Once a second of capture time."""
        now: cython.ulonglong = ts // _SECOND
        if self.first_ts == 0:
            self.first_ts = ts
            self.rotate_at = ts + self.rotate_ns
        elif now > self.last_tick // _SECOND:
            self.flows.expire(ts)
            self.entities.sweep(now)
        self.last_tick = ts
        self.next_tick = (now + 1) * _SECOND
        if self.rotate_at > ts + self.rotate_ns and self.clock_returns < _MAX_CLOCK_RETURNS:
            # The clock leaped ahead and came back: one absurd timestamp must not end the rotation.
            self.rotate_at = ts + self.rotate_ns
            self.clock_returns += 1
        if self.rotate_ns and ts >= self.rotate_at:
            # Quiet intervals make no empty files.
            self.rotate_at += self.rotate_ns * ((ts - self.rotate_at) // self.rotate_ns + 1)
            if self.on_rotate is not None and self.started:
                self.encoder.flush()
                self.on_rotate(ts)
                self.entities.rotate()
        elif self.rotate_ns and self.next_tick > self.rotate_at:
            self.next_tick = self.rotate_at

    def _thread(self, tid):
        """The thread of an event; one of which only the tid is known where it is new."""
        thread: Thread = self.threads.find(tid)
        if thread is None:
            thread = self.threads.make(tid)
            if not self.threads.add(thread):
                return None
        return thread

    def _enter(self, type_, kind):
        cursor: EventCursor = self.cursor
        thread: Thread = self.threads.find(cursor.tid)
        if kind == _NOTHING:
            if thread is not None:
                thread.enter_type = type_
            return 0
        if thread is None:
            thread = self._thread(cursor.tid)
            if thread is None:
                return 0
        thread.enter_type = type_
        thread.last_event = cursor.events
        if thread.enter is None:
            thread.enter = SavedEvent()
        if cursor.save(thread.enter):
            self.threads.weigh(thread)
        if kind == _MMAP_ENTER:
            if not cursor.load(None):
                self._bad_event()
                return 0
            self._mmap(thread, 4)
        elif kind == _CONNECT_ENTER:
            if not cursor.load(None):
                self._bad_event()
                return 0
            fds: FdTable = self.threads.fds(thread)
            if fds is not None:
                fd: cython.longlong = cursor.long_param(0, -1)
                info: FdInfo = fds.get(fd)
                if info is not None:
                    self._connect_address(fds, fd, info, cursor.bytes_param(1))
        elif kind == _SENDTO_ENTER:
            if not cursor.load(None):
                self._bad_event()
                return 0
            sockets: FdTable = self.threads.fds(thread)
            if sockets is not None and sockets.get(cursor.long_param(0, -1)) is None:
                self._guess_socket(thread, cursor.long_param(0, -1), cursor.bytes_param(2))

    def _exit(self, type_, kind):
        cursor: EventCursor = self.cursor
        thread: Thread = self.threads.find(cursor.tid)
        enter: SavedEvent = None
        if thread is None and kind != _PROCEXIT and kind != _CLONE:
            if kind == _EXEC:
                thread = self._thread(cursor.tid)
            if thread is None:
                self.unknown_threads += 1
                return 0
        if thread is not None:
            thread.last_event = cursor.events
            if thread.enter is not None and thread.enter.type == thread.enter_type:
                if thread.enter_type + 1 == type_ or (type_ == _EXECVE_19_X and thread.enter_type == _EXECVEAT_E):
                    enter = thread.enter
        if not cursor.load(enter):
            self._bad_event()
            return 0
        if kind == _READ:
            self._io(thread, _OP_READ)
        elif kind == _WRITE:
            self._io(thread, _OP_WRITE)
        elif kind == _CLOSE:
            self._close(thread)
        elif kind == _OPEN:
            self._open(thread, enter)
        elif kind == _FILE_EVENT:
            self._file_event(thread)
        elif kind == _MMAP:
            if enter is None:
                self._mmap(thread, 8)
        elif kind == _CLONE:
            self._clone(thread)
        elif kind == _EXEC:
            self._exec(thread, enter)
        elif kind == _PROCEXIT:
            if thread is not None:
                self._procexit(thread)
        elif kind == _SOCKET:
            self._socket(thread)
        elif kind == _BIND:
            self._bind(thread)
        elif kind == _CONNECT:
            self._connect(thread, enter is not None)
        elif kind == _ACCEPT:
            self._accept(thread)
        elif kind == _SHUTDOWN:
            self._fd_op(thread, 1, _OP_SHUTDOWN)
        elif kind == _SETNS:
            self._fd_op(thread, 1, _OP_SETNS)
        elif kind == _PIPE:
            self._pipe(thread)
        elif kind == _SOCKETPAIR:
            self._socketpair(thread)
        elif kind == _DUP:
            self._dup(thread)
        elif kind == _FCNTL:
            self._fcntl(thread)
        elif kind == _SIMPLE_FD:
            self._simple_fd(thread, cursor.type)
        elif kind == _CHDIR or kind == _GETCWD:
            if cursor.long_param(0, -1) >= 0:
                self._chdir(thread, cursor.str_param(1))
        elif kind == _FCHDIR:
            if cursor.long_param(0, -1) >= 0 and thread.group is not None:
                info: FdInfo = thread.group.fds.get(cursor.long_param(1, -1))
                if info is not None:
                    self._chdir(thread, info.name)
        elif kind == _SETUID:
            self._set_ids(thread)
        elif kind == _UNSHARE:
            if cursor.long_param(0, -1) >= 0 and cursor.uint_param(1, 0) & _CLONE_FILES:
                self._unshare(thread)
        elif kind == _SENDFILE:
            self._transfer(thread, 3, 2)
        elif kind == _SPLICE:
            self._transfer(thread, 1, 2)
        elif kind == _COPY_FILE_RANGE:
            self._transfer(thread, 3, 1)
        elif kind == _CLOSE_RANGE:
            self._close_range(thread)
        elif kind == _PIDFD_GETFD:
            self._pidfd_getfd(thread)
        elif kind == _PRCTL:
            if cursor.long_param(0, -1) >= 0 and cursor.uint_param(1, 0) in _SUBREAPER and thread.group is not None:
                thread.group.reaper = cursor.long_param(3, 0) != 0
        elif kind == _SETSID:
            if cursor.long_param(0, -1) >= 0:
                thread.sid = cursor.long_param(0, -1)
        if enter is not None:
            # Served: the exit of a later call whose own enter was lost has nothing to do with it.
            thread.enter_type = _EVENT_COUNT

    def _passes(self, thread, info, fd, res):
        """Whether the current event's records are wanted."""
        if self.container_only and thread.container is None:
            self.filtered += 1
            return False
        if self.predicate is not None:
            self.thread = thread
            self.info = info
            self.fd = fd
            self.res = res
            if not self.predicate(self):
                self.filtered += 1
                return False
        return True

    # -- operations on fds

    def _data_op(self, thread, info, fd, op, res):
        """An operation on a known fd becomes part of a flow."""
        if (self.predicate is not None or self.container_only) and not self._passes(thread, info, fd, res):
            return 0
        if info.is_ip():
            self.flows.net_op(thread, info, cython.cast(cython.int, fd), op, res, self.ts)
            return 0
        if self.no_files:
            return 0
        if info.type != _FD_FILE_V2 and info.type != _FD_FILE:
            if self.file_only or (info.type != _FD_DIRECTORY and info.type != _FD_UNIX_SOCK and info.type != _FD_FIFO):
                return 0
        self.flows.file_op(thread, info, cython.cast(cython.int, fd), op, res, self.ts)

    def _fd_op(self, thread, at, op):
        """An operation whose fd is parameter `at` and which changes no state."""
        fds: FdTable = self.threads.fds(thread)
        fd: cython.longlong = self.cursor.long_param(at, -1)
        info: FdInfo
        if fds is None:
            self.unknown_threads += 1
            return 0
        info = fds.get(fd)
        if info is not None:
            self._data_op(thread, info, fd, op, self.cursor.long_param(0, -1))

    def _io(self, thread, op):
        """Reads and writes of all kinds."""
        cursor: EventCursor = self.cursor
        type_: cython.uint = cursor.type
        fds: FdTable
        fd: cython.longlong
        res: cython.longlong
        info: FdInfo
        changed: FdInfo
        at: cython.uint
        if thread.group is None:
            self.unknown_threads += 1
            return 0
        fds = thread.group.fds
        if cursor.nparams == 0 or cursor.plen[0] == 0:
            return 0
        fd = cursor.long_param(_FD_AT[type_], -1)
        res = cursor.long_param(0, -1)
        info = fds.get(fd)
        at = _TUPLE_AT[type_]
        if info is None:
            # After an enter the fd was known, and another thread closed it since: it is no socket to guess.
            if thread.enter_type + 1 == type_ or res < 0:
                return 0
            if type_ != _SEND_X and type_ != _SENDTO_X and type_ != _SENDMSG_X:
                return 0
            info = self._guess_socket(thread, fd, cursor.bytes_param(at))
            if info is None:
                return 0
        if at and res >= 0 and cursor.nparams > at and cursor.plen[at] > 0:
            if not info.named or info.proto() != 6:
                changed = self._update_peer(fds, fd, info, cursor.bytes_param(at))
                if changed is not None:
                    info = changed
                    if info.is_ip():
                        if info.role == _ROLE_NONE:
                            # Who speaks first is taken for the client, as libsinsp's guess comes down to.
                            info.role = _ROLE_SERVER if op == _OP_READ else _ROLE_CLIENT
                        if (op == _OP_READ and info.role == _ROLE_CLIENT) or (
                            op == _OP_WRITE and info.role == _ROLE_SERVER
                        ):
                            swap(info)
                        info.changed()
        self._data_op(thread, info, fd, op, res)

    def _transfer(self, thread, source, target):
        """sendfile, splice, copy_file_range: a read of one fd and a write of another."""
        fds: FdTable = self.threads.fds(thread)
        res: cython.longlong = self.cursor.long_param(0, -1)
        fd: cython.longlong
        info: FdInfo
        if fds is None:
            self.unknown_threads += 1
            return 0
        fd = self.cursor.long_param(source, -1)
        info = fds.get(fd)
        if info is not None:
            self._data_op(thread, info, fd, _OP_READ, res)
        fd = self.cursor.long_param(target, -1)
        info = fds.get(fd)
        if info is not None:
            self._data_op(thread, info, fd, _OP_WRITE, res)

    def _close(self, thread):
        cursor: EventCursor = self.cursor
        fds: FdTable = self.threads.fds(thread)
        fd: cython.longlong = cursor.long_param(1, -1)
        res: cython.longlong = cursor.long_param(0, -1)
        info: FdInfo
        if fds is None:
            self.unknown_threads += 1
            return 0
        info = fds.get(fd)
        if info is None:
            return 0
        self._data_op(thread, info, fd, _OP_CLOSE, res)
        if res >= 0:
            self.threads.fd_budget += info.cost()
            fds.remove(fd)

    def _close_range(self, thread):
        cursor: EventCursor = self.cursor
        fds: FdTable = self.threads.fds(thread)
        first: cython.uint = cursor.uint_param(1, 0)
        last: cython.uint = cursor.uint_param(2, 0)
        flags: cython.uint = cursor.uint_param(3, 0)
        info: FdInfo
        if fds is None or cursor.long_param(0, -1) < 0:
            return
        if flags & _CLOSE_RANGE_UNSHARE:
            self._unshare(thread)
            fds = thread.group.fds
        for fd in fds.numbers(first, last):
            info = fds.get(fd)
            if flags & _CLOSE_RANGE_CLOEXEC:
                if not info.cloexec:
                    fds.own(fd, info).cloexec = True
            else:
                self._data_op(thread, info, fd, _OP_CLOSE, 0)
                self.threads.fd_budget += info.cost()
                fds.remove(fd)

    def _at(self, thread, dirfd, name):
        """A path that a *at call names: seen from the dirfd, the working directory, or as it is where neither is known."""
        info: FdInfo
        if name.startswith(b"/"):
            return normal(name)
        if thread.group is None:
            return name
        if dirfd == _AT_FDCWD:
            return join(thread.group.cwd, name) if thread.group.cwd else name
        info = thread.group.fds.get(dirfd)
        if info is None:
            return name
        return join(info.name, name)

    def _open(self, thread, enter):
        cursor: EventCursor = self.cursor
        type_: cython.uint = cursor.type
        fd: cython.longlong = cursor.long_param(0, -1)
        flags: cython.uint
        dirfd: cython.longlong = _AT_FDCWD
        name: bytes
        entered: bytes
        info: FdInfo
        if fd < 0:
            return 0
        if thread.group is None:
            self.unknown_threads += 1
            return 0
        # The enter event's arguments are preferred: another thread may change the name's memory during the call.
        if type_ == _OPEN_X:
            name = cursor.str_param(1)
            flags = cursor.uint_param(2, 0)
            if enter is not None:
                entered = enter.str_param(0)
                if entered and entered != b"<NA>":
                    name = entered
                    flags = enter.uint_param(1, 0) | (flags & _O_FROM_EXIT)
            name = join(thread.group.cwd, name)
        elif type_ == _CREAT_X:
            name = cursor.str_param(1)
            flags = _O_CREAT
            if enter is not None:
                entered = enter.str_param(0)
                if entered and entered != b"<NA>":
                    name = entered
            name = join(thread.group.cwd, name)
        elif type_ == _OPEN_BY_HANDLE_AT_X:
            flags = cursor.uint_param(2, 0)
            name = join(b"", cursor.str_param(3))
        else:
            name = cursor.str_param(2)
            flags = cursor.uint_param(3, 0)
            dirfd = cursor.long_param(1, _AT_FDCWD)
            if enter is not None:
                entered = enter.str_param(1)
                if entered and entered != b"<NA>":
                    name = entered
                    flags = enter.uint_param(2, 0) | (flags & _O_FROM_EXIT)
                    dirfd = enter.long_param(0, _AT_FDCWD)
            if not name:
                name = b"<NA>"
            if name.startswith(b"/"):
                name = normal(name)
            elif dirfd == _AT_FDCWD:
                name = join(thread.group.cwd, name)
            else:
                info = thread.group.fds.get(dirfd)
                name = join(info.name, name) if info is not None else normal(b"<UNKNOWN>" + name)
        info = FdInfo.__new__(FdInfo)
        info.type = _FD_DIRECTORY if flags & _O_DIRECTORY else _FD_FILE_V2
        info.openflags = flags
        info.cloexec = flags & _O_CLOEXEC != 0
        info.name = name
        info.named = True
        if self._add_fd(thread, fd, info):
            self._data_op(thread, info, fd, _OP_OPEN, fd)

    def _add_fd(self, thread, fd, info):
        """Open an fd; False where its number is impossible or there is no room for it."""
        fds: FdTable = thread.group.fds
        before: cython.longlong = fds.weight
        if self.threads.fd_budget <= 0 and fds.get(fd) is None:
            self.threads.refused += 1
            return False
        if not fds.put(fd, info):
            return False
        self.threads.fd_budget -= fds.weight - before
        return True

    def _mmap(self, thread, fd_at):
        """A mapping of a file: counted when it is asked for, whatever comes of it, as the existing collector does."""
        fds: FdTable = self.threads.fds(thread)
        fd: cython.longlong = self.cursor.long_param(fd_at, -1)
        info: FdInfo
        if fds is None or fd < 0:
            return 0
        info = fds.get(fd)
        if info is not None and not info.is_ip():
            self._data_op(thread, info, fd, _OP_MMAP, 0)

    # -- file events

    def _file_event(self, thread):
        cursor: EventCursor = self.cursor
        type_: cython.uint = cursor.type
        if self.no_files:
            return 0
        if thread.group is None:
            self.unknown_threads += 1
            return 0
        if type_ == _MKDIR_2_X:
            self._write_file_event(thread, _OP_MKDIR, self._path(thread, -1, 1), 100, None)
        elif type_ == _MKDIRAT_X:
            self._write_file_event(thread, _OP_MKDIR, self._path(thread, 1, 2), 100, None)
        elif type_ == _RMDIR_2_X:
            self._write_file_event(thread, _OP_RMDIR, self._path(thread, -1, 1), 100, None)
        elif type_ == _UNLINK_2_X:
            self._write_file_event(thread, _OP_UNLINK, self._path(thread, -1, 1), 63, None)
        elif type_ == _UNLINKAT_2_X:
            self._write_file_event(thread, _OP_UNLINK, self._path(thread, 1, 2), 63, None)
        elif type_ == _LINK_2_X:
            self._link_event(thread, _OP_LINK, self._path(thread, -1, 1), self._path(thread, -1, 2))
        elif type_ == _LINKAT_2_X:
            self._link_event(thread, _OP_LINK, self._path(thread, 1, 2), self._path(thread, 3, 4))
        elif type_ == _SYMLINK_X:
            self._link_event(thread, _OP_SYMLINK, self._path(thread, -1, 1), self._path(thread, -1, 2))
        elif type_ == _SYMLINKAT_X:
            # The target is text: it is not resolved from the dirfd, which is the link's.
            self._link_event(thread, _OP_SYMLINK, self._text(1), self._path(thread, 2, 3))
        elif type_ == _RENAME_X:
            self._link_event(thread, _OP_RENAME, self._path(thread, -1, 1), self._path(thread, -1, 2))
        else:
            self._link_event(thread, _OP_RENAME, self._path(thread, 1, 2), self._path(thread, 3, 4))

    def _text(self, at):
        """Parameter `at` as text; None where it is absent."""
        if at >= cython.cast(cython.int, self.cursor.nparams) or self.cursor.plen[at] == 0:
            return None
        return self.cursor.str_param(at)

    def _path(self, thread, dirfd_at, at):
        """The path in parameter `at`, seen from the dirfd in parameter `dirfd_at` (-1: from the working directory)."""
        name = self._text(at)
        if name is None:
            return None
        return self._at(thread, _AT_FDCWD if dirfd_at < 0 else self.cursor.long_param(dirfd_at, _AT_FDCWD), name)

    def _link_event(self, thread, op, path, new_path):
        if new_path is not None:
            self._write_file_event(thread, op, path, 63, new_path)

    def _write_file_event(self, thread, op, path, restype, new_path):
        process: Process
        res: cython.longlong = self.cursor.long_param(0, -1)
        new_oid: bytes = None
        if path is None:
            # Only the lost enter event knew the path.
            return 0
        if (self.predicate is not None or self.container_only) and not self._passes(thread, None, -1, res):
            return 0
        process = self.entities.process(thread, _REUP, self.ts)
        if process is None:
            return 0
        oid: bytes = self.entities.file(thread, path, restype, _REUP if new_path is not None else _CREATED, self.ts).oid
        if new_path is not None:
            new_oid = self.entities.file(thread, new_path, restype, _CREATED, self.ts).oid
        self.encoder.file_event(process.create_ts, process.pid, self.ts, thread.tid, op, oid, int32(res), new_oid)

    # -- sockets

    def _new_fd(self, thread, fd, type_):
        info: FdInfo = FdInfo.__new__(FdInfo)
        info.type = type_
        info.name = b""
        self._add_fd(thread, fd, info)
        return info

    def _socket(self, thread):
        cursor: EventCursor = self.cursor
        fd: cython.longlong = cursor.long_param(0, -1)
        if fd < 0 or thread.group is None:
            return
        init_socket(
            self._new_fd(thread, fd, 0), cursor.uint_param(1, 0), cursor.uint_param(2, 0), cursor.uint_param(3, 0)
        )

    def _guess_socket(self, thread, fd, tuple_):
        """A datagram socket whose making was not seen; None where the tuple does not tell its family."""
        if fd < 0 or fd > _MAX_FD or not tuple_ or tuple_[0] not in (_AF_INET, _AF_INET6):
            return None
        info: FdInfo = self._new_fd(thread, fd, 0)
        init_socket(info, tuple_[0], 2, 17)
        return info

    def _bind(self, thread):
        cursor: EventCursor = self.cursor
        fds: FdTable = self.threads.fds(thread)
        fd: cython.longlong = cursor.long_param(2, -1)
        address: bytes = cursor.bytes_param(1)
        info: FdInfo
        if fds is None or cursor.long_param(0, -1) < 0 or not address:
            return
        info = fds.get(fd)
        if info is None:
            return
        info = fds.own(fd, info)
        set_bound(info, address)

    def _connect_address(self, fds, fd, info, address):
        """The address that connect() was asked for."""
        if not address:
            return 0
        set_destination(fds.own(fd, info), address)

    def _connect(self, thread, entered):
        cursor: EventCursor = self.cursor
        fds: FdTable = self.threads.fds(thread)
        fd: cython.longlong = cursor.long_param(2, -1)
        res: cython.longlong = cursor.long_param(0, -1)
        tuple_: bytes
        info: FdInfo
        if fds is None:
            self.unknown_threads += 1
            return 0
        info = fds.get(fd)
        if info is None:
            return 0
        if not entered:
            self._connect_address(fds, fd, info, cursor.bytes_param(3))
            info = fds.get(fd)
        if res >= 0 or res == _EINPROGRESS:
            tuple_ = cursor.bytes_param(1)
            if tuple_:
                info = fds.own(fd, info)
                if set_tuple(info, tuple_) and info.role == _ROLE_SERVER and info.l4proto == _L4_UDP:
                    # connect() by a UDP server
                    swap(info)
                if info.role == _ROLE_NONE:
                    info.role = _ROLE_CLIENT
                info.changed()
        self._data_op(thread, info, fd, _OP_CONNECT, res)

    def _accept(self, thread):
        cursor: EventCursor = self.cursor
        fd: cython.longlong = cursor.long_param(0, -1)
        tuple_: bytes = cursor.bytes_param(1)
        info: FdInfo
        if fd < 0 or not tuple_ or thread.group is None or tuple_[0] not in (_AF_UNIX, _AF_INET, _AF_INET6):
            return 0
        info = FdInfo.__new__(FdInfo)
        info.name = b""
        info.l4proto = _L4_TCP
        info.type = _FD_UNIX_SOCK
        set_tuple(info, tuple_)
        info.role = _ROLE_SERVER
        info.named = True
        info.cloexec = cursor.uint_param(5, 0) & _SOCK_CLOEXEC != 0
        if self._add_fd(thread, fd, info):
            self._data_op(thread, info, fd, _OP_ACCEPT, fd)

    def _update_peer(self, fds, fd, info, tuple_):
        """Take the addresses of a datagram (or of a connection whose making was lost); None where nothing changed."""
        family: cython.int = tuple_[0]
        mine: FdInfo = fds.own(fd, info)
        if family == _AF_UNIX:
            mine.type = _FD_UNIX_SOCK
            mine.name = unix_name(tuple_)
            mine.named = True
            mine.changed()
            return mine
        if family != _AF_INET and family != _AF_INET6:
            return None
        if not set_tuple(mine, tuple_):
            return None
        if mine.l4proto == 0:
            mine.l4proto = _L4_UDP
        mine.named = True
        self.interfaces.complete(mine)
        return mine

    # -- other fds

    def _pipe(self, thread):
        cursor: EventCursor = self.cursor
        info: FdInfo
        if cursor.long_param(0, -1) < 0 or thread.group is None:
            return
        for i in (1, 2):
            info = self._new_fd(thread, cursor.long_param(i, -1), 7)
            info.cloexec = cursor.uint_param(4, 0) & _O_CLOEXEC != 0

    def _socketpair(self, thread):
        cursor: EventCursor = self.cursor
        first: cython.longlong = cursor.long_param(1, -1)
        second: cython.longlong = cursor.long_param(2, -1)
        info: FdInfo
        if cursor.long_param(0, -1) < 0 or thread.group is None or first == second:
            return
        for fd in (first, second):
            info = self._new_fd(thread, fd, 8)
            info.cloexec = cursor.uint_param(6, 0) & _SOCK_CLOEXEC != 0

    def _dup(self, thread):
        cursor: EventCursor = self.cursor
        fds: FdTable = self.threads.fds(thread)
        new_fd: cython.longlong = cursor.long_param(0, -1)
        old_fd: cython.longlong = cursor.long_param(1, -1)
        info: FdInfo
        if fds is None or new_fd < 0 or new_fd == old_fd:
            return
        info = fds.get(old_fd)
        if info is None:
            return
        self._copy_fd(thread, fds, info, new_fd, cursor.uint_param(3, 0) & _O_CLOEXEC != 0)

    def _copy_fd(self, thread, fds, info, new_fd, cloexec):
        copy: FdInfo = info.clone()
        copy.cloexec = cloexec
        self._add_fd(thread, new_fd, copy)

    def _fcntl(self, thread):
        cursor: EventCursor = self.cursor
        fds: FdTable = self.threads.fds(thread)
        res: cython.longlong = cursor.long_param(0, -1)
        fd: cython.longlong = cursor.long_param(1, -1)
        command: cython.uint = cursor.uint_param(2, 0)
        info: FdInfo
        if fds is None or res < 0:
            return
        info = fds.get(fd)
        if info is None:
            return
        if command == _F_DUPFD or command == _F_DUPFD_CLOEXEC:
            self._copy_fd(thread, fds, info, res, command == _F_DUPFD_CLOEXEC)
        elif command == _F_SETFD:
            # Without the argument (captures before it was recorded) the fd is kept over exec: it can only be stale.
            fds.own(fd, info).cloexec = cursor.long_param(3, 0) & 1 != 0

    def _simple_fd(self, thread, type_):
        cursor: EventCursor = self.cursor
        fd: cython.longlong = cursor.long_param(0, -1)
        info: FdInfo
        if fd < 0 or thread.group is None:
            return
        if type_ == _BPF_2_X and cursor.nparams > 1 and cursor.uint_param(1, 0) not in _BPF_OPENS:
            # Other commands return 0 for success, which is no fd.
            return
        info = self._new_fd(thread, fd, _SIMPLE_FD_TYPE[type_])
        if info.type == _FD_MEMFD:
            info.name = cursor.str_param(1)[:_MAX_NAME]
        elif info.type == _FD_PIDFD:
            info.pid = cursor.long_param(1, -1)
        elif type_ in _FLAGS_AT_1:
            info.cloexec = cursor.uint_param(1, 0) & _O_CLOEXEC != 0

    def _pidfd_getfd(self, thread):
        cursor: EventCursor = self.cursor
        fds: FdTable = self.threads.fds(thread)
        fd: cython.longlong = cursor.long_param(0, -1)
        pidfd: FdInfo
        info: FdInfo
        other: Thread
        if fds is None or fd < 0:
            return
        pidfd = fds.get(cursor.long_param(1, -1))
        if pidfd is None or pidfd.type != _FD_PIDFD:
            return
        other = self.threads.find(pidfd.pid)
        if other is None or other.group is None:
            return
        info = other.group.fds.get(cursor.long_param(2, -1))
        if info is not None:
            info = info.clone()
            info.cloexec = True
            self._add_fd(thread, fd, info)

    def _chdir(self, thread, path):
        if thread.group is not None:
            thread.group.cwd = _directory(join(thread.group.cwd, path))
            if thread.group.leader is not None:
                self.threads.weigh(thread.group.leader)

    def _unshare(self, thread):
        """The process's fd table becomes its own."""
        group: Group = thread.group
        if group is not None and group.fds.users > 1:
            shared: FdTable = group.fds
            group.fds = self.threads.fork_fds(group, False)
            shared.users -= 1

    # -- processes

    def _set_container(self, thread, cgroups):
        found = self.cgroups.find(cgroups)
        thread.container = self.entities.container(found[0], found[1]) if found is not None else None

    def _describe(self, child):
        """What a clone or exec event says of the process."""
        cursor: EventCursor = self.cursor
        child.exe = cursor.str_param(1)
        child.args = cursor.bytes_param(2)[:_MAX_STRINGS]
        child.comm = cursor.str_param(13) if cursor.plen[13] else child.exe

    def _inherit(self, child, model):
        child.exepath = model.exepath
        child.sid = model.sid
        child.vpgid = model.vpgid
        child.tty = model.tty
        child.loginuid = model.loginuid

    def _found_group(self, child, model):
        """A new process begins with its parent's working directory and fds, copied or shared."""
        group: Group = child.group
        child.env = model.env
        if group is None or model.group is None or group is model.group:
            return 0
        group.cwd = model.group.cwd
        self.threads.drop_fds(group)
        group.fds = self.threads.fork_fds(model.group, child.flags & _CLONE_FILES != 0)

    def _clone(self, thread):
        """The exit of clone, fork, vfork: seen in the parent (res > 0) and in the child (res 0)."""
        cursor: EventCursor = self.cursor
        res: cython.longlong
        process: Process
        if cursor.nparams < 18 or cursor.plen[0] == 0:
            return 0
        res = cursor.long_param(0, -1)
        if res == 0:
            thread = self._clone_child(thread)
        elif res > 0:
            thread = self._clone_caller(thread, res)
        if thread is None or thread.group is None:
            self.unknown_threads += 1
            return 0
        thread.last_event = cursor.events
        if (self.predicate is not None or self.container_only) and not self._passes(thread, None, -1, res):
            return 0
        if (
            not self.proc_flow
            or (res == 0 and thread.is_leader())
            or (res > 0 and cursor.uint_param(15, 0) & _CLONE_THREAD == 0)
        ):
            process = self.entities.process(thread, _CREATED, self.ts)
            if process is not None:
                self._process_event(process, thread, _OP_CLONE, None, res)
        else:
            process = self.entities.process(thread, _REUP, self.ts)
            if process is not None:
                self.flows.count_thread(process, _OP_CLONE, res, self.ts)

    def _clone_ids(self, child):
        cursor: EventCursor = self.cursor
        # At this moment libsinsp knows no container of the child yet: its names are the host's.
        child.uid = cursor.uint_param(16, 0)
        child.gid = cursor.uint_param(17, 0)
        user: bytes = self.users.user(b"", child.uid)
        group: bytes = self.users.group(b"", child.gid)
        child.user = user if user is not None else fallback(child.uid)
        child.group_name = group if group is not None else fallback(child.gid)
        child.clone_ts = self.ts

    def _set_uid(self, thread, uid):
        """A thread's user changes, or is confirmed: then a name that is known stays. -1 changes nothing (setresuid(2))."""
        if uid == 0xFFFFFFFF:
            return 0
        name: bytes = self.users.user(thread.container.id if thread.container is not None else b"", uid)
        if name is not None:
            thread.user = name
        elif uid != thread.uid:
            thread.user = fallback(uid)
        thread.uid = uid

    def _set_gid(self, thread, gid):
        """The same for the group."""
        if gid == 0xFFFFFFFF:
            return 0
        name: bytes = self.users.group(thread.container.id if thread.container is not None else b"", gid)
        if name is not None:
            thread.group_name = name
        elif gid != thread.gid:
            thread.group_name = fallback(gid)
        thread.gid = gid

    def _clone_child(self, thread):
        """The child's own return from clone: the whole truth about it, unless its parent's came first."""
        cursor: EventCursor = self.cursor
        child: Thread
        model: Thread
        is_leader: cython.bint
        if thread is not None:
            if 0 < thread.clone_ts <= self.ts and self.ts - thread.clone_ts < _CLONE_STALE and not thread.dead:
                return thread
            # Its exit was lost, or it is of the lists and its tid was reused, or only its tid was known.
            self.threads.remove(thread)
        child = self.threads.make(cursor.tid)
        child.pid = cursor.long_param(4, -1)
        child.ptid = cursor.long_param(5, -1)
        child.vtid = cursor.long_param(18, child.tid)
        child.vpid = cursor.long_param(19, -1)
        child.flags = cursor.uint_param(15, 0) | _CLONE_INVERTED
        is_leader = child.flags & _CLONE_THREAD == 0
        if not is_leader:
            child.flags |= _CLONE_FILES
        if child.pid < 0:
            return None
        if child.pid == child.tid and child.pid != child.ptid:
            self.threads.remove_process(child.pid)
        model = self._thread(child.ptid if is_leader else child.pid)
        if model is None:
            return None
        self._describe(child)
        if model.is_invalid() and not is_leader:
            # The main thread was never seen: what its thread knows of it will do.
            model.pid = child.pid
            model.ptid = child.ptid
            model.vpid = child.vpid
            model.vtid = child.vpid
            model.exe = child.exe
            model.comm = child.comm
            model.args = child.args
            self.threads.join_group(model)
        elif not model.is_invalid():
            self._inherit(child, model)
        self._clone_ids(child)
        if cursor.plen[14]:
            self._set_container(child, cursor.bytes_param(14))
        else:
            child.container = model.container
        child.last_event = cursor.events
        if not self.threads.add(child):
            return None
        if is_leader:
            self._found_group(child, model)
        self.threads.weigh(child)
        return child

    def _clone_caller(self, thread, child_tid):
        """The parent's return from clone: makes the child, unless it is in a pid namespace or was seen already."""
        cursor: EventCursor = self.cursor
        flags: cython.uint = cursor.uint_param(15, 0)
        valid: cython.bint = True
        child: Thread
        if thread is None:
            thread = self._thread(cursor.tid)
            if thread is None:
                return None
        if thread.is_invalid():
            valid = False
            thread.pid = cursor.long_param(4, -1)
            thread.ptid = cursor.long_param(5, -1)
            thread.vtid = cursor.long_param(18, thread.tid)
            thread.vpid = cursor.long_param(19, -1)
            self.threads.join_group(thread)
        # The result is then a pid of the child's namespace, not of the host's.
        if flags & (_CHILD_IN_PIDNS | _CLONE_NEWPID | _CLONE_PARENT) or thread.tid != thread.vtid:
            return thread
        # After vfork the child has run, and perhaps exited, before its parent returns.
        if flags & _CLONE_VFORK or cursor.type == _VFORK_20_X:
            return thread
        child = self.threads.find(child_tid)
        if child is not None:
            if child.flags & _CLONE_INVERTED:
                return thread
            self.threads.remove(child)
        if flags & _CLONE_THREAD == 0 and child_tid != thread.pid:
            self.threads.remove_process(child_tid)
        if self.threads.find(thread.tid) is not thread:
            return None
        child = self.threads.make(child_tid)
        child.flags = flags
        self._describe(child)
        if flags & _CLONE_THREAD:
            child.pid = thread.pid
            child.ptid = thread.ptid
            child.flags |= _CLONE_FILES
        else:
            child.pid = child_tid
            child.ptid = thread.tid
        child.vtid = child.tid
        child.vpid = child.pid
        self._clone_ids(child)
        if cursor.plen[14]:
            self._set_container(child, cursor.bytes_param(14))
        else:
            child.container = thread.container
        if valid:
            self._inherit(child, thread)
        else:
            thread.exe = child.exe
            thread.comm = child.comm
            thread.args = child.args
        child.last_event = cursor.events
        thread.last_event = cursor.events
        if not self.threads.add(child):
            return thread
        if flags & _CLONE_THREAD == 0 and valid:
            self._found_group(child, thread)
        self.threads.weigh(child)
        return thread

    def _exec(self, thread, enter):
        cursor: EventCursor = self.cursor
        res: cython.longlong = cursor.long_param(0, -1)
        process: Process
        path: bytes
        other: Thread
        if res >= 0 and cursor.nparams > 13:
            self.threads.revive(thread)
            self._describe(thread)
            if thread.is_invalid():
                thread.pid = cursor.long_param(4, -1)
                thread.ptid = cursor.long_param(5, -1)
                if thread.flags & _CHILD_IN_PIDNS == 0:
                    thread.vtid = thread.tid
                    thread.vpid = thread.pid
                self.threads.join_group(thread)
            if cursor.nparams > 15 and cursor.plen[15]:
                thread.env = cursor.bytes_param(15)[:_MAX_STRINGS]
            if cursor.nparams > 14 and cursor.plen[14]:
                self._set_container(thread, cursor.bytes_param(14))
            if cursor.nparams > 16 and cursor.plen[16]:
                thread.tty = cursor.uint_param(16, 0)
            if cursor.nparams > 29 and cursor.plen[29] and thread.group is not None:
                # Where recorders write a gid too, only live capture does not leave the directory empty: a filter in the
                # kernel may have left out the clone, or a chdir.
                path = cursor.str_param(6)
                if path:
                    thread.group.cwd = _directory(normal(path))
            path = cursor.str_param(27)
            if path:
                thread.exepath = path
            else:
                thread.exepath = self._exec_path(thread, enter)
            if cursor.nparams > 17 and cursor.plen[17]:
                thread.vpgid = cursor.long_param(17, -1)
            thread.loginuid = cursor.uint_param(18, thread.loginuid)
            if cursor.nparams > 26 and cursor.plen[26]:
                self._set_uid(thread, cursor.uint_param(26, 0))
            if cursor.nparams > 29 and cursor.plen[29]:
                self._set_gid(thread, cursor.uint_param(29, 0))
            thread.flags &= _IS_MAIN_THREAD | _CLONE_INVERTED
            self.threads.weigh(thread)
            if thread.group is not None:
                self._unshare(thread)
                before: cython.longlong = thread.group.fds.weight
                thread.group.fds.close_on_exec()
                self.threads.fd_budget += before - thread.group.fds.weight
                # The other threads of the group are gone; their exits may not be seen.
                for item in list(thread.group.threads.values()):
                    other = cython.cast(Thread, item)
                    if other is not thread and not other.is_leader():
                        self.threads.remove(other)
        if thread.group is None:
            self.unknown_threads += 1
            return 0
        if (self.predicate is not None or self.container_only) and not self._passes(thread, None, -1, res):
            self._outdate(thread)
            return 0
        process = self.entities.process(thread, _CREATED, self.ts)
        if process is None:
            return 0
        if not self.entities.created:
            self.entities.modify(process, thread, self.ts)
        self._process_event(process, thread, _OP_EXEC, None, res)

    def _outdate(self, thread):
        """A change without a record of its own: the Process is written anew when the next record refers to it."""
        if thread.group.process is not None:
            thread.group.process.stale = True

    def _exec_path(self, thread, enter):
        """The program's path where the exit event does not tell it: from the enter event's argument."""
        name: bytes = b""
        info: FdInfo
        dirfd: cython.longlong
        cwd: bytes = thread.group.cwd if thread.group is not None else b""
        if enter is not None and enter.type == _EXECVEAT_E:
            name = enter.str_param(1)
            dirfd = enter.long_param(0, _AT_FDCWD)
            if name.startswith(b"/"):
                return normal(name)
            info = thread.group.fds.get(dirfd) if thread.group is not None else None
            if enter.uint_param(2, 0) & _EXVAT_AT_EMPTY_PATH:
                return info.name if info is not None else b"<NA>"
            if not name or name == b"<NA>" or (info is None and dirfd != _AT_FDCWD):
                return b"<NA>"
            return join(cwd if dirfd == _AT_FDCWD else info.name, name)
        name = self.cursor.str_param(30)
        if not name and enter is not None:
            name = enter.str_param(0)
        if not name:
            return b""
        return name if name == b"<NA>" else join(cwd, name)

    def _procexit(self, thread):
        cursor: EventCursor = self.cursor
        process: Process
        is_leader: cython.bint = thread.is_leader()
        ret: cython.longlong = cursor.long_param(0, -1)
        self.threads.die(thread)
        thread.reaper_tid = cursor.long_param(4, -1)
        if thread.group is None:
            self.unknown_threads += 1
        elif (self.predicate is None and not self.container_only) or self._passes(thread, None, -1, ret):
            process = self.entities.process(thread, _REUP, self.ts)
            if self.proc_flow and not is_leader:
                self.flows.count_thread(process, _OP_EXIT, 0, self.ts)
            else:
                if is_leader:
                    self.flows.end_process_flow(process, self.ts)
                    self.flows.process_exit(process, self.ts)
                else:
                    self.flows.thread_exit(process, thread, self.ts)
                self._process_event(process, thread, _OP_EXIT, None, ret)
                if is_leader:
                    self.entities.mark_exited(process, self.ts // _SECOND)
        self.threads.remove(thread)

    def _set_ids(self, thread):
        """setuid and its kin; setuid and setresuid are records."""
        cursor: EventCursor = self.cursor
        type_: cython.uint = cursor.type
        res: cython.longlong = cursor.long_param(0, -1)
        at: cython.uint = 1 if type_ == _SETUID_X or type_ == _SETGID_X else 2
        process: Process
        is_uid: cython.bint = type_ == _SETUID_X or type_ == _SETRESUID_X or type_ == _SETREUID_X
        uid: cython.uint = thread.uid
        gid: cython.uint = thread.gid
        if res == 0 and at < cursor.nparams and cursor.plen[at]:
            if is_uid:
                self._set_uid(thread, cursor.uint_param(at, 0))
            else:
                self._set_gid(thread, cursor.uint_param(at, 0))
        if not is_uid or type_ == _SETREUID_X:
            # The existing collector writes the Process anew with the setuid that mostly follows a setgid or setresgid, and
            # does not know setreuid and setregid: after those nothing need follow.
            if type_ == _SETREUID_X or type_ == _SETREGID_X:
                if thread.group is not None and (thread.uid != uid or thread.gid != gid):
                    self._outdate(thread)
            return 0
        if thread.group is None:
            self.unknown_threads += 1
            return 0
        if (self.predicate is not None or self.container_only) and not self._passes(thread, None, -1, res):
            self._outdate(thread)
            return 0
        process = self.entities.process(thread, _REUP, self.ts)
        if process is None:
            return 0
        if not self.entities.created:
            self.entities.modify(process, thread, self.ts)
        who: bytes = b""
        if type_ == _SETUID_X:
            who = self.users.user(thread.container.id if thread.container is not None else b"", cursor.uint_param(1, 0))
            if who is None:
                who = UNKNOWN
        # setresuid has three uids and none called uid: the one argument is empty, as in the existing collector's traces.
        self._process_event(process, thread, _OP_SETUID, who, res)

    def _process_event(self, process, thread, op, arg, ret):
        self.encoder.process_event(process.create_ts, process.pid, self.ts, thread.tid, op, arg, int32(ret))

    # -- meta events

    def _meta(self, type_: cython.uint):
        """Containers, users and groups that the recorder tells of."""
        cursor: EventCursor = self.cursor
        facts = None
        if type_ == tables.PPME_USER_ADDED_E:
            self.users.add_user(cursor.str_param(5), cursor.uint_param(0, 0), cursor.str_param(2))
        elif type_ == tables.PPME_GROUP_ADDED_E:
            self.users.add_group(cursor.str_param(2), cursor.uint_param(0, 0), cursor.str_param(1))
        elif type_ == tables.PPME_USER_DELETED_E:
            self.users.remove_user(cursor.str_param(5), cursor.uint_param(0, 0))
        elif type_ == tables.PPME_GROUP_DELETED_E:
            self.users.remove_group(cursor.str_param(2), cursor.uint_param(0, 0))
        elif type_ == tables.PPME_CONTAINER_E:
            facts = containers.from_fields(
                cursor.str_param(0), cursor.uint_param(1, 0), cursor.str_param(2), cursor.str_param(3)
            )
        elif type_ == tables.PPME_ASYNCEVENT_E:
            # The container plugin of the newest libs: container_added, with the same document.
            if cursor.str_param(1) == b"container_added":
                facts = containers.from_json(cursor.str_param(2))
        else:
            facts = containers.from_json(cursor.str_param(0))
        if facts is not None and facts.id:
            pod = None
            if facts.pod is not None:
                pod = Pod(
                    self.ts,
                    facts.pod.id,
                    facts.pod.name,
                    self.hostname,
                    facts.pod.namespace,
                    [],
                    facts.pod.internal_ip,
                    facts.pod.restart_count,
                    facts.pod.labels,
                )
            self.entities.describe_container(facts, pod)


def _directory(path: bytes) -> bytes:
    """A working directory as libsinsp keeps it: with a slash at its end."""
    return path if path.endswith(b"/") else path + b"/"


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
