"""Cost of live capture: how much slower workloads run under it, and what sysporter itself needs. Needs root.

Beside it `strace -f` and bpftrace counting all system calls, where they are installed. Times: the best of several
rounds, in each of which every tracer has its turn.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

PORTER = [sys.executable, "-m", "sftools.tools.sysporter", "--stats"]
PYTHON = os.path.realpath(sys.executable)
FORKS = "import os\nfor _ in range(1000):\n    p = os.fork()\n    if p == 0: os._exit(0)\n    os.waitpid(p, 0)"
COUNT = "tracepoint:raw_syscalls:sys_enter { @ = count(); }"
TRACEFS = "/sys/kernel/tracing"
STORM = "import os\nfor _ in range(2_000_000):\n    try: os.rmdir('nothing')\n    except OSError: pass"


def workloads(directory: Path) -> dict[str, list[str]]:
    source = directory / "unit.c"
    source.write_text("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint main(void) { return 0; }\n")
    found = {
        "dd bs=1": ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=300000"],
        "1,000 forks": [PYTHON, "-I", "-S", "-c", FORKS],
    }
    if shutil.which("cc"):
        found["compile x 10"] = ["sh", "-c", f"for i in 1 2 3 4 5 6 7 8 9 10; do cc -o {directory}/unit {source}; done"]
    return found


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


class TracerEnded(Exception):
    """A tracer that does not run here."""


class Beside:
    """A tracer of the whole system that runs meanwhile."""

    def __init__(self, command: list[str]) -> None:
        self.command = command

    def __enter__(self) -> Beside:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        time.sleep(2)  # it has attached by then: neither tells
        if self.process.poll() is not None:
            raise TracerEnded(" ".join(self.process.communicate()[1].split()))
        return self

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.said = self.process.communicate()[1]

    def usage(self) -> tuple[float, int]:
        """CPU seconds so far and resident KiB."""
        numbers = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+)", status)
        assert resident
        return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK"), int(resident[1])


def counted(said: str, name: str) -> int:
    match = re.search(rf"{name}\s+([\d,]+)", said)
    return int(match[1].replace(",", "")) if match else 0


def bpftrace() -> list[str]:
    """The command that counts all system calls. bpftrace finds them in tracefs: where that is not mounted, it is for
    this command alone.
    """
    counting = ["bpftrace", "-e", COUNT]
    if Path(TRACEFS, "events").exists():
        return counting
    return ["unshare", "--mount", "sh", "-c", f'mount -t tracefs tracefs {TRACEFS} && exec "$@"', "sh", *counting]


def tracers(directory: Path) -> dict[str, list[str]]:
    """What traces the system, by name."""
    found = {
        "sysporter": [*PORTER, "--force", "-w", str(directory / "out.sf")],
        "--raw": [*PORTER, "--force", "--raw", "-w", str(directory / "out.scap")],
    }
    if shutil.which("bpftrace"):
        found["bpftrace"] = bpftrace()
        try:
            with Beside(found["bpftrace"]):
                pass
        except TracerEnded as error:
            print(f"bpftrace does not run here: {error}")
            del found["bpftrace"]
    else:
        print("bpftrace is not installed")
    return found


def slowdown(rounds: int, directory: Path) -> None:
    beside: dict[str, AbstractContextManager[object]] = {"alone": nullcontext()}
    beside |= {name: Beside(command) for name, command in tracers(directory).items()}
    commands = workloads(directory)
    best: dict[tuple[str, str], float] = {}
    for _ in range(rounds):
        for tracer, running in beside.items():
            with running:
                for name, command in commands.items():
                    best[name, tracer] = min(seconds(command), best.get((name, tracer), float("inf")))
    columns = list(beside)
    if shutil.which("strace"):
        columns.append("strace -f")
        for name, command in commands.items():
            best[name, "strace -f"] = seconds(["strace", "-f", "-o", "/dev/null", *command])
    print(f"{'seconds':<16}" + "".join(f"{tracer:>12}" for tracer in columns))
    for name in commands:
        print(f"{name:<16}" + "".join(f"{best[name, tracer]:>12.2f}" for tracer in columns))


def needs(directory: Path) -> None:
    """CPU and memory under a storm of calls on all CPUs, and whether anything was lost."""
    for what, arguments in (("trace", ["-w", str(directory / "out.sf")]), ("--raw", ["--raw", "-w", "/dev/null"])):
        with Beside([*PORTER, "--force", *arguments]) as porter:
            before, _ = porter.usage()
            began = time.perf_counter()
            storms = [subprocess.Popen([PYTHON, "-I", "-S", "-c", STORM]) for _ in range(os.cpu_count() or 1)]
            for storm in storms:
                storm.wait()
            took = time.perf_counter() - began
            after, resident = porter.usage()
        events, lost = counted(porter.said, "live: events"), counted(porter.said, "live: ring full")
        print(
            f"{what}: {events:,} events at {events / took:,.0f}/s, {lost:,} lost; "
            f"{(after - before) * 100_000 / max(events, 1):.2f} CPU s per 100,000 events, {resident / 1024:.0f} MiB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    if os.geteuid() != 0 or not (Path(__file__).parents[1] / "sftools/live/sysflow.bpf.o").exists():
        print("bench_live: needs root and `make probe`: left out")
        return
    with tempfile.TemporaryDirectory() as name:
        slowdown(rounds, Path(name))
        needs(Path(name))


if __name__ == "__main__":
    main()
