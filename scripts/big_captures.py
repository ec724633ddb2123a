"""Makes big captures for the benchmarks.

scripts/big_captures.py repeat IN.scap OUT.scap TIMES   IN's tables once and its events TIMES times, time going on
scripts/big_captures.py files OUT.scap N                N different files, each opened, read twice and closed
scripts/big_captures.py records OUT.scap N              N different files unlinked: 2 N records
"""

from __future__ import annotations

import os
import struct
import sys
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sftools.scap import blocks
from sftools.scap.writer import ScapWriter

START = 1_700_000_000_000_000_000
FLAGGED = (blocks.EVF, blocks.EVF_V2, blocks.EVF_V2_LARGE)
BATCH = 4 << 20


class Events:
    """The event blocks of a sound capture, end to end, and where their timestamps stand."""

    def __init__(self, capture: bytes) -> None:
        self.tables = bytearray()
        self.data = bytearray()
        self.times: list[tuple[int, int]] = []  # (offset in data, ns); container events' 0 and -1 are left alone
        self.count = 0
        at = 0
        while at < len(capture):
            kind, size = struct.unpack_from("<II", capture, at)
            if kind in blocks.EVENTS:
                where = 8 + (6 if kind in FLAGGED else 2)
                (ts,) = struct.unpack_from("<Q", capture, at + where)
                if 0 < ts < 1 << 63:
                    self.times.append((len(self.data) + where, ts))
                self.data += capture[at : at + size]
                self.count += 1
            else:
                self.tables += capture[at : at + size]
            at += size

    def span(self) -> int:
        """ns from the first to the last event."""
        return max(ts for _, ts in self.times) - min(ts for _, ts in self.times)

    def later(self, ns: int) -> bytearray:
        """The events, `ns` later."""
        out = bytearray(self.data)
        for where, ts in self.times:
            struct.pack_into("<Q", out, where, ts + ns)
        return out


def repeat(source: Path, target: Path, times: int) -> int:
    """Returns the number of events written. A ms passes between the last event and the first one's return."""
    events = Events(source.read_bytes())
    step = events.span() + 1_000_000
    with open(target, "wb") as out:
        out.write(events.tables)
        for k in range(times):
            out.write(events.later(k * step))
    return events.count * times


def _each(target: Path, n: int, prototype: bytes, placeholder: bytes, step: int) -> int:
    """prototype's events n times, `placeholder` replaced by a number of the same width."""
    events = Events(prototype)
    with open(target, "wb") as out:
        out.write(events.tables)
        batch = bytearray()
        for k in range(n):
            batch += events.later(k * step).replace(placeholder, b"%0*d" % (len(placeholder), k))
            if len(batch) > BATCH:
                out.write(batch)
                batch.clear()
        out.write(batch)
    return events.count * n


def _prototype() -> tuple[BytesIO, ScapWriter]:
    buffer = BytesIO()
    writer = ScapWriter(buffer)
    writer.section()
    writer.machine_info()
    process = {"comm": "work", "exe": "/usr/bin/work", "exepath": "/usr/bin/work", "cwd": "/"}
    writer.process_list([{"tid": 100, "pid": 100, "ptid": 1, "vtid": 100, "vpid": 100, **process}])
    return buffer, writer


def files(target: Path, n: int) -> int:
    """Returns the number of events written, 8 for each file."""
    buffer, writer = _prototype()
    name = "/srv/data/NNNNNNNN.dat"
    # As libs 0.18 writes them: the exit events of read and close leave the fd to the enter events.
    calls: list[tuple[str, list[int | str]]] = [
        ("OPENAT_2_E", [-100, name, 1, 0]),
        ("OPENAT_2_X", [5, -100, name, 1, 0, 64, 7]),
        ("READ_E", [5, 4096]),
        ("READ_X", [4096, "x" * 80]),
        ("READ_E", [5, 4096]),
        ("READ_X", [0, ""]),
        ("CLOSE_E", [5]),
        ("CLOSE_X", [0]),
    ]
    for i, (code, params) in enumerate(calls):
        writer.event(START + 1000 * i, 100, "PPME_SYSCALL_" + code, params)
    return _each(target, n, buffer.getvalue(), b"NNNNNNNN", 1000 * len(calls))


def records(target: Path, n: int) -> int:
    """Returns the number of events written, 2 for each file."""
    buffer, writer = _prototype()
    writer.event(START, 100, "PPME_SYSCALL_UNLINK_2_E", {})
    writer.event(START + 1000, 100, "PPME_SYSCALL_UNLINK_2_X", {"res": 0, "path": "/srv/data/NNNNNNNN.dat"})
    return _each(target, n, buffer.getvalue(), b"NNNNNNNN", 2000)


def main(arguments: list[str]) -> int:
    match arguments:
        case ["repeat", source, target, times]:
            count = repeat(Path(source), Path(target), int(times))
        case ["files" | "records" as what, target, n]:
            count = (files if what == "files" else records)(Path(target), int(n))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    print(f"{count} events, {os.path.getsize(target) >> 20} MiB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
