cdef int int32(long long number) noexcept

cdef class Encoder:
    cdef object sink
    cdef object tap
    cdef readonly int version
    cdef bytearray room
    cdef unsigned char* base
    cdef Py_ssize_t capacity
    cdef Py_ssize_t size
    cdef Py_ssize_t begin
    cdef unsigned long long block_count
    cdef unsigned long long tally[16]

    cdef int reserve(self, Py_ssize_t need) except -1
    cdef void put_long(self, long long value) noexcept
    cdef void put_byte(self, unsigned int value) noexcept
    cdef int put_raw(self, bytes value) except -1
    cdef int put_text(self, bytes value) except -1
    cdef int put_optional_text(self, bytes value) except -1
    cdef int put_texts(self, list values) except -1
    cdef int done(self, int branch) except -1

    cpdef int header(self, long long version, bytes exporter, bytes ip, bytes filename) except -1
    cpdef int flush(self) except -1
    cpdef int container(self, bytes id, bytes name, bytes image, bytes imageid, int type, bint privileged, bytes pod_id) except -1
    cpdef int pod(
        self, long long ts, bytes id, bytes name, bytes node_name, list host_ip, list internal_ip, bytes namespace,
        long long restart_count, dict labels
    ) except -1
    cdef int process(
        self, int state, long long create_ts, long long hpid, bint has_parent, long long parent_ts, long long parent_pid,
        long long ts, bytes exe, bytes exe_args, int uid, bytes user, int gid, bytes group, bint tty,
        bytes container_id, bint entry, bytes cwd, list env
    ) except -1
    cdef int file(self, int state, bytes oid, long long ts, int restype, bytes path, bytes container_id) except -1
    cdef int process_event(
        self, long long create_ts, long long hpid, long long ts, long long tid, int op_flags, bytes arg, int ret
    ) except -1
    cdef int network_flow(
        self, long long create_ts, long long hpid, long long ts, long long tid, int op_flags, long long end_ts,
        int sip, int sport, int dip, int dport, int proto, int fd,
        long long r_ops, long long w_ops, long long r_bytes, long long w_bytes, bytes sip6, bytes dip6
    ) except -1
    cdef int file_flow(
        self, long long create_ts, long long hpid, long long ts, long long tid, int op_flags, int open_flags,
        long long end_ts, bytes oid, int fd,
        long long r_ops, long long w_ops, long long r_bytes, long long w_bytes
    ) except -1
    cdef int file_event(
        self, long long create_ts, long long hpid, long long ts, long long tid, int op_flags, bytes oid, int ret,
        bytes new_oid
    ) except -1
    cdef int process_flow(
        self, long long create_ts, long long hpid, long long ts, long long cloned, int op_flags, long long end_ts,
        long long exited, long long errors
    ) except -1
