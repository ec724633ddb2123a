from sftools.engine.state_cy cimport FdTable, Group, Thread


cdef class Threads:
    cdef readonly dict by_tid
    cdef readonly dict groups
    cdef list recent
    cdef readonly object on_remove
    cdef readonly unsigned long long refused
    cdef readonly unsigned long long evicted
    cdef long long fd_budget
    cdef unsigned long long clock

    cdef Thread find(self, long long tid)
    cdef Thread make(self, long long tid)
    cdef bint add(self, Thread thread)
    cdef void join_group(self, Thread thread)
    cdef void remove(self, Thread thread)
    cdef Thread parent(self, Thread thread)
    cdef Thread leader(self, Thread thread)
    cdef FdTable fds(self, Thread thread)
    cdef FdTable fork_fds(self, Group source, bint shared)
    cdef void drop_fds(self, Group group)
    cdef Thread new_reaper(self, Thread thread)
    cdef void reparent(self, Thread thread)
    cdef void revive(self, Thread thread)
    cdef void die(self, Thread thread)
    cdef void make_room(self)
    cdef void _forget(self, Thread thread)
