"""Opening inputs: how they are compressed, cut, corrupted, and meant to exhaust the machine."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import sftools
from sftools import limits
from sftools.errors import InputError
from sftools.source import Source, StreamDamage, open_source, open_stored

COMPRESSIONS = {
    "gzip": lambda data: gzip.compress(data, 6),
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    "zstd without size": lambda data: _streamed_zstd(data),
    "lz4": lz4.frame.compress,
}
# 1 MB that compresses a little, a lot, and not at all.
CONTENT = random.Random(1).randbytes(300_000) + bytes(500_000) + b"".join(b"%d " % i for i in range(40_000))

# A zstd frame that begins: no content size, a window of 8 MiB; and a block of 128 KiB that takes four bytes.
ZSTD_FRAME = b"\x28\xb5\x2f\xfd\x00" + bytes([13 << 3])
ZSTD_RLE_BLOCK = (131_072 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
ZSTD_EMPTY_BLOCK = bytes(3)


def _streamed_zstd(data: bytes) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(data) + stream.flush()


def read_all(source: Source, room: int = 100_000) -> bytes:
    out = bytearray()
    buffer = memoryview(bytearray(room))
    while n := source.readinto(buffer):
        out += buffer[:n]
    return bytes(out)


def read_until_error(path: Path) -> tuple[bytes, InputError]:
    """What an input delivers before it fails, and the failure."""
    out = bytearray()
    buffer = memoryview(bytearray(100_000))
    with open_source(str(path)) as source:
        while True:
            try:
                n = source.readinto(buffer)
            except InputError as error:
                return bytes(out), error
            assert n, "it should have failed"
            out += buffer[:n]


@pytest.fixture(params=COMPRESSIONS)
def compression(request):
    return request.param


@pytest.fixture
def packed(compression):
    return COMPRESSIONS[compression](CONTENT)


def test_plain(tmp_path):
    path = tmp_path / "x.scap"
    path.write_bytes(CONTENT)
    with open_source(str(path)) as source:
        assert source.size == len(CONTENT)
        assert read_all(source) == CONTENT
        assert source.consumed == len(CONTENT)


def test_compressed_whatever_the_name(tmp_path, packed):
    path = tmp_path / "x.scap"
    path.write_bytes(packed)
    with open_source(str(path)) as source:
        assert source.size == len(packed)
        assert read_all(source) == CONTENT
        assert source.consumed == len(packed)
        assert source.readinto(memoryview(bytearray(10))) == 0


@pytest.mark.parametrize("room", [1, 7, 4096])
def test_small_reads(tmp_path, compression, room):
    path = tmp_path / "x"
    path.write_bytes(COMPRESSIONS[compression](CONTENT[-9000:]))
    with open_source(str(path)) as source:
        assert read_all(source, room) == CONTENT[-9000:]


def test_several_members_are_one_input(tmp_path, packed, compression):
    path = tmp_path / "x"
    path.write_bytes(packed + COMPRESSIONS[compression](b"") + packed)
    with open_source(str(path)) as source:
        assert read_all(source) == CONTENT + CONTENT


def test_padding_with_nuls_is_passed_over(tmp_path, packed):
    path = tmp_path / "x"
    path.write_bytes(packed + bytes(100_000))
    with open_source(str(path)) as source:
        assert read_all(source) == CONTENT


def test_zstd_skippable_frames_are_passed_over(tmp_path):
    skippable = b"\x53\x2a\x4d\x18" + (70_000).to_bytes(4, "little") + bytes(70_000)
    path = tmp_path / "x"
    path.write_bytes(skippable + zstandard.compress(CONTENT) + skippable + zstandard.compress(b"end"))
    with open_source(str(path)) as source:
        assert read_all(source) == CONTENT + b"end"


def test_gzip_without_isal(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.setattr("sftools.source._GZIP._loaded", None)
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(CONTENT) * 2)
    with open_source(str(path)) as source:
        assert read_all(source) == CONTENT * 2
    path.write_bytes(gzip.compress(CONTENT)[:-9])
    assert isinstance(read_until_error(path)[1], StreamDamage)


def test_standard_input(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(sftools.__file__).parents[1]))
    code = "import sys; from sftools.source import open_source as o; s = o('-'); b = bytearray(99)\n"
    code += "print(s.name, s.size, s.readinto(memoryview(b)), s.readinto(memoryview(b)))"
    done = subprocess.run([sys.executable, "-c", code], input=gzip.compress(b"abc"), capture_output=True, check=True)
    assert done.stdout == b"stdin None 3 0\n"


def test_fifo_with_a_slow_writer(tmp_path, packed):
    path = tmp_path / "fifo"
    os.mkfifo(path)

    def write() -> None:
        with open(path, "wb", buffering=0) as file:
            for at in range(3):  # a byte at a time where the magic number stands
                file.write(packed[at : at + 1])
            file.write(packed[3:])

    writer = threading.Thread(target=write)
    writer.start()
    with open_source(str(path)) as source:
        assert source.size is None
        assert read_all(source) == CONTENT
    writer.join()


class Dribble(io.BytesIO):
    """Bytes that come from elsewhere, a few at a time, and break off with an error where told to."""

    def __init__(self, data: bytes, broken_at: int | None = None) -> None:
        super().__init__(data)
        self._broken_at = broken_at

    def read(self, size: int | None = -1, /) -> bytes:
        if self._broken_at is not None and self.tell() >= self._broken_at:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        return super().read(min(size or 0, 1000))

    def readinto(self, room, /) -> int:
        data = self.read(len(room))
        room[: len(data)] = data
        return len(data)


def test_bytes_that_lie_elsewhere(packed):
    for data in (CONTENT, packed):
        stored = Dribble(data)
        with open_stored(stored, "s3://b/x", len(data)) as source:
            assert (source.name, source.size) == ("s3://b/x", len(data))
            assert read_all(source) == CONTENT
            assert source.consumed == len(data)
        assert stored.closed


def test_bytes_that_lie_elsewhere_break_off(packed):
    for data in (CONTENT, packed):
        stored = Dribble(data, 5000)
        with open_stored(stored, "s3://b/x", None) as source, pytest.raises(InputError) as caught:
            read_all(source)
        assert "cannot be read: Connection reset by peer" in str(caught.value)
    stored = Dribble(CONTENT, 0)
    with pytest.raises(InputError, match="s3://b/x: cannot be read"):
        open_stored(stored, "s3://b/x", None)
    assert stored.closed


def test_the_first_bytes_can_be_looked_at(packed):
    for data in (CONTENT, packed):
        with open_stored(Dribble(data), "x", None) as source:
            assert source.starts_with(CONTENT[:4])
            assert not source.starts_with(b"Obj\1")
            assert read_all(source) == CONTENT
    for data in (b"", b"ab", gzip.compress(b"ab")):
        with open_stored(Dribble(data), "x", None) as source:
            assert not source.starts_with(b"abc")
            assert read_all(source) == (b"ab" if data else b"")


# -- what cannot be opened


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nonexistent/x.scap", "/nonexistent/x.scap: does not exist"),
        ("/", "/: is a directory; name the files in it"),
        ("/proc/self/mem", "/proc/self/mem: cannot be read: Input/output error"),
        ("a\0b", "'a\\x00b': is no file name: it contains a NUL byte"),
        ("x" * 300, "x" * 300 + ": cannot be read: File name too long"),
    ],
)
def test_not_a_file_to_read(path, message):
    with pytest.raises(InputError) as caught:
        open_source(path)
    assert str(caught.value) == message


def test_terminal():
    ours, theirs = os.openpty()
    with pytest.raises(InputError, match="is a terminal"):
        open_source(os.ttyname(theirs))
    os.close(ours)
    os.close(theirs)


def test_no_file_is_left_open(tmp_path, packed):
    path = tmp_path / "x"
    path.write_bytes(packed)
    before = os.listdir("/proc/self/fd")
    source = open_source(str(path))
    source.close()
    source.close()
    with pytest.raises(InputError):
        open_source(str(tmp_path))
    assert os.listdir("/proc/self/fd") == before


# -- damage: what was sound has been delivered


def test_cut(tmp_path, packed):
    path = tmp_path / "x"
    path.write_bytes(packed[:-30])
    delivered, error = read_until_error(path)
    assert isinstance(error, StreamDamage)
    assert "data is cut" in str(error)
    assert error.offset == len(delivered)
    assert CONTENT.startswith(delivered)
    assert len(delivered) > 300_000


def test_followed_by_something_else(tmp_path, packed):
    path = tmp_path / "x"
    path.write_bytes(packed + b"hello")
    delivered, error = read_until_error(path)
    assert isinstance(error, StreamDamage)
    assert "followed by bytes that are not" in str(error)
    assert delivered == CONTENT


@pytest.mark.parametrize("compression", ["gzip", "zstd"], indirect=True)
def test_corrupt_in_the_middle(tmp_path, packed):
    at = 310_000  # behind what cannot be compressed
    path = tmp_path / "x"
    path.write_bytes(packed[:at] + bytes(byte ^ 0x55 for byte in packed[at : at + 50]) + packed[at + 50 :])
    delivered, error = read_until_error(path)
    assert isinstance(error, StreamDamage)
    assert "data is corrupt" in str(error)
    assert CONTENT[:250_000] == delivered[:250_000]


@given(st.sampled_from(sorted(COMPRESSIONS)), st.data())
@settings(max_examples=150, deadline=None)
def test_any_mutation_is_read_or_refused(tmp_path_factory, compression, data):
    whole = COMPRESSIONS[compression](b"".join(b"%d," % i for i in range(2000)))
    mutated = bytearray(whole[: data.draw(st.integers(4, len(whole)))])
    for at, byte in data.draw(st.lists(st.tuples(st.integers(3, len(mutated) - 1), st.integers(0, 255)), max_size=4)):
        mutated[at] = byte
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(mutated)
    with contextlib.suppress(InputError), open_source(str(path)) as source:
        assert len(read_all(source)) < 1 << 20


# -- bombs: refused, not salvaged


def test_zstd_that_expands_without_end(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(ZSTD_FRAME + ZSTD_RLE_BLOCK * 5000)  # 20 KB that would be 650 MB
    delivered, error = read_until_error(path)
    assert "expands more than 1100 times" in str(error)
    assert not isinstance(error, StreamDamage)
    assert len(delivered) <= limits.FREE_EXPANSION_BYTES


def test_small_files_of_zeros_are_not_suspected(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(zstandard.compress(bytes(10 << 20)))
    with open_source(str(path)) as source:
        assert len(read_all(source)) == 10 << 20


@pytest.mark.parametrize("window", [31 << 3, 20 << 3, (17 << 3) + 1])
def test_zstd_that_asks_for_a_huge_window(tmp_path, window):
    path = tmp_path / "x"
    path.write_bytes(ZSTD_FRAME[:5] + bytes([window]) + ZSTD_RLE_BLOCK)
    with open_source(str(path)) as source, pytest.raises(InputError, match="needs a window of") as caught:
        read_all(source)
    assert not isinstance(caught.value, StreamDamage)


def test_zstd_frame_in_one_segment_of_a_huge_size(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + ZSTD_RLE_BLOCK)
    with open_source(str(path)) as source, pytest.raises(InputError, match="needs a window of 1099511627776 bytes"):
        read_all(source)


@pytest.mark.parametrize(
    "nothing",
    [gzip.compress(b""), zstandard.compress(b""), lz4.frame.compress(b""), b"\x50\x2a\x4d\x18\0\0\0\0"],
    ids=["gzip", "zstd", "lz4", "skippable"],
)
def test_millions_of_empty_frames(tmp_path, monkeypatch, nothing):
    monkeypatch.setattr("sftools.source.MAX_EMPTY_BYTES", 50_000)
    path = tmp_path / "x"
    path.write_bytes(nothing * (100_000 // len(nothing)))
    with open_source(str(path)) as source, pytest.raises(InputError, match="all but empty"):
        read_all(source)


def test_millions_of_empty_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("sftools.source.MAX_EMPTY_BYTES", 50_000)
    path = tmp_path / "x"
    path.write_bytes(ZSTD_FRAME + ZSTD_EMPTY_BLOCK * 40_000)
    with open_source(str(path)) as source, pytest.raises(InputError, match="all but empty"):
        read_all(source)
