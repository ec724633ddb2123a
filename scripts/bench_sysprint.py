"""Time and memory of sysprint, beside reading the same trace with fastavro. Asserts nothing.

    scripts/bench_sysprint.py [--rounds N] [--records N]

The trace is a recording of 2018 (../shared) repeated to a million records, made once under bench-data/; without
../shared, a fixture. All commands take turns; medians of N rounds (default 3) are shown:

    records/s   events and flows read, whether printed or not
    floor       of the time in which fastavro reads the same file into dictionaries, and does nothing with them
    RSS         peak memory of the process, which must not grow with the number of records
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import DATA, FIXTURES, ROOT, TRACES, Run, median, peak, take_turns

sys.path.insert(0, str(ROOT))

from sftools.avro.blocks import ContainerReader
from sftools.reader import read_rows
from sftools.source import open_source

SYSPRINT = Path(sys.executable).with_name("sysprint")
# fastavro's own decoding of the logical types would overflow on nanoseconds that are declared as milliseconds.
FLOOR = """
import sys, fastavro
fastavro.read.LOGICAL_READERS.clear()
with open(sys.argv[1], "rb") as file:
    for record in fastavro.reader(file, return_record_name=True):
        pass
"""
CASES: dict[str, tuple[str, ...]] = {
    "-o json": ("-o", "json"),
    "-o flatjson": ("-o", "flatjson"),
    "-o csv": ("-o", "csv"),
    "-o json -w": ("-o", "json", "--force", "-w", str(DATA / "out.json")),
    "-o str": (),
    "-o str -A": ("-A",),
    "-f selective": ("-o", "json", "-f", "proc.exe = /usr/bin/never and type = FF"),
    "-f half": ("-o", "json", "-f", "file.path contains lib or flow.rbytes > 100"),
}


def repeated(trace: Path, times: int, path: Path) -> None:
    """A trace of the same blocks again and again; each time its header record begins anew."""
    if path.exists():
        return
    data = trace.read_bytes()
    with open_source(str(trace)) as source:
        head = next(iter(ContainerReader(source).blocks())).offset
    with open(f"{path}.part", "wb") as out:
        out.write(data[:head])
        for _ in range(times):
            out.write(data[head:])
    os.replace(f"{path}.part", path)


def records_in(trace: Path) -> int:
    with open_source(str(trace)) as source:
        return sum(1 for _ in read_rows(source))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args()
    DATA.mkdir(exist_ok=True)
    recording = TRACES / "sysflow-old" / "v1000-express.sf"
    trace = recording if recording.exists() else FIXTURES / "traces" / "webshell.sf"
    once = records_in(trace)
    times = -(-options.records // once)
    big = DATA / f"{trace.stem}-{times}.sf"
    repeated(trace, times, big)
    records = once * times
    commands: dict[str, Sequence[str | Path]] = {"floor": [sys.executable, "-c", FLOOR, big]}
    commands |= {name: [SYSPRINT, *arguments, big] for name, arguments in CASES.items()}
    runs: dict[str, list[Run]] = take_turns(commands, options.rounds)
    floor = median(runs["floor"])
    print(f"{trace.stem} x{times}: {records:,} records, {big.stat().st_size / 1e6:.0f} MB")
    print(f"{'':16} {'records/s':>10} {'floor':>6} {'RSS MiB':>8}")
    for name, some in runs.items():
        print(f"{name:16} {records / median(some):10,.0f} {median(some) / floor:6.2f} {peak(some):8.1f}")
    help_runs = take_turns({"help": [SYSPRINT, "--help"]}, 3 * options.rounds)["help"]
    print(f"sysprint --help: {1000 * median(help_runs):.0f} ms (limit 150)")


if __name__ == "__main__":
    main()
