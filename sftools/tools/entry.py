"""Where the installed commands begin, before anything is imported that takes time.

Python answers a Ctrl-C in that time with a traceback; here it ends the process silently (a shell's status 130).
"""

from __future__ import annotations

import importlib
import signal


def _run(tool: str) -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    importlib.import_module(f"sftools.tools.{tool}").main()


def sysporter() -> None:
    """The command sysporter."""
    _run("sysporter")


def sysprint() -> None:
    """The command sysprint."""
    _run("sysprint")


def sf_exporter() -> None:
    """The command sf-exporter."""
    _run("sf_exporter")


def sf_codegen() -> None:
    """The command sf-codegen."""
    _run("sf_codegen")
