"""What Debian's sysdig and tshark say of a raw capture, event for event. Which events they know: docs/live.md."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sftools.scap import blocks
from sftools.scap.tables import PPME_SCAPEVENT_E
from tests.live.conftest import blocks_of, events_of

# The newest event that sysdig 0.29 knows; it passes over what is newer.
SYSDIG_NEWEST = 335
# The newest whose parameters tshark 4.0 looks at.
TSHARK_NEWEST = 331


def _lines(*command: str) -> Iterator[list[str]]:
    """What another program prints, split at tabs."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr
    return (line.split("\t") for line in done.stdout.splitlines())


def assert_sysdig_agrees(path: Path) -> int:
    """Each event's time, thread and type, results and the names of what is opened; how many results it has told."""
    got = list(_lines("sysdig", "-r", str(path), "-p", "%evt.rawtime\t%thread.tid\t%evt.type\t%evt.args"))
    # It does not show the event that only tells the time.
    known = [e for e in events_of(path.read_bytes()) if e.row.id <= SYSDIG_NEWEST and e.row.id != PPME_SCAPEVENT_E]
    assert [line[:3] for line in got] == [[str(e.ts), str(e.tid), e.row.name] for e in known]
    compared = 0
    for (_, _, _, arguments), event in zip(got, known, strict=True):
        first = next(iter(event.params), None)
        if first in ("res", "fd") and event.name != "MMAP":  # which it shows as an address
            said = re.match(rf"{first}=(-?\d+)", arguments)
            assert said or not arguments
            assert said is None or int(said[1]) == event.params[first], arguments
            compared += said is not None
        if (
            event.name in ("OPENAT_2", "OPEN", "MKDIR_2", "UNLINK_2")
            and event.params["res" if first == "res" else "fd"]
        ):
            name = event.params["name" if "name" in event.params else "path"]
            assert name.decode() in arguments
    return compared


def assert_tshark_agrees(path: Path) -> None:
    """Each event's time, thread and type, and the sizes of its parameters."""
    columns = ("frame.time_epoch", "sysdig.thread_id", "sysdig.event_type", "sysdig.nparams", "sysdig.param.len")
    options = [option for column in columns for option in ("-e", column)]
    got = list(_lines("tshark", "-n", "-r", str(path), "-T", "fields", *options))
    data = path.read_bytes()
    sizes = [
        ",".join(map(str, struct.unpack_from(f"<{body[24]}H", body, 28)))
        for kind, body in blocks_of(data)
        if kind == blocks.EV_V2
    ]
    assert got == [
        [
            f"{e.ts // 10**9}.{e.ts % 10**9:09}",
            str(e.tid),
            str(e.row.id),
            str(len(e.params)),
            size if e.row.id <= TSHARK_NEWEST else "",
        ]
        for e, size in zip(events_of(data), sizes, strict=True)
    ]
