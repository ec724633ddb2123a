"""Earlier findings of scripts/fuzz.py, damage done to the fixtures, and captures that no kernel would make: never more
than an error."""

from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path
from typing import Any

import fastavro
import pytest

from sftools.avro.encoder_cy import Encoder
from sftools.engine import threads_cy
from sftools.engine.engine_cy import Engine
from sftools.engine.options import EngineOptions
from sftools.errors import SftoolsError
from sftools.scap.events_cy import EventCursor
from sftools.schema.versions import schema_json

ROOT = Path(__file__).resolve().parent.parent
KEPT = sorted((ROOT / "tests" / "corpus" / "captures").glob("*.scap"))
KEPT_TRACES = sorted((ROOT / "tests" / "corpus" / "traces").glob("*.sf"))

sys.path.append(str(ROOT / "scripts"))

import fuzz_captures  # noqa: E402
import fuzz_sequences  # noqa: E402
import fuzz_traces  # noqa: E402


def records(data: bytes, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The records of an input of the fuzzer, decoded; the conversion may fail with an error of sftools only."""
    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    options = fuzz_captures.options_of(data[0])
    blocks: list[tuple[bytes, int]] = []
    encoder = Encoder(lambda block, count: blocks.append((bytes(block), count)), options["schema"])

    def header(_: Any) -> None:
        encoder.header(options["schema"], b"exporter", b"", b"name")

    engine = Engine(encoder, EngineOptions(**options["engine"]), header, header)
    failure = ""
    try:
        engine.run(EventCursor(io.BytesIO(data[1:]), "input", options["strict"]))
        engine.finish()
    except SftoolsError as error:
        failure = str(error)
    encoder.flush()
    assert "\n" not in failure
    assert lost == []
    schema = fastavro.parse_schema(json.loads(schema_json(options["schema"])))
    found = []
    for block, count in blocks:
        stream = io.BytesIO(block)
        found += [fastavro.schemaless_reader(stream, schema, None) for _ in range(count)]
        assert stream.read() == b""
    return found


@pytest.mark.parametrize("path", KEPT, ids=[path.stem for path in KEPT])
def test_earlier_findings(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert records(path.read_bytes(), monkeypatch)


@pytest.mark.parametrize("seed", range(40))
def test_mutated_fixtures(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A taste of make fuzz, the same on every machine: a seed's inputs depend on the fixtures only."""
    rng = random.Random(seed)
    captures = sorted((ROOT / "tests" / "fixtures").glob("*.scap"))
    parts = [list(fuzz_captures.parse(path.read_bytes())) for path in rng.sample(captures, 4)]
    mutator = fuzz_captures.Mutator(rng, [some for some in parts if some])
    for _ in range(5):
        records(mutator.input(), monkeypatch)


@pytest.mark.parametrize("seed", range(40))
def test_sequences(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, fds and containers that meet in every way, converted; without compiled modules, all sums are checked."""
    sequences = fuzz_sequences.Sequences(random.Random(seed))
    for _ in range(5):
        data = sequences.input()
        records(data, monkeypatch)
        fuzz_captures.run(data, checked=threads_cy.__file__.endswith(".py"))


@pytest.mark.parametrize("path", KEPT_TRACES, ids=[path.stem for path in KEPT_TRACES])
def test_earlier_findings_in_traces(path: Path) -> None:
    fuzz_traces.run(path.read_bytes(), checked=True)


@pytest.mark.parametrize("seed", range(20))
def test_mutated_traces(seed: int) -> None:
    """Read, joined and printed; what is sound is what fastavro reads, too."""
    mutator = fuzz_traces.inputs(random.Random(seed))
    for _ in range(10):
        fuzz_traces.run(mutator.input(), checked=True)
