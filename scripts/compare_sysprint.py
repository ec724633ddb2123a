"""Writes docs/sysprint-comparison.md: some twenty commands, run with the existing sysprint and with ours.

    scripts/compare_sysprint.py OLD_SYSPRINT

OLD_SYSPRINT: the command of the package sysflow-tools 0.6.1 in an environment of its own. Needs ../shared. Times are
medians of three runs, taking turns; what is printed is compared, as parsed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench_sysprint import repeated

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "traces"
NEW = Path(sys.executable).with_name("sysprint")
ROUNDS = 3

# What each shows; E, N and so on stand for traces: LARGE is E forty times over, CUT the first half of E.
COMMANDS = (
    ("the table", "E"),
    ("all fields", "-A E"),
    ("nested JSON", "-o json E"),
    ("flat JSON", "-o flatjson E"),
    ("JSON into a file", "-o json -w OUT E"),
    ("CSV into a file", "-o csv -w OUT E"),
    ("CSV to a pipe", "-o csv E"),
    ("chosen fields", "-o flatjson -c ts,proc.exe,res E"),
    ("a filter", "-o flatjson -f 'type = FF and file.path contains lib' E"),
    ("a number that not all records have", "-o flatjson -f 'net.dport > 1024' N"),
    ("at most", "-o flatjson -f 'type = NF and net.dport <= 443' N"),
    ("either port", "-o flatjson -f 'net.port = 53' N"),
    ("an address", "-o flatjson -f 'net.dip = 127.0.0.1' N"),
    ("failed calls", "-o flatjson -f 'ret < 0' E"),
    ("single quotes", "-o flatjson -f \"proc.user = 'root'\" E"),
    ("a filter with an error", "-o flatjson -f 'type =' E"),
    ("a misspelt field", "-o flatjson -f 'proc.exee = /bin/sh' E"),
    ("a trace of the first version", "-o flatjson P"),
    ("a trace that is cut", "CUT"),
    ("a record type it forgot", "-o flatjson NE"),
    ("a directory of traces", "-o flatjson DIR/"),
    ("a file that is not there", "-o flatjson missing.sf"),
    ("a large trace", "LARGE"),
    ("the same as nested JSON", "-o json LARGE"),
    ("as flat JSON", "-o flatjson LARGE"),
    ("as CSV", "-o csv -w OUT LARGE"),
)
TRACES = {
    "E": SHARED / "sysflow-old" / "v1000-express.sf",
    "N": SHARED / "sysflow-old" / "v1000-nodejs.sf",
    "P": SHARED / "sysflow-old" / "v1000-procflow.sf",
    "NE": SHARED / "sysprint" / "synthetic" / "networkevent.sf",
}


class Result(NamedTuple):
    """rows: of data; values: what they say, to be compared, or None for a table."""

    seconds: float
    code: int
    rows: int
    values: object
    error: str


def run(command: Path, line: str, folder: Path) -> Result:
    out = folder / "out"
    out.unlink(missing_ok=True)
    names = {name: str(path) for name, path in TRACES.items()} | {
        "OUT": str(out),
        "DIR/": f"{folder / 'traces'}/",
        "CUT": str(folder / "cut.sf"),
        "LARGE": str(folder / "large.sf"),
    }
    arguments = [names.get(word, word) for word in shlex.split(line)]
    environment = {**os.environ, "COLUMNS": "80"}
    begin = time.perf_counter()
    done = subprocess.run([command, *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    seconds = time.perf_counter() - begin
    text = (out.read_bytes() if out.exists() else done.stdout).decode()
    rows, values = parsed(text, line)
    errors = [part for part in done.stderr.decode().splitlines() if part.strip(" ^")]
    # Ours has what is wrong first, then the place; the old one a traceback before it.
    error = "" if not errors else errors[0] if command == NEW else errors[-1]
    for name, path in names.items():
        error = error.replace(path, name)
    return Result(seconds, done.returncode, rows, values, error)


def parsed(text: str, line: str) -> tuple[int, object]:
    if "csv" in line:
        lines = list(csv.reader(io.StringIO(text, newline="")))
        return max(len(lines) - 1, 0), lines[1:]
    if "json" in line:
        documents = json.loads(text) if "-w" in line and text else [json.loads(part) for part in text.splitlines()]
        return len(documents), documents
    numbers = {cells[1].strip() for row in text.splitlines() if len(cells := row.split("|")) > 2}
    return sum(number.isdigit() for number in numbers), None


def median(command: Path, line: str, folder: Path) -> Result:
    results = [run(command, line, folder) for _ in range(1 if "LARGE" in line else ROUNDS)]
    return results[0]._replace(seconds=statistics.median(result.seconds for result in results))


def cell(result: Result) -> str:
    error = f" · `{result.error[:110]}`" if result.error else ""
    return f"{result.rows} rows, exit {result.code}, {result.seconds:.2f} s{error.replace('|', chr(92) + '|')}"


def verdict(old: Result, new: Result) -> str:
    if old.error or old.code:
        if new.rows == old.rows:
            return "both say what is wrong, ours also by its exit code"
        return "the old one fails" if not old.rows else "the old one loses rows"
    if new.code:
        return "only ours says what is wrong"
    if old.values is None:
        return "same rows" if old.rows == new.rows else "other rows"
    return "same values" if old.values == new.values else "other values"


def main() -> int:
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    old_command = Path(sys.argv[1]).resolve()
    table = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "traces").mkdir()
        for i, trace in enumerate(("alpine-alpine", "rename-rename", "setuid-setuid")):
            (folder / "traces" / f"{'abc'[i]}.sf").write_bytes((SHARED / "collector" / f"{trace}.sf").read_bytes())
        whole = TRACES["E"].read_bytes()
        (folder / "cut.sf").write_bytes(whole[: len(whole) // 2])
        repeated(TRACES["E"], 40, folder / "large.sf")
        for title, line in COMMANDS:
            print(line, file=sys.stderr)
            old, new = median(old_command, line, folder), median(NEW, line, folder)
            shown = line.replace("|", "\\|")
            table.append(
                f"| {title} | `{shown}` | {cell(old)} | {cell(new)} | {verdict(old, new)} |"
                f" {old.seconds / new.seconds:.0f} |\n"
            )
    sizes = ", ".join(f"`{name}` {path.relative_to(SHARED)}" for name, path in TRACES.items())
    (ROOT / "docs" / "sysprint-comparison.md").write_text(
        "# The existing sysprint and ours\n\n"
        "Made by `scripts/compare_sysprint.py` with sysflow-tools 0.6.1 on the same machine: rows printed, exit code,\n"
        "time with start and all, what stderr says. The time of a short run is mostly start: some 0.5 s there, 0.15 s\n"
        f"here.\n\nTraces: {sizes}; `CUT` is the first half of `E`, `LARGE` is `E` forty times\n"
        "over (253,000 records), `DIR/` has three traces named a.sf to c.sf.\n\n"
        "| | command | sysflow-tools 0.6.1 | sftools | output | times faster |\n|---|---|---|---|---|---|\n"
        + "".join(table)
        + "\nWhere values differ, [the list of differences](sysprint.md#what-differs-from-the-existing-sysprint) says"
        " why.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
