from sftools.avro.encoder_cy cimport Encoder
from sftools.engine.state_cy cimport Container, File, Group, Process, Thread
from sftools.engine.threads_cy cimport Threads


cdef class Entities:
    cdef Encoder encoder
    cdef Threads threads
    cdef unsigned long long epoch
    cdef bint created
    cdef dict files
    cdef dict old_files
    cdef Py_ssize_t file_room
    cdef Py_ssize_t file_bytes
    cdef Py_ssize_t file_bytes_room
    cdef readonly dict containers
    cdef dict by_pid
    cdef object exited
    cdef readonly long long exited_bytes
    cdef Py_ssize_t container_room

    cdef Process process(self, Thread thread, int state, unsigned long long ts)
    cdef Process _new_process(self, Thread thread, int state, unsigned long long ts)
    cdef int _snapshot(self, Process process, Thread leader) except -1
    cdef int modify(self, Process process, Thread thread, unsigned long long ts) except -1
    cdef int write_process(self, Process process) except -1
    cdef int write_with_ancestors(self, Process process) except -1
    cdef int write_container(self, Container container) except -1
    cdef int mark_exited(self, Process process, unsigned long long now) except -1
    cdef int _forget_exited(self) except -1
    cdef int _drop_containers(self) except -1
    cdef int sweep(self, unsigned long long now) except -1
    cdef File file(self, Thread thread, bytes path, int restype, int state, unsigned long long ts)
    cdef int write_file(self, File file, int state, unsigned long long ts) except -1
    cdef int rotate(self) except -1
    cdef int _age(self) except -1
