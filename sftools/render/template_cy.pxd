from sftools.reader.rows_cy cimport Row, Entity
from sftools.avro.decoder_cy cimport RecordCursor


cdef class Piece:
    cdef bytes before
    cdef int kind
    cdef int number
    cdef bytes missing
    cdef bytes quote
    cdef list members
    cdef dict kept


cdef class Template:
    cdef object file
    cdef list parts
    cdef bytes first
    cdef bytes end
    cdef bytes between
    cdef bytes last
    cdef object encode
    cdef object missing
    cdef bytes quote
    cdef object plan
    cdef list programs
    cdef dict by_plan
    cdef bytearray room
    cdef char* base
    cdef Py_ssize_t capacity
    cdef Py_ssize_t size
    cdef bint begun
    cdef long long second
    cdef bytes second_text

    cpdef int row(self, Row row) except -1
    cdef int put(self, bytes text) except -1
    cdef int put_number(self, long long value) except -1
    cdef int put_time(self, long long ns) except -1
    cdef bytes entity_text(self, Piece piece, Row row, Entity entity)
    cdef int reserve(self, Py_ssize_t need) except -1
