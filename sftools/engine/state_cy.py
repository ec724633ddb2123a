"""What the engine knows: threads, thread groups, fd tables, and the entities and flows of the output.

Plain data with a few accessors; who changes it is in threads_cy, entities_cy, flows_cy and engine_cy. The garbage
collector does not look at these objects (no_gc): Threads and Flows break the cycles between them.
Numbers of fd types: sftools.scap.fd_types; of flags: sftools.scap.tables.
"""

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

from sftools.limits import MAX_FDS_PER_PROCESS
from sftools.scap import fd_types, tables

ROLE_NONE = 0
ROLE_CLIENT = 1
ROLE_SERVER = 2

_FD_DIRECTORY = cython.declare(cython.int, fd_types.FD_DIRECTORY)
_FD_FIFO = cython.declare(cython.int, fd_types.FD_FIFO)
_FD_FILE = cython.declare(cython.int, fd_types.FD_FILE)
_FD_FILE_V2 = cython.declare(cython.int, fd_types.FD_FILE_V2)
_FD_IPV4_SOCK = cython.declare(cython.int, fd_types.FD_IPV4_SOCK)
_FD_IPV6_SOCK = cython.declare(cython.int, fd_types.FD_IPV6_SOCK)
_FD_UNIX_SOCK = cython.declare(cython.int, fd_types.FD_UNIX_SOCK)
_L4_ICMP = cython.declare(cython.int, fd_types.L4_ICMP)
_L4_RAW = cython.declare(cython.int, fd_types.L4_RAW)
_L4_TCP = cython.declare(cython.int, fd_types.L4_TCP)
_L4_UDP = cython.declare(cython.int, fd_types.L4_UDP)
_ROLE_NONE = cython.declare(cython.int, ROLE_NONE)

_IS_MAIN_THREAD = cython.declare(cython.uint, tables.PPM_CL_IS_MAIN_THREAD)

# fds below this stand in a list, the others in a dict.
_NEAR = cython.declare(cython.longlong, 1024)
# 2**_PLACES places for near fds count as one fd.
_PLACES = cython.declare(cython.int, 5)
_MAX_FDS = cython.declare(cython.longlong, MAX_FDS_PER_PROCESS)


@cython.cclass
class Pod:
    """A Kubernetes pod, as the labels of its containers tell."""

    def __init__(self, ts, id, name, node_name, namespace, host_ip, internal_ip, restart_count, labels):
        self.ts = ts
        self.id = id
        self.name = name
        self.node_name = node_name
        self.namespace = namespace
        self.host_ip = host_ip
        self.internal_ip = internal_ip
        self.restart_count = restart_count
        self.labels = labels
        self.epoch = 0


@cython.cclass
class Container:
    """A container: its id from a cgroup path, the rest from a container event, if there was one (`complete`)."""

    def __init__(self, id):
        self.id = id
        self.name = b""
        self.image = b":"
        self.imageid = b""
        self.type = 0
        self.privileged = False
        self.complete = False
        self.written_complete = False
        self.pod = None
        self.epoch = 0

    def describe(self, name, image, imageid, type, privileged, pod):
        """Take a container event's facts; the entity is written again at its next use."""
        self.name = name
        self.image = image
        self.imageid = imageid
        self.type = type
        self.privileged = privileged
        self.pod = pod
        self.complete = True


@cython.final
@cython.no_gc
@cython.cclass
class File:
    """A file entity of the output. `gone`: evicted from the table, must not be used again. `system`: under /proc and the like."""


@cython.final
@cython.no_gc
@cython.cclass
class FdInfo:
    """What an fd stands for. Shared between the tables of forked processes until one of them changes it (FdTable.own)."""

    def clone(self):
        """A copy without owner and caches."""
        other: FdInfo = FdInfo.__new__(FdInfo)
        other.type = self.type
        other.openflags = self.openflags
        other.cloexec = self.cloexec
        other.name = self.name
        other.named = self.named
        other.role = self.role
        other.l4proto = self.l4proto
        other.sip = self.sip
        other.dip = self.dip
        other.sport = self.sport
        other.dport = self.dport
        other.sip6 = self.sip6
        other.dip6 = self.dip6
        other.pid = self.pid
        other.file = self.file
        return other

    def cost(self):
        """What the entry takes of the room for fds (limits.MAX_FDS): as first asked, though its name may change."""
        if self.charged == 0:
            self.charged = 1 + (len(self.name) >> 8)
        return self.charged

    def is_ip(self):
        """A connected or unconnected IP socket; bound and listening ones are a type of their own."""
        return self.type == _FD_IPV4_SOCK or self.type == _FD_IPV6_SOCK

    def restype(self):
        """The File record's restype: the fd type's character where flows exist, else '?'."""
        if self.type == _FD_FILE_V2 or self.type == _FD_FILE:
            return 102
        if self.type == _FD_DIRECTORY:
            return 100
        if self.type == _FD_UNIX_SOCK:
            return 117
        if self.type == _FD_FIFO:
            return 112
        return 63

    def proto(self):
        """The IP protocol number of a NetworkFlow; -1 where it is unknown."""
        if self.l4proto == _L4_RAW:
            return 254
        if self.role == _ROLE_NONE:
            return -1
        if self.l4proto == _L4_TCP:
            return 6
        if self.l4proto == _L4_UDP:
            return 17
        if self.l4proto == _L4_ICMP:
            return 1
        return -1

    def changed(self):
        """The name or addresses changed: what was derived from them is void."""
        self.ident = None
        self.file = None
        self.flow = None


@cython.final
@cython.no_gc
@cython.cclass
class FdTable:
    """The open fds of a process (or of several, with CLONE_FILES)."""

    def __init__(self):
        self.near = []
        self.far = None
        self.count = 0
        self.weight = 0
        self.users = 1
        self.owner = object()

    def get(self, fd):
        """The FdInfo of an fd, or None."""
        if 0 <= fd < len(self.near):
            return cython.cast(FdInfo, self.near[fd])
        if self.far is not None:
            return self.far.get(fd)
        return None

    def put(self, fd, info):
        """Add or replace; False where fd is no fd number or the table is full."""
        old: FdInfo
        if fd < 0 or fd > 0x7FFFFFFF:
            return False
        old = self.get(fd)
        if old is None:
            if self.count >= _MAX_FDS:
                return False
            self.count += 1
        else:
            self.weight -= old.cost()
        if fd < _NEAR:
            if len(self.near) <= fd:
                # Places take room too: a process with nothing but fd 1023 open has a thousand.
                self.weight -= len(self.near) >> _PLACES
                while len(self.near) <= fd:
                    self.near.append(None)
                self.weight += len(self.near) >> _PLACES
            self.near[fd] = info
        else:
            if self.far is None:
                self.far = {}
            self.far[fd] = info
        self.weight += info.cost()
        info.owner = self.owner
        self.stays_open = False
        return True

    def remove(self, fd):
        """Forget an fd, if it is there."""
        old: FdInfo = self.get(fd)
        if old is None:
            return 0
        self.count -= 1
        self.weight -= old.cost()
        if fd < len(self.near):
            self.near[fd] = None
        else:
            del self.far[fd]
        return 0

    def copy(self):
        """A forked process's table: the same entries, none of which either table owns any more."""
        other: FdTable = FdTable()
        other.near = self.near[:]
        other.far = None if self.far is None else self.far.copy()
        other.count = self.count
        other.weight = self.weight
        other.stays_open = self.stays_open
        self.owner = object()
        return other

    def own(self, fd, info):
        """The entry, safe to change: cloned first where another table may share it."""
        self.stays_open = False
        if info.owner is self.owner:
            return info
        mine: FdInfo = info.clone()
        self.put(fd, mine)
        return mine

    def close_on_exec(self):
        """Forget what was opened close-on-exec."""
        info: FdInfo
        doomed: list = []
        # A capture can have 65,536 fds open and do nothing but exec: they are looked at once, in typed loops.
        if self.stays_open:
            return 0
        for fd in range(len(self.near)):
            item = self.near[fd]
            if item is not None:
                info = cython.cast(FdInfo, item)
                if info.cloexec:
                    doomed.append(fd)
        if self.far is not None:
            for far_fd in self.far:
                info = cython.cast(FdInfo, self.far[far_fd])
                if info.cloexec:
                    doomed.append(far_fd)
        for gone in doomed:
            self.remove(gone)
        self.stays_open = True
        return 0

    def numbers(self, first, last):
        """The open fd numbers from first to last, ascending."""
        found: list = []
        far: list = []
        fd: cython.longlong
        near: cython.longlong = len(self.near)
        # As with an exec: a capture can have 65,536 fds open and ask for them with every event.
        for fd in range(min(first, near), min(last + 1, near)):
            if self.near[fd] is not None:
                found.append(fd)
        if self.far is not None:
            if last - first < len(self.far):
                for fd in range(first, last + 1):
                    if fd in self.far:
                        far.append(fd)
            else:
                for number in self.far:
                    fd = number
                    if first <= fd <= last:
                        far.append(number)
                far.sort()
            found.extend(far)
        return found


@cython.final
@cython.no_gc
@cython.cclass
class Thread:
    """A thread. Of a leader, exe, args, env and the ids are the process's. pid -1: known by tid only (`is_invalid`)."""

    def is_leader(self):
        """By its ids, or, where a main thread's tid is not its pid, by the recorder's flag (PPM_CL_IS_MAIN_THREAD)."""
        return self.tid == self.pid or self.flags & _IS_MAIN_THREAD != 0

    def is_invalid(self):
        return self.pid < 0 or self.group is None


@cython.final
@cython.no_gc
@cython.cclass
class Group:
    """A thread group: what Linux calls a process."""

    def __init__(self, pid):
        self.pid = pid
        self.leader = None
        self.threads = {}
        self.alive = 0
        self.reaper = False
        self.fds = FdTable()
        self.cwd = b""
        self.process = None


@cython.final
@cython.no_gc
@cython.cclass
class Process:
    """A Process entity of the output, as it was when last written, with its open flows."""


@cython.final
@cython.no_gc
@cython.cclass
class Flow:
    """An open FileFlow or NetworkFlow."""


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
