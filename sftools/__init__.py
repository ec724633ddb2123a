"""sftools: captures of system calls to SysFlow traces, and traces to tables, filters and buckets.

Programs begin with open() and convert(); the commands are in sftools.tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sftools.libsysflow import convert
    from sftools.traces import open

__version__ = "0.1.0"
__all__ = ["__version__", "convert", "open"]


def __getattr__(name: str) -> object:
    # Imported when asked for: a command's --help does not wait for the engine.
    if name == "convert":
        from sftools.libsysflow import convert

        return convert
    if name == "open":
        from sftools.traces import open

        return open
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
