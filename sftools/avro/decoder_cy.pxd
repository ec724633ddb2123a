cdef class RecordCursor:
    cdef readonly object plan
    cdef object code_owner
    cdef const int* code
    cdef list starts
    cdef list branches
    cdef readonly bytes data
    cdef const unsigned char* base
    cdef Py_ssize_t largest
    cdef Py_ssize_t left
    cdef Py_ssize_t pos
    cdef Py_ssize_t stop
    cdef int fault
    # the current record
    cdef readonly int branch
    cdef readonly Py_ssize_t start
    cdef unsigned long long present
    cdef long long value[40]
    cdef Py_ssize_t size[40]

    cpdef int load(self, bytes data, long long count) except -1
    cpdef bint advance(self) except -1
    cpdef bytes raw(self)
    cpdef bytes span(self, int slot)
    cpdef RecordCursor copy(self)
    cdef bint run(self, Py_ssize_t pc, Py_ssize_t stop) noexcept
    cdef long long varint(self) noexcept
