"""The reader of the kernel's ring buffer, on rings that are made here."""

from __future__ import annotations

import io
import struct
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.errors import CaptureError
from sftools.live.ring_cy import PAGE, RingReader, admitted, cgroups_seen
from sftools.scap import blocks
from sftools.scap.event_table import BY_CODE
from sftools.scap.writer import ScapWriter

SIZE = 8192
BUSY, DISCARD = 1 << 31, 1 << 30
ALL = 2**64 - 1


class Ring(NamedTuple):
    """A ring as the kernel maps it; records are put in as a program puts them."""

    consumer: bytearray
    area: bytearray

    @property
    def reader(self) -> RingReader:
        return RingReader(self.consumer, self.area, SIZE)

    @property
    def consumed(self) -> int:
        return int.from_bytes(self.consumer[:8], "little")

    @property
    def produced(self) -> int:
        return int.from_bytes(self.area[:8], "little")

    def put(self, record: bytes, flags: int = 0) -> None:
        at = self.produced
        whole = struct.pack("<II", len(record) | flags, 0) + record
        for i, byte in enumerate(whole):
            place = PAGE + (at + i) % SIZE
            self.area[place] = self.area[place + SIZE] = byte
        struct.pack_into("<Q", self.area, 0, at + (len(whole) + 7) // 8 * 8)


def ring(start: int = 0) -> Ring:
    made = Ring(bytearray(PAGE), bytearray(PAGE + 2 * SIZE))
    struct.pack_into("<Q", made.consumer, 0, start)
    struct.pack_into("<Q", made.area, 0, start)
    return made


def event(ts: int, tid: int = 7, extra: int = 0) -> bytes:
    """An event block without parameters that mean anything, `extra` bytes longer than need be."""
    size = 40 + extra // 4 * 4
    body = struct.pack("<IIHQQIHI", 0x216, size, 0, ts, tid, size - 14, 5, 0)
    return body.ljust(size - 4, b"\xaa") + struct.pack("<I", size)


def drained(made: Ring, until: int = ALL, room: int = 1 << 16) -> bytes:
    into = bytearray(room)
    return bytes(into[: made.reader.drain(into, until)])


def test_an_empty_ring_gives_nothing() -> None:
    assert drained(ring()) == b""


def test_records_come_as_they_are_and_make_room() -> None:
    made = ring()
    made.put(event(1))
    made.put(event(2, extra=13))
    assert drained(made) == event(1) + event(2, extra=13)
    assert made.consumed == made.produced


def test_a_record_may_reach_over_the_end_of_the_data() -> None:
    made = ring(start=SIZE * 5 - 24)
    made.put(event(1))
    assert drained(made) == event(1)


def test_what_is_still_being_written_holds_back_what_follows() -> None:
    made = ring()
    made.put(event(1))
    made.put(event(2), BUSY)
    made.put(event(3))
    assert drained(made) == event(1)
    assert made.consumed < made.produced


def test_discarded_records_are_passed_over() -> None:
    made = ring()
    made.put(event(1), DISCARD)
    made.put(event(2))
    assert drained(made) == event(2)


def test_a_ring_of_discarded_records_becomes_empty() -> None:
    made = ring()
    made.put(event(1), DISCARD)
    assert drained(made) == b""
    assert made.consumed == made.produced


def test_events_newer_than_the_limit_stay() -> None:
    made = ring()
    for ts in (1, 5, 9):
        made.put(event(ts))
    assert drained(made, until=5) == event(1) + event(5)
    assert drained(made, until=9) == event(9)


def test_events_of_two_processors_are_put_in_order() -> None:
    made = ring()
    for ts in (10, 30, 20, 40, 35):
        made.put(event(ts))
    reader = made.reader
    into = bytearray(4096)
    got = reader.drain(into, ALL)
    assert bytes(into[:got]) == b"".join(map(event, (10, 20, 30, 35, 40)))
    assert (reader.events, reader.out_of_order, reader.last_ts) == (5, 2, 40)


def test_events_of_one_time_stay_as_they_came() -> None:
    made = ring()
    for tid in (3, 1, 2):
        made.put(event(5, tid))
    assert drained(made) == event(5, 3) + event(5, 1) + event(5, 2)


def test_a_full_buffer_leaves_the_newest_for_late_ones_to_join() -> None:
    made = ring()
    for ts in (0, 1_000_000, 1_050_000):
        made.put(event(ts))
    assert drained(made, room=120) == event(0) + event(1_000_000) + event(1_050_000)
    made = ring()
    for ts in (0, 1_000_000, 1_050_000, 1_040_000):
        made.put(event(ts))
    assert drained(made, room=120) == event(0)
    assert drained(made) == event(1_000_000) + event(1_040_000) + event(1_050_000)


@pytest.mark.parametrize("size", [0, 39, SIZE + 8])
def test_a_record_that_no_event_can_be_is_an_error(size: int) -> None:
    made = ring()
    struct.pack_into("<II", made.area, PAGE, size, 0)
    struct.pack_into("<Q", made.area, 0, SIZE)
    with pytest.raises(CaptureError, match="damaged"):
        drained(made)


def test_an_event_larger_than_the_buffer_is_an_error_not_an_endless_wait() -> None:
    made = ring()
    made.put(event(1, extra=400))
    with pytest.raises(CaptureError, match="does not fit"):
        drained(made, room=100)


@pytest.mark.parametrize("size", [0, 100, 2 * SIZE])
def test_the_mapping_must_hold_the_ring(size: int) -> None:
    with pytest.raises(ValueError, match="ring"):
        RingReader(bytearray(PAGE), bytearray(PAGE + 2 * SIZE), size)


def test_after_close_there_is_nothing() -> None:
    made = ring()
    made.put(event(1))
    reader = made.reader
    reader.close()
    assert reader.waiting() == 0
    assert reader.drain(bytearray(100), ALL) == 0


@given(
    st.integers(0, 2**40).map(lambda n: n * 8),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 200), st.booleans()), max_size=25),
    st.integers(240, 600),
)
def test_whatever_comes_is_given_once_and_each_batch_in_order(
    start: int, records: list[tuple[int, int, bool]], room: int
) -> None:
    made = ring(start)
    for tid, (ts, extra, discard) in enumerate(records):
        made.put(event(ts, tid, extra), DISCARD if discard else 0)
    seen = []
    while batch := drained(made, room=room):
        times = []
        while batch:
            size = int.from_bytes(batch[4:8], "little")
            times.append(int.from_bytes(batch[10:18], "little"))
            seen.append(batch[:size])
            batch = batch[size:]
        assert times == sorted(times)
    expected = [event(ts, tid, extra) for tid, (ts, extra, discard) in enumerate(records) if not discard]
    assert sorted(seen) == sorted(expected)
    assert made.consumed == made.produced


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 40))),
    st.dictionaries(st.integers(0, 3), st.integers(0, 9)),
)
def test_events_older_than_their_threads_entry_are_left_out(
    given_: list[tuple[int, int, int]], known: dict[int, int]
) -> None:
    batch = b"".join(event(*fields) for fields in given_)
    expected = b"".join(event(ts, tid, extra) for ts, tid, extra in given_ if ts >= known.get(tid, 0))
    assert admitted(batch, known) == expected


def call(ts: int, thread: int, name: str, nparams: int | None = None, kind: int = blocks.EV_V2, **params: Any) -> bytes:
    """The event block of a system call's exit, with parameters."""
    out = io.BytesIO()
    ScapWriter(out).event(ts, thread, f"PPME_SYSCALL_{name}_X", params, nparams=nparams, block_type=kind)
    return out.getvalue()


def begun(ts: int, tid: int, pid: int, name: str = "CLONE_20") -> bytes:
    """A thread's or a process's own return from clone."""
    return call(ts, tid, name, res=0, exe="/a", args=b"one\0two\0", tid=tid, pid=pid)


def closed(ts: int, tid: int) -> bytes:
    return call(ts, tid, "CLOSE", res=0, fd=3)


@pytest.mark.parametrize("name", ["CLONE_20", "CLONE3"])
def test_a_thread_that_ended_before_its_process_was_listed_does_nothing_twice(name: str) -> None:
    """Its close would end what another thread opened since, which the list has."""
    other = begun(3, 80, 80, name) + closed(5, 80)
    batch = begun(2, 71, 70, name) + other + closed(4, 71)
    known = {70: 10}
    assert admitted(batch, known) == other
    assert admitted(closed(6, 71) + closed(11, 70), known) == closed(11, 70)


def test_a_thread_that_began_after_its_process_was_listed_is_new() -> None:
    batch = begun(11, 71, 70) + closed(12, 71)
    assert admitted(batch, {70: 10}) == batch


def test_the_callers_return_from_clone_is_the_callers() -> None:
    batch = call(2, 5, "CLONE_20", res=71, tid=5, pid=70)
    assert admitted(batch, {70: 10}) == batch


@pytest.mark.parametrize("nparams", [0, 1, 4])
def test_an_event_without_a_pid_tells_of_no_process(nparams: int) -> None:
    batch = call(2, 71, "CLONE_20", nparams, res=0, tid=71, pid=70)
    assert admitted(batch, {70: 10}) == batch


DOCKER, OTHER = b"cpu=/docker/x\0pids=/\0", b"cpu=/\0"


@pytest.mark.parametrize("name", ["CLONE_20", "FORK_20", "VFORK_20", "CLONE3", "EXECVE_19", "EXECVEAT"])
@pytest.mark.parametrize("kind", [blocks.EV_V2, blocks.EV_V2_LARGE])
def test_cgroups_of_what_begins_are_seen(name: str, kind: int) -> None:
    batch = call(1, 7, name, kind=kind, res=0, exe="/a", comm="a", cgroups=DOCKER)
    assert cgroups_seen(batch) == [DOCKER]


def test_each_of_the_cgroups_is_seen_once() -> None:
    one, two = (call(1, 7, "CLONE_20", res=0, cgroups=cgroups) for cgroups in (DOCKER, OTHER))
    assert cgroups_seen(one + two + closed(2, 7) + one + two) == [DOCKER, OTHER]


def test_events_without_cgroups_have_none() -> None:
    assert cgroups_seen(b"") == []
    assert cgroups_seen(closed(1, 7) + event(1)) == []
    assert cgroups_seen(call(1, 7, "EXECVE_19", 14, res=0, exe="/a")) == []


@given(st.data())
def test_cgroups_of_damaged_events_stay_within_them(data: st.DataObject) -> None:
    """Whatever lengths an event claims, only its own bytes are taken."""
    whole = bytearray(call(1, 7, "CLONE_20", res=0, exe="/a", cgroups=DOCKER))
    count = len(BY_CODE["PPME_SYSCALL_CLONE_20_X"].params)
    for at in data.draw(st.lists(st.integers(36, 36 + 2 * count - 1), max_size=4)):
        whole[at] = data.draw(st.integers(0, 255))
    for cgroups in cgroups_seen(bytes(whole)):
        assert cgroups in bytes(whole)
    known = {7: 10}
    assert admitted(bytes(whole), known) in (b"", bytes(whole))
