"""What the commands say on standard error."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sftools.errors import ENDING_SIGNALS
from sftools.tools import terminal
from sftools.tools.terminal import Progress, ended_by_signals, say

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Gives what was written to standard error, which is a terminal of 60 columns."""
    monkeypatch.setattr(terminal.os, "get_terminal_size", lambda fd: os.terminal_size((60, 24)))
    monkeypatch.setattr(terminal, "QUIET_SECONDS", 0)
    monkeypatch.setattr(terminal, "REDRAW_SECONDS", 0)
    return lambda: capfd.readouterr().err


def test_messages_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("sysprint", "a\nb\x1b[2J: does not exist")
    assert capsys.readouterr().err == "sysprint: a\\x0ab\\x1b[2J: does not exist\n"


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
    assert shown().startswith("\rstdin\\x0a 2.0 M events, ")


def test_more_than_the_file_had(shown: Callable[[], str]) -> None:
    Progress("events")("x", 300, 200, 1)
    assert "100%" in shown()


def test_nothing_is_shown_at_first(shown: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "QUIET_SECONDS", 1000)
    bar = Progress("events")
    bar("x", 1, 2, 1)
    bar.clear()
    assert shown() == ""


def test_a_terminal_that_was_closed_takes_nothing(shown: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The work goes on to its end without it."""
    bar = Progress("records")
    bar("x", 1, 2, 1)

    class Closed:
        def write(self, text: str) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        def fileno(self) -> int:
            return 2

    monkeypatch.setattr(sys, "stderr", Closed())
    monkeypatch.setattr(terminal.click, "echo", lambda text, **_: sys.stderr.write(text))
    bar("x", 1, 2, 1)
    bar.clear()
    say("sysprint", "done")


@pytest.fixture
def handlers() -> Iterator[None]:
    """Every handler is as it was, at the end."""
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_a_signal_ends_the_work(number: int, handlers: None) -> None:
    with pytest.raises(SystemExit) as ended, ended_by_signals():
        signal.raise_signal(number)
    assert ended.value.code == 128 + number
    for another in ENDING_SIGNALS:  # as a terminal that is closed sends them
        signal.raise_signal(another)


def test_work_that_no_signal_ended_leaves_them_as_they_were(handlers: None) -> None:
    before = [signal.getsignal(number) for number in ENDING_SIGNALS]
    with ended_by_signals():
        pass
    assert [signal.getsignal(number) for number in ENDING_SIGNALS] == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ended_by_signals():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


TOOL = "import sys; from sftools.tools.{0} import main; sys.argv[0] = '{0}'; main()"


def shell(tmp_path: Path, tool: str, arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as a shell starts it: it can close standard streams."""
    line = f'"{sys.executable}" -c "{TOOL.format(tool)}" {arguments}'
    return subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)


def test_commands_work_without_standard_streams(tmp_path: Path) -> None:
    """Daemons start with them closed."""
    capture = FIXTURES / "webshell.scap"
    assert shell(tmp_path, "sysporter", f"-r {capture} -w out.sf 2>&- <&- >&-").returncode == 0
    assert (tmp_path / "out.sf").read_bytes()[:3] == b"Obj"
    done = shell(tmp_path, "sysporter", f"-r {capture} -w - >&-")
    assert (done.returncode, "cannot be written" in done.stderr) == (1, True)
    assert shell(tmp_path, "sysprint", "out.sf 2>&-").stdout.count("\n") == 28
    done = shell(tmp_path, "sysprint", "out.sf >&-")
    assert (done.returncode, done.stderr.startswith("sysprint: stdout: cannot be written")) == (1, True)
    assert shell(tmp_path, "sysprint", "-o csv -w out.csv out.sf >&-").returncode == 0
    assert (tmp_path / "out.csv").exists()


def test_no_color_may_have_any_value(tmp_path: Path) -> None:
    shell(tmp_path, "sysporter", f"-r {FIXTURES / 'webshell.scap'} -w out.sf")
    done = shell(tmp_path, "sysprint", "-n 1 out.sf; NO_COLOR=")
    assert done.returncode == 0
    line = f'NO_COLOR=xyz "{sys.executable}" -c "{TOOL.format("sysprint")}" -n 1 out.sf'
    assert subprocess.run(["sh", "-c", line], cwd=tmp_path, check=False, capture_output=True).returncode == 0


def test_an_input_is_never_the_output(tmp_path: Path) -> None:
    capture = tmp_path / "in.scap"
    capture.write_bytes((FIXTURES / "webshell.scap").read_bytes())
    shell(tmp_path, "sysporter", "-r in.scap -w out.sf")
    for tool, arguments in [
        ("sysporter", "-r in.scap -w in.scap --force"),
        ("sysprint", "-o csv -w out.sf --force out.sf"),
    ]:
        done = shell(tmp_path, tool, arguments)
        assert (done.returncode, "is also an input" in done.stderr) == (1, True)
    assert capture.read_bytes() == (FIXTURES / "webshell.scap").read_bytes()


def test_a_fifo_that_nobody_named_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "captures").mkdir()
    os.mkfifo(tmp_path / "captures" / "x.scap")
    assert shell(tmp_path, "sysporter", "-r captures -w out.sf").returncode == 1
    assert shell(tmp_path, "sysporter", "-r 'captures/*' -w out.sf").returncode == 1
