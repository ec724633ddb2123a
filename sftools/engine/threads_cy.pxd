from sftools.engine.state_cy cimport FdTable, Group, Thread


cdef class Threads:
    cdef readonly dict by_tid
    cdef readonly dict groups
    cdef list recent
    cdef readonly object on_remove
    cdef public unsigned long long refused
    cdef public unsigned long long evicted
    cdef long long fd_budget
    cdef readonly long long text
    cdef bint stuck

    cdef Thread find(self, long long tid)
    cdef Thread make(self, long long tid)
    cdef bint add(self, Thread thread)
    cdef int join_group(self, Thread thread) except -1
    cdef int remove(self, Thread thread) except -1
    cdef Thread parent(self, Thread thread)
    cdef FdTable fds(self, Thread thread)
    cdef FdTable fork_fds(self, Group source, bint shared)
    cdef int drop_fds(self, Group group) except -1
    cdef Thread new_reaper(self, Thread thread)
    cdef int remove_process(self, long long pid) except -1
    cdef int reparent(self, Thread thread) except -1
    cdef int revive(self, Thread thread) except -1
    cdef int die(self, Thread thread) except -1
    cdef bint full(self) noexcept
    cdef int weigh(self, Thread thread) except -1
    cdef int make_room(self) except -1
    cdef int _forget(self, Thread thread) except -1
    cdef int clear(self) except -1
    cdef int _untie(self, Group group) except -1
