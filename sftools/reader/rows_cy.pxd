from sftools.avro.decoder_cy cimport RecordCursor


cdef class Entity:
    cdef readonly int branch
    cdef readonly bytes raw
    cdef readonly Py_ssize_t cost
    cdef object plan
    cdef object made
    cdef public dict parts
    # of a Process: (hpid, createTS) of itself and of its parent
    cdef object key
    cdef object parent_key
    # of a Process the id of its Container, of a Container that of its Pod
    cdef bytes up_id
    cdef unsigned long long resolved
    cdef Entity parent
    cdef Entity container
    cdef Entity pod


cdef class Recent:
    cdef Py_ssize_t half
    cdef Py_ssize_t filled
    cdef dict young
    cdef dict old

    cdef Entity get(self, object key)
    cdef int put(self, object key, Entity value) except -1


cdef class Tables:
    cdef Entity header
    cdef Recent processes
    cdef Recent files
    cdef Recent containers
    cdef Recent pods
    cdef unsigned long long changes

    cdef int begin(self, Entity header) except -1
    cdef int resolve(self, Entity process) except -1


cdef class Row:
    cdef readonly RecordCursor cursor
    cdef Tables tables
    cdef bint entities
    cdef readonly int branch
    cdef readonly long long index
    cdef readonly object lacks
    cdef readonly object plan
    cdef object made
    cdef Entity header_entity
    cdef Entity pod_entity
    cdef Entity container_entity
    cdef Entity process_entity
    cdef Entity parent_entity
    cdef Entity file_entity
    cdef Entity new_file_entity
    cdef long long last_hpid
    cdef long long last_create_ts
    cdef unsigned long long last_changes
    cdef Entity last_process

    cpdef int load(self, bytes data, long long count) except -1
    cpdef bint advance(self) except -1
    cdef int clear(self) except -1
    cdef int remember(self) except -1
    cdef int join(self) except -1
    cdef int link(self, Entity process) except -1
    cdef Entity owner(self, int number)
