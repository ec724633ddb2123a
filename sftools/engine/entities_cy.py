"""Entities of the output: each written lazily, before the first record of a file that refers to it."""

from collections import deque

try:
    from _sha1 import sha1  # hashlib's own; hashlib would load OpenSSL, which takes as long as a small capture
except ImportError:
    from hashlib import sha1

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

if cython.compiled:
    from cython.cimports.sftools.avro.encoder_cy import Encoder, int32
    from cython.cimports.sftools.engine.state_cy import Container, File, Group, Process, Thread
    from cython.cimports.sftools.engine.threads_cy import Threads
else:
    from sftools.avro.encoder_cy import Encoder, int32
    from sftools.engine.state_cy import Container, File, Group, Process, Thread
    from sftools.engine.threads_cy import Threads

from sftools.limits import MAX_ANCESTORS, MAX_CONTAINERS, MAX_EXITED, MAX_EXITED_BYTES, MAX_FILE_BYTES, MAX_FILES

CREATED = cython.declare(cython.int, 0)
MODIFIED = cython.declare(cython.int, 1)
REUP = cython.declare(cython.int, 2)

_MAX_ANCESTORS = cython.declare(cython.int, MAX_ANCESTORS)
_FILE_GENERATION = cython.declare(cython.Py_ssize_t, MAX_FILES // 2)
_FILE_BYTES = cython.declare(cython.Py_ssize_t, MAX_FILE_BYTES // 2)
_MAX_EXITED = cython.declare(cython.Py_ssize_t, MAX_EXITED)
_MAX_EXITED_BYTES = cython.declare(cython.longlong, MAX_EXITED_BYTES)
_MAX_CONTAINERS = cython.declare(cython.Py_ssize_t, MAX_CONTAINERS)
# An exited process is known by its pid this much longer, in seconds: children and late events still find it.
_LINGER = cython.declare(cython.ulonglong, 1)

# Files whose reading FILE_READ_MODE 2 leaves out.
_SYSTEM_PATHS = (b"/proc/", b"/dev/", b"/sys/", b"//sys/", b"/lib/", b"/lib64/", b"/usr/lib/", b"/usr/lib64/")


@cython.cclass
class Entities:
    """The Process, File, Container and Pod entities, and whether the current output file has them.

    epoch: number of the current output file; an entity is written where its epoch is another.
    """

    def __init__(self, encoder: Encoder, threads: Threads):
        self.encoder = encoder
        self.threads = threads
        self.epoch = 1
        self.created = False
        self.files = {}
        self.old_files = {}
        self.file_room = _FILE_GENERATION
        self.file_bytes = 0
        self.file_bytes_room = _FILE_BYTES
        self.containers = {}
        self.container_room = _MAX_CONTAINERS
        self.by_pid = {}
        self.exited = deque()
        self.exited_bytes = 0

    def rotate(self):
        """A new output file has begun: nothing is written in it yet."""
        self.epoch += 1

    # -- processes

    def process(self, thread, state, ts):
        """The Process of a thread, written in this file with its ancestors; None where the pid is unknown.

        `created` tells whether the record was new, with `state`.
        """
        group: Group = thread.group
        process: Process
        leader: Thread
        above: Thread
        parent: Process
        pending: list
        steps: cython.int = 0
        self.created = False
        if group is None:
            return None
        process = group.process
        if process is not None and process.epoch == self.epoch:
            if process.stale:
                self.modify(process, thread, ts)
            return process
        leader = group.leader if group.leader is not None else thread
        if process is not None and (process.open_flows or process.counting):
            process.state = REUP
            process.container = thread.container
            if process.stale:
                self._snapshot(process, leader)
        else:
            process = self._new_process(thread, state, ts)
            self.created = True
        process.epoch = self.epoch
        pending = [process]
        below: Process = process
        above = self.threads.parent(leader)
        while above is not None and steps < _MAX_ANCESTORS:
            steps += 1
            if above.is_invalid():
                break
            if above.group.leader is not None:
                above = above.group.leader
            if above.pid == 0 and above.clone_ts == 0:
                above = self.threads.parent(above)
                continue
            parent = above.group.process
            if parent is not None and parent.epoch == self.epoch:
                if parent.stale:
                    self.modify(parent, above, ts)
                below.parent = parent
                break
            if parent is None or not (parent.open_flows or parent.counting):
                parent = self._new_process(above, REUP, ts)
            else:
                parent.state = REUP
                parent.container = above.container
                if parent.stale:
                    self._snapshot(parent, above)
            parent.epoch = self.epoch
            below.parent = parent
            below = parent
            pending.append(parent)
            above = self.threads.parent(above)
        for item in reversed(pending):
            self.write_process(cython.cast(Process, item))
        return process

    def _new_process(self, thread, state, ts):
        """A Process as its main thread is now; its container is the given thread's."""
        process: Process = thread.group.process
        leader: Thread = thread.group.leader if thread.group.leader is not None else thread
        above: Thread = self.threads.parent(leader)
        parent: Process
        if process is None or process.exited or process.create_ts != cython.cast(cython.longlong, leader.clone_ts):
            if process is not None:
                process.parent = None
            process = Process.__new__(Process)
            process.flows = []
        # Else the same goes on: its children are linked to it. Replaced ones would hang on each other in a chain, which,
        # freed link by link, exhausts the stack.
        process.has_parent = False
        process.parent = None
        process.state = state
        process.ts = ts
        process.pid = thread.group.pid
        process.create_ts = leader.clone_ts
        process.entry = leader.vpid == 1
        process.cwd = thread.group.cwd
        process.env = leader.env
        process.tty = leader.tty != 0
        process.container = thread.container
        self._snapshot(process, leader)
        if above is not None and not above.is_invalid():
            if above.group.leader is not None:
                above = above.group.leader
            process.has_parent = True
            process.parent_ts = above.clone_ts
            process.parent_pid = above.group.pid
            process.parent = above.group.process
        elif leader.ptid > 0:
            parent = self.by_pid.get(leader.ptid)
            if parent is not None and parent is not process:
                process.has_parent = True
                process.parent_ts = parent.create_ts
                process.parent_pid = parent.pid
                process.parent = parent
        thread.group.process = process
        self.by_pid[process.pid] = process
        return process

    def _snapshot(self, process, leader):
        """What exec and setuid change."""
        process.stale = False
        process.exe = leader.exe if not leader.exepath or leader.exepath == b"<NA>" else leader.exepath
        process.exe_args = _joined(leader.args)
        process.uid = int32(leader.uid)
        process.gid = int32(leader.gid)
        process.user = leader.user
        process.group = leader.group_name

    def modify(self, process, thread, ts):
        """Write a known process again, as exec or setuid have made it."""
        process.state = MODIFIED
        process.ts = ts
        if thread.container is not None:
            process.container = thread.container
        self._snapshot(process, thread.group.leader if thread.group.leader is not None else thread)
        self.write_process(process)

    def write_process(self, process):
        """Write a Process, its container first."""
        if process.container is not None:
            self.write_container(process.container)
        process.epoch = self.epoch
        self.encoder.process(
            process.state,
            process.create_ts,
            process.pid,
            process.has_parent,
            process.parent_ts,
            process.parent_pid,
            process.ts,
            process.exe,
            process.exe_args,
            process.uid,
            process.user,
            process.gid,
            process.group,
            process.tty,
            process.container.id if process.container is not None else None,
            process.entry,
            process.cwd,
            _strings(process.env),
        )

    def write_with_ancestors(self, process):
        """Write a process that an open flow refers to, if this file lacks it, and those of its ancestors still known."""
        pending: list = []
        steps: cython.int = 0
        while process is not None and process.epoch != self.epoch and steps < _MAX_ANCESTORS:
            process.epoch = self.epoch
            process.state = REUP
            pending.append(process)
            process = process.parent
            steps += 1
        for item in reversed(pending):
            self.write_process(cython.cast(Process, item))

    def mark_exited(self, process, now):
        """The process has exited at second `now`."""
        if process.charged:
            # Its main thread came back to life by an exec, and died again: it waits already.
            process.exited = now
            return 0
        process.exited = now
        process.charged = _text(process)
        self.exited.append(process)
        self.exited_bytes += process.charged
        while len(self.exited) > _MAX_EXITED or self.exited_bytes > _MAX_EXITED_BYTES:
            self._forget_exited()

    def sweep(self, now):
        """Forget processes that exited a while ago."""
        process: Process
        while self.exited:
            process = cython.cast(Process, self.exited[0])
            if now < process.exited + _LINGER and now >= process.exited:
                break
            self._forget_exited()

    def _forget_exited(self):
        process: Process = self.exited.popleft()
        self.exited_bytes -= process.charged
        process.charged = 0
        self._delete(process)

    def _delete(self, process: Process):
        # Cut the chain upwards: a line of processes that each fork and exit must not be kept whole.
        process.parent = None
        if self.by_pid.get(process.pid) is process:
            del self.by_pid[process.pid]

    def clear(self):
        """Cut all chains upwards: a long one, freed link by link, would exhaust the stack."""
        for item in self.by_pid.values():
            cython.cast(Process, item).parent = None
        self.by_pid.clear()
        self.exited.clear()

    def forget_group(self, group: Group):
        """A thread group is gone (Threads.on_remove)."""
        process: Process = group.process
        if process is not None and not process.exited:
            self._delete(process)

    # -- containers

    def container(self, id: bytes, type: int) -> Container:
        """The container of that id; its metadata may come later."""
        found: Container = self.containers.get(id)
        if found is None:
            if len(self.containers) >= self.container_room:
                self._drop_containers()
            found = Container(id)
            found.type = type
            self.containers[id] = found
        return found

    def _drop_containers(self):
        """Drop the containers that no thread is in."""
        thread: Thread
        used: dict = {}
        for item in self.threads.by_tid.values():
            thread = cython.cast(Thread, item)
            if thread.container is not None:
                used[thread.container.id] = thread.container
        self.containers = used
        self.container_room = max(_MAX_CONTAINERS, 2 * len(used))

    def describe_container(self, facts, pod):
        """A container event: one that this file has without metadata is written again at once."""
        found: Container = self.container(facts.id, facts.type)
        found.describe(facts.name, facts.image, facts.imageid, facts.type, facts.privileged, pod)
        if found.epoch == self.epoch and not found.written_complete:
            self.write_container(found)

    def write_container(self, container):
        """Write a container, its pod first, if this file lacks it or only had it without metadata."""
        if container.epoch == self.epoch and (container.written_complete or not container.complete):
            return 0
        pod = container.pod
        if pod is not None and pod.epoch != self.epoch:
            pod.epoch = self.epoch
            self.encoder.pod(
                pod.ts,
                pod.id,
                pod.name,
                pod.node_name,
                pod.host_ip,
                pod.internal_ip,
                pod.namespace,
                pod.restart_count,
                pod.labels,
            )
        container.epoch = self.epoch
        container.written_complete = container.complete
        self.encoder.container(
            container.id,
            container.name,
            container.image,
            container.imageid,
            container.type,
            container.privileged,
            pod.id if pod is not None else None,
        )

    # -- files

    def file(self, thread, path, restype, state, ts):
        """The File of a path in a thread's container, written in this file."""
        container: Container = thread.container
        key: bytes = path if container is None else container.id + path
        file: File = self.files.get(key)
        if file is None:
            file = self.old_files.get(key)
            if file is None:
                file = File.__new__(File)
                file.path = path
                file.oid = sha1(key).digest()
                file.container = container
                file.restype = restype
                file.system = path.startswith(_SYSTEM_PATHS)
                self.file_bytes += len(key)
                if len(self.files) >= self.file_room or self.file_bytes > self.file_bytes_room:
                    self._age()
                self.files[key] = file
                self.write_file(file, state, ts)
                return file
            self.files[key] = file
        if file.epoch != self.epoch:
            self.write_file(file, REUP, ts)
        return file

    def _age(self):
        """Drop the files that were not used while half the table filled up, unless a flow is open on them."""
        young: dict = {}
        file: File
        for key, item in self.old_files.items():
            file = cython.cast(File, item)
            if self.files.get(key) is not file:
                if file.refs > 0:
                    young[key] = file
                else:
                    file.gone = True
        self.old_files = self.files
        self.files = young
        self.file_room = len(young) + _FILE_GENERATION
        self.file_bytes = 0
        for key in young:
            self.file_bytes += len(key)
        self.file_bytes_room = self.file_bytes + _FILE_BYTES

    def write_file(self, file, state, ts):
        """Write a File, its container first."""
        if file.container is not None:
            self.write_container(file.container)
        file.epoch = self.epoch
        self.encoder.file(
            state, file.oid, ts, file.restype, file.path, file.container.id if file.container is not None else None
        )


def _text(process: Process):
    """What a process counts for: the bytes of its texts, and one."""
    return 1 + len(process.exe) + len(process.exe_args) + len(process.env) + len(process.cwd)


def _strings(raw: bytes) -> list:
    """NUL-separated strings; a tail of nothing but NULs is padding."""
    raw = raw.rstrip(b"\0")
    return raw.split(b"\0") if raw else []


def _joined(raw: bytes) -> bytes:
    """NUL-separated arguments, joined by blanks; the last NUL ends the last one."""
    if raw.endswith(b"\0"):
        raw = raw[: len(raw) - 1]
    return raw.replace(b"\0", b" ")


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
