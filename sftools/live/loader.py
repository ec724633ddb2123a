"""Loads the eBPF programs (capture/) into the kernel, with libbpf's C API: settings, filters, attaching, counters.

What a host lacks is said in one line, with what to do. API: libbpf 1.x, bpf/libbpf.h and bpf/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import platform
import signal
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftools.errors import ENDING_SIGNALS, CaptureError, UsageError
from sftools.limits import MAX_THREADS
from sftools.live import DEFAULT_BUFFER, DEFAULT_SNAPLEN, MAX_SNAPLEN
from sftools.scap.event_table import EVENTS

PROBE = Path(__file__).parent / "sysflow.bpf.o"
BTF = Path("/sys/kernel/btf/vmlinux")
OLDEST_KERNEL = (5, 8)

_SECOND = 1_000_000_000
# PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h.
_HOST_PID_NAMESPACE = 0xEFFFFFFC
MIN_BUFFER = 4096
MAX_BUFFER = 1 << 30

# struct sysflow_settings and struct counters of capture/maps.h.
_SETTINGS = struct.Struct("<Q8Q8QQ4I4B4x")
_REASONS = ("ring_full", "too_large", "unread", "compat", "sampled_out", "unfollowed", "truncated")

# Threads whose beginning was recorded and whose end therefore is: as many as the engine remembers at most.
_MAX_BEGUN = MAX_THREADS

# The verifier's log comes as one text, and why it refuses stands at its end.
_LOG_BYTES = 1 << 20

# struct scratch: its size, not to be exceeded by the kernel's, and its second field.
_SCRATCH_BYTES = 1 << 19
_LOST_SINCE = struct.Struct("<Q")

# Capabilities by number (capability.h): either both of the first or the last.
_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 21, 38, 39

# __LIBBPF_ERRNO__START of bpf/libbpf.h: its own errors, all of them of what stands in the file.
_LIBBPF_ERRNO = 4000

_HIERARCHIES = {"memory": 1, "pids": 2}
_CGROUP_ROOT = Path("/sys/fs/cgroup")

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """What the kernel records. Filters that are empty are off; every one that is on must let an event pass.

    snaplen: bytes of I/O data per event. buffer: bytes of the ring, rounded up to a power of two. pids: processes
    (tgids of the host); follow: those that they start too. comms: names of threads, 15 bytes of each count. cgroups:
    directories under /sys/fs/cgroup, all of one hierarchy: what runs in them and below. events: ids (PPME_), None: all.
    sampled: ids of those that are recorded only in the first one of `sampling_ratio` parts of each second.
    include_self: the calling process is recorded too.
    """

    snaplen: int = DEFAULT_SNAPLEN
    buffer: int = DEFAULT_BUFFER
    pids: frozenset[int] = frozenset()
    follow: bool = True
    comms: frozenset[bytes] = frozenset()
    cgroups: frozenset[Path] = frozenset()
    events: frozenset[int] | None = None
    sampled: frozenset[int] = frozenset()
    sampling_ratio: int = 1
    include_self: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.snaplen <= MAX_SNAPLEN:
            raise UsageError(f"--snaplen {self.snaplen}: 0 to {MAX_SNAPLEN} bytes are possible")
        if not MIN_BUFFER <= self.buffer <= MAX_BUFFER:
            raise UsageError(f"--buffer {self.buffer}: {MIN_BUFFER} to {MAX_BUFFER} bytes are possible")

    @property
    def ring_bytes(self) -> int:
        """The size of the ring: a power of two of whole pages."""
        return max(1 << (self.buffer - 1).bit_length(), os.sysconf("SC_PAGE_SIZE"))


def boot_epoch_ns() -> int:
    """CLOCK_REALTIME when CLOCK_BOOTTIME was 0: what turns the kernel's event times into times of day."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def settings(options: ProbeOptions, boot_epoch: int, self_pid: int) -> bytes:
    """struct sysflow_settings, as the programs read it."""
    return _SETTINGS.pack(
        boot_epoch,
        *_bits(range(len(EVENTS)) if options.events is None else options.events),
        *_bits(options.sampled),
        _SECOND // options.sampling_ratio if options.sampling_ratio > 1 else 0,
        0 if options.include_self else self_pid,
        options.snaplen,
        options.ring_bytes // 8,
        _hierarchy(options.cgroups),
        bool(options.pids),
        options.follow,
        bool(options.comms),
        bool(options.cgroups),
    )


def _bits(events: Iterable[int]) -> list[int]:
    bits = [0] * 8
    for event in events:
        if not 0 <= event < len(EVENTS):
            raise UsageError(f"event {event}: there are {len(EVENTS)}")
        bits[event // 64] |= 1 << event % 64
    return bits


def _hierarchy(cgroups: Iterable[Path]) -> int:
    found = set()
    for path in cgroups:
        parts = path.relative_to(_CGROUP_ROOT).parts if path.is_relative_to(_CGROUP_ROOT) else ()
        name = parts[0] if parts else ""
        other = name not in (*_HIERARCHIES, "unified", "") and not (_CGROUP_ROOT / "cgroup.controllers").exists()
        if other and path.exists():  # else it is named as missing when it is looked up
            raise UsageError(f"cgroup {path}: of version 1's hierarchies only {' and '.join(_HIERARCHIES)}")
        found.add(_HIERARCHIES.get(name, 0))
    if len(found) > 1:
        raise UsageError("cgroups of several hierarchies: give all under one of memory, pids, or version 2's")
    return found.pop() if found else 0


def check_host() -> None:
    """Raises CaptureError where this host cannot run the programs, saying what is missing and what to do."""
    system = platform.system()
    if system != "Linux":
        raise CaptureError(f"live capture needs Linux; this is {system}")
    if platform.machine() != "x86_64":
        raise CaptureError(f"live capture supports x86-64 only; this is {platform.machine()}")
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers < OLDEST_KERNEL:
        raise CaptureError(f"live capture needs kernel 5.8 or newer; this is {release}")
    if not BTF.exists():
        raise CaptureError(f"the kernel has no type information: {BTF} is missing; use one with CONFIG_DEBUG_INFO_BTF")
    with suppress(OSError):
        if os.stat("/proc/self/ns/pid").st_ino != _HOST_PID_NAMESPACE:
            raise CaptureError(
                "live capture needs the host's pid namespace: run the container with --pid=host (hostPID)"
            )
    if not PROBE.exists():
        raise CaptureError(f"the eBPF programs are not built: {PROBE.name} is missing; run `make probe`")


def _libbpf() -> Any:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        raise CaptureError("libbpf.so.1 is missing; apt-get install libbpf1") from None
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    for name, result, *arguments in (
        ("libbpf_set_print", pointer, pointer),
        ("libbpf_num_possible_cpus", ctypes.c_int),
        ("bpf_object__open_file", pointer, text, pointer),
        ("bpf_object__load", ctypes.c_int, pointer),
        ("bpf_object__close", None, pointer),
        ("bpf_object__find_map_by_name", pointer, pointer, text),
        ("bpf_object__find_program_by_name", pointer, pointer, text),
        ("bpf_map__fd", ctypes.c_int, pointer),
        ("bpf_map__set_max_entries", ctypes.c_int, pointer, ctypes.c_uint32),
        ("bpf_map__initial_value", pointer, pointer, ctypes.POINTER(size)),
        ("bpf_map_update_elem", ctypes.c_int, ctypes.c_int, pointer, pointer, ctypes.c_uint64),
        ("bpf_map_delete_elem", ctypes.c_int, ctypes.c_int, pointer),
        ("bpf_map_lookup_elem", ctypes.c_int, ctypes.c_int, pointer, pointer),
        ("bpf_program__attach", pointer, pointer),
        ("bpf_program__fd", ctypes.c_int, pointer),
        ("bpf_link__destroy", ctypes.c_int, pointer),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


class _Log:
    """libbpf's warnings: the last lines of them tell why a program was refused."""

    def __init__(self, library: Any) -> None:
        self.lines: list[str] = []
        self._format = ctypes.CDLL(None).vsnprintf
        self._format.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
        self._callback = _PRINT(self._take)  # kept: libbpf calls it as long as the process lives
        library.libbpf_set_print(ctypes.cast(self._callback, ctypes.c_void_p))

    def _take(self, level: int, form: bytes, arguments: int) -> int:
        if level == 0:
            room = ctypes.create_string_buffer(_LOG_BYTES)
            self._format(room, len(room), form, arguments)
            self.lines += room.value.decode(errors="replace").splitlines()
            del self.lines[:-20]
        return 0


class Probe:
    """The programs, loaded and attached. They go with the process, however it ends: nothing is pinned.

    A context manager. Raises CaptureError where the kernel refuses them.
    """

    def __init__(self, options: ProbeOptions) -> None:
        check_host()
        self.options = options
        self.boot_epoch_ns = boot_epoch_ns()
        self._library = _libbpf()
        self._log = _Log(self._library)
        self._cpus = self._library.libbpf_num_possible_cpus()
        self._links: list[int] = []
        self._last = dict.fromkeys((*_REASONS, "missed"), 0)
        self._object = self._library.bpf_object__open_file(os.fsencode(PROBE), None)
        if not self._object:
            code = ctypes.get_errno()
            why = "is damaged" if code >= _LIBBPF_ERRNO else f"cannot be read: {os.strerror(code)}"
            raise CaptureError(f"{PROBE.name} {why}; run `make probe` again")
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach and unload."""
        self.detach()
        if self._object:
            with suppress(CaptureError):
                self._last = self.statistics()
            self._library.bpf_object__close(self._object)
            self._object = None

    def _load(self) -> None:
        self._library.bpf_map__set_max_entries(self._map("ring"), self.options.ring_bytes)
        self._library.bpf_map__set_max_entries(self._map("scratches"), self._cpus)
        if self._may_leave:
            self._library.bpf_map__set_max_entries(self._map("begun"), _MAX_BEGUN)
        self._configure()
        # A handler that raises would do so in libbpf's call of _Log._take, where ctypes swallows it: signals wait.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
        try:
            failed = self._library.bpf_object__load(self._object)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        if failed:
            raise CaptureError(_refusal(-failed, self._log.lines))
        self.ring_fd: int = self._library.bpf_map__fd(self._map("ring"))
        for pid in self.options.pids:
            self._update("tgids", struct.pack("<I", pid), "process")
        for comm in self.options.comms:
            self._update("comms", comm[:15].ljust(16, b"\0"), "name of a thread")
        for path in self.options.cgroups:
            try:
                if not (path / "cgroup.procs").exists():
                    raise CaptureError(f"{path} is no cgroup: it is wanted as a directory under {_CGROUP_ROOT}")
                self._update("cgroups", struct.pack("<Q", path.stat().st_ino), "cgroup")
            except OSError as error:
                raise CaptureError(f"cgroup {path}: {error.strerror}") from None

    def _configure(self) -> None:
        value = settings(self.options, self.boot_epoch_ns, os.getpid())
        size = ctypes.c_size_t()
        at = self._library.bpf_map__initial_value(self._map(".rodata.settings"), ctypes.byref(size))
        if not at or size.value != len(value):
            raise CaptureError(f"{PROBE.name} is of another version of sftools; run `make probe` again")
        ctypes.memmove(at, value, len(value))

    @property
    def _may_leave(self) -> bool:
        """may_leave() of capture/filter.h."""
        options = self.options
        return bool(options.comms or options.cgroups or (options.pids and not options.follow))

    def attach(self) -> None:
        """Begin to record."""
        for name in ("process_fork", "process_exit", "sys_exit"):
            if name == "process_fork" and not (self._may_leave or self.options.pids):
                continue
            link = self._library.bpf_program__attach(self._program(name))
            if not link:
                raise CaptureError(_refusal(ctypes.get_errno(), self._log.lines))
            self._links.append(link)

    def detach(self) -> None:
        """Record no more; what was recorded can still be read."""
        while self._links:
            self._library.bpf_link__destroy(self._links.pop())

    def unmarked_losses(self) -> list[int]:
        """When CPUs began to lose events that no PPME_DROP_X ends: times in ns, of those that lost to the end."""
        if not self._object:
            return []
        fd = self._library.bpf_map__fd(self._map("scratches"))
        room = ctypes.create_string_buffer(_SCRATCH_BYTES)
        found = []
        for cpu in range(self._cpus):
            key = ctypes.c_uint32(cpu)
            if self._library.bpf_map_lookup_elem(fd, ctypes.byref(key), room) == 0:
                found.append(_LOST_SINCE.unpack_from(room, 8)[0])
        return sorted(filter(None, found))

    def statistics(self) -> dict[str, int]:
        """What did not get through, by reason (struct counters of capture/maps.h), and events that the kernel skipped.

        ring_full, too_large: events lost. unread: parameters left empty because the process's memory could not be
        read. compat: 32-bit system calls. sampled_out: left out by the sampling. unfollowed: processes that are not
        recorded, though their parents are, as there are too many. truncated: messages of sendmmsg and recvmmsg beyond
        124. missed: events that came while another of the same program was being made. After close() the last numbers.
        """
        if not self._object:
            return dict(self._last)
        width = len(_REASONS)
        room = ctypes.create_string_buffer(8 * width * self._cpus)
        key = ctypes.c_uint32(0)
        if self._library.bpf_map_lookup_elem(self._library.bpf_map__fd(self._map("counters")), ctypes.byref(key), room):
            raise CaptureError(f"the programs' counters cannot be read: {os.strerror(ctypes.get_errno())}")
        numbers = struct.unpack(f"<{width * self._cpus}Q", room.raw)
        found = {reason: sum(numbers[i::width]) for i, reason in enumerate(_REASONS)}
        found["missed"] = sum(self._missed())
        return found

    def _missed(self) -> Iterator[int]:
        for name in ("sys_exit", "process_exit"):
            fd = self._library.bpf_program__fd(self._program(name))
            with suppress(OSError):
                for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
                    if line.startswith("recursion_misses:"):
                        yield int(line.split()[1])

    def _update(self, name: str, key: bytes, what: str) -> None:
        yes = ctypes.c_uint8(1)
        if self._library.bpf_map_update_elem(self._library.bpf_map__fd(self._map(name)), key, ctypes.byref(yes), 0):
            raise CaptureError(f"no {what} can be added to the filter: {os.strerror(ctypes.get_errno())}")

    def _map(self, name: str) -> int:
        return self._part(self._library.bpf_object__find_map_by_name, name)

    def _program(self, name: str) -> int:
        return self._part(self._library.bpf_object__find_program_by_name, name)

    def _part(self, find: Any, name: str) -> int:
        found: int | None = find(self._object, name.encode())
        if not found:
            raise CaptureError(
                f"{PROBE.name} has no {name}: it is of another version of sftools; run `make probe` again"
            )
        return found


def _refusal(code: int, lines: list[str]) -> str:
    """Why the kernel refused the programs, as one line with what to do."""
    if code in (errno.EPERM, errno.EACCES) and not _capable():
        return "live capture is not permitted: run as root, or with the capabilities CAP_BPF and CAP_PERFMON"
    if code == errno.EPERM:
        with suppress(OSError):
            state = Path("/sys/kernel/security/lockdown").read_text()
            if "[none]" not in state:
                return "the kernel is locked down (/sys/kernel/security/lockdown), which forbids eBPF to read memory"
        return (
            "the kernel refuses eBPF (EPERM): a container needs CAP_BPF, CAP_PERFMON and a seccomp profile with bpf(2)"
        )
    if any(os.strerror(errno.EMFILE) in line for line in (os.strerror(code), *lines)):
        return "the programs need more open files than are allowed: raise the limit (ulimit -n)"
    if code == errno.ENOMEM:
        return "the kernel has no memory for the ring buffer: choose a smaller one"
    # The verifier's reason is the line before its last, which counts instructions.
    reasons = [
        line
        for line, after in itertools.pairwise(lines)
        if after.startswith("processed ") and "BEGIN PROG LOAD LOG" not in line
    ]
    reasons += [line.removeprefix("libbpf: ") for line in lines if "failed" in line]
    why = f" ({reasons[0]})" if reasons else ""
    return f"the kernel {platform.release()} refuses the eBPF programs: {os.strerror(code)}{why}"


def _capable() -> bool:
    with suppress(OSError, IndexError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                have = int(line.split()[1], 16)
                return bool(have >> _CAP_SYS_ADMIN & 1 or (have >> _CAP_BPF & 1 and have >> _CAP_PERFMON & 1))
    return os.geteuid() == 0
