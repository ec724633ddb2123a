"""Hostile inputs through compiled modules with sanitizers, beside their uncompiled twin (make fuzz).

    scripts/fuzz.py [--target captures|traces] [--seconds N] [--seed N] [--findings DIR]
    scripts/fuzz.py [--target captures|traces] --replay FILE...      run findings again, on both

Needs the trees that `make asan` and `make pure` leave in build/asan and build/pure. A worker process of each takes
inputs over a pipe and answers with a line of JSON: a hash of all that was made, or the error. What is a finding:

    crash       the sanitized worker died: its stderr is kept
    exception   anything raised or lost inside that is no error of sftools.errors; sums in the state that are wrong
    differ      the twins made other things, counted other damage or failed in another way
    slow, big   more seconds or memory than an input of this size may take

Each finding is a file beside a NAME.txt that says what it is. What inputs are and what is done with them is told by the
target's module: fuzz_captures (with fuzz_sequences), fuzz_traces.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol, cast

ROOT = Path(__file__).resolve().parent.parent
FINDINGS = ROOT / "build" / "fuzz"
TARGETS = ("captures", "traces")

# Of CPU time, as the machine may be busy: sanitizers cost a factor of 5, the pure twin 50.
SECONDS = {"asan": 20.0, "pure": 60.0}
# All that a worker takes, after any number of inputs.
MIB = {"asan": 900, "pure": 600}
# What one input may take while it runs: the bounds of sftools.limits that few bytes can exhaust, and so many times its
# own bytes.
INPUT_MIB = 120
INPUT_TIMES = 100
INPUTS_PER_WORKER = 3000


class Inputs(Protocol):
    def input(self) -> bytes: ...


class Target(Protocol):
    """What a fuzz_*.py module has."""

    SUFFIX: str

    def run(self, data: bytes, checked: bool = False) -> dict[str, Any]: ...
    def first(self) -> list[bytes]: ...
    def inputs(self, rng: random.Random) -> Inputs: ...
    def split(self, data: bytes) -> tuple[bytes, list[bytes], bytes]: ...
    def about(self, data: bytes) -> str: ...


def target_module(name: str) -> Target:
    sys.path.append(str(Path(__file__).resolve().parent))
    return cast(Target, importlib.import_module(f"fuzz_{name}"))


# -- the worker: runs one input after the other


def work(name: str, checked: bool) -> None:
    """Inputs from stdin, each after its length as u32; a line of JSON for each to stdout."""
    lost: list[str] = []
    sys.unraisablehook = lambda args: lost.append(f"{args.exc_value!r} in {args.object!r}")
    # Before the first input: its modules in memory are not what it costs.
    target = target_module(name)
    target.run(b"")
    while head := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = memory("VmRSS")
        begin = time.process_time()
        try:
            answer = target.run(data, checked)
        except Exception as error:  # what the fuzzer looks for
            import traceback

            answer = {"exception": repr(error), "trace": traceback.format_exc()}
        if lost:
            answer = {"exception": lost[0], "trace": "\n".join(lost)}
            lost.clear()
        answer["seconds"] = round(time.process_time() - begin, 3)
        answer["mib"] = memory("VmRSS") >> 10
        answer["input_mib"] = (memory("VmHWM") - before) >> 10
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def memory(name: str) -> int:
    """KiB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


class Dead(Exception):
    """The worker died or did not answer in time; the text is its stderr, or says how long it was waited for."""


class Worker:
    """A process that runs inputs; started again after it died or has done enough."""

    def __init__(self, name: str, target: str) -> None:
        self.name = name
        self.target = target
        self.done = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        tree = ROOT / "build" / self.name
        if not (tree / "sftools").is_dir():
            sys.exit(f"{tree} is not there: run make {self.name} first")
        env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", "PYTHONMALLOC": "malloc"}
        if self.name == "asan":
            library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
            env["LD_PRELOAD"] = library.stdout.strip()
            env["ASAN_OPTIONS"] = (
                "detect_leaks=0:quarantine_size_mb=16:allocator_may_return_null=1:malloc_context_size=4"
            )
            env["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1"
        else:
            del env["PYTHONMALLOC"]
        self.stderr = open(FINDINGS / f"stderr.{self.name}.{self.target}", "w+b")  # noqa: SIM115
        self.done = 0
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", self.name, "--target", self.target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            env=env,
        )
        return self.process

    def run(self, data: bytes) -> dict[str, Any]:
        """Run one input. Raises Dead."""
        process = self.process or self.start()
        assert process.stdin
        assert process.stdout
        self.done += 1
        try:
            process.stdin.write(struct.pack("<I", len(data)) + data)
            process.stdin.flush()
        except BrokenPipeError:
            raise Dead(self.stop()) from None
        limit = SECONDS[self.name]
        if not select.select([process.stdout], [], [], 10 * limit)[0]:
            self.stop()
            raise Dead(f"no answer in {3 * limit:.0f} s")
        line = process.stdout.readline()
        if not line:
            raise Dead(self.stop())
        if self.done >= INPUTS_PER_WORKER:
            self.stop()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> str:
        """End the process; returns its stderr."""
        process, self.process = self.process, None
        if process is None:
            return ""
        try:
            process.wait(0.5 if self.done < INPUTS_PER_WORKER else 0)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        self.stderr.seek(0)
        text = self.stderr.read().decode(errors="replace")
        self.stderr.close()
        return f"exit {process.returncode}\n{text}"


# -- the loop


def finding(answers: dict[str, dict[str, Any]], size: int) -> tuple[str, str] | None:
    """(kind, what) of a finding in the answers of both workers."""
    for name, answer in answers.items():
        if "exception" in answer:
            return "exception", f"{name}: {answer['trace']}"
        if answer["seconds"] > SECONDS[name]:
            return "slow", f"{name}: {answer['seconds']} s"
        if answer["mib"] > MIB[name]:
            return "big", f"{name}: {answer['mib']} MiB"
        if answer["input_mib"] > INPUT_MIB + (INPUT_TIMES * size >> 20):
            return "big", f"{name}: {answer['input_mib']} MiB for an input of {size} bytes"
    if len(answers) == 2:
        one, other = (dict(answer) for answer in answers.values())
        for answer in (one, other):
            del answer["seconds"], answer["mib"], answer["input_mib"]
        if one != other:
            return "differ", "\n".join(f"{name}: {json.dumps(answer)}" for name, answer in answers.items())
    return None


def examine(data: bytes, workers: list[Worker]) -> tuple[str, str] | None:
    """Run an input on the workers."""
    answers = {}
    for worker in workers:
        try:
            answers[worker.name] = worker.run(data)
        except Dead as dead:
            return ("slow" if str(dead).startswith("no answer") else "crash"), f"{worker.name}: {dead}"
    found = finding(answers, len(data))
    if found and found[0] == "big":
        # Memory adds up over inputs: only what a fresh worker shows again is this input's.
        for worker in workers:
            worker.stop()
        answers = {worker.name: worker.run(data) for worker in workers}
        found = finding(answers, len(data))
    return found


def reduce(target: Target, data: bytes, is_same: Callable[[bytes], bool], seconds: float = 60) -> bytes:
    """Leaves out parts while the finding stays."""
    until = time.monotonic() + seconds
    head, parts, rest = target.split(data)
    size = len(parts) // 2
    while size and time.monotonic() < until:
        at = 0
        while at < len(parts) and time.monotonic() < until:
            less = parts[:at] + parts[at + size :]
            if is_same(head + b"".join(less) + rest):
                parts = less
            else:
                at += size
        size //= 2
    return head + b"".join(parts) + rest


def signature(kind: str, what: str) -> str:
    """What tells one finding from another: the place of a crash, not its addresses."""
    lines = [line.strip() for line in what.splitlines()]
    places = [line.split(" in ")[1] for line in lines if line.startswith("#") and " in " in line and "sftools" in line]
    errors = [line for line in lines if "runtime error" in line or line.startswith("SUMMARY")]
    last = [line for line in lines if line][-1:] if kind == "exception" else []
    if kind == "differ":
        one, other = (json.loads(line.partition(": ")[2]) for line in lines)
        last = [name for name in one if one[name] != other[name] and name not in ("seconds", "mib", "input_mib")]
    return hashlib.sha1(repr((kind, places[:2], errors[:1], last)).encode()).hexdigest()[:8]


def log(text: str, out: IO[str] = sys.stderr) -> None:
    print(text, file=out, flush=True)


def replay(target: str, paths: list[str]) -> int:
    """0 where no finding is one any more."""
    status = 0
    for path in paths:
        workers = [Worker("asan", target), Worker("pure", target)]
        found = examine(Path(path).read_bytes(), workers)
        for worker in workers:
            worker.stop()
        log(f"{path}: {found[0] + chr(10) + found[1] if found else 'nothing found'}")
        status |= found is not None
    return status


def loop(name: str, seconds: float, seed: int, findings: Path, keep_same: bool) -> int:
    target = target_module(name)
    rng = random.Random(seed)
    inputs = target.inputs(rng)
    first = [data for data in target.first() if len(data) < 300_000]
    workers = [Worker("asan", name), Worker("pure", name)]
    known: dict[str, int] = {}
    runs = compared = 0
    begin = told = time.monotonic()
    log(f"{name}: {len(first)} inputs to begin with, seed {seed}, findings go to {findings}")
    while time.monotonic() < begin + seconds:
        # The twin is slow: every input for it is one that the compiled modules could have had ten of.
        twins = workers if first or rng.random() < 0.15 else workers[:1]
        data = first.pop() if first else inputs.input()
        found = examine(data, twins)
        runs += 1
        compared += len(twins) == 2
        if found:
            kind, what = found
            mark = signature(kind, what)
            known[mark] = known.get(mark, 0) + 1
            if keep_same or known[mark] == 1:

                def is_same(less: bytes, mark: str = mark, twins: list[Worker] = twins) -> bool:
                    again = examine(less, twins)
                    return again is not None and signature(*again) == mark

                if kind in ("crash", "exception", "differ"):
                    data = reduce(target, data, is_same)
                    what = (examine(data, twins) or found)[1]
                path = findings / f"{kind}-{mark}-{hashlib.sha1(data).hexdigest()[:6]}{target.SUFFIX}"
                path.write_bytes(data)
                path.with_suffix(".txt").write_text(f"{kind}\n{target.about(data)}\n{what}\n")
                log(f"{kind}: {path} ({len(data)} bytes)\n{what[:1500]}")
        if time.monotonic() > told + 30:
            told = time.monotonic()
            log(f"{name}, {told - begin:.0f} s: {runs} inputs, {compared} compared, {len(known)} findings")
    for worker in workers:
        worker.stop()
    log(f"{name}: {runs} inputs in {seconds:.0f} s, {compared} compared with the twin, {len(known)} findings")
    return 1 if known else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=TARGETS, default="captures")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="default: another one every time")
    parser.add_argument("--findings", type=Path, default=FINDINGS)
    parser.add_argument("--keep-same", action="store_true", help="keep every finding, not one of each kind")
    parser.add_argument("--replay", nargs="+", metavar="FILE")
    parser.add_argument("--work", choices=("asan", "pure"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.target, options.work == "pure")
        return 0
    FINDINGS.mkdir(parents=True, exist_ok=True)
    options.findings.mkdir(parents=True, exist_ok=True)
    if options.replay:
        return replay(options.target, options.replay)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    return loop(options.target, options.seconds, seed, options.findings, options.keep_same)


if __name__ == "__main__":
    sys.exit(main())
