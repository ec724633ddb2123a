cdef class Rule:
    cdef unsigned int becomes
    cdef unsigned int first
    cdef unsigned int count
    cdef unsigned char kind[32]
    cdef unsigned char arg[32]


cdef class SavedEvent:
    cdef unsigned int type
    cdef unsigned int nparams
    cdef unsigned int width
    cdef Py_ssize_t size
    cdef unsigned int found
    cdef bytearray room
    cdef const unsigned char* base

    cdef Py_ssize_t find(self, unsigned int i) noexcept
    cdef unsigned int uint_param(self, unsigned int i, unsigned int default)
    cdef long long long_param(self, unsigned int i, long long default)
    cdef bytes str_param(self, unsigned int i)


cdef class EventCursor:
    cdef object source
    cdef readonly str name
    cdef bint strict
    cdef bytearray room
    cdef const unsigned char* base
    cdef const unsigned char* rule_at
    cdef Py_ssize_t capacity
    cdef Py_ssize_t pos
    cdef Py_ssize_t end
    cdef bint exhausted
    cdef bint begun
    cdef readonly unsigned long long start
    cdef readonly list damage
    cdef readonly unsigned long long damaged
    cdef readonly unsigned long long events
    cdef readonly unsigned long long known
    # the current block
    cdef readonly unsigned int block_type
    cdef Py_ssize_t block_at
    cdef Py_ssize_t block_size
    # the current event
    cdef readonly unsigned long long ts
    cdef readonly long long tid
    cdef readonly unsigned int cpuid
    cdef readonly unsigned int type
    cdef readonly unsigned int nparams
    cdef Py_ssize_t lengths
    cdef Py_ssize_t data
    cdef Py_ssize_t stop
    cdef unsigned int width
    # its parameters: where each stands, and its length; 0 where it is absent
    cdef const unsigned char* pbase[34]
    cdef Py_ssize_t poff[34]
    cdef unsigned int plen[34]

    cpdef int advance(self) except -1
    cpdef bytes body(self)
    cdef bint load(self, SavedEvent enter)
    cdef bint save(self, SavedEvent into) except -1
    cdef unsigned int uint_param(self, unsigned int i, unsigned int default) noexcept
    cdef long long long_param(self, unsigned int i, long long default) noexcept
    cdef bytes bytes_param(self, unsigned int i)
    cdef bytes str_param(self, unsigned int i)
    cdef bint fill(self, Py_ssize_t need) except -1
    cdef int _grow(self) except -1
    cdef int open_event(self, Py_ssize_t at, Py_ssize_t size, unsigned int kind)
    cdef bint plausible(self, Py_ssize_t at, int chain) except -1
    cdef bint resync(self) except -1
    cdef int report(self, unsigned long long offset, str cause) except -1
