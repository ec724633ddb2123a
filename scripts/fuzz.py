"""Mutated captures through the conversion, compiled with sanitizers, beside its uncompiled twin (make fuzz).

    scripts/fuzz.py [--seconds N] [--seed N] [--findings DIR]     look for crashes, hangs, growth and differences
    scripts/fuzz.py --replay FILE...                              run findings again, on both

Needs the trees that `make asan` and `make test-pure` leave in build/asan and build/pure. A worker process of each takes
inputs over a pipe and answers with a line of JSON: a hash of all records, or the error. What counts as a finding:

    crash       the sanitized worker died: its stderr is kept
    exception   anything raised or lost inside that is no error of sftools.errors
    differ      the twins made other records, counted other damage or failed in another way
    slow, big   more seconds or memory than any input of this size may take

Each finding is a directory entry NAME.scap with NAME.txt beside it. The first byte of the file is no part of the
capture: it chooses the options (see options_of).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
KEPT = ROOT / "tests" / "corpus" / "captures"
SHARED = ROOT.parent / "shared" / "traces"
FINDINGS = ROOT / "build" / "fuzz"

# Generous: sanitizers cost a factor of 5, the pure twin 50, and the machine may be busy.
SECONDS = {"asan": 20.0, "pure": 60.0}
MIB = {"asan": 600, "pure": 300}
INPUTS_PER_WORKER = 3000
MAX_BYTES = 300_000


# -- the worker: one conversion per input


def options_of(number: int) -> dict[str, Any]:
    """The conversion's options that the first byte of an input chooses."""
    return {
        "schema": 6 if number & 1 else 5,
        "strict": number & 2 != 0,
        "engine": {
            "file_only": number & 4 == 0,
            "file_read_mode": 2 if number & 8 == 0 else 0,
            "proc_flow": number & 16 == 0,
            "mode": ("flow", "flow", "consume", "nofiles")[number >> 6],
            "rotate_seconds": 1 if number & 32 else 0,
        },
    }


def convert(data: bytes) -> dict[str, Any]:
    """What the conversion of one input comes to. Raises what it should not raise."""
    from sftools.avro.encoder_cy import Encoder
    from sftools.engine.engine_cy import Engine
    from sftools.engine.options import EngineOptions
    from sftools.errors import SftoolsError
    from sftools.scap.events_cy import EventCursor

    options = options_of(data[0] if data else 0)
    schema, engine_options = options["schema"], EngineOptions(**options["engine"])
    digest = hashlib.sha256()
    records = 0

    def sink(block: bytes | bytearray | memoryview, count: int) -> None:
        nonlocal records
        digest.update(block)
        records += count

    encoder = Encoder(sink, schema)

    def header(_: Any) -> None:
        encoder.header(schema, b"exporter", b"", b"name")

    engine = Engine(encoder, engine_options, header, header)
    cursor = EventCursor(BytesIO(data[1:]), "input", options["strict"])
    error = ""
    try:
        engine.run(cursor)
        engine.finish()
        encoder.flush()
    except SftoolsError as raised:
        error = str(raised)
    return {
        "records": records,
        "sha256": digest.hexdigest(),
        "events": cursor.events,
        "damaged": cursor.damaged,
        "damage": [f"{offset}: {cause}" for offset, cause in cursor.damage[:5]],
        "error": error,
    }


def work() -> None:
    """Inputs from stdin, each after its length as u32; a line of JSON for each to stdout."""
    lost: list[str] = []
    sys.unraisablehook = lambda args: lost.append(f"{args.exc_value!r} in {args.object!r}")
    page = os.sysconf("SC_PAGE_SIZE")
    while head := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
        begin = time.perf_counter()
        try:
            answer = convert(data)
        except Exception as error:  # what the fuzzer looks for
            import traceback

            answer = {"exception": repr(error), "trace": traceback.format_exc()}
        if lost:
            answer = {"exception": lost[0], "trace": "\n".join(lost)}
            lost.clear()
        answer["seconds"] = round(time.perf_counter() - begin, 3)
        answer["mib"] = int(Path("/proc/self/statm").read_text().split()[1]) * page >> 20
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Dead(Exception):
    """The worker died or did not answer in time; the text is its stderr, or says how long it was waited for."""


class Worker:
    """A process that converts; started again after it died or has done enough."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        tree = ROOT / "build" / self.name
        if not (tree / "sftools").is_dir():
            sys.exit(f"{tree} is not there: run make {'asan' if self.name == 'asan' else 'test-pure'} first")
        env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", "PYTHONMALLOC": "malloc"}
        if self.name == "asan":
            library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
            env["LD_PRELOAD"] = library.stdout.strip()
            env["ASAN_OPTIONS"] = "detect_leaks=0:quarantine_size_mb=16:allocator_may_return_null=1"
            env["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1"
        else:
            del env["PYTHONMALLOC"]
        self.stderr = open(FINDINGS / f"stderr.{self.name}", "w+b")  # noqa: SIM115
        self.done = 0
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            env=env,
        )
        return self.process

    def run(self, data: bytes) -> dict[str, Any]:
        """Convert one input. Raises Dead."""
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
        if not select.select([process.stdout], [], [], 3 * limit)[0]:
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


# -- captures as something to change


@dataclass
class Event:
    """An event block by its parts; what the headers say follows from them."""

    block_type: int
    cpu: int
    flags: int
    ts: int
    tid: int
    type: int
    params: list[bytes]

    def pack(self) -> bytes:
        wide = self.block_type in (0x221, 0x222)
        params = self.params if wide else [param[:0xFFFF] for param in self.params]
        body = struct.pack(f"<{len(params)}{'I' if wide else 'H'}", *map(len, params)) + b"".join(params)
        counted = self.block_type in (0x216, 0x217, 0x221, 0x222)
        head = struct.pack("<QQIH", self.ts % 2**64, self.tid % 2**64, (26 if counted else 22) + len(body), self.type)
        if counted:
            head += struct.pack("<I", len(params))
        lead = struct.pack("<H", self.cpu)
        if self.block_type in (0x208, 0x217, 0x222):
            lead += struct.pack("<I", self.flags)
        return pack_block(self.block_type, lead + head + body)


@dataclass
class Block:
    """Any other block."""

    block_type: int
    body: bytes

    def pack(self) -> bytes:
        return pack_block(self.block_type, self.body)


Part = Event | Block


def pack_block(block_type: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack("<II", block_type, len(body) + 12) + body + struct.pack("<I", len(body) + 12)


def parse(capture: bytes) -> Iterator[Part]:
    """The blocks of a capture, as far as they are sound. Event blocks without a count are taken as they are."""
    at = 0
    while at + 12 <= len(capture):
        kind, size = struct.unpack_from("<II", capture, at)
        if size < 12 or at + size > len(capture):
            return
        body = capture[at + 8 : at + size - 4]
        at += size
        wide, flagged = kind in (0x221, 0x222), kind in (0x217, 0x222)
        lead = 6 if flagged else 2
        if kind not in (0x216, 0x217, 0x221, 0x222) or len(body) < lead + 26:
            yield Block(kind, body)
            continue
        flags = struct.unpack_from("<I", body, 2)[0] if flagged else 0
        ts, tid, _, type_, count = struct.unpack_from("<QqIHI", body, lead)
        width = 4 if wide else 2
        if count > 64 or lead + 26 + count * width > len(body):
            yield Block(kind, body)
            continue
        lengths = struct.unpack_from(f"<{count}{'I' if wide else 'H'}", body, lead + 26)
        params, data = [], lead + 26 + count * width
        for length in lengths:
            params.append(body[data : data + length])
            data += length
        yield Event(kind, struct.unpack_from("<H", body)[0], flags, ts, tid, type_, params)


# -- mutations

NUMBERS = (0, 1, 2, 3, 4, 5, 7, 10, 16, 63, 64, 100, 255, 256, 1023, 1024, 4095, 4096, 32767, 65535, 65536, 2**31 - 1,
           2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -1, -2, -11, -100, -115, -(2**31), -(2**63),
           10**9, 10**18, 17 * 10**17)  # fmt: skip
TEXTS = (
    b"", b"\0", b"/\0", b"..\0", b".\0", b"../../../x\0", b"//a//b/\0", b"/proc/self/fd/3\0", b"\xff\xfe\0",
    b"\xee\xbe\x80\0", b"a" * 5000 + b"\0", b"/a" * 9000 + b"\0", b"x" * 65535, b"<NA>\0", b"[eventpoll:3]\0",
    b"/memfd:x (deleted)\0",
    b"cpuset=/docker/" + b"0123456789abcdef" * 4 + b"\0", b"a=/lxc/x\0" * 50, b"a\0b\0\0c\0",
    b'{"container":{"id":"0123456789ab","name":"n","image":"i","type":0,"Mounts":[],"labels":{"a":"b"}}}\0',
    b'{"container":{"id":5,"labels":[],"type":"x","is_pod_sandbox":true}}\0', b"{}\0", b"null\0",
    b"[" * 3000, b'{"a":' * 2000,
    b"\x02" + bytes(12), b"\x02\x7f\0\0\x01\x90\x1f\x0a\0\0\x01\x50\0", b"\x02\x7f\0\0", b"\x02\x7f\0\0\x01\x90\x1f",
    b"\x0a" + bytes(36), b"\x0a" + (bytes(10) + b"\xff\xff\x7f\0\0\x01\x50\0") * 2, b"\x0a" + bytes(18), b"\x0a\1\2\3",
    b"\x01" + bytes(16) + b"/run/x\0", b"\x01" + bytes(8), b"\x01/run/x\0", b"\x01", b"\x00", b"\x63abc",
)  # fmt: skip


def value(rng: random.Random) -> bytes:
    """A parameter."""
    pick = rng.random()
    if pick < 0.45:
        size = rng.choice((8, 8, 8, 4, 4, 2, 1, 3, 9))
        return (rng.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, "little")
    if pick < 0.9:
        return rng.choice(TEXTS)
    return rng.randbytes(rng.choice((1, 8, 13, 37, 300)))


@dataclass
class Mutator:
    """Makes inputs of the captures it was given."""

    rng: random.Random
    corpus: list[list[Part]] = field(default_factory=list)

    def input(self) -> bytes:
        """Options and a capture: a slice of one in the corpus, changed."""
        rng = self.rng
        parts = self.slice(rng.choice(self.corpus))
        for _ in range(rng.choice((0, 1, 1, 2, 3, 5, 8, 20))):
            self.change(parts)
        data = bytearray(b"".join(part.pack() for part in parts))[:MAX_BYTES]
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 4))):
            self.lie(data)
        return bytes([rng.choice((0, 0, 4 | 8, rng.randrange(256)))]) + data

    def slice(self, parts: list[Part]) -> list[Part]:
        """All tables, cut where they are large, and a run of events."""
        rng = self.rng
        tables: list[Part] = [part for part in parts if isinstance(part, Block)]
        events: list[Part] = [part for part in parts if isinstance(part, Event)]
        tables = [part for part in tables if len(part.pack()) < 20_000 or rng.random() < 0.05]
        if len(tables) > 20 and rng.random() < 0.8:
            begin = rng.randrange(len(tables))
            tables = tables[:3] + tables[begin : begin + 20]
        if len(events) > 30:
            begin = rng.randrange(len(events))
            events = events[begin : begin + rng.choice((10, 50, 150, 400))]
        return [Event(**vars(part)) if isinstance(part, Event) else Block(**vars(part)) for part in tables + events]

    def change(self, parts: list[Part]) -> None:
        """One change that keeps the framing sound."""
        rng = self.rng
        if not parts:
            return
        i = rng.randrange(len(parts))
        part = parts[i]
        pick = rng.randrange(20)
        if pick == 0:
            del parts[i]
        elif pick == 1:
            parts.insert(rng.randrange(len(parts)), part)
        elif pick == 2:
            j = rng.randrange(len(parts))
            parts[i], parts[j] = parts[j], parts[i]
        elif pick == 3:
            other = rng.choice(self.corpus)
            begin = rng.randrange(len(other))
            parts[i:i] = other[begin : begin + rng.randrange(1, 12)]
        elif pick == 4:
            part.block_type = rng.choice(
                (*range(0x201, 0x223), 0x216, 0x217, 0x221, 0x222, 0x0A0D0D0A, 0x8010ABCD, 0x8013ABCD)
            )
        elif isinstance(part, Block):
            body = bytearray(part.body)
            self.lie(body)
            parts[i] = Block(part.block_type, bytes(body))
        else:
            parts[i] = self.change_event(Event(**vars(part)), parts, pick)

    def change_event(self, event: Event, parts: list[Part], pick: int) -> Event:
        rng = self.rng
        others = [part for part in parts if isinstance(part, Event)]
        event.params = list(event.params)
        if pick == 5:
            event.type = rng.choice((rng.randrange(460), event.type ^ 1, rng.choice(others).type, rng.randrange(65536)))
        elif pick == 6:
            event.tid = rng.choice((*NUMBERS, rng.choice(others).tid, rng.choice(others).tid, rng.randrange(2**22)))
        elif pick == 7:
            event.ts = rng.choice(
                (*NUMBERS, event.ts - 10**10, event.ts + 31 * 10**9, event.ts + 61 * 10**9, event.ts + 10**12)
            )
        elif pick == 8 and event.params:
            del event.params[rng.randrange(len(event.params)) :]
        elif pick == 9:
            event.params.append(value(rng))
        elif pick == 10:
            event.params = [value(rng) for _ in range(rng.choice((1, 5, 10, 20, 27, 32, 33, 40)))]
        elif pick == 11 and event.params:
            # The results of clones are tids, those of opens fds: let things meet.
            with_value = rng.choice(others)
            if with_value.params:
                event.params[rng.randrange(len(event.params))] = rng.choice(with_value.params)
        elif pick == 12 and event.params:
            event.params[0] = struct.pack("<q", rng.choice(others).tid % 2**63)
        elif pick == 13:
            event.type = rng.choice(others).type
            event.params = [value(rng) if rng.random() < 0.3 else param for param in event.params]
        elif event.params:
            event.params[rng.randrange(len(event.params))] = value(rng)
        return event

    def lie(self, data: bytearray) -> None:
        """One change of bytes, whatever they mean."""
        rng = self.rng
        if not data:
            return
        at = rng.randrange(len(data))
        pick = rng.randrange(8)
        if pick == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif pick == 1:
            data[at] = rng.randrange(256)
        elif pick in (2, 3, 4):
            size = rng.choice((1, 2, 4, 4, 8))
            at = rng.choice((at, at & ~3, at & ~3))
            if at + size <= len(data):
                data[at : at + size] = (rng.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, "little")
        elif pick == 5:
            del data[at : at + rng.choice((1, 2, 4, 12, 100))]
        elif pick == 6:
            data[at:at] = rng.choice((rng.randbytes(rng.choice((1, 4, 32))), bytes(4), data[at : at + 64]))
        else:
            del data[at if rng.random() < 0.3 else len(data) - at % 64 - 1 :]


# -- the loop


def finding(answers: dict[str, dict[str, Any]]) -> tuple[str, str] | None:
    """(kind, what) of a finding in the answers of both workers."""
    for name, answer in answers.items():
        if "exception" in answer:
            return "exception", f"{name}: {answer['trace']}"
        if answer["seconds"] > SECONDS[name]:
            return "slow", f"{name}: {answer['seconds']} s"
        if answer["mib"] > MIB[name]:
            return "big", f"{name}: {answer['mib']} MiB"
    if len(answers) == 2:
        one, other = (dict(answer) for answer in answers.values())
        for answer in (one, other):
            del answer["seconds"], answer["mib"]
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
    found = finding(answers)
    if found and found[0] == "big":
        # Memory adds up over inputs: only what a fresh worker shows again is this input's.
        for worker in workers:
            worker.stop()
        answers = {worker.name: worker.run(data) for worker in workers}
        found = finding(answers)
    return found


def reduce(data: bytes, is_same: Callable[[bytes], bool], seconds: float = 60) -> bytes:
    """Leaves out blocks while the finding stays."""
    until = time.monotonic() + seconds
    parts = [part.pack() for part in parse(data[1:])]
    rest = data[1 + sum(map(len, parts)) :]
    size = len(parts) // 2
    while size and time.monotonic() < until:
        at = 0
        while at < len(parts) and time.monotonic() < until:
            less = parts[:at] + parts[at + size :]
            if is_same(data[:1] + b"".join(less) + rest):
                parts = less
            else:
                at += size
        size //= 2
    return data[:1] + b"".join(parts) + rest


def signature(kind: str, what: str) -> str:
    """What tells one finding from another: the place of a crash, not its addresses."""
    lines = [line.strip() for line in what.splitlines()]
    places = [line.split(" in ")[1] for line in lines if line.startswith("#") and " in " in line and "sftools" in line]
    errors = [line for line in lines if "runtime error" in line or line.startswith("SUMMARY")]
    last = [line for line in lines if line][-1:] if kind == "exception" else []
    if kind == "differ":
        one, other = (json.loads(line.partition(": ")[2]) for line in lines)
        last = [name for name in one if one[name] != other[name] and name not in ("seconds", "mib")]
    return hashlib.sha1(repr((kind, places[:2], errors[:1], last)).encode()).hexdigest()[:8]


def captures() -> list[bytes]:
    """Inputs to begin with: earlier findings, and every capture with default options."""
    kept = [path.read_bytes() for path in sorted(KEPT.glob("*.scap"))]
    paths = [*sorted(FIXTURES.glob("*.scap")), *sorted(SHARED.glob("*/*.scap"))]
    return kept + [b"\0" + path.read_bytes() for path in paths]


def log(text: str, out: IO[str] = sys.stderr) -> None:
    print(text, file=out, flush=True)


def replay(paths: list[str]) -> int:
    """0 where no finding is one any more."""
    status = 0
    for path in paths:
        workers = [Worker("asan"), Worker("pure")]
        found = examine(Path(path).read_bytes(), workers)
        for worker in workers:
            worker.stop()
        log(f"{path}: {found[0] + chr(10) + found[1] if found else 'nothing found'}")
        status |= found is not None
    return status


def loop(seconds: float, seed: int, findings: Path, keep_same: bool) -> int:
    first = captures()
    mutator = Mutator(random.Random(seed), [parts for data in first if (parts := list(parse(data[1:])))])
    first = [data for data in first if len(data) < MAX_BYTES]
    workers = [Worker("asan"), Worker("pure")]
    known: dict[str, int] = {}
    runs = compared = 0
    begin = told = time.monotonic()
    log(f"{len(mutator.corpus)} captures, seed {seed}, findings go to {findings}")
    while time.monotonic() < begin + seconds:
        # The twin is slow: every input for it is one that the compiled modules could have had ten of.
        twins = workers if first or mutator.rng.random() < 0.15 else workers[:1]
        data = first.pop() if first else mutator.input()
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
                    data = reduce(data, is_same)
                    what = (examine(data, twins) or found)[1]
                path = findings / f"{kind}-{mark}-{hashlib.sha1(data).hexdigest()[:6]}.scap"
                path.write_bytes(data)
                path.with_suffix(".txt").write_text(f"{kind}\noptions {options_of(data[0])}\n{what}\n")
                log(f"{kind}: {path} ({len(data)} bytes)\n{what[:1500]}")
        if time.monotonic() > told + 30:
            told = time.monotonic()
            log(f"{told - begin:.0f} s: {runs} inputs, {compared} compared, {len(known)} findings")
    for worker in workers:
        worker.stop()
    log(f"{runs} inputs in {seconds:.0f} s, {compared} compared with the uncompiled twin, {len(known)} findings")
    return 1 if known else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="default: another one every time")
    parser.add_argument("--findings", type=Path, default=FINDINGS)
    parser.add_argument("--keep-same", action="store_true", help="keep every finding, not one of each kind")
    parser.add_argument("--replay", nargs="+", metavar="FILE")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work()
        return 0
    FINDINGS.mkdir(parents=True, exist_ok=True)
    options.findings.mkdir(parents=True, exist_ok=True)
    if options.replay:
        return replay(options.replay)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    return loop(options.seconds, seed, options.findings, options.keep_same)


if __name__ == "__main__":
    sys.exit(main())
