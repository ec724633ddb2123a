"""The thread table: who is whose thread, parent and reaper. The rules are libsinsp's (thread_manager.cpp, threadinfo.cpp)."""

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

if cython.compiled:
    from cython.cimports.sftools.engine.state_cy import FdTable, Group, Thread
else:
    from sftools.engine.state_cy import FdTable, Group, Thread

from sftools.limits import MAX_ANCESTORS, MAX_FDS, MAX_THREAD_TEXT_BYTES, MAX_THREADS

_RECENT = cython.declare(cython.longlong, 1024)
_MAX_THREADS = cython.declare(cython.Py_ssize_t, MAX_THREADS)
_MAX_FDS = cython.declare(cython.longlong, MAX_FDS)
_MAX_ANCESTORS = cython.declare(cython.int, MAX_ANCESTORS)
_MAX_TEXT = cython.declare(cython.longlong, MAX_THREAD_TEXT_BYTES)
_SAMPLE = cython.declare(cython.Py_ssize_t, 1024)


@cython.cclass
class Threads:
    """Threads by tid, their groups by pid.

    on_remove: called with a Group whose last thread is gone. refused, evicted: threads that the table had no room for,
    and those that made room.
    """

    def __init__(self, on_remove):
        self.by_tid = {}
        self.groups = {}
        self.recent = [None] * _RECENT
        self.on_remove = on_remove
        self.refused = 0
        self.evicted = 0
        self.fd_budget = _MAX_FDS
        self.text = 0

    def find(self, tid):
        """The thread of that tid, or None."""
        slot: cython.Py_ssize_t = tid & (_RECENT - 1)
        thread: Thread = cython.cast(Thread, self.recent[slot])
        if thread is not None and thread.tid == tid:
            return thread
        thread = self.by_tid.get(tid)
        if thread is not None:
            self.recent[slot] = thread
        return thread

    def make(self, tid):
        """A new thread of which nothing but the tid is known; not in the table yet."""
        thread: Thread = Thread.__new__(Thread)
        thread.tid = tid
        thread.pid = -1
        thread.ptid = -1
        thread.vtid = -1
        thread.vpid = -1
        thread.sid = -1
        thread.vpgid = -1
        thread.reaper_tid = -1
        thread.uid = 0xFFFFFFFF
        thread.gid = 0xFFFFFFFF
        thread.user = b"<NA>"
        thread.group_name = b"<NA>"
        thread.loginuid = 0xFFFFFFFF
        thread.comm = b"<NA>"
        thread.exe = b"<NA>"
        thread.exepath = b""
        thread.args = b""
        thread.env = b""
        return thread

    def add(self, thread):
        """Put a thread into the table and its group; False where there is no room."""
        old: Thread = self.by_tid.get(thread.tid)
        if old is not None:
            self.text -= old.weight
            old.weight = 0
            if old.group is not None and old.group.pid != thread.pid:
                # A main thread that stayed for its group's other threads, though its tid is free again.
                self.die(old)
                old.group.threads.pop(old.tid, None)
                if old.group.leader is old:
                    old.group.leader = None
                old.group = None
        elif len(self.by_tid) >= _MAX_THREADS:
            if not self.stuck:
                self.make_room()
            if len(self.by_tid) >= _MAX_THREADS:
                self.refused += 1
                return False
        self.by_tid[thread.tid] = thread
        self.recent[thread.tid & (_RECENT - 1)] = thread
        self.join_group(thread)
        return True

    def full(self):
        """No room for more, be it in number or in text."""
        return len(self.by_tid) >= _MAX_THREADS or self.text > _MAX_TEXT

    def weigh(self, thread):
        """Count a thread's texts, which may have changed; where all threads' are too many, make room."""
        # The arguments twice: the Process entity has them joined.
        weight: cython.longlong = (
            len(thread.comm) + len(thread.exe) + len(thread.exepath) + 2 * len(thread.args) + len(thread.env)
        )
        if thread.group is not None and thread.is_leader():
            weight += len(thread.group.cwd)
        if thread.enter is not None:
            weight += len(thread.enter.room)
        self.text += weight - thread.weight
        thread.weight = weight
        if self.text > _MAX_TEXT and not self.stuck:
            self.make_room()
        return 0

    def make_room(self):
        """Forget about an eighth of the threads: those that were longest without an event."""
        thread: Thread
        # Until a thread goes, another round would find as little as one that finds nothing.
        self.stuck = True
        # A main thread whose other threads live would stay for their sake: their turn comes first.
        threads: list = [item for item in self.by_tid.values() if not _holds_others(item)]
        step: cython.Py_ssize_t = len(threads) // _SAMPLE + 1
        quota: cython.Py_ssize_t = len(threads) // 8 + 1
        # The age at which a sample is split one to seven; sorting all would cost more than it tells.
        ages: list = sorted([_last_event(item) for item in threads[::step]])
        limit: cython.ulonglong = ages[len(ages) // 8] if ages else 0
        for item in threads:
            thread = cython.cast(Thread, item)
            if thread.last_event <= limit and self.by_tid.get(thread.tid) is thread:
                self.evicted += 1
                self.die(thread)
                self.remove(thread)
                quota -= 1
                if quota == 0:
                    break
        return 0

    def join_group(self, thread):
        """Thread group and parent of a thread whose pid is known."""
        group: Group
        parent: Thread
        before: Thread
        if thread.pid < 0 or thread.group is not None:
            return 0
        group = self.groups.get(thread.pid)
        if group is None:
            group = Group(thread.pid)
            group.reaper = thread.pid == 1 or thread.vpid == 1
            self.groups[thread.pid] = group
        if thread.is_leader():
            group.leader = thread
        before = group.threads.get(thread.tid)
        if before is None or before.dead:
            group.alive += 1
        if before is not None:
            before.group = None
            if group.leader is before:
                group.leader = None
        group.threads[thread.tid] = thread
        thread.group = group
        if thread.pid == 1:
            return 0
        parent = self.find(thread.ptid)
        if parent is None or parent.is_invalid() or parent is thread:
            return 0
        if parent.children is None:
            parent.children = set()
        parent.children.add(thread.tid)

    def parent(self, thread):
        """The parent, if it is in the table; never the thread itself."""
        found: Thread = self.find(thread.ptid)
        if found is thread:
            return None
        return found

    def fds(self, thread):
        """The fd table of a thread's process, or None where the process is not known."""
        if thread.group is None:
            return None
        return thread.group.fds

    def fork_fds(self, source, shared):
        """The fd table that a child of `source` begins with. Out of budget: an empty one."""
        table: FdTable
        if shared:
            source.fds.users += 1
            return source.fds
        if self.fd_budget < source.fds.weight:
            self.refused += source.fds.count
            return FdTable()
        table = source.fds.copy()
        self.fd_budget -= table.weight
        return table

    def drop_fds(self, group):
        """A group gives its fd table up."""
        group.fds.users -= 1
        if group.fds.users == 0:
            self.fd_budget += group.fds.weight

    def die(self, thread):
        """An exit was seen: the thread counts no more, but stays until remove()."""
        if thread.group is not None and not thread.dead:
            thread.group.alive -= 1
        thread.dead = True

    def revive(self, thread):
        """An exec by a thread that was believed dead."""
        if thread.dead:
            thread.dead = False
            if thread.group is not None:
                thread.group.alive += 1

    def new_reaper(self, thread):
        """Who inherits the children: a live thread of the group, else the nearest reaping ancestor's (find_new_reaper)."""
        other: Thread
        ancestor: Thread
        steps: cython.int = 0
        inside: cython.bint = thread.tid != thread.vtid
        if thread.group is not None and thread.group.alive > 0:
            for item in thread.group.threads.values():
                other = cython.cast(Thread, item)
                if other is not thread and not other.dead:
                    return other
        ancestor = self.parent(thread)
        while ancestor is not None and steps < _MAX_ANCESTORS:
            if (ancestor.tid != ancestor.vtid) != inside:
                return None
            if ancestor.group is not None and ancestor.group.reaper and ancestor.group.alive > 0:
                for item in ancestor.group.threads.values():
                    other = cython.cast(Thread, item)
                    if not other.dead:
                        return other
            ancestor = self.parent(ancestor)
            steps += 1
        return None

    def reparent(self, thread):
        """Give a dead thread's children to their reaper."""
        reaper: Thread = None
        child: Thread
        if not thread.children:
            return 0
        if thread.reaper_tid > 0:
            reaper = self.find(thread.reaper_tid)
            if reaper is not None and (reaper.is_invalid() or reaper is thread):
                reaper = None
        if reaper is None:
            reaper = self.new_reaper(thread)
        if reaper is not None and reaper.pid != thread.pid and reaper.group is not None:
            reaper.group.reaper = True
        for tid in thread.children:
            child = self.find(tid)
            if child is None or child.ptid != thread.tid or child is reaper:
                continue
            if reaper is None:
                child.ptid = 0
                continue
            child.ptid = reaper.tid
            if reaper.children is None:
                reaper.children = set()
            reaper.children.add(tid)
        thread.children = None

    def remove(self, thread):
        """Take a thread out of the table; the leader stays until the last thread of its group is gone."""
        group: Group = thread.group
        if group is None:
            self._forget(thread)
            return 0
        if not thread.dead:
            self.die(thread)
        self.reparent(thread)
        if not thread.is_leader() or group.alive <= 0:
            self._forget(thread)
            group.threads.pop(thread.tid, None)
        if group.alive <= 0:
            for item in list(group.threads.values()):
                self._forget(cython.cast(Thread, item))
            if self.groups.get(group.pid) is group:
                del self.groups[group.pid]
            self.drop_fds(group)
            self.on_remove(group)
            self._untie(group)

    def remove_process(self, pid):
        """Take all threads of a process out: their exits were lost, and the pid is another process's now."""
        group: Group = self.groups.get(pid)
        if group is not None:
            for item in list(group.threads.values()):
                self.remove(cython.cast(Thread, item))

    def clear(self):
        """Forget everything, so that nothing keeps itself alive in a cycle."""
        for item in list(self.groups.values()):
            self._untie(cython.cast(Group, item))
        self.groups.clear()
        self.by_tid.clear()
        self.recent = [None] * _RECENT

    def _untie(self, group):
        """Break the cycles between a group that is gone and its threads."""
        for item in group.threads.values():
            cython.cast(Thread, item).group = None
        group.threads.clear()
        if group.leader is not None:
            group.leader.group = None
            group.leader = None

    def _forget(self, thread):
        parent: Thread = self.find(thread.ptid)
        slot: cython.Py_ssize_t = thread.tid & (_RECENT - 1)
        if parent is not None and parent.children is not None:
            parent.children.discard(thread.tid)
        if self.by_tid.get(thread.tid) is thread:
            del self.by_tid[thread.tid]
            self.stuck = False
            self.text -= thread.weight
            thread.weight = 0
        if self.recent[slot] is thread:
            self.recent[slot] = None


def _holds_others(thread: Thread):
    if thread.group is None or not thread.is_leader():
        return False
    return thread.group.alive > (0 if thread.dead else 1)


def _last_event(thread: Thread):
    return thread.last_event


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
