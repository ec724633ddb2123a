"""Takes events out of the kernel's ring buffer: no Python object per event.

Every record of the ring is a whole event block of the capture format (capture/emit.h). Layout of the ring: kernel
Documentation/bpf/ringbuf.rst: a page with the consumer's position, one with the producer's, then the data, mapped twice
in a row; a record is u32 length with a busy and a discard bit, u32 page offset, the bytes, padded to 8.
"""

# The functions ring_...() are C, in the .pxd: loads and stores in the order that the kernel relies on.
# ruff: noqa: F821

import mmap
import struct

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

from sftools.errors import CaptureError
from sftools.scap import blocks, tables

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
PAGE = mmap.PAGESIZE

_BUSY = cython.declare(cython.uint, 1 << 31)
_DISCARD = cython.declare(cython.uint, 1 << 30)
_HEADER = cython.declare(cython.uint, 8)
# Records of one batch, and where in an event block its time stands.
_BATCH = cython.declare(cython.int, 8192)
_AT_TIME = cython.declare(cython.Py_ssize_t, 10)
# An event block has a header, a trailing length and no less than this.
_LEAST = cython.declare(cython.uint, 40)
# Where it has its type and the number of its parameters, of which one is the cgroups.
_AT_TYPE = cython.declare(cython.Py_ssize_t, 30)
_AT_NPARAMS = cython.declare(cython.Py_ssize_t, 32)
_CGROUPS = cython.declare(cython.int, 14)
_EVENT_COUNT = cython.declare(cython.uint, len(tables.EVENT_CODES))
_HAS_CGROUPS = cython.declare(
    bytes,
    bytes(
        name.endswith("_X") and any(call in name for call in ("_CLONE", "FORK_20", "_EXECVE"))
        for name in tables.EVENT_CODES
    ),
)
# Calls by which threads begin, and which of their parameters is the pid.
_THREAD_BEGINS = frozenset((tables.PPME_SYSCALL_CLONE_20_X, tables.PPME_SYSCALL_CLONE3_X))
_PID = cython.declare(cython.int, 4)
_EV_V2_LARGE = cython.declare(cython.uint, blocks.EV_V2_LARGE)
_EVF_V2_LARGE = cython.declare(cython.uint, blocks.EVF_V2_LARGE)
# A batch that ends for want of room leaves its newest events to the next, where those that come late join them.
_HOLD_NS = cython.declare(cython.ulonglong, 100_000)


def open_ring(fd: int, size: int):
    """A reader of the ring that `fd` stands for. Raises CaptureError."""
    try:
        consumer = mmap.mmap(fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        area = mmap.mmap(fd, PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE)
    except (OSError, ValueError) as error:
        raise CaptureError(f"the ring buffer cannot be mapped: {error}") from None
    return RingReader(consumer, area, size)


@cython.cclass
class RingReader:
    """Reads a ring.

    consumer: writable, begins with the consumer's position. area: the producer's page and the data, which lies there
    twice. size: of the data, a power of two. events: how many were taken; out_of_order: those that had to be moved
    before others of their batch; last_ts: time of the newest taken.
    """

    def __init__(self, consumer, area, size: int):
        if size <= 0 or size & (size - 1) or len(area) < PAGE + 2 * size:
            raise ValueError(f"a ring of {size} bytes in a mapping of {len(area)}")
        self.consumer = consumer
        self.area = area
        self.size = size
        self.mask = size - 1
        self.data_at = PAGE
        self.events = 0
        self.out_of_order = 0
        self.last_ts = 0
        if cython.compiled:
            self.consumer_view = consumer
            self.area_view = area
            self.tail = cython.address(self.consumer_view[0])
            self.head = cython.address(self.area_view[0])
            self.data = self.head + self.data_at
        else:
            self.consumer_view = memoryview(consumer)
            self.area_view = memoryview(area)
            self.starts = [0] * _BATCH
            self.sizes = [0] * _BATCH
            self.times = [0] * _BATCH
            self.order = [0] * _BATCH

    def waiting(self) -> int:
        """Bytes in the ring, 0 after close()."""
        if self.area is None:
            return 0
        if cython.compiled:
            return ring_load64(self.head) - ring_load64(self.tail)
        return _U64.unpack_from(self.area_view, 0)[0] - _U64.unpack_from(self.consumer_view, 0)[0]

    def drain(self, into, until) -> int:
        """Move events no newer than `until` (ns since 1970) into the buffer, oldest first; returns how many bytes.

        As many as there is room for, and no more than a batch: 0 means that none are there. Raises CaptureError where
        the ring holds what no event is. After close() there is nothing.
        """
        room: cython.Py_ssize_t = len(into)
        at: cython.ulonglong
        start: cython.ulonglong
        produced: cython.ulonglong
        ts: cython.ulonglong
        newest: cython.ulonglong = 0
        header: cython.uint
        size: cython.uint
        used: cython.Py_ssize_t = 0
        count: cython.int = 0
        i: cython.int
        k: cython.int
        full: cython.bint = False
        sorted_: cython.bint = True
        if self.area is None:
            return 0
        if cython.compiled:
            at = ring_load64(self.tail)
            produced = ring_load64(self.head)
        else:
            at = _U64.unpack_from(self.consumer_view, 0)[0]
            produced = _U64.unpack_from(self.area_view, 0)[0]
        start = at
        while at < produced:
            if cython.compiled:
                header = ring_load32(self.data + (at & self.mask))
            else:
                header = _U32.unpack_from(self.area_view, self.data_at + (at & self.mask))[0]
            if header & _BUSY:
                break
            size = header & ~(_BUSY | _DISCARD)
            if size > self.size or produced - at < size:
                raise CaptureError(f"the ring buffer is damaged: a record of {size} bytes")
            if header & _DISCARD:
                at += (size + _HEADER + 7) & ~7
                continue
            if size < _LEAST:
                raise CaptureError(f"the ring buffer is damaged: an event of {size} bytes")
            if count == _BATCH or used + size > room:
                if count == 0:
                    raise CaptureError(f"an event of {size} bytes does not fit into {room}")
                full = True
                break
            if cython.compiled:
                ts = ring_load64(self.data + (at & self.mask) + _HEADER + _AT_TIME)
            else:
                ts = _U64.unpack_from(self.area_view, self.data_at + (at & self.mask) + _HEADER + _AT_TIME)[0]
            if ts > until:
                break
            if ts < newest:
                sorted_ = False
            else:
                newest = ts
            self.starts[count] = at
            self.sizes[count] = size
            self.times[count] = ts
            count += 1
            used += size
            at += (size + _HEADER + 7) & ~7
        if full:
            while count > 1 and newest - self.times[count - 1] < _HOLD_NS and self.times[0] + _HOLD_NS < newest:
                count -= 1
                used -= self.sizes[count]
                at = self.starts[count]
        if count == 0:
            if at != start:
                self._release(at)
            return 0
        for i in range(count):
            self.order[i] = i
        if not sorted_:
            self._sort(count)
        used = 0
        for i in range(count):
            k = self.order[i]
            size = self.sizes[k]
            if cython.compiled:
                ring_copy(cython.address(into[used]), self.data + (self.starts[k] & self.mask) + _HEADER, size)
            else:
                begin = self.data_at + (self.starts[k] & self.mask) + _HEADER
                into[used : used + size] = self.area_view[begin : begin + size]
            used += size
        self.events += count
        self.last_ts = self.times[self.order[count - 1]]
        self._release(at)
        return used

    def _release(self, at: cython.ulonglong):
        """Give everything before `at` back to the kernel."""
        if cython.compiled:
            ring_store64(self.tail, at)
        else:
            _U64.pack_into(self.consumer_view, 0, at)

    def _sort(self, count):
        """By time, those of one time as they came. Nearly all are in their place: two CPUs differ by microseconds."""
        i: cython.int
        j: cython.int
        k: cython.int
        ts: cython.ulonglong
        for i in range(1, count):
            k = self.order[i]
            ts = self.times[k]
            j = i
            while j > 0 and self.times[self.order[j - 1]] > ts:
                self.order[j] = self.order[j - 1]
                j -= 1
            if j != i:
                self.order[j] = k
                self.out_of_order += 1
        return 0

    def close(self):
        """Unmap the ring."""
        self.consumer_view = None
        self.area_view = None
        mappings = (self.consumer, self.area)
        self.consumer = self.area = None
        for mapping in mappings:
            if isinstance(mapping, mmap.mmap):
                mapping.close()


def admitted(block_bytes, known: dict) -> bytes:
    """The events of a batch without those that are older than their thread's entry in the lists (`known`: tid to ns).

    Whatever such an event did, the entry tells already: done once more, a close would end what was opened since. So it
    is with a thread that the lists do not have because it ended before its process was listed, fds and all: the event
    that tells whose thread it is puts it into `known`.
    """
    view = memoryview(block_bytes)
    out = bytearray()
    at: cython.Py_ssize_t = 0
    end: cython.Py_ssize_t = len(view)
    kept: cython.Py_ssize_t = 0
    while at + _LEAST <= end:
        size = _U32.unpack_from(view, at + 4)[0]
        ts = _U64.unpack_from(view, at + 10)[0]
        tid = _U64.unpack_from(view, at + 18)[0]
        if tid not in known:
            listed = known.get(_process_of_new_thread(view[at : at + size]), 0)
            if ts < listed:
                known[tid] = listed
        if ts < known.get(tid, 0):
            out += view[kept:at]
            kept = at + size
        if size < _LEAST:
            raise CaptureError(f"an event of {size} bytes")
        at += size
    out += view[kept:end]
    return bytes(out)


def _process_of_new_thread(event) -> int:
    """The pid in a thread's own return from clone; -1 in all other events."""
    code = event[_AT_TYPE] | event[_AT_TYPE + 1] << 8
    if code not in _THREAD_BEGINS or event[_AT_NPARAMS] <= _PID or len(event) < _AT_NPARAMS + 4 + 2 * _PID:
        return -1
    lengths = [_U16.unpack_from(event, _AT_NPARAMS + 4 + 2 * i)[0] for i in range(_PID)]
    params = _AT_NPARAMS + 4 + 2 * event[_AT_NPARAMS]
    pid_at = params + sum(lengths)
    if lengths[0] != 8 or pid_at + 8 > len(event) or _U64.unpack_from(event, params)[0] != 0:
        return -1
    return _U64.unpack_from(event, pid_at)[0]


def cgroups_seen(batch) -> list:
    """The cgroups parameters of the events in a batch that begin a process or a program, each once."""
    found: dict = {}
    at: cython.Py_ssize_t = 0
    end: cython.Py_ssize_t = len(batch)
    lengths: cython.Py_ssize_t
    param: cython.Py_ssize_t
    width: cython.Py_ssize_t
    size: cython.uint
    code: cython.uint
    i: cython.int
    while at + _LEAST <= end:
        size = _u32(batch, at + 4)
        if size < _LEAST or at + size > end:
            break
        code = batch[at + _AT_TYPE] | batch[at + _AT_TYPE + 1] << 8
        if code < _EVENT_COUNT and _HAS_CGROUPS[code] and batch[at + _AT_NPARAMS] > _CGROUPS:
            width = 4 if _u32(batch, at) in (_EV_V2_LARGE, _EVF_V2_LARGE) else 2
            lengths = at + _AT_NPARAMS + 4
            param = lengths + width * batch[at + _AT_NPARAMS]
            if param > at + size:
                break
            for i in range(_CGROUPS):
                param += _length(batch, lengths + i * width, width)
            length = _length(batch, lengths + _CGROUPS * width, width)
            if param + length <= at + size:
                found[bytes(batch[param : param + length])] = None
        at += size
    return list(found)


def _u32(batch, at: cython.Py_ssize_t) -> cython.uint:
    return batch[at] | batch[at + 1] << 8 | batch[at + 2] << 16 | cython.cast(cython.uint, batch[at + 3]) << 24


def _length(batch, at: cython.Py_ssize_t, width: cython.Py_ssize_t) -> cython.uint:
    return batch[at] | batch[at + 1] << 8 if width == 2 else _u32(batch, at)


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
