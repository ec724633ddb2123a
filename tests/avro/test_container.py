"""Containers, read back with another library: fastavro."""

from __future__ import annotations

import io
import json
import sys

import fastavro
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sftools.avro import container
from sftools.avro.container import CODECS, ContainerWriter
from sftools.errors import UsageError

SCHEMA = json.dumps(
    {"type": "record", "name": "Pair", "fields": [{"name": "n", "type": "long"}, {"name": "s", "type": "string"}]}
)
SYNC = bytes(range(16))


def encoded(n: int, text: str) -> bytes:
    return container.long(n) + container.byte_string(text.encode())


def written(codec: str, *blocks: list[tuple[int, str]]) -> bytes:
    out = io.BytesIO()
    writer = ContainerWriter(out.write, SCHEMA, codec, SYNC)
    for block in blocks:
        writer.block(b"".join(encoded(*pair) for pair in block), len(block))
    assert writer.bytes_written == len(out.getvalue())
    return out.getvalue()


@pytest.fixture
def zstandard_for_fastavro(monkeypatch):
    """fastavro itself wants another zstd library."""

    def read_block(file):
        packed = fastavro.schemaless_reader(file, "bytes", None)
        return io.BytesIO(zstandard.ZstdDecompressor().decompressobj().decompress(packed))

    monkeypatch.setitem(fastavro.read.BLOCK_READERS, "zstandard", read_block)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.usefixtures("zstandard_for_fastavro")
def test_fastavro_reads_every_codec(codec):
    first = [(n, f"line {n}") for n in range(1000)]
    second = [(-1, ""), (2**63 - 1, "é" * 100_000)]
    reader = fastavro.reader(io.BytesIO(written(codec, first, second)))
    assert reader.codec == codec
    assert [(row["n"], row["s"]) for row in reader] == first + second


def test_deflate_without_isal(monkeypatch):
    monkeypatch.setitem(sys.modules, "isal", None)
    rows = [(n, "x") for n in range(1000)]
    assert [(row["n"], row["s"]) for row in fastavro.reader(io.BytesIO(written("deflate", rows)))] == rows


def test_no_blocks():
    assert list(fastavro.reader(io.BytesIO(written("deflate")))) == []


def test_blocks_end_with_the_sync_marker():
    data = written("null", [(1, "a")])
    assert data.endswith(container.long(1) + container.long(3) + encoded(1, "a") + SYNC)
    assert data.count(SYNC) == 2


def test_sync_marker_is_random_unless_given():
    first, second = io.BytesIO(), io.BytesIO()
    ContainerWriter(first.write, SCHEMA)
    ContainerWriter(second.write, SCHEMA)
    assert first.getvalue()[:-16] == second.getvalue()[:-16]
    assert first.getvalue()[-16:] != second.getvalue()[-16:]
    assert written("null") == written("null")


def test_unknown_codec_writes_nothing():
    out = io.BytesIO()
    with pytest.raises(UsageError, match="no codec lzma: there are deflate, null, zstandard, snappy"):
        ContainerWriter(out.write, SCHEMA, "lzma")
    assert out.getvalue() == b""


@given(st.integers(-(2**63), 2**63 - 1))
def test_long(value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    assert container.long(value) == out.getvalue()
