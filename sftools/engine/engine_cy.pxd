from sftools.avro.encoder_cy cimport Encoder
from sftools.engine.entities_cy cimport Entities
from sftools.engine.flows_cy cimport Flows
from sftools.engine.sockets_cy cimport Interfaces
from sftools.engine.state_cy cimport Container, FdInfo, FdTable, Group, Process, Thread
from sftools.engine.threads_cy cimport Threads
from sftools.scap.events_cy cimport EventCursor, SavedEvent


cdef class Engine:
    cdef readonly EventCursor cursor
    cdef readonly Encoder encoder
    cdef readonly Threads threads
    cdef readonly Entities entities
    cdef readonly Flows flows
    cdef readonly object users
    cdef object cgroups
    cdef object on_start
    cdef object on_rotate
    cdef object predicate
    cdef bint file_only
    cdef bint no_files
    cdef bint consume
    cdef bint proc_flow
    cdef bint container_only
    cdef unsigned long long rotate_ns
    cdef unsigned int clock_returns
    cdef unsigned long long rotate_at
    cdef readonly unsigned long long ts
    cdef readonly unsigned long long first_ts
    cdef unsigned long long next_tick
    cdef unsigned long long last_tick
    cdef bint started
    cdef list listed
    cdef list listed_sockets
    cdef int sections
    cdef readonly bytes hostname
    cdef set server_ports
    cdef Interfaces interfaces
    cdef int file_read_mode
    # the current event, for predicates
    cdef readonly Thread thread
    cdef readonly FdInfo info
    cdef readonly long long fd
    cdef readonly long long res
    # counts
    cdef readonly unsigned long long unknown_types
    cdef readonly unsigned long long unknown_threads
    cdef readonly unsigned long long filtered

    cdef int _event(self) except -1
    cdef int _tick(self, unsigned long long ts) except -1
    cdef Thread _thread(self, long long tid)
    cdef int _enter(self, unsigned int type, unsigned int kind) except -1
    cdef int _exit(self, unsigned int type, unsigned int kind) except -1
    cdef bint _passes(self, Thread thread, FdInfo info, long long fd, long long res)
    cdef int _data_op(self, Thread thread, FdInfo info, long long fd, int op, long long res) except -1
    cdef int _io(self, Thread thread, int op) except -1
    cdef int _transfer(self, Thread thread, int source, int target) except -1
    cdef int _close(self, Thread thread) except -1
    cdef void _close_range(self, Thread thread)
    cdef int _open(self, Thread thread, SavedEvent enter) except -1
    cdef bytes _at(self, Thread thread, long long dirfd, bytes name)
    cdef int _file_event(self, Thread thread) except -1
    cdef int _write_file_event(self, Thread thread, int op, bytes path, int restype, bytes new_path) except -1
    cdef FdInfo _new_fd(self, Thread thread, long long fd, int type)
    cdef void _socket(self, Thread thread)
    cdef void _bind(self, Thread thread)
    cdef int _connect_address(self, FdTable fds, long long fd, FdInfo info, bytes address) except -1
    cdef int _connect(self, Thread thread, bint entered) except -1
    cdef int _accept(self, Thread thread) except -1
    cdef FdInfo _update_peer(self, FdTable fds, long long fd, FdInfo info, bytes tuple_)
    cdef void _pipe(self, Thread thread)
    cdef void _socketpair(self, Thread thread)
    cdef void _dup(self, Thread thread)
    cdef void _fcntl(self, Thread thread)
    cdef int _outdate(self, Thread thread) except -1
    cdef void _simple_fd(self, Thread thread, unsigned int type)
    cdef void _chdir(self, Thread thread, bytes path)
    cdef int _clone(self, Thread thread) except -1
    cdef Thread _clone_child(self, Thread thread)
    cdef Thread _clone_caller(self, Thread thread, long long child_tid)
    cdef int _found_group(self, Thread child, Thread model) except -1
    cdef int _inherit(self, Thread child, Thread model) except -1
    cdef int _describe(self, Thread child) except -1
    cdef int _set_container(self, Thread thread, bytes cgroups) except -1
    cdef int _exec(self, Thread thread, SavedEvent enter) except -1
    cdef int _procexit(self, Thread thread) except -1
    cdef int _set_ids(self, Thread thread) except -1
    cdef int _set_uid(self, Thread thread, unsigned int uid) except -1
    cdef int _set_gid(self, Thread thread, unsigned int gid) except -1
    cdef void _unshare(self, Thread thread)
    cdef int _mmap(self, Thread thread, unsigned int fd_at) except -1
    cdef int _process_event(self, Process process, Thread thread, int op, bytes arg, long long ret) except -1
    cdef bint _add_fd(self, Thread thread, long long fd, FdInfo info) except -1
    cdef int _fd_op(self, Thread thread, unsigned int at, int op) except -1
    cdef bytes _exec_path(self, Thread thread, SavedEvent enter)
    cdef void _copy_fd(self, Thread thread, FdTable fds, FdInfo info, long long new_fd, bint cloexec)
    cdef bytes _path(self, Thread thread, int dirfd_at, int at)
    cdef bytes _text(self, int at)
    cdef int _link_event(self, Thread thread, int op, bytes path, bytes new_path) except -1
    cdef int _clone_ids(self, Thread child) except -1
    cdef void _pidfd_getfd(self, Thread thread)
    cdef FdInfo _guess_socket(self, Thread thread, long long fd, bytes tuple_)
    cdef void _bad_event(self)
