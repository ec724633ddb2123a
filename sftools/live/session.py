"""A live capture from begin to end: the kernel's events, what runtimes say of containers, a command to trace.

It is a source of capture bytes, as a file is. It ends by stop() (signals), after a time, or with the traced command.
"""

from __future__ import annotations

import io
import os
import select
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, NoReturn

from sftools.errors import ENDING_SIGNALS, UsageError
from sftools.live.capture import Capture
from sftools.live.containers import CRI_SOCKETS, ContainerLookup
from sftools.live.loader import ProbeOptions
from sftools.scap import tables
from sftools.scap.writer import ScapWriter
from sftools.source import Source

NAME = "live"
# While nothing happens, an event without meaning lets the conversion's clock go on.
_TICK_SECONDS = 1.0
# Older than what may still come out of the ring.
_TICK_AGE_NS = 5_000_000
# The status that a shell gives a command that cannot be run.
_NOT_RUNNABLE = 126


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """probe: what the kernel records. command: traced with its descendants, and nothing else; the capture ends with it.

    duration: seconds after which it ends, from when /proc has been read; 0: never. cri_sockets, timeout_ms: of
    container runtimes, and how long one may take to answer. names: whether they are asked at all. on_stop: called
    when the capture ends, before its last events are read, by a signal's handler or from another thread.
    """

    probe: ProbeOptions = field(default_factory=ProbeOptions)
    command: Sequence[str] = ()
    duration: float = 0
    cri_sockets: Sequence[str] = CRI_SOCKETS
    timeout_ms: int = 1000
    names: bool = True
    on_stop: Callable[[], None] | None = None


class Session:
    """A running capture. source: its bytes."""

    def __init__(self, capture: Capture, command: _Command | None, on_stop: Callable[[], None] | None) -> None:
        self.source = Source(_Bytes(capture), NAME, b"", None)
        self._capture = capture
        self._command = command
        self._on_stop = on_stop
        self._signal = 0

    @property
    def status(self) -> int | None:
        """Of the command, as a shell has it, once it has ended; 128 + N where signal N ended the capture before that.

        None without a command, and where the capture ends after its duration.
        """
        if self._command is None:
            return None
        return self._command.status if self._command.status is not None or not self._signal else 128 + self._signal

    @property
    def statistics(self) -> dict[str, int]:
        """Capture.statistics."""
        return self._capture.statistics

    @property
    def events(self) -> int:
        """Taken so far."""
        return self._capture.events

    def stop(self, number: int = 0) -> None:
        """End: what happened until now is still read. number: of the signal that wants it."""
        self._signal = self._signal or number
        self._capture.stop()
        if self._on_stop is not None:
            self._on_stop()


@contextmanager
def capture_session(options: SessionOptions) -> Iterator[Session]:
    """Attaches, starts the command, and detaches at the end.

    SIGHUP, SIGINT and SIGTERM stop the session, and a second one is left to whoever handled them before. Where there is
    a command they are for that (a terminal sends it SIGINT by itself): the session goes on until it ends, and a second
    one stops the session. Of SIGHUP there is no second one: after the first it stays ignored, as one that belongs to
    the same closed terminal may come when the session has ended. For the main thread. Raises CaptureError.
    """
    with ExitStack() as stack:
        # First, while there is one thread: a process is forked.
        command = _Command(options.command) if options.command else None
        if command:
            stack.callback(command.abandon)
        probe = options.probe if command is None else replace(options.probe, pids=frozenset({command.pid}), follow=True)
        ticker = _Ticker()
        lookups: list[ContainerLookup] = []
        timer = threading.Timer(options.duration, lambda: session.stop())
        timer.daemon = True

        def begin() -> None:
            # The lists have the command as it is before it begins; and the time that they take is not the capture's.
            if command:
                command.begin()
            if options.duration:
                timer.start()

        def ended() -> None:
            # What it has begun is waited for: it uses what is closed after this.
            timer.cancel()
            if timer.ident is not None:
                timer.join()

        capture = stack.enter_context(
            Capture(
                probe,
                on_cgroups=lambda cgroups: lookups[0].want(cgroups) if lookups else None,
                on_idle=ticker,
                on_listed=begin,
            )
        )
        ticker.capture = capture
        if options.names:
            lookup = ContainerLookup(
                capture.inject, cri=options.cri_sockets, timeout_ms=options.timeout_ms, clock=capture.now
            )
            lookups.append(lookup)
            stack.callback(lookup.close)
        session = Session(capture, command, options.on_stop)
        stack.enter_context(_stopped_by_signals(session.stop, command))
        stack.callback(ended)
        yield session


class _Bytes:
    """A capture's bytes for a Source, whose end is not the capture's: its statistics are wanted after that."""

    def __init__(self, capture: Capture) -> None:
        self.read = capture.read
        self.readinto = capture.readinto

    def close(self) -> None:
        """Nothing: the session closes the capture."""


class _Ticker:
    """Called while nothing happens: once a second an event goes out that only tells the time."""

    def __init__(self) -> None:
        self.capture: Capture | None = None
        self._last = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if self.capture is not None and now >= self._last + _TICK_SECONDS:
            self._last = now
            block = io.BytesIO()
            ScapWriter(block).event(self.capture.now() - _TICK_AGE_NS, -1, tables.PPME_SCAPEVENT_E, (0, 0))
            self.capture.inject(block.getvalue())


class _Command:
    """A process that waits to become the command until begin(). Raises UsageError where there is none to run."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.status: int | None = None
        program = shutil.which(arguments[0])
        if program is None:
            raise UsageError(f"{arguments[0]}: {_why_not(arguments[0])}")
        self._program, self._arguments = program, list(arguments)
        reading, self._go = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            self._become(reading)
        os.close(reading)

    def _become(self, reading: int) -> NoReturn:
        try:
            os.close(self._go)
            for number in (*ENDING_SIGNALS, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup is for it too
                    signal.signal(number, signal.SIG_DFL)
            # Without reading, which would be recorded: the capture has begun by then.
            ready = select.poll()
            ready.register(reading, select.POLLIN)
            if not ready.poll()[0][1] & select.POLLIN:
                os._exit(0)
            os.execv(self._program, self._arguments)
        except OSError as error:
            os.write(2, os.fsencode(f"{self._program}: {error.strerror}\n"))
        finally:
            os._exit(_NOT_RUNNABLE)

    def begin(self) -> None:
        with suppress(BrokenPipeError):  # it was killed while it waited
            os.write(self._go, b"\0")
        os.close(self._go)
        self._go = -1

    def ended(self) -> bool:
        """Whether it has ended; then its status is there."""
        if self.status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # a handler's call amid another, which has been told and is about to note it
                return True
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.status = 128 - code if code < 0 else code
        return self.status is not None

    def abandon(self) -> None:
        """Where the capture failed or ended before begin(): it becomes nothing."""
        if self._go >= 0:
            os.close(self._go)
            self._go = -1
            if self.status is None:
                os.waitpid(self.pid, 0)


def _why_not(name: str) -> str:
    """Why shutil.which() does not find a command."""
    if "/" not in name or not os.path.exists(name):
        return "no such command"
    return "is a directory" if os.path.isdir(name) else "may not be executed"


@contextmanager
def _stopped_by_signals(stop: Callable[[int], None], command: _Command | None) -> Iterator[None]:
    before: dict[int, Any] = {}
    came: set[int] = set()

    def again(number: int, frame: FrameType | None) -> None:
        came.add(number)
        for each in before.keys() - {signal.SIGHUP}:
            signal.signal(each, before[each])
        hung_up()
        stop(number)

    def end(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and number in came:
            return  # amid this call for the first one
        if command is None:
            again(number, frame)
            return
        came.add(number)
        for each in before.keys() & {signal.SIGINT, signal.SIGTERM}:
            signal.signal(each, again)
        hung_up()
        if number != signal.SIGINT and not command.ended():
            os.kill(command.pid, number)

    def hung_up() -> None:
        # When a terminal is closed, the kernel sends one and the shell another. Last, as others see that it is ignored:
        # whoever sends another signal then sends a second one.
        if signal.SIGHUP in before:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def child(number: int, frame: FrameType | None) -> None:
        if command is not None and command.ended():
            stop(0)

    for each in ENDING_SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # as under nohup
            before[each] = signal.signal(each, end)
    if command is not None:
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, child)
        child(signal.SIGCHLD, None)  # it may have ended before
    try:
        yield
    finally:
        for number, handler in before.items():
            if number != signal.SIGHUP or number not in came:
                signal.signal(number, handler)
