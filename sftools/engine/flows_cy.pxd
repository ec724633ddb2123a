from sftools.avro.encoder_cy cimport Encoder
from sftools.engine.entities_cy cimport Entities
from sftools.engine.state_cy cimport FdInfo, File, Flow, Process, Thread


cdef class Flows:
    cdef Encoder encoder
    cdef Entities entities
    cdef int file_read_mode
    cdef bint consume
    cdef bint by_thread
    cdef Flow first
    cdef Flow last
    cdef Process pf_first
    cdef Process pf_last
    cdef readonly long long open
    cdef readonly unsigned long long ipv6_left_out
    cdef readonly unsigned long long dropped

    cdef int file_op(self, Thread thread, FdInfo info, int fd, int op, long long res, unsigned long long ts) except -1
    cdef int net_op(self, Thread thread, FdInfo info, int fd, int op, long long res, unsigned long long ts) except -1
    cdef Flow _head(self, Process process, int fd)
    cdef int _set_head(self, Process process, int fd, Flow flow) except -1
    cdef Flow _find(self, Process process, int fd, long long tid, File file, object ident)
    cdef list _flows(self, Process process)
    cdef int _export_early(self, Flow flow) except -1
    cdef Flow _begin(self, Thread thread, Process process, int fd, unsigned long long ts)
    cdef void _count(self, Flow flow, int op, long long res, unsigned long long ts) noexcept
    cdef int _close(self, Flow flow, unsigned long long ts) except -1
    cdef int _truncate_peers(
        self, Process process, int fd, File file, object ident, long long tid, unsigned long long ts
    ) except -1
    cdef int _remove(self, Flow flow) except -1
    cdef int _append(self, Flow flow, unsigned long long now) except -1
    cdef int _unlink(self, Flow flow) except -1
    cdef int _write(self, Flow flow, unsigned long long ts, bint select) except -1
    cdef bint _selected(self, Flow flow)
    cdef int thread_exit(self, Process process, Thread thread, unsigned long long ts) except -1
    cdef int process_exit(self, Process process, unsigned long long ts) except -1
    cdef int count_thread(self, Process process, int op, long long res, unsigned long long ts) except -1
    cdef int write_process_flow(self, Process process, unsigned long long ts) except -1
    cdef int _pf_unlink(self, Process process) except -1
    cdef int _pf_append(self, Process process, unsigned long long now) except -1
    cdef int expire(self, unsigned long long ts) except -1
    cdef int finish(self, unsigned long long ts) except -1
    cdef int end_process_flow(self, Process process, unsigned long long ts) except -1
    cdef int forget(self) except -1
