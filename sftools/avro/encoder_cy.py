"""Encodes SysFlow records as Avro binary: one method per record, no object per record.

Field order is the schema's (sftools/schema/idl); a test decodes every record with fastavro against that schema.
"""

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

if cython.compiled:
    from cython.cimports.libc.string import memcpy

from sftools.avro.text import to_avro
from sftools.schema.objtypes import BRANCHES

# The existing collector's block size. A reader holds one block at a time.
BLOCK_BYTES = cython.declare(cython.Py_ssize_t, 80_000)

HEADER = cython.declare(cython.int, BRANCHES["SFHeader"])
CONTAINER = cython.declare(cython.int, BRANCHES["Container"])
PROCESS = cython.declare(cython.int, BRANCHES["Process"])
FILE = cython.declare(cython.int, BRANCHES["File"])
PROCESS_EVENT = cython.declare(cython.int, BRANCHES["ProcessEvent"])
NETWORK_FLOW = cython.declare(cython.int, BRANCHES["NetworkFlow"])
FILE_FLOW = cython.declare(cython.int, BRANCHES["FileFlow"])
FILE_EVENT = cython.declare(cython.int, BRANCHES["FileEvent"])
PROCESS_FLOW = cython.declare(cython.int, BRANCHES["ProcessFlow"])
POD = cython.declare(cython.int, BRANCHES["Pod"])

# Ten varints of ten bytes are less; strings reserve their own room.
_RECORD_ROOM = cython.declare(cython.Py_ssize_t, 256)


def int32(number):
    """The schema's int of a u32, or of a syscall's 64-bit result."""
    if cython.compiled:
        return cython.cast(cython.int, number)
    number &= 0xFFFFFFFF
    return number - (1 << 32) if number >= 1 << 31 else number


@cython.cclass
class Encoder:
    """Collects records in a block and hands full blocks on.

    sink: called with (bytes of a block, number of records) when a block is full and at flush().
    tap: called with the bytes of each single record (a bare Avro datum of the union record), or None.
    version: 5, or 6, which appends the IPv6 addresses to NetworkFlow.

    A record's method takes the schema's fields in their order. Times are in ns since 1970; texts are bytes as the kernel
    has them (put_text); create_ts and hpid are the OID of the process. An OID of a file has 20 bytes, an IPv4 address is
    an int that is read little-endian from network order, an IPv6 address 16 bytes. An enum is its symbol's index. What
    the schema allows to be null is None. All raise what sink and tap raise.
    """

    def __init__(self, sink, version: int, tap=None):
        self.sink = sink
        self.tap = tap
        self.version = version
        self.room = bytearray(BLOCK_BYTES + 64 * 1024)
        self.capacity = len(self.room)
        self.size = 0
        self.begin = 0
        self.block_count = 0
        if not cython.compiled:
            self.tally = [0] * 16
        self._rebase()

    def _rebase(self):
        if cython.compiled:
            self.base = cython.cast(cython.pointer[cython.uchar], cython.cast(cython.pointer[cython.char], self.room))
        else:
            self.base = self.room

    @property
    def counts(self) -> list:
        """Records encoded so far, by union branch."""
        return [self.tally[branch] for branch in range(len(BRANCHES))]

    def reserve(self, need):
        """Make room for `need` more bytes."""
        if self.capacity - self.size < need:
            grown = bytearray((self.size + need) * 2)
            grown[: self.size] = self.room[: self.size]
            self.room = grown
            self.capacity = len(grown)
            self._rebase()
        return 0

    def put_byte(self, value):
        """One byte; room must be reserved."""
        self.base[self.size] = value
        self.size += 1

    def put_long(self, value):
        """A zig-zag varint; room must be reserved."""
        if cython.compiled:
            n: cython.ulonglong = (cython.cast(cython.ulonglong, value) << 1) ^ cython.cast(
                cython.ulonglong, value >> 63
            )
        else:
            n = (value << 1) ^ (value >> 63)
        while n > 0x7F:
            self.base[self.size] = (n & 0x7F) | 0x80
            self.size += 1
            n >>= 7
        self.base[self.size] = n
        self.size += 1

    def put_raw(self, value):
        """Bytes without their length, and room reserved for the numbers behind them."""
        n: cython.Py_ssize_t = len(value)
        self.reserve(n + _RECORD_ROOM)
        if cython.compiled:
            source: cython.pointer[cython.const[cython.uchar]] = value
            memcpy(self.base + self.size, source, n)
        else:
            self.room[self.size : self.size + n] = value
        self.size += n
        return 0

    def put_text(self, value):
        """A string: bytes that are not valid UTF-8 are escaped (sftools.avro.text)."""
        text: bytes = value if value.isascii() else to_avro(value)
        self.put_long(len(text))
        return self.put_raw(text)

    def put_optional_text(self, value):
        """A union of null and string: None is null."""
        if value is None:
            self.put_byte(0)
            return 0
        self.put_byte(2)
        return self.put_text(value)

    def put_texts(self, values):
        """An array of strings."""
        value: bytes
        if values:
            self.put_long(len(values))
            for value in values:
                self.put_text(value)
        self.put_byte(0)
        return 0

    def done(self, branch):
        """A record is complete."""
        self.tally[branch] += 1
        self.block_count += 1
        if self.tap is not None:
            self.tap(bytes(self.room[self.begin : self.size]))
        self.begin = self.size
        if self.size >= BLOCK_BYTES:
            self.flush()
        else:
            self.reserve(_RECORD_ROOM)
        return 0

    def flush(self):
        """Hand the records collected so far to the sink."""
        if self.block_count:
            self.sink(bytes(self.room[: self.size]), self.block_count)
        self.size = 0
        self.begin = 0
        self.block_count = 0
        return 0

    def header(self, version, exporter, ip, filename):
        self.put_long(HEADER)
        self.put_long(version)
        self.put_text(exporter)
        self.put_text(ip)
        self.put_text(filename)
        return self.done(HEADER)

    def container(self, id, name, image, imageid, type, privileged, pod_id):
        self.put_long(CONTAINER)
        self.put_text(id)
        self.put_text(name)
        self.put_text(image)
        self.put_text(imageid)
        self.put_long(type)
        self.put_byte(1 if privileged else 0)
        self.put_optional_text(pod_id)
        return self.done(CONTAINER)

    def pod(self, ts, id, name, node_name, host_ip, internal_ip, namespace, restart_count, labels):
        """host_ip, internal_ip: lists of IPv4 addresses. Selectors and services are empty: no capture tells of them."""
        self.put_long(POD)
        self.put_long(ts)
        self.put_text(id)
        self.put_text(name)
        self.put_text(node_name)
        for addresses in (host_ip, internal_ip):
            self.reserve(16 * len(addresses) + _RECORD_ROOM)
            if addresses:
                self.put_long(len(addresses))
                for address in addresses:
                    self.put_long(address)
            self.put_byte(0)
        self.put_text(namespace)
        self.put_long(restart_count)
        if labels:
            self.put_long(len(labels))
            for key, value in labels.items():
                self.put_text(key)
                self.put_text(value)
        self.put_byte(0)
        self.put_byte(0)  # selectors
        self.put_byte(0)  # services
        return self.done(POD)

    def process(
        self,
        state,
        create_ts,
        hpid,
        has_parent,
        parent_ts,
        parent_pid,
        ts,
        exe,
        exe_args,
        uid,
        user,
        gid,
        group,
        tty,
        container_id,
        entry,
        cwd,
        env,
    ):
        self.put_long(PROCESS)
        self.put_long(state)
        self.put_long(create_ts)
        self.put_long(hpid)
        if has_parent:
            self.put_byte(2)
            self.put_long(parent_ts)
            self.put_long(parent_pid)
        else:
            self.put_byte(0)
        self.put_long(ts)
        self.put_text(exe)
        self.put_text(exe_args)
        self.put_long(uid)
        self.put_text(user)
        self.put_long(gid)
        self.put_text(group)
        self.put_byte(1 if tty else 0)
        self.put_optional_text(container_id)
        self.put_byte(1 if entry else 0)
        self.put_text(cwd)
        self.put_texts(env)
        return self.done(PROCESS)

    def file(self, state, oid, ts, restype, path, container_id):
        self.put_long(FILE)
        self.put_long(state)
        self.put_raw(oid)
        self.put_long(ts)
        self.put_long(restype)
        self.put_text(path)
        self.put_optional_text(container_id)
        return self.done(FILE)

    def process_event(self, create_ts, hpid, ts, tid, op_flags, arg, ret):
        """arg: the only one of the array `args`; None where that is empty."""
        self.put_long(PROCESS_EVENT)
        self.put_long(create_ts)
        self.put_long(hpid)
        self.put_long(ts)
        self.put_long(tid)
        self.put_long(op_flags)
        if arg is not None:
            self.put_byte(2)
            self.put_text(arg)
        self.put_byte(0)
        self.put_long(ret)
        return self.done(PROCESS_EVENT)

    def network_flow(
        self,
        create_ts,
        hpid,
        ts,
        tid,
        op_flags,
        end_ts,
        sip,
        sport,
        dip,
        dport,
        proto,
        fd,
        r_ops,
        w_ops,
        r_bytes,
        w_bytes,
        sip6,
        dip6,
    ):
        """sip6, dip6: both None for IPv4; left out in version 5."""
        self.put_long(NETWORK_FLOW)
        self.put_long(create_ts)
        self.put_long(hpid)
        self.put_long(ts)
        self.put_long(tid)
        self.put_long(op_flags)
        self.put_long(end_ts)
        self.put_long(sip)
        self.put_long(sport)
        self.put_long(dip)
        self.put_long(dport)
        self.put_long(proto)
        self.put_long(fd)
        self.put_long(r_ops)
        self.put_long(w_ops)
        self.put_long(r_bytes)
        self.put_long(w_bytes)
        if self.version >= 6:
            if sip6 is None:
                self.put_byte(0)
                self.put_byte(0)
            else:
                self.put_byte(2)
                self.put_raw(sip6)
                self.put_byte(2)
                self.put_raw(dip6)
        return self.done(NETWORK_FLOW)

    def file_flow(
        self, create_ts, hpid, ts, tid, op_flags, open_flags, end_ts, oid, fd, r_ops, w_ops, r_bytes, w_bytes
    ):
        self.put_long(FILE_FLOW)
        self.put_long(create_ts)
        self.put_long(hpid)
        self.put_long(ts)
        self.put_long(tid)
        self.put_long(op_flags)
        self.put_long(open_flags)
        self.put_long(end_ts)
        self.put_raw(oid)
        self.put_long(fd)
        self.put_long(r_ops)
        self.put_long(w_ops)
        self.put_long(r_bytes)
        self.put_long(w_bytes)
        return self.done(FILE_FLOW)

    def file_event(self, create_ts, hpid, ts, tid, op_flags, oid, ret, new_oid):
        self.put_long(FILE_EVENT)
        self.put_long(create_ts)
        self.put_long(hpid)
        self.put_long(ts)
        self.put_long(tid)
        self.put_long(op_flags)
        self.put_raw(oid)
        self.put_long(ret)
        if new_oid is None:
            self.put_byte(0)
        else:
            self.put_byte(2)
            self.put_raw(new_oid)
        return self.done(FILE_EVENT)

    def process_flow(self, create_ts, hpid, ts, cloned, op_flags, end_ts, exited, errors):
        self.put_long(PROCESS_FLOW)
        self.put_long(create_ts)
        self.put_long(hpid)
        self.put_long(ts)
        self.put_long(cloned)
        self.put_long(op_flags)
        self.put_long(end_ts)
        self.put_long(exited)
        self.put_long(errors)
        return self.done(PROCESS_FLOW)


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
