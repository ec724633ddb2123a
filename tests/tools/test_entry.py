"""The installed commands from their first line on."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sftools import __version__

SCRIPTS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
# A Ctrl-C when click is imported, which all of them do.
INTERRUPTED = """
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""
START = "import sys; sys.argv = [{name!r}, '--version']; from {module} import {function} as main; sys.exit(main())"


def start(name: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """A command as its installed script starts it."""
    module, _, function = SCRIPTS[name].partition(":")
    code = before + START.format(name=name, module=module, function=function)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_command_begins(name: str) -> None:
    ran = start(name)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert __version__ in ran.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_interrupt_at_the_beginning_is_silent(name: str) -> None:
    ran = start(name, INTERRUPTED)
    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGINT, "", "")


def test_an_interrupt_that_is_ignored_stays_so() -> None:
    ran = start("sysporter", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPTED)
    assert ran.returncode == 0
