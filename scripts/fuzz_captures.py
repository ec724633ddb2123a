"""Captures for fuzz.py: converted, changed at random, or (half of them) made up by fuzz_sequences.

The first byte of an input is no part of the capture: it chooses the options (see options_of).
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import fuzz_sequences

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
KEPT = ROOT / "tests" / "corpus" / "captures"
SHARED = ROOT.parent / "shared" / "traces"

SUFFIX = ".scap"
MAX_BYTES = 300_000


# -- the conversion of one input


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


def run(data: bytes, checked: bool = False) -> dict[str, Any]:
    """What the conversion of one input comes to. Raises what it should not raise.

    checked: whether to count again what the engine counts; possible where its modules are not compiled.
    """
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
    wrong: list[str] = []
    try:
        engine.run(cursor)
        if checked:
            wrong = broken(engine)
        engine.finish()
        encoder.flush()
    except SftoolsError as raised:
        error = str(raised)
        engine.close()
    if wrong:
        raise AssertionError("; ".join(wrong))
    return {
        "records": records,
        "sha256": digest.hexdigest(),
        "events": cursor.events,
        "damaged": cursor.damaged,
        "damage": [f"{offset}: {cause}" for offset, cause in cursor.damage[:5]],
        "error": error,
    }


def broken(engine: Any) -> list[str]:
    """The sums and references in an engine's state that are wrong, each in a few words without numbers."""
    from sftools import limits

    threads, flows = engine.threads, engine.flows
    wrong = set()

    def check(name: str, sound: bool) -> None:
        if not sound:
            wrong.add(name)

    for group in threads.groups.values():
        alive = sum(not thread.dead for thread in group.threads.values())
        check("Group.alive is not the number of its live threads", alive == group.alive)
        check("a group without a live thread", alive > 0)
        here = all(threads.by_tid.get(tid) is thread for tid, thread in group.threads.items())
        check("a group has a thread that the table has not", here)
        check("Group.leader is in another group", group.leader is None or group.leader.group is group)
    for tid, thread in threads.by_tid.items():
        group = thread.group
        check("a thread in the table by a tid that it has not", thread.tid == tid)
        check("a thread in a group that is gone", group is None or threads.groups.get(group.pid) is group)
        check("a thread that its group has not", group is None or group.threads.get(tid) is thread)
    tables = {id(group.fds): group.fds for group in threads.groups.values()}
    for table in tables.values():
        users = sum(group.fds is table for group in threads.groups.values())
        check("FdTable.users is not the number of groups that have it", users == table.users)
        infos = [info for info in [*table.near, *(table.far or {}).values()] if info is not None]
        check("FdTable.count is not the number of its fds", len(infos) == table.count)
    used = limits.MAX_FDS - threads.fd_budget
    check("Threads.fd_budget drifts", used == sum(table.weight for table in tables.values()))
    check("Threads.text drifts", threads.text == sum(thread.weight for thread in threads.by_tid.values()))
    open_flows = list(_linked(flows.first))
    texts = sum(len(flow.file.path) >> 8 for flow in open_flows if flow.file is not None)
    check("Flows.open drifts", flows.open == len(open_flows) + texts)
    for process in {id(flow.process): flow.process for flow in open_flows}.values():
        count = sum(flow.process is process for flow in open_flows)
        check("Process.open_flows is not the number of its open flows", process.open_flows == count)
    for file in {id(flow.file): flow.file for flow in open_flows if flow.file is not None}.values():
        check("File.refs is not the number of its flows", file.refs == sum(flow.file is file for flow in open_flows))
    return sorted(wrong)


def _linked(flow: Any) -> Iterator[Any]:
    while flow is not None:
        yield flow
        flow = flow.next


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
        """Options and a capture: one that is made up, or a slice of one in the corpus, changed."""
        rng = self.rng
        if rng.random() < 0.5:
            return fuzz_sequences.Sequences(rng).input()
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


# -- for fuzz.py


def first() -> list[bytes]:
    """Inputs to begin with: earlier findings, and every capture with default options."""
    kept = [path.read_bytes() for path in sorted(KEPT.glob("*" + SUFFIX))]
    paths = [*sorted(FIXTURES.glob("*.scap")), *sorted(SHARED.glob("*/*.scap"))]
    return kept + [b"\0" + path.read_bytes() for path in paths]


def inputs(rng: random.Random) -> Mutator:
    return Mutator(rng, [parts for data in first() if (parts := list(parse(data[1:])))])


def split(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """What has to stay at the beginning, parts that may be left out, the rest."""
    parts = [part.pack() for part in parse(data[1:])]
    return data[:1], parts, data[1 + sum(map(len, parts)) :]


def about(data: bytes) -> str:
    return f"options {options_of(data[0] if data else 0)}"
