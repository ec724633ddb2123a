from sftools.reader.rows_cy cimport Row, Entity


cdef Py_ssize_t _size(object value) except -1


cdef class Numbers:
    cdef readonly bytearray room
    cdef readonly bytearray flags
    cdef long long* data
    cdef char* valid

    cdef int begin(self, Py_ssize_t rows) except -1


cdef class Owned:
    cdef readonly int number
    cdef readonly list fields
    cdef readonly list values
    cdef readonly bytearray room
    cdef int* data
    cdef dict places
    cdef bint expands
    cdef list costs
    cdef Entity last
    cdef int last_place

    cdef int begin(self, Py_ssize_t rows) except -1
    cdef Py_ssize_t put(self, Py_ssize_t at, Row row, Entity entity) except -1
    cdef int remember(self, Row row, Entity entity) except -1


cdef class Step:
    cdef int kind
    cdef int number
    cdef object field
    cdef object value
    cdef dict kept
    cdef Numbers numbers
    cdef Owned owned
    cdef Values column


cdef class Values:
    cdef readonly list items


cdef class Columns:
    cdef readonly object fields
    cdef readonly list columns
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t most
    cdef Py_ssize_t cost
    cdef object plan
    cdef list programs

    cpdef bint row(self, Row row) except -1
    cpdef int begin(self) except -1
    cdef int put(self, Row row, list program) except -1
    cdef int drop(self) except -1
    cdef list compile(self, int branch)
