"""Flows: operations on a file or connection, added up until it is closed or 30 seconds have passed."""

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

if cython.compiled:
    from cython.cimports.sftools.avro.encoder_cy import Encoder, int32
    from cython.cimports.sftools.engine.entities_cy import Entities
    from cython.cimports.sftools.engine.state_cy import FdInfo, File, Flow, Process, Thread
else:
    from sftools.avro.encoder_cy import Encoder, int32
    from sftools.engine.entities_cy import Entities
    from sftools.engine.state_cy import FdInfo, File, Flow, Process, Thread

from sftools.engine.state_cy import ROLE_NONE
from sftools.limits import MAX_FLOWS, MAX_FLOWS_PER_FD
from sftools.scap import fd_types
from sftools.schema import opflags

EXIT = cython.declare(cython.int, opflags.OP_EXIT)
OPEN = cython.declare(cython.int, opflags.OP_OPEN)
READ_RECV = cython.declare(cython.int, opflags.OP_READ_RECV)
WRITE_SEND = cython.declare(cython.int, opflags.OP_WRITE_SEND)
CLOSE = cython.declare(cython.int, opflags.OP_CLOSE)
TRUNCATE = cython.declare(cython.int, opflags.OP_TRUNCATE)
MMAP = cython.declare(cython.int, opflags.OP_MMAP)
ACCEPT = cython.declare(cython.int, opflags.OP_ACCEPT)
CONNECT = cython.declare(cython.int, opflags.OP_CONNECT)

_REUP = cython.declare(cython.int, 2)
_RDONLY = cython.declare(cython.uint, 1)  # PPM_O_RDONLY; PPM_O_RDWR has the bit too, as in the existing collector
_MOST = cython.declare(cython.longlong, 0x7FFFFFFFFFFFFFFF)
_FD_IPV6_SOCK = cython.declare(cython.int, fd_types.FD_IPV6_SOCK)
_ROLE_NONE = cython.declare(cython.int, ROLE_NONE)
_MAX_FLOWS = cython.declare(cython.longlong, MAX_FLOWS)
_MAX_PER_FD = cython.declare(cython.int, MAX_FLOWS_PER_FD)
# Flows on fds below this are found in a list, on others in a dict.
_NEAR = cython.declare(cython.int, 128)

# Seconds after which a flow is exported, and after which one without activity is dropped instead.
_EXPORT = cython.declare(cython.ulonglong, 30)
_EXPIRE = cython.declare(cython.ulonglong, 60)
_SECOND = cython.declare(cython.ulonglong, 1_000_000_000)


@cython.cclass
class Flows:
    """The open flows, in the order of their last export, and the process flows.

    file_read_mode: 0 all file reads, 1 none, 2 those outside of system directories. consume: an open file is one record.
    by_thread: a thread's exit ends its flows (so they are kept by thread too).
    ipv6_left_out: connections that schema version 5 cannot express. dropped: flows exported early for want of room.
    """

    def __init__(self, encoder: Encoder, entities: Entities, file_read_mode: int, consume: bool, by_thread: bool):
        self.encoder = encoder
        self.entities = entities
        self.file_read_mode = file_read_mode
        self.consume = consume
        self.by_thread = by_thread
        self.first = None
        self.last = None
        self.pf_first = None
        self.pf_last = None
        self.open = 0
        self.ipv6_left_out = 0
        self.dropped = 0

    # -- operations

    def file_op(self, thread, info, fd, op, res, ts):
        """An operation on a file, directory, pipe or unix socket."""
        process: Process
        file: File
        flow: Flow = info.flow
        if (
            flow is not None
            and flow.alive
            and op != CLOSE
            and op != OPEN
            and flow.thread is thread
            and flow.fd == fd
            and not flow.network
            and flow.process.epoch == self.entities.epoch
            and flow.file.epoch == self.entities.epoch
            and flow.file.container is thread.container
        ):
            self._count(flow, op, res, ts)
            return 0
        if self.consume and op != OPEN:
            return 0
        process = self.entities.process(thread, _REUP, ts)
        if process is None:
            return 0
        file = info.file
        if file is None or file.gone or file.container is not thread.container or file.epoch != self.entities.epoch:
            file = self.entities.file(thread, info.name, info.restype(), _REUP, ts)
            info.file = file
        if self.consume:
            flow = Flow.__new__(Flow)
            flow.process = process
            flow.tid = thread.tid
            flow.fd = fd
            flow.file = file
            flow.ts = ts
            flow.op_flags = op
            flow.open_flags = info.openflags
            self._write(flow, ts, True)
            return 0
        flow = self._find(process, fd, thread.tid, file, None)
        if flow is None:
            if op == CLOSE:
                # Nothing but the close was seen.
                self._truncate_peers(process, fd, file, None, thread.tid, ts)
                flow = Flow.__new__(Flow)
                flow.process = process
                flow.tid = thread.tid
                flow.fd = fd
                flow.file = file
                flow.ts = ts
                flow.op_flags = CLOSE
                self._write(flow, ts, True)
                return 0
            flow = self._begin(thread, process, fd, ts)
            flow.file = file
            file.refs += 1
            self.open += len(file.path) >> 8
        info.flow = flow
        if op == OPEN:
            flow.open_flags = info.openflags
        self._count(flow, op, res, ts)
        if op == CLOSE:
            info.flow = None
            self._close(flow, ts)

    def net_op(self, thread, info, fd, op, res, ts):
        """An operation on an IP socket."""
        process: Process
        flow: Flow = info.flow
        if (
            flow is not None
            and flow.alive
            and op != CLOSE
            and flow.thread is thread
            and flow.fd == fd
            and flow.network
            and flow.process.epoch == self.entities.epoch
        ):
            self._count(flow, op, res, ts)
            return 0
        if self.consume and (op == CLOSE or op == READ_RECV or op == WRITE_SEND):
            return 0
        if info.role == _ROLE_NONE and info.sport == 0 and info.dport == 0:
            if info.sip6 is None and info.dip6 is None and info.sip == 0 and info.dip == 0:
                # Never connected: there is nobody that a flow could be with.
                return 0
        if info.type == _FD_IPV6_SOCK and self.encoder.version < 6:
            if not info.counted:
                info.counted = True
                self.ipv6_left_out += 1
            return 0
        process = self.entities.process(thread, _REUP, ts)
        if process is None:
            return 0
        if info.ident is None:
            if info.type == _FD_IPV6_SOCK:
                info.ident = (info.sip6, info.dip6, info.sport, info.dport)
            else:
                info.ident = (info.sip, info.dip, info.sport, info.dport)
        flow = self._find(process, fd, thread.tid, None, info.ident)
        if flow is None:
            if op == CLOSE:
                self._truncate_peers(process, fd, None, info.ident, thread.tid, ts)
                flow = Flow.__new__(Flow)
                flow.process = process
                flow.tid = thread.tid
                flow.fd = fd
                flow.ts = ts
            else:
                flow = self._begin(thread, process, fd, ts)
            flow.network = True
            flow.ident = info.ident
            if info.type == _FD_IPV6_SOCK:
                flow.sip6 = info.sip6 if info.sip6 is not None else bytes(16)
                flow.dip6 = info.dip6 if info.dip6 is not None else bytes(16)
            else:
                flow.sip = info.sip
                flow.dip = info.dip
            flow.sport = info.sport
            flow.dport = info.dport
            flow.proto = info.proto()
            if op == CLOSE:
                flow.op_flags = CLOSE
                self._write(flow, ts, True)
                return 0
        info.flow = flow
        self._count(flow, op, res, ts)
        if op == CLOSE:
            info.flow = None
            self._close(flow, ts)

    def _head(self, process, fd):
        """The flows of a process on an fd: the newest, the others behind it by fd_next."""
        if 0 <= fd < len(process.flows):
            return cython.cast(Flow, process.flows[fd])
        if process.far_flows is not None:
            return process.far_flows.get(fd)
        return None

    def _set_head(self, process, fd, flow):
        if 0 <= fd < _NEAR:
            while len(process.flows) <= fd:
                process.flows.append(None)
            process.flows[fd] = flow
            return 0
        if process.far_flows is None:
            process.far_flows = {}
        if flow is None:
            process.far_flows.pop(fd, None)
        else:
            process.far_flows[fd] = flow
        return 0

    def _find(self, process, fd, tid, file, ident):
        """The open flow of a thread on an fd and file, or connection; None where there is none."""
        flow: Flow = self._head(process, fd)
        while flow is not None:
            if flow.tid == tid and flow.file is file and (file is not None or flow.ident == ident):
                return flow
            flow = flow.fd_next
        return None

    def _flows(self, process):
        """All open flows of a process, in the order of their start."""
        found: list = []
        flow: Flow
        for item in process.flows:
            flow = cython.cast(Flow, item)
            while flow is not None:
                found.append(flow)
                flow = flow.fd_next
        if process.far_flows is not None:
            for item in process.far_flows.values():
                flow = cython.cast(Flow, item)
                while flow is not None:
                    found.append(flow)
                    flow = flow.fd_next
        found.sort(key=_start)
        return found

    def _export_early(self, flow):
        """Make room: a flow ends before its time."""
        self.dropped += 1
        flow.op_flags |= TRUNCATE
        self._write(flow, flow.last, True)
        self._remove(flow)
        return 0

    def _begin(self, thread, process, fd, ts):
        """A new flow, in all the tables."""
        flow: Flow
        head: Flow
        oldest: Flow
        steps: cython.int = 0
        if self.open >= _MAX_FLOWS:
            self._export_early(self.first)
        head = self._head(process, fd)
        oldest = head
        while oldest is not None and oldest.fd_next is not None:
            oldest = oldest.fd_next
            steps += 1
        if steps >= _MAX_PER_FD:
            self._export_early(oldest)
            head = self._head(process, fd)
        flow = Flow.__new__(Flow)
        flow.alive = True
        flow.process = process
        flow.thread = thread
        flow.tid = thread.tid
        flow.fd = fd
        flow.ts = ts
        flow.fd_next = head
        if head is not None:
            head.fd_prev = flow
        self._set_head(process, fd, flow)
        process.open_flows += 1
        if self.by_thread and not thread.is_leader():
            if thread.flows is None:
                thread.flows = {}
            thread.flows[flow] = None
        self.open += 1
        self._append(flow, ts // _SECOND)
        return flow

    def _count(self, flow, op, res, ts):
        """Add an operation up."""
        flow.op_flags |= op
        flow.last = ts
        if op == READ_RECV:
            flow.r_ops += 1
            if res > 0:
                flow.r_bytes = flow.r_bytes + res if res <= _MOST - flow.r_bytes else _MOST
        elif op == WRITE_SEND:
            flow.w_ops += 1
            if res > 0:
                flow.w_bytes = flow.w_bytes + res if res <= _MOST - flow.w_bytes else _MOST

    # -- ends of flows

    def _close(self, flow, ts):
        """Write and forget a flow whose fd was closed, after the other threads' flows on it."""
        self._truncate_peers(flow.process, flow.fd, flow.file, flow.ident, flow.tid, ts)
        self._write(flow, ts, True)
        self._remove(flow)

    def _truncate_peers(self, process, fd, file, ident, tid, ts):
        """Write and forget what other threads of the process have open on the same: those that opened it first."""
        flow: Flow = self._head(process, fd)
        begun: list = None
        others: list = None
        while flow is not None:
            if flow.tid != tid and flow.file is file and (file is not None or flow.ident == ident):
                if begun is None:
                    begun = []
                    others = []
                if flow.op_flags & (ACCEPT | CONNECT if flow.network else OPEN):
                    begun.append(flow)
                else:
                    others.append(flow)
            flow = flow.fd_next
        if begun is None:
            return 0
        for item in begun + others:
            flow = cython.cast(Flow, item)
            flow.op_flags |= TRUNCATE
            self._write(flow, ts, True)
            self._remove(flow)

    def thread_exit(self, process, thread, ts):
        """A thread that is not the main one exits: its flows end, and the other threads' on the same fds."""
        flow: Flow
        if not thread.flows:
            return 0
        for network in (False, True):
            for item in list(thread.flows):
                flow = cython.cast(Flow, item)
                if flow.alive and flow.network == network:
                    self._truncate_peers(process, flow.fd, flow.file, flow.ident, flow.tid, ts)
                    flow.op_flags |= TRUNCATE
                    self._write(flow, ts, True)
                    self._remove(flow)

    def process_exit(self, process, ts):
        """The main thread exits: all flows of the process end, files first."""
        flow: Flow
        flows: list
        if process.open_flows == 0:
            return 0
        flows = self._flows(process)
        for network in (False, True):
            for item in flows:
                flow = cython.cast(Flow, item)
                if flow.alive and flow.network == network:
                    flow.op_flags |= TRUNCATE
                    self._write(flow, ts, True)
                    self._remove(flow)

    def _remove(self, flow):
        """Forget a flow everywhere."""
        process: Process = flow.process
        if not flow.alive:
            return 0
        flow.alive = False
        process.open_flows -= 1
        if flow.fd_next is not None:
            flow.fd_next.fd_prev = flow.fd_prev
        if flow.fd_prev is not None:
            flow.fd_prev.fd_next = flow.fd_next
        else:
            self._set_head(process, flow.fd, flow.fd_next)
        flow.fd_prev = None
        flow.fd_next = None
        if flow.thread is not None and flow.thread.flows is not None:
            flow.thread.flows.pop(flow, None)
        if flow.file is not None:
            flow.file.refs -= 1
            self.open -= len(flow.file.path) >> 8
        flow.thread = None
        self._unlink(flow)
        self.open -= 1

    def _append(self, flow, now):
        """Last in the order of exports."""
        flow.exported = now
        flow.next = None
        flow.prev = self.last
        if self.last is None:
            self.first = flow
        else:
            self.last.next = flow
        self.last = flow

    def _unlink(self, flow):
        if flow.prev is None:
            self.first = flow.next
        else:
            flow.prev.next = flow.next
        if flow.next is None:
            self.last = flow.prev
        else:
            flow.next.prev = flow.prev
        flow.prev = None
        flow.next = None

    # -- output

    def _selected(self, flow):
        """What FILE_READ_MODE leaves of a file flow."""
        if self.file_read_mode == 0:
            return True
        if flow.open_flags & _RDONLY == 0:
            if flow.op_flags & READ_RECV == 0 or flow.op_flags & (WRITE_SEND | MMAP):
                return True
        return self.file_read_mode == 2 and not flow.file.system

    def _write(self, flow, ts, select):
        """Write a flow that ends at ts, unless nothing happened in it; what it refers to first, if this file lacks it."""
        process: Process = flow.process
        if flow.op_flags == 0 or flow.op_flags == TRUNCATE:
            return 0
        if ts < cython.cast(cython.ulonglong, flow.ts):
            # The clock went back: no record ends before it starts.
            ts = flow.ts
        self.entities.write_with_ancestors(process)
        if flow.network:
            self.encoder.network_flow(
                process.create_ts,
                process.pid,
                flow.ts,
                flow.tid,
                flow.op_flags,
                ts,
                int32(flow.sip),
                flow.sport,
                int32(flow.dip),
                flow.dport,
                flow.proto,
                flow.fd,
                flow.r_ops,
                flow.w_ops,
                flow.r_bytes,
                flow.w_bytes,
                flow.sip6,
                flow.dip6,
            )
            return 0
        if select and not self._selected(flow):
            return 0
        if flow.file.epoch != self.entities.epoch:
            self.entities.write_file(flow.file, _REUP, ts)
        self.encoder.file_flow(
            process.create_ts,
            process.pid,
            flow.ts,
            flow.tid,
            flow.op_flags,
            int32(flow.open_flags),
            ts,
            flow.file.oid,
            flow.fd,
            flow.r_ops,
            flow.w_ops,
            flow.r_bytes,
            flow.w_bytes,
        )

    # -- process flows

    def count_thread(self, process, op, res, ts):
        """A thread clone or exit, counted in the process's ProcessFlow."""
        if not process.counting:
            process.counting = True
            process.pf_ts = ts
            process.pf_flags = 0
            process.pf_cloned = 0
            process.pf_exited = 0
            process.pf_errors = 0
            self._pf_append(process, ts // _SECOND)
        process.pf_flags |= op
        process.pf_last = ts
        if op == EXIT:
            process.pf_exited += 1
        elif res == 0:
            process.pf_cloned += 1
        elif res < 0:
            process.pf_errors += 1

    def write_process_flow(self, process, ts):
        """Write a ProcessFlow that ends at ts, unless nothing happened in it."""
        if process.pf_flags == 0 or process.pf_flags == TRUNCATE:
            return 0
        self.entities.write_with_ancestors(process)
        if ts < cython.cast(cython.ulonglong, process.pf_ts):
            ts = process.pf_ts
        self.encoder.process_flow(
            process.create_ts,
            process.pid,
            process.pf_ts,
            process.pf_cloned,
            process.pf_flags,
            ts,
            process.pf_exited,
            process.pf_errors,
        )

    def end_process_flow(self, process, ts):
        """The process exits: its ProcessFlow ends, without TRUNCATE."""
        if process.counting:
            self.write_process_flow(process, ts)
            self._pf_unlink(process)

    def _pf_append(self, process, now):
        process.pf_exported = now
        process.pf_next = None
        process.pf_prev = self.pf_last
        if self.pf_last is None:
            self.pf_first = process
        else:
            self.pf_last.pf_next = process
        self.pf_last = process

    def _pf_unlink(self, process):
        process.counting = False
        if process.pf_prev is None:
            self.pf_first = process.pf_next
        else:
            process.pf_prev.pf_next = process.pf_next
        if process.pf_next is None:
            self.pf_last = process.pf_prev
        else:
            process.pf_next.pf_prev = process.pf_prev
        process.pf_prev = None
        process.pf_next = None

    # -- time

    def expire(self, ts):
        """Export flows that are 30 s old, drop those without activity for 60 s. Called once a second of capture time."""
        now: cython.ulonglong = ts // _SECOND
        flow: Flow = self.first
        following: Flow
        process: Process
        following_process: Process
        end: Flow = self.last
        while flow is not None and now >= flow.exported + _EXPORT:
            following = flow.next if flow is not end else None
            if now >= flow.last // _SECOND + _EXPIRE:
                self._remove(flow)
            else:
                self._write(flow, ts, True)
                flow.ts = ts
                flow.op_flags = 0
                flow.r_ops = 0
                flow.w_ops = 0
                flow.r_bytes = 0
                flow.w_bytes = 0
                self._unlink(flow)
                self._append(flow, now)
            flow = following
        process = self.pf_first
        last: Process = self.pf_last
        while process is not None and now >= process.pf_exported + _EXPORT:
            following_process = process.pf_next if process is not last else None
            self._pf_unlink(process)
            if now < process.pf_last // _SECOND + _EXPIRE:
                self.write_process_flow(process, ts)
                process.counting = True
                process.pf_ts = ts
                process.pf_flags = 0
                process.pf_cloned = 0
                process.pf_exited = 0
                process.pf_errors = 0
                self._pf_append(process, now)
            process = following_process

    def finish(self, ts):
        """The end of input: every open flow ends with TRUNCATE, process by process in the order of their first flow."""
        processes: dict = {}
        flow: Flow = self.first
        process: Process
        while flow is not None:
            processes[flow.process] = None
            flow = flow.next
        process = self.pf_first
        while process is not None:
            processes[process] = None
            process = process.pf_next
        for item in processes:
            process = cython.cast(Process, item)
            self.entities.write_with_ancestors(process)
            flows: list = self._flows(process)
            for network in (True, False):
                for entry in flows:
                    flow = cython.cast(Flow, entry)
                    if flow.network == network:
                        flow.op_flags |= TRUNCATE
                        self._write(flow, ts, False)
                        self._remove(flow)
            if process.counting:
                process.pf_flags |= TRUNCATE
                self.write_process_flow(process, ts)
                self._pf_unlink(process)

    def forget(self):
        """Drop all open flows unwritten."""
        while self.first is not None:
            self._remove(self.first)
        while self.pf_first is not None:
            self._pf_unlink(self.pf_first)


def _start(flow: Flow):
    return flow.ts


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
