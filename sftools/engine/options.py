"""What the engine can be told; the names and defaults are the existing collector's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FLOW, CONSUME, NOFILES = "flow", "consume", "nofiles"
MODES = (FLOW, CONSUME, NOFILES)

READ_ALL, READ_NONE, READ_SELECTED = 0, 1, 2


@dataclass(slots=True)
class EngineOptions:
    """file_only: no flows of directories, pipes and unix sockets. file_read_mode: 0 all file reads, 1 none, 2 those
    outside of system directories. proc_flow: count thread clones and exits instead of writing each.
    mode: flow; consume (no reads, writes and closes: an open file is one record); nofiles.
    container_only: only what containers do. rotate_seconds: begin a new output file after so much capture time;
    0: never.
    predicate: called with the engine for every event that passes the state; a false result leaves its records out.
    """

    file_only: bool = True
    file_read_mode: int = READ_SELECTED
    proc_flow: bool = True
    mode: str = FLOW
    container_only: bool = False
    rotate_seconds: int = 0
    predicate: Callable[[Any], bool] | None = None
