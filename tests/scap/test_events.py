"""The event cursor: every kind of event block, and what it does on bytes that are none."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftools.errors import InputError
from sftools.scap import blocks, tables
from sftools.scap.event_table import BY_CODE
from sftools.scap.events_cy import BLOCK, END, EVENT, EventCursor, SavedEvent
from sftools.scap.writer import ScapWriter

PURE = hasattr(EventCursor, "load")
visible = pytest.mark.skipif(not PURE, reason="compiled: parameters are read in C only")

EVENT_BLOCKS = sorted(blocks.EVENTS)
COUNTED = [blocks.EV_V2, blocks.EVF_V2, blocks.EV_V2_LARGE, blocks.EVF_V2_LARGE]
LARGE = [blocks.EV_V2_LARGE, blocks.EVF_V2_LARGE]


class Seen(NamedTuple):
    """An event's header as the cursor has it."""

    ts: int
    tid: int
    cpuid: int
    type: int
    nparams: int


def written(write: Callable[[ScapWriter], object]) -> bytes:
    out = io.BytesIO()
    write(ScapWriter(out))
    return out.getvalue()


SECTION = written(lambda w: w.section())


def event(
    ts: int = 1, tid: int = 2, code: str | int = "PPME_SYSCALL_CLOSE_X", params: Any = (0, 3), **options: Any
) -> bytes:
    """One event block."""
    return written(lambda w: w.event(ts, tid, code, params, **options))


def cursor(data: bytes, strict: bool = False) -> Any:
    return EventCursor(io.BytesIO(data), "test.scap", strict)


def walk(walker: Any) -> list[Seen | int]:
    """Events as Seen, other blocks as their type."""
    found: list[Seen | int] = []
    while what := walker.advance():
        if what == EVENT:
            found.append(Seen(walker.ts, walker.tid, walker.cpuid, walker.type, walker.nparams))
        else:
            found.append(walker.block_type)
    return found


def tids(walker: Any) -> list[int]:
    return [item.tid for item in walk(walker) if isinstance(item, Seen)]


class Dribble(io.RawIOBase):
    """A source that gives so many bytes at a time, as pipes do."""

    def __init__(self, data: bytes, most: int) -> None:
        self.data = data
        self.at = 0
        self.most = most
        self.calls = 0

    def readinto(self, room: Any) -> int:
        self.calls += 1
        part = self.data[self.at : self.at + min(self.most, len(room))]
        room[: len(part)] = part
        self.at += len(part)
        return len(part)


# Sound captures


@pytest.mark.parametrize("block_type", EVENT_BLOCKS)
def test_every_kind_of_event_block(block_type: int) -> None:
    """With and without a count of parameters in the header, with and without flags, with short and long lengths."""
    data = SECTION + event(10**18, -1, "PPME_SYSCALL_READ_X", (5, b"hello"), cpu=7, flags=9, block_type=block_type)
    assert walk(cursor(data)) == [
        blocks.SHB,
        Seen(10**18, -1, 7, tables.PPME_SYSCALL_READ_X, 2),
    ]


@pytest.mark.parametrize("block_type", EVENT_BLOCKS)
def test_an_event_without_parameters(block_type: int) -> None:
    data = SECTION + event(1, 2, "PPME_SYSCALL_FORK_20_E", (), block_type=block_type)
    assert walk(cursor(data))[1:] == [Seen(1, 2, 0, tables.PPME_SYSCALL_FORK_20_E, 0)]


@pytest.mark.parametrize("block_type", EVENT_BLOCKS)
@given(sizes=st.lists(st.integers(0, 40), max_size=32))
def test_the_number_of_parameters_is_found(block_type: int, sizes: list[int]) -> None:
    """Blocks before v2 do not say it: the lengths end where they add up to the event's."""
    if block_type not in COUNTED and sizes and sizes[-1] == 0:
        # A trailing absent parameter looks like the end, or not: either reading is sound.
        sizes = [*sizes, 1][-32:]
    data = SECTION + event(1, 2, 5, [b"x" * size for size in sizes], block_type=block_type)
    (seen,) = walk(cursor(data))[1:]
    assert isinstance(seen, Seen)
    assert seen.nparams == len(sizes)


@pytest.mark.parametrize("block_type", LARGE)
def test_a_large_event_has_parameters_of_more_than_64_kb(block_type: int) -> None:
    data = SECTION + event(1, 2, "PPME_SYSCALL_READ_X", (70_000, b"x" * 70_000), block_type=block_type) + event(tid=3)
    assert tids(cursor(data)) == [2, 3]


def test_blocks_of_unknown_type_are_passed_over_by_their_length() -> None:
    data = SECTION + written(lambda w: w.block(0x999, b"whatever")) + event(tid=3)
    walker = cursor(data)
    assert walk(walker)[1] == 0x999
    assert walker.damaged == 0


def test_the_body_of_a_list_block_is_what_stands_between_its_lengths() -> None:
    walker = cursor(SECTION + written(lambda w: w.block(blocks.UL_V2, b"12345678")))
    assert (walker.advance(), walker.advance()) == (BLOCK, BLOCK)
    assert walker.body() == b"12345678"
    assert walker.advance() == END


def test_an_event_of_unknown_type_is_an_event() -> None:
    """Its parameters cannot be told, its header can."""
    data = SECTION + event(1, 2, 60_000, (b"abc",))
    assert walk(cursor(data))[1:] == [Seen(1, 2, 0, 60_000, 1)]


def test_several_sections_follow_each_other() -> None:
    data = (SECTION + event(tid=1)) + (SECTION + event(tid=2))
    walker = cursor(data)
    assert [item if isinstance(item, int) else item.tid for item in walk(walker)] == [blocks.SHB, 1, blocks.SHB, 2]
    assert walker.damaged == 0


@pytest.mark.parametrize("most", [1, 7, 300_000])
def test_a_source_may_give_few_bytes_at_a_time(most: int) -> None:
    big = event(1, 50, "PPME_SYSCALL_READ_X", (1, b"x" * 600_000), block_type=blocks.EV_V2_LARGE)
    data = SECTION + b"".join(event(tid=tid) for tid in range(20)) + (big if most > 7 else b"") + event(tid=99)
    walker: Any = EventCursor(Dribble(data, most), "pipe")
    assert tids(walker) == [*range(20), *([50] if most > 7 else []), 99]
    assert walker.position == len(data)


def test_offset_and_position_count_decompressed_bytes() -> None:
    first = event(tid=1)
    walker = cursor(SECTION + first + event(tid=2))
    assert (walker.offset, walker.position) == (0, 0)
    walker.advance()
    assert (walker.offset, walker.position) == (0, len(SECTION))
    walker.advance()
    assert walker.offset == len(SECTION)
    walker.advance()
    assert (walker.offset, walker.events) == (len(SECTION) + len(first), 2)


def test_the_end_stays_the_end() -> None:
    walker = cursor(SECTION + event())
    walk(walker)
    assert [walker.advance() for _ in range(3)] == [END] * 3


# What is no capture


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "is empty"),
        (b"\x0a\x0d\x0d\x0a", "too short"),
        (b"x" * 100, "is not a scap capture"),
        (b"\xd4\xc3\xb2\xa1" + bytes(100), "pcap"),
        (b"Obj\x01" + bytes(100), "sysprint"),
        (b"BZh9" + bytes(100), "bzip2"),
        (written(lambda w: w.section(major=2)), "2.2 is not known"),
        (written(lambda w: w.section(magic=0x12345678)), "magic 0x12345678"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_what_is_no_capture_is_refused(data: bytes, cause: str, strict: bool) -> None:
    """Whether strict or not: nothing can be made of it."""
    with pytest.raises(InputError, match=cause) as raised:
        walk(cursor(data, strict))
    assert str(raised.value).startswith("test.scap")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("front", [b"", SECTION + event()])
def test_a_byte_swapped_section_is_refused_by_name(front: bytes) -> None:
    """At the beginning and later, whatever its length looks like."""
    data = front + written(lambda w: w.byte_swapped_section()) + bytes(100)
    with pytest.raises(InputError, match="byte-swapped") as raised:
        walk(cursor(data))
    assert raised.value.offset == len(front)


# Damage


def test_a_cut_anywhere_keeps_the_events_before() -> None:
    parts = [event(tid=tid, code="PPME_SYSCALL_READ_X", params=(2, b"ab")) for tid in range(4)]
    data = SECTION + b"".join(parts)
    whole = [len(SECTION) + sum(map(len, parts[:i])) for i in range(5)]
    for size in range(len(SECTION), len(data)):
        walker = cursor(data[:size])
        assert tids(walker) == list(range(sum(end <= size for end in whole) - 1))
        assert walker.damaged == (0 if size in whole else 1)


def test_a_cut_is_reported_with_its_offset() -> None:
    data = SECTION + event(tid=1) + event(tid=2)
    walker = cursor(data[:-5])
    walk(walker)
    ((offset, cause),) = walker.damage
    assert offset == len(SECTION) + len(event(tid=1))
    assert "is cut" in cause


@pytest.mark.parametrize("rubbish", [b"\xff" * 40, bytes(64), b"\xff" * 41, b"\x04\x02\0\0" * 20, b"x"])
def test_the_cursor_goes_on_behind_damage(rubbish: bytes) -> None:
    """Three whole blocks in a row prove that it stands on a boundary again, whatever the alignment."""
    behind = b"".join(event(tid=tid) for tid in range(10, 14))
    walker = cursor(SECTION + event(tid=1) + rubbish + behind)
    assert tids(walker) == [1, 10, 11, 12, 13]
    assert walker.damaged == 1
    assert walker.damage[0][0] == len(SECTION) + len(event(tid=1))


def test_the_last_block_before_the_end_is_proof_enough() -> None:
    walker = cursor(SECTION + b"\xff" * 40 + event(tid=9))
    assert tids(walker) == [9]


def test_what_looks_like_a_block_within_an_event_is_not_taken_for_one() -> None:
    """An event's data may be a capture: it is not walked as long as the blocks around it are whole."""
    inner = SECTION + event(tid=666) * 5
    data = SECTION + event(1, 2, "PPME_SYSCALL_WRITE_X", (len(inner), inner)) + event(tid=3)
    walker = cursor(data)
    assert tids(walker) == [2, 3]
    assert walker.damaged == 0


@pytest.mark.parametrize("size", [0, 8, 13, 0x7FFFFFFC, 0xFFFFFFFC, 0xFFFFFFFF])
def test_a_block_length_that_lies_is_damage(size: int) -> None:
    lie = struct.pack("<II", blocks.EV_V2, size) + bytes(40)
    walker = cursor(SECTION + lie + event(tid=7) * 3)
    assert tids(walker) == [7, 7, 7]
    assert walker.damaged == 1


def test_the_two_lengths_of_a_block_must_agree() -> None:
    bad = bytearray(event(tid=5))
    bad[-4:] = struct.pack("<I", len(bad) + 4)
    walker = cursor(SECTION + bytes(bad) + event(tid=7) * 3)
    assert tids(walker) == [7, 7, 7]
    assert "two different lengths" in walker.damage[0][1]


@pytest.mark.parametrize("block_type", EVENT_BLOCKS)
@pytest.mark.parametrize("length", [0, 21, 25, 1000, 0xFFFFFFFF])
def test_an_event_length_that_lies_costs_that_event_only(block_type: int, length: int) -> None:
    """The block's own length is sound: the next one is found by it."""
    bad = bytearray(event(tid=5, block_type=block_type))
    at = 8 + (6 if block_type in (blocks.EVF, blocks.EVF_V2, blocks.EVF_V2_LARGE) else 2) + 16
    bad[at : at + 4] = struct.pack("<I", length)
    walker = cursor(SECTION + bytes(bad) + event(tid=7))
    assert tids(walker) == [7]
    assert walker.damaged == 1


@pytest.mark.parametrize("block_type", COUNTED)
@pytest.mark.parametrize("count", [33, 1000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_count_of_parameters_that_lies_costs_that_event_only(block_type: int, count: int) -> None:
    bad = bytearray(event(tid=5, block_type=block_type))
    at = 8 + (6 if block_type in (blocks.EVF_V2, blocks.EVF_V2_LARGE) else 2) + 22
    bad[at : at + 4] = struct.pack("<I", count)
    walker = cursor(SECTION + bytes(bad) + event(tid=7))
    assert tids(walker) == [7]
    assert walker.damaged == 1


@pytest.mark.parametrize("block_type", EVENT_BLOCKS)
@pytest.mark.parametrize("size", range(0, 33, 4))
def test_an_event_block_too_short_for_a_header_is_damage(block_type: int, size: int) -> None:
    walker = cursor(SECTION + written(lambda w: w.block(block_type, bytes(size))) + event(tid=7))
    assert 7 in tids(walker)


def test_strict_stops_at_the_first_damage() -> None:
    data = SECTION + event(tid=1) + b"\xff" * 40 + event(tid=2) * 4
    walker = cursor(data, strict=True)
    walker.advance()
    walker.advance()
    with pytest.raises(InputError, match=r"test\.scap at offset \d+: block of type 0xffffffff") as raised:
        walker.advance()
    assert raised.value.offset == len(SECTION) + len(event(tid=1))


@pytest.mark.parametrize("missing", [1, 5, 11, 20, 30])
def test_strict_does_not_accept_a_cut(missing: int) -> None:
    with pytest.raises(InputError, match="cut"):
        walk(cursor((SECTION + event() + event())[:-missing], strict=True))


def test_damage_that_a_reader_of_blocks_found_is_counted_with_the_rest() -> None:
    walker = cursor(SECTION + event())
    walker.advance()
    walker.damage_here("process entry at byte 4 is cut")
    assert (walker.damaged, walker.damage) == (1, [(0, "process entry at byte 4 is cut")])
    walker = cursor(SECTION + event(), strict=True)
    walker.advance()
    with pytest.raises(InputError, match="process entry at byte 4 is cut"):
        walker.damage_here("process entry at byte 4 is cut")


def test_the_list_of_damage_is_bounded() -> None:
    """A capture of nothing but damage: all is counted, not all is kept."""
    bad = bytearray(event(tid=5))
    bad[26:30] = b"\xff" * 4
    walker = cursor(SECTION + bytes(bad) * 5000)
    assert tids(walker) == []
    assert walker.damaged == 5000
    assert len(walker.damage) <= 1000


# Attacks


def peak_of(source: Any) -> int:
    """Bytes that walking a capture takes at most."""
    tracemalloc.start()
    try:
        walk(EventCursor(source, "test.scap"))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [blocks.PL_V9, blocks.EV_V2, blocks.EV_V2_LARGE, 0x999])
@pytest.mark.parametrize("size", [64 * 2**20, 0x7FFFFFFC, 0xFFFFFFFC])
def test_memory_does_not_grow_with_a_length_that_lies(kind: int, size: int) -> None:
    data = SECTION + struct.pack("<II", kind, size) + bytes(1000)
    assert peak_of(io.BytesIO(data)) < 2 * 2**20


def test_memory_does_not_grow_with_the_capture() -> None:
    data = SECTION + event(code="PPME_SYSCALL_READ_X", params=(1000, b"x" * 1000)) * 5000
    assert peak_of(io.BytesIO(data)) < 2 * 2**20


def test_looking_for_a_boundary_reads_each_byte_about_once() -> None:
    """Place after place claims a block as long as the buffer: each look must not move it and read on by a few bytes."""
    places = 3000
    data = SECTION + struct.pack("<II", 0, 12) + struct.pack("<II", blocks.EV_V2, 2**19) * places + bytes(2**20)
    source = Dribble(data, 2**20)
    walk(EventCursor(source, "test.scap"))
    assert source.calls < 100


@given(st.binary(max_size=300))
@example(bytes.fromhex("04020000") * 20)
@example(bytes.fromhex("0a0d0d0a") * 20)
@example(struct.pack("<II", blocks.EV, 0xFFFFFFFC) * 5)
def test_any_bytes_behind_a_section_are_walked_to_the_end(data: bytes) -> None:
    walker = cursor(SECTION + data)
    try:
        walk(walker)
    except InputError as error:
        if "byte-swapped" not in str(error):
            raise
    else:
        assert walker.position == len(SECTION + data)


@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 10_000))
def test_any_byte_may_be_wrong(at: int, value: int, cut: int) -> None:
    """One byte changed and some cut off: no exception but for a section that cannot be read."""
    data = bytearray(
        SECTION
        + event(tid=1)
        + event(tid=2, block_type=blocks.EVF)
        + event(tid=3, block_type=blocks.EV_V2_LARGE, code="PPME_SYSCALL_READ_X", params=(3, b"abc"))
        + event(tid=4, block_type=blocks.EVF_V2)
    )
    data[len(SECTION) + at % (len(data) - len(SECTION))] = value
    walker = cursor(bytes(data[: len(data) - cut % len(data)])) if cut % 3 == 0 else cursor(bytes(data))
    try:
        found = tids(walker)
    except InputError:
        return
    assert len(found) <= 6


# Parameters


@visible
@pytest.mark.parametrize("block_type", COUNTED)
@given(params=st.lists(st.binary(max_size=30), max_size=32))
def test_parameters_are_what_was_written(block_type: int, params: list[bytes]) -> None:
    walker = cursor(SECTION + event(1, 2, 60_000, params, block_type=block_type))
    walker.advance()
    walker.advance()
    assert walker.load(None)
    assert [walker.bytes_param(i) for i in range(len(params))] == params
    assert [walker.str_param(i) for i in range(len(params))] == [param.split(b"\0")[0] for param in params]
    assert walker.bytes_param(len(params)) == b""


@visible
def test_numbers_of_every_size() -> None:
    values = [b"\xff", b"\xff\xff", b"\xff" * 4, b"\xff" * 8, b"\xff" * 3, b""]
    walker = cursor(SECTION + event(1, 2, 60_000, values))
    walker.advance()
    walker.advance()
    assert walker.load(None)
    assert [walker.uint_param(i, 77) for i in range(7)] == [0xFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 77, 77, 77]
    assert [walker.long_param(i, 77) for i in range(7)] == [0xFF, 0xFFFF, 0xFFFFFFFF, -1, 77, 77, 77]


@visible
@pytest.mark.parametrize("block_type", COUNTED)
def test_parameter_lengths_that_overrun_the_event_are_told(block_type: int) -> None:
    bad = bytearray(event(tid=5, block_type=block_type))
    at = 8 + (6 if block_type in (blocks.EVF_V2, blocks.EVF_V2_LARGE) else 2) + 26
    bad[at : at + 2] = b"\xff\xff"
    walker = cursor(SECTION + bytes(bad))
    walker.advance()
    assert walker.advance() == EVENT
    assert not walker.load(None)


# Conversions of older events


# PPME_CONTAINER_E becomes JSON by code in libs; here it stays what it is.
CONVERTED = [row for row in tables.CONVERSIONS if not any(kind == "from_callback" for kind, _ in row[3])]
STEPS = [pytest.param(*row, id=f"{tables.EVENT_CODES[row[0]]}-{row[1]}") for row in CONVERTED]


@visible
@pytest.mark.parametrize(("code", "nparams", "becomes", "sources"), STEPS)
@pytest.mark.parametrize("with_enter", [True, False])
def test_an_older_event_becomes_todays(
    code: int, nparams: int, becomes: int, sources: tuple[tuple[str, int], ...], with_enter: bool
) -> None:
    """One step of the table, and those after it: parameters are from the event, from its enter event, or absent."""
    steps = {(row[0], row[1]): row[2:] for row in CONVERTED}
    old = [b"old%d" % i for i in range(nparams)]
    entered = [b"enter%d" % i for i in range(32)]
    expected, type_ = old, code
    while (step := steps.get((type_, len(expected)))) is not None:
        target, rules = step
        made = [
            expected[number] if kind == "from_old" else entered[number] if kind == "from_enter" and with_enter else b""
            for kind, number in rules
        ]
        expected = expected + made if target == type_ else made
        type_ = target
    enter = None
    if with_enter:
        walker = cursor(SECTION + event(1, 2, code - 1, entered))
        walker.advance()
        walker.advance()
        enter = SavedEvent()
        walker.save(enter)
    walker = cursor(SECTION + event(1, 2, code, old))
    walker.advance()
    walker.advance()
    assert walker.load(enter)
    assert walker.type == type_
    assert walker.nparams == len(expected)
    assert [walker.bytes_param(i) for i in range(len(expected))] == expected


@visible
def test_an_enter_event_with_fewer_parameters_gives_what_it_has() -> None:
    walker = cursor(SECTION + event(1, 2, "PPME_SYSCALL_READ_E", (b"12345678",)))
    walker.advance()
    walker.advance()
    enter = SavedEvent()
    walker.save(enter)
    walker = cursor(SECTION + event(1, 2, "PPME_SYSCALL_READ_X", (5, b"hello")))
    walker.advance()
    walker.advance()
    assert walker.load(enter)
    assert [walker.bytes_param(i) for i in (1, 2, 3)] == [b"hello", b"12345678", b""]


@visible
@given(params=st.lists(st.binary(max_size=20), max_size=32), block_type=st.sampled_from(COUNTED))
def test_a_saved_event_keeps_its_parameters(params: list[bytes], block_type: int) -> None:
    walker = cursor(SECTION + event(1, 2, 60_000, params, block_type=block_type) + event())
    walker.advance()
    walker.advance()
    saved = SavedEvent()
    walker.save(saved)
    walk(walker)
    for i, param in enumerate(params):
        assert saved.str_param(i) == param.split(b"\0")[0]
        if len(param) == 8:
            assert saved.long_param(i, 0) == int.from_bytes(param, "little", signed=True)
        if len(param) == 4:
            assert saved.uint_param(i, 0) == int.from_bytes(param, "little")
    assert saved.str_param(len(params)) == b""
    assert saved.uint_param(40, 9) == 9


def test_the_table_knows_every_event() -> None:
    """The conversions lead to layouts that the event table has."""
    steps = {(row[0], row[1]) for row in tables.CONVERSIONS}
    for code, nparams, becomes, sources in tables.CONVERSIONS:
        now = (nparams if becomes == code else 0) + len(sources)
        assert now <= 32
        row = BY_CODE[tables.EVENT_CODES[becomes]]
        assert (becomes, now) in steps or now == len(row.params), tables.EVENT_CODES[code]
