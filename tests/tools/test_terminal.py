"""What the commands say on standard error."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from sftools.tools import terminal
from sftools.tools.terminal import Progress, ended_by_signals, printable, say


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Gives what was written to standard error, which is a terminal of 60 columns."""
    monkeypatch.setattr(terminal.os, "get_terminal_size", lambda fd: os.terminal_size((60, 24)))
    monkeypatch.setattr(terminal, "QUIET_SECONDS", 0)
    monkeypatch.setattr(terminal, "REDRAW_SECONDS", 0)
    return lambda: capfd.readouterr().err


def test_messages_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("sysprint", "a\nb\x1b[2J: does not exist")
    assert capsys.readouterr().err == "sysprint: a\\nb\\x1b[2J: does not exist\n"
    assert printable("/srv/größe 你好") == "/srv/größe 你好"


def test_the_bar_fits_and_goes_away(shown: Callable[[], str]) -> None:
    bar = Progress("records")
    bar("/traces/" + "x" * 100, 50, 200, 0)
    drawn = shown()
    line = drawn.removeprefix("\r").removesuffix("\x1b[K")
    assert len(drawn) == len(line) + 4
    assert len(line) == 59
    assert line.endswith("x [######                  ]  25% 0.0 M records, 0.0 M/s")
    bar.clear()
    bar.clear()
    assert shown() == "\r\x1b[K"


def test_a_pipe_has_no_bar_but_numbers(shown: Callable[[], str]) -> None:
    Progress("events")("stdin\n", 50, None, 2_000_000)
    assert shown().startswith("\rstdin\\n 2.0 M events, ")


def test_more_than_the_file_had(shown: Callable[[], str]) -> None:
    Progress("events")("x", 300, 200, 1)
    assert "100%" in shown()


def test_nothing_is_shown_at_first(shown: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "QUIET_SECONDS", 1000)
    bar = Progress("events")
    bar("x", 1, 2, 1)
    bar.clear()
    assert shown() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_work(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, ended_by_signals():
        signal.raise_signal(number)
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) is before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ended_by_signals():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
