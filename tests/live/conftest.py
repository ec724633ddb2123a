"""What the tests of a running capture share: whether it is permitted here, waiting, a look at what it recorded."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sftools.errors import CaptureError
from sftools.live.capture import Capture
from sftools.live.loader import Probe, ProbeOptions
from sftools.scap import blocks
from sftools.scap.event_table import EVENTS, Event
from sftools.scap.writer import _PARAM_SIZES

_SIGNED = {"PT_ERRNO", "PT_FD", "PT_PID", "PT_INT64", "PT_INT32"}


@pytest.fixture
def tmp_path(short_path: Path) -> Path:
    """Workloads and servers make sockets there."""
    return short_path


class Recorded(NamedTuple):
    """One event, its parameters by name: numbers, text without its NUL, else bytes; None where it is absent."""

    ts: int
    tid: int
    row: Event
    params: dict[str, Any]

    @property
    def name(self) -> str:
        return self.row.code.removeprefix("PPME_").removeprefix("SYSCALL_").removeprefix("SOCKET_").removesuffix("_X")


def blocks_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each block; both its lengths are looked at."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert data[at + size - 4 : at + size] == struct.pack("<I", size)
        yield kind, data[at + 8 : at + size - 4]
        at += size


def events_of(data: bytes) -> list[Recorded]:
    """The events of a capture. That each has the newest parameters, in their types' sizes, is asserted."""
    found = []
    for kind, body in blocks_of(data):
        if kind != blocks.EV_V2:
            continue
        _, ts, tid, length, code, count = struct.unpack_from("<HQQIHI", body)
        row = EVENTS[code]
        assert count == len(row.params), row.code
        at = 28 + 2 * count
        params = {}
        for param, size in zip(row.params, struct.unpack_from(f"<{count}H", body, 28), strict=True):
            params[param.name] = _value(param.type, body[at : at + size])
            at += size
        assert at == 2 + length, row.code
        found.append(Recorded(ts, tid, row, params))
    return found


def _value(kind: str, data: bytes) -> Any:
    if not data:
        return None
    if kind in _PARAM_SIZES:
        assert len(data) == _PARAM_SIZES[kind], kind
        return int.from_bytes(data, "little", signed=kind in _SIGNED)
    if kind in ("PT_CHARBUF", "PT_FSPATH", "PT_FSRELPATH"):
        assert data.endswith(b"\0")
        return data[:-1]
    return data


_PR_SET_PDEATHSIG = 1


def end_with_the_tests() -> None:
    """For a process that ends only when it is told to: the kernel kills it when the tests were killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


# x86-64's numbers of calls.
READ, POLL, EPOLL_WAIT, EPOLL_PWAIT = "0", "7", "232", "281"


def waits(pid: int, *calls: str, fd: int | None = None) -> bool:
    """Whether a process waits in one of the calls, of this descriptor where that is given."""
    try:
        call, *arguments = Path(f"/proc/{pid}/syscall").read_text().split()
    except FileNotFoundError:
        pytest.skip("the kernel does not tell what a process waits for")
    return call in calls and (fd is None or int(arguments[0], 16) == fd)


def eventually(condition: Callable[[], bool]) -> None:
    """Until it is so. A minute is no measure: nothing takes as long, however busy the machine is."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "does not happen"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def permitted() -> None:
    """Skips, with the reason, where the running system cannot be captured; in CI, which runs as root, that fails."""
    try:
        Probe(ProbeOptions()).close()
    except CaptureError as error:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            raise
        pytest.skip(str(error))


@pytest.fixture
def record(permitted: None, tmp_path: Path) -> Callable[..., tuple[bytes, int]]:
    """Runs a shell script that is captured from its first line on: (the capture, pid of the shell)."""

    def run(script: str, **options: Any) -> tuple[bytes, int]:
        command = ["sh", "-c", "read go; " + script]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path)
        eventually(lambda: waits(child.pid, READ, fd=0))  # or how it began would be recorded
        options.setdefault("pids", frozenset({child.pid}))
        out = bytearray()
        with Capture(ProbeOptions(**options)) as capture:

            def idle() -> None:
                # The first time, the lists are there and nothing happens any more: now the script may run.
                if child.stdin is not None and not child.stdin.closed:
                    child.stdin.write(b"\n")
                    child.stdin.close()
                elif child.poll() is not None:
                    capture.stop()

            capture.on_idle = idle
            while data := capture.read(1 << 20):
                out += data
        return bytes(out), child.pid

    return run
