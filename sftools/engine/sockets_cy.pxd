from sftools.engine.state_cy cimport FdInfo


cdef int swap(FdInfo info) except -1
cdef int init_socket(FdInfo info, int domain, unsigned int type_, unsigned int protocol) except -1
cdef int set_bound(FdInfo info, bytes address) except -1
cdef int set_destination(FdInfo info, bytes address) except -1
cdef bint set_tuple(FdInfo info, bytes tuple_) except -1
cdef bint _set_tuple6(FdInfo info, bytes sip6, unsigned int sport, bytes dip6, unsigned int dport) except -1
cdef bytes unix_name(bytes tuple_)


cdef class Interfaces:
    cdef list inet
    cdef list inet6

    cdef int complete(self, FdInfo info) except -1
    cdef unsigned int _nearest(self, unsigned int address)
    cdef bytes _nearest6(self, bytes address)
