from sftools.scap.events_cy cimport SavedEvent


cdef class Pod:
    cdef readonly long long ts
    cdef readonly bytes id
    cdef readonly bytes name
    cdef readonly bytes node_name
    cdef readonly bytes namespace
    cdef readonly list host_ip
    cdef readonly list internal_ip
    cdef readonly long long restart_count
    cdef readonly dict labels
    cdef readonly unsigned long long epoch


cdef class Container:
    cdef readonly bytes id
    cdef readonly bytes name
    cdef readonly bytes image
    cdef readonly bytes imageid
    cdef readonly int type
    cdef readonly bint privileged
    cdef readonly bint complete
    cdef readonly bint written_complete
    cdef readonly Pod pod
    cdef readonly unsigned long long epoch


cdef class File:
    cdef readonly bytes path
    cdef readonly bytes oid
    cdef readonly Container container
    cdef readonly int restype
    cdef readonly bint system
    cdef readonly long long refs
    cdef readonly bint gone
    cdef readonly unsigned long long epoch


cdef class FdInfo:
    cdef readonly int type
    cdef readonly unsigned int openflags
    cdef readonly bint cloexec
    cdef readonly bytes name
    cdef readonly bint named
    cdef readonly int role
    cdef readonly int l4proto
    cdef readonly unsigned int sip
    cdef readonly unsigned int dip
    cdef readonly unsigned int sport
    cdef readonly unsigned int dport
    cdef readonly bytes sip6
    cdef readonly bytes dip6
    cdef readonly long long pid
    cdef object owner
    cdef object ident
    cdef File file
    cdef Flow flow

    cdef bint counted
    cdef long long charged

    cdef FdInfo clone(self)
    cdef long long cost(self) noexcept
    cdef bint is_ip(self) noexcept
    cdef int restype(self) noexcept
    cdef int proto(self) noexcept
    cdef void changed(self) noexcept


cdef class FdTable:
    cdef list near
    cdef dict far
    cdef readonly long long count
    cdef long long weight
    cdef object owner
    cdef readonly long long users
    cdef bint stays_open

    cdef FdInfo get(self, long long fd)
    cdef bint put(self, long long fd, FdInfo info)
    cdef int remove(self, long long fd) except -1
    cdef FdTable copy(self)
    cdef FdInfo own(self, long long fd, FdInfo info)
    cdef int close_on_exec(self) except -1
    cpdef list numbers(self, long long first, long long last)


cdef class Thread:
    cdef readonly long long tid
    cdef readonly long long pid
    cdef readonly long long ptid
    cdef readonly long long vtid
    cdef readonly long long vpid
    cdef readonly long long reaper_tid
    cdef readonly unsigned int flags
    cdef readonly unsigned long long clone_ts
    cdef readonly unsigned int uid
    cdef readonly unsigned int gid
    cdef readonly bytes user
    cdef readonly bytes group_name
    cdef readonly unsigned int loginuid
    cdef readonly unsigned int tty
    cdef readonly long long sid
    cdef readonly long long vpgid
    cdef readonly bytes comm
    cdef readonly bytes exe
    cdef readonly bytes exepath
    cdef readonly bytes args
    cdef readonly bytes env
    cdef readonly Container container
    cdef readonly Group group
    cdef readonly bint dead
    cdef set children
    cdef unsigned int enter_type
    cdef SavedEvent enter
    cdef dict flows
    cdef unsigned long long last_event
    cdef long long weight

    cdef bint is_leader(self) noexcept
    cdef bint is_invalid(self) noexcept


cdef class Group:
    cdef readonly long long pid
    cdef readonly Thread leader
    cdef readonly dict threads
    cdef readonly long long alive
    cdef readonly bint reaper
    cdef readonly FdTable fds
    cdef readonly bytes cwd
    cdef readonly Process process


cdef class Process:
    cdef readonly long long create_ts
    cdef readonly long long pid
    cdef readonly bint has_parent
    cdef readonly long long parent_ts
    cdef readonly long long parent_pid
    cdef readonly Process parent
    cdef readonly int state
    cdef readonly long long ts
    cdef readonly bytes exe
    cdef readonly bytes exe_args
    cdef readonly int uid
    cdef readonly bytes user
    cdef readonly int gid
    cdef readonly bytes group
    cdef readonly bint tty
    cdef readonly Container container
    cdef readonly bint entry
    cdef readonly bytes cwd
    cdef readonly bytes env
    cdef bint stale
    cdef readonly unsigned long long epoch
    cdef readonly unsigned long long exited
    cdef long long charged
    cdef list flows
    cdef dict far_flows
    cdef readonly long long open_flows
    # the process flow: thread clones and exits, counted
    cdef readonly bint counting
    cdef long long pf_ts
    cdef int pf_flags
    cdef long long pf_cloned
    cdef long long pf_exited
    cdef long long pf_errors
    cdef unsigned long long pf_exported
    cdef unsigned long long pf_last
    cdef Process pf_prev
    cdef Process pf_next


cdef class Flow:
    cdef readonly bint alive
    cdef readonly bint network
    cdef readonly Process process
    cdef readonly long long tid
    cdef readonly int fd
    cdef readonly int op_flags
    cdef readonly unsigned int open_flags
    cdef readonly long long ts
    cdef readonly File file
    cdef readonly unsigned int sip
    cdef readonly unsigned int dip
    cdef readonly unsigned int sport
    cdef readonly unsigned int dport
    cdef readonly int proto
    cdef readonly bytes sip6
    cdef readonly bytes dip6
    cdef readonly long long r_ops
    cdef readonly long long w_ops
    cdef readonly long long r_bytes
    cdef readonly long long w_bytes
    cdef unsigned long long exported
    cdef unsigned long long last
    cdef object ident
    cdef Thread thread
    cdef Flow prev
    cdef Flow next
    cdef Flow fd_prev
    cdef Flow fd_next
