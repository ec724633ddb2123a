cdef extern from *:
    """
    static inline unsigned long long ring_load64(const void *p) {
        return __atomic_load_n((const unsigned long long *)p, __ATOMIC_ACQUIRE);
    }
    static inline unsigned int ring_load32(const void *p) {
        return __atomic_load_n((const unsigned int *)p, __ATOMIC_ACQUIRE);
    }
    static inline void ring_store64(void *p, unsigned long long value) {
        __atomic_store_n((unsigned long long *)p, value, __ATOMIC_RELEASE);
    }
    static inline void ring_copy(void *to, const void *from, size_t size) {
        __builtin_memcpy(to, from, size);
    }
    """
    unsigned long long ring_load64(const void *p) nogil
    unsigned int ring_load32(const void *p) nogil
    void ring_store64(void *p, unsigned long long value) nogil
    void ring_copy(void *to, const void *from_, size_t size) nogil


cpdef list cgroups_seen(const unsigned char[::1] batch)
cdef unsigned int _u32(const unsigned char[::1] batch, Py_ssize_t at) noexcept
cdef unsigned int _length(const unsigned char[::1] batch, Py_ssize_t at, Py_ssize_t width) noexcept


cdef class RingReader:
    cdef object consumer
    cdef object area
    cdef unsigned char[::1] consumer_view
    cdef const unsigned char[::1] area_view
    cdef unsigned char* tail
    cdef const unsigned char* head
    cdef const unsigned char* data
    cdef Py_ssize_t data_at
    cdef readonly unsigned long long size
    cdef unsigned long long mask
    cdef readonly unsigned long long events
    cdef readonly unsigned long long out_of_order
    cdef readonly unsigned long long last_ts
    # the records of one batch: where each lies in the ring, its length and time
    cdef unsigned long long starts[8192]
    cdef unsigned int sizes[8192]
    cdef unsigned long long times[8192]
    cdef int order[8192]

    cpdef Py_ssize_t drain(self, unsigned char[::1] into, unsigned long long until) except -1
    cdef int _sort(self, int count)
