"""Time and memory of sysporter, beside `gzip -dc` of the same capture. Asserts nothing.

    scripts/bench.py [--rounds N] [CASE...]     CASE: part of a case's name; none: all

Captures are made once under bench-data/. With ../shared they are real recordings, repeated; without, the project's own
fixtures. All programs of a case take turns, and medians of N rounds (default 5) are shown:

    ratio   sysporter on the plain capture / gzip -dc of the capture compressed with gzip -6
    +gz     what compressed input costs more, in times of gzip -dc
    RSS     peak memory of the process
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "bench-data"
TRACES = ROOT.parent / "shared" / "traces"
FIXTURES = ROOT / "tests" / "fixtures"
SYSPORTER = Path(sys.executable).with_name("sysporter")
MAKER = ROOT / "scripts" / "big_captures.py"


class Case(NamedTuple):
    """A capture to repeat; the existing collector's ratio, ours at most, and the aim (0: none is set)."""

    capture: Path
    times: int
    collector: float = 0
    limit: float = 0
    aim: float = 0

    @property
    def name(self) -> str:
        return f"{self.capture.parent.name}/{self.capture.stem} x{self.times}"


SHARED = [
    Case(TRACES / "collector" / "mpm-preforked-full_capture.scap", 75, 1.50, 1.1, 0.75),
    Case(TRACES / "recorded" / "pyfiles.scap", 150, 4.34, 3.0, 2.1),
    Case(TRACES / "recorded" / "threads.scap", 100, 2.62, 1.8, 1.3),
    Case(TRACES / "collector" / "namespaces-setns.scap", 250, 1.04, 0.8, 0.5),
]
OWN = [
    Case(FIXTURES / "webshell.scap", 20_000),
    Case(FIXTURES / "sockets.scap", 20_000),
    Case(FIXTURES / "threads.scap", 30_000),
    Case(FIXTURES / "paths.scap", 30_000),
]
FILES, RECORDS = 300_000, 100_000


class Run(NamedTuple):
    seconds: float
    mib: float


def run(command: Sequence[str | Path]) -> Run:
    """One run of a program, its output thrown away. Raises SystemExit with its stderr where it fails.

    This process must stay small: a child's peak memory begins with that of its parent.
    """
    begin = time.perf_counter()
    with open(DATA / "stderr", "w+b") as errors:
        child = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            sys.exit(
                f"{' '.join(map(str, command))}: exit {child.returncode}\n{errors.read().decode(errors='replace')}"
            )
    return Run(seconds, usage.ru_maxrss / 1024)


def take_turns(commands: dict[str, Sequence[str | Path]], rounds: int) -> dict[str, list[Run]]:
    """Every command once a round, so that a slow minute of the machine is nobody's."""
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(run(command))
    return runs


def median(runs: list[Run]) -> float:
    return statistics.median(r.seconds for r in runs)


def peak(*runs: list[Run]) -> float:
    return max(r.mib for some in runs for r in some)


def made(name: str, *arguments: str | Path) -> Path:
    """A big capture and its .gz, made where they are missing."""
    path = DATA / f"{name}.scap"
    if not path.exists():
        what, *rest = map(str, arguments)
        order = [*rest[:-1], str(path) + ".part", rest[-1]]
        print(f"making {path.name}: ", end="", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, MAKER, what, *order], check=True)
        os.replace(str(path) + ".part", path)
    packed = DATA / f"{name}.scap.gz"
    if not packed.exists():
        with open(str(packed) + ".part", "wb") as out:
            subprocess.run(["gzip", "-6", "-c", path], stdout=out, check=True)
        os.replace(str(packed) + ".part", packed)
    return path


def convert(capture: Path) -> list[str | Path]:
    return [SYSPORTER, "--force", "-r", capture, "-w", DATA / "out.sf"]


def repeated(cases: list[Case], rounds: int) -> None:
    sysdig = shutil.which("sysdig")
    print(f"{'capture':44} {'sysporter':>9} {'gzip -dc':>8} {'ratio':>6} {'limit':>6} {'aim':>5} {'existing':>8}"
          f" {'+gz':>5} {'(0.35)':>6} {'RSS MiB':>8} {'(64)':>4}" + ("   sysdig" if sysdig else ""))  # fmt: skip
    for case in cases:
        capture = made(f"{case.capture.stem}-{case.times}", "repeat", case.capture, str(case.times))
        packed = capture.with_suffix(".scap.gz")
        commands: dict[str, Sequence[str | Path]] = {
            "gzip": ["gzip", "-dc", packed],
            "plain": convert(capture),
            "packed": convert(packed),
        }
        if sysdig:
            commands["sysdig"] = [sysdig, "-r", capture, "-w", DATA / "out.scap"]
        runs = take_turns(commands, rounds)
        unit, plain = median(runs["gzip"]), median(runs["plain"])
        print(
            f"{case.name:44} {plain:8.2f}s {unit:7.2f}s {plain / unit:6.2f} {case.limit or '':>6} {case.aim or '':>5}"
            f" {case.collector or '':>8} {(median(runs['packed']) - plain) / unit:5.2f} {'':6}"
            f" {peak(runs['plain'], runs['packed']):8.1f}" + (f" {median(runs['sysdig']):11.2f}s" if sysdig else ""),
            flush=True,
        )


def special(rounds: int) -> None:
    """The captures that are made for one number each."""
    print()
    many = made("files", "files", str(FILES))
    runs = take_turns({"files": convert(many)}, rounds)["files"]
    print(f"{FILES} different files, {8 * FILES} events: {median(runs):.2f} s, {peak(runs):.1f} MiB (limit 128)")

    many = made("records", "records", str(RECORDS))
    runs = take_turns({"records": convert(many)}, rounds)["records"]
    rate = 2 * RECORDS / median(runs)
    print(
        f"{2 * RECORDS} records of {2 * RECORDS} events: {median(runs):.2f} s, {rate:,.0f} records/s with start and all"
    )

    small = TRACES / "collector" / "files-files.scap"
    if not small.exists():
        small = made("small", "repeat", FIXTURES / "webshell.scap", "40")
    runs = take_turns({"small": convert(small)}, 2 * rounds)["small"]
    size = small.stat().st_size / 1e6
    print(f"start with a capture of {size:.1f} MB: {1000 * median(runs):.0f} ms, {peak(runs):.1f} MiB (limit 150 ms)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    DATA.mkdir(exist_ok=True)
    cases = [case for case in (SHARED if TRACES.exists() else OWN) if all(part in case.name for part in options.cases)]
    repeated(cases, options.rounds)
    if not options.cases:
        special(options.rounds)


if __name__ == "__main__":
    main()
