"""The list blocks: what the writer writes comes back in every version, and no bytes do harm."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.scap import blocks, lists
from sftools.scap.writer import ScapWriter, ip4, ip6

PROCESS_LISTS = sorted(blocks.PROCESS_LISTS)
FD_LISTS = sorted(blocks.FD_LISTS)
USER_LISTS = sorted(blocks.USER_LISTS)
INTERFACE_LISTS = sorted(blocks.INTERFACE_LISTS)

S64 = st.integers(-(2**63), 2**63 - 1)
U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
U16 = st.integers(0, 2**16 - 1)
U8 = st.integers(0, 255)
TEXT = st.binary(max_size=20)
IP6 = st.binary(min_size=16, max_size=16)


def body(write: Callable[[ScapWriter], object]) -> bytes:
    """The body of the one block that `write` writes."""
    out = io.BytesIO()
    write(ScapWriter(out))
    return out.getvalue()[8:-4]


# Any bytes


def drain(parse: Callable[[bytes], Any], data: bytes) -> int:
    """How many entries came before the end or the damage; any other exception is a failure."""
    found = 0
    try:
        got = parse(data)
        entries = got[1] if isinstance(got, tuple) else got
        for _ in entries if hasattr(entries, "__iter__") else ():
            found += 1
    except lists.ListDamage as error:
        text = str(error)
        assert text
        assert "\n" not in text
    return found


PARSERS: list[Any] = [
    *(pytest.param(lambda data, t=t: lists.processes(t, data), id=f"processes-{t:#x}") for t in PROCESS_LISTS),
    *(pytest.param(lambda data, t=t: lists.fds(t, data), id=f"fds-{t:#x}") for t in FD_LISTS),
    *(pytest.param(lambda data, t=t: lists.users(t, data), id=f"users-{t:#x}") for t in USER_LISTS),
    *(pytest.param(lambda data, t=t: lists.interfaces(t, data), id=f"interfaces-{t:#x}") for t in INTERFACE_LISTS),
    pytest.param(lists.machine_info, id="machine info"),
]


@pytest.mark.parametrize("parse", PARSERS)
@given(
    data=st.binary(max_size=400)
    | st.lists(st.sampled_from([b"\0", b"\1", b"\x08", b"\xff", b"\x10\0\0\0"])).map(b"".join)
)
def test_any_bytes_give_entries_or_damage(parse: Callable[[bytes], Any], data: bytes) -> None:
    assert drain(parse, data) <= len(data)


@pytest.mark.parametrize("block_type", PROCESS_LISTS)
def test_a_process_list_cut_anywhere_gives_the_entries_before(block_type: int) -> None:
    """An entry is sound or not there: none is half filled with what follows."""
    rows = [{"tid": tid, "pid": tid, "ptid": 1, "comm": "a", "args": b"x\0y\0", "loginuid": 7} for tid in (5, 6)]
    whole = body(lambda w: w.process_list(rows, block_type))
    full = list(lists.processes(block_type, whole))
    for size in range(len(whole)):
        found = []
        try:
            for entry in lists.processes(block_type, whole[:size]):
                found.append(entry)
        except lists.ListDamage:
            pass
        if blocks.PROCESS_LISTS[block_type] == 9:
            assert found == full[: len(found)]
        assert [entry.tid for entry in found] == [5, 6][: len(found)]


def test_a_list_without_entries_is_empty() -> None:
    assert list(lists.processes(blocks.PL_V9, b"")) == []
    assert list(lists.users(blocks.UL_V2, b"")) == []
    assert list(lists.interfaces(blocks.IL_V2, b"")) == []
    tid, entries = lists.fds(blocks.FDL_V2, struct.pack("<q", -7))
    assert (tid, list(entries)) == (-7, [])


def test_up_to_three_bytes_at_the_end_are_padding() -> None:
    data = body(lambda w: w.user_list([{"uid": 1, "gid": 2, "name": "ab"}]))
    stripped = data[: struct.unpack_from("<I", data)[0]]
    for padding in range(4):
        assert len(list(lists.users(blocks.UL_V2, stripped + bytes(padding)))) == 1


@pytest.mark.parametrize("size", [0, 1, 3, 4, 0x7FFFFFFF, 0xFFFFFFFC, 0xFFFFFFFF])
def test_an_entry_length_that_lies_is_damage(size: int) -> None:
    """Neither an endless loop nor a read past the block."""
    data = struct.pack("<I", size) + bytes(60)
    with pytest.raises(lists.ListDamage, match="process entry at byte 0"):
        list(lists.processes(blocks.PL_V9, data))


def test_a_text_length_that_lies_is_damage() -> None:
    data = bytearray(body(lambda w: w.process_list([{"tid": 1, "pid": 1, "ptid": 0, "comm": "abc"}])))
    at = data.index(b"\3\0abc")
    data[at : at + 2] = b"\xff\xff"
    with pytest.raises(lists.ListDamage, match="is cut"):
        list(lists.processes(blocks.PL_V9, bytes(data)))


def test_entries_before_the_damage_are_sound() -> None:
    rows = [{"tid": tid, "pid": tid, "ptid": 1} for tid in (5, 6)]
    data = body(lambda w: w.process_list(rows))
    entries = lists.processes(blocks.PL_V9, data[:-8])
    assert next(entries).tid == 5
    with pytest.raises(lists.ListDamage):
        next(entries)


def test_a_user_of_unknown_kind_is_damage() -> None:
    data = struct.pack("<IBII", 13, 2, 0, 0)
    with pytest.raises(lists.ListDamage, match="unknown kind 2"):
        list(lists.users(blocks.UL_V2, data))


def test_an_interface_of_unknown_type_is_damage() -> None:
    with pytest.raises(lists.ListDamage, match="unknown type 9"):
        list(lists.interfaces(blocks.IL_V2, struct.pack("<IHH", 12, 9, 0) + bytes(8)))


def test_an_fd_list_without_tid_is_damage() -> None:
    with pytest.raises(lists.ListDamage, match="no tid"):
        lists.fds(blocks.FDL_V2, b"\0" * 7)


# Round trips


PROCESS = st.fixed_dictionaries(
    {
        "tid": S64, "pid": S64, "ptid": S64, "sid": S64, "vpgid": S64, "comm": TEXT, "exe": TEXT, "exepath": TEXT,
        "args": TEXT, "cwd": TEXT, "fdlimit": U64, "flags": U32, "uid": U32, "gid": U32, "env": TEXT, "vtid": S64,
        "vpid": S64, "cgroups": TEXT, "root": TEXT,
    }
)  # fmt: skip
TAIL = {
    "pidns_init_start_ts": U64, "tty": U32, "loginuid": U32, "exe_writable": U8, "cap_inheritable": U64,
    "cap_permitted": U64, "cap_effective": U64, "exe_upper_layer": U8, "exe_ino": U64, "exe_ino_ctime": U64,
    "exe_ino_mtime": U64, "exe_from_memfd": U8, "exe_lower_layer": U8, "pgid": S64,
}  # fmt: skip
SINCE = {"sid": 6, "vpgid": 8, "exepath": 7, "env": 3, "vtid": 4, "vpid": 4, "cgroups": 4, "root": 5}
DEFAULTS = {"sid": -1, "vpgid": -1, "exepath": b"", "env": b"", "cgroups": b"", "root": b""}


@pytest.mark.parametrize("block_type", PROCESS_LISTS)
@given(rows=st.lists(PROCESS, max_size=4))
def test_processes_of_every_version_come_back(block_type: int, rows: list[dict[str, Any]]) -> None:
    """What a version lacks has libscap's default; before v4 the ids in the namespace are those outside."""
    version = blocks.PROCESS_LISTS[block_type]
    found = list(lists.processes(block_type, body(lambda w: w.process_list(rows, block_type))))
    assert len(found) == len(rows)
    for entry, row in zip(found, rows, strict=True):
        expected = {name: value for name, value in row.items() if SINCE.get(name, 1) <= version}
        missing = {name: value for name, value in DEFAULTS.items() if SINCE[name] > version}
        if version < 4:
            missing |= {"vtid": row["tid"], "vpid": row["pid"]}
        for name, value in (expected | missing).items():
            assert getattr(entry, name) == value, name


@given(row=PROCESS, tail=st.fixed_dictionaries(TAIL), many=st.integers(0, len(TAIL)))
def test_the_tail_of_v9_is_read_as_far_as_it_goes(row: dict[str, Any], tail: dict[str, int], many: int) -> None:
    """Newer programs appended fields; one that is not there keeps its default."""
    # With 3 to 6 fields of today's tail there would be 29 bytes or fewer: such a program never was.
    many = many if many in (0, *range(7, len(TAIL) + 1)) else 7
    given_ = {name: tail[name] for name in list(TAIL)[:many]}
    (entry,) = lists.processes(blocks.PL_V9, body(lambda w: w.process_list([row | given_])))
    assert entry.loginuid == given_.get("loginuid", 0xFFFFFFFF)
    assert entry.tty == given_.get("tty", 0)
    for name, value in entry.rest.items():
        assert given_[name] == value
    assert entry.root == row["root"]


@pytest.mark.parametrize("many", range(6))
@given(row=PROCESS, tail=st.fixed_dictionaries(TAIL))
def test_the_tail_of_libs_before_0_10_begins_with_loginuid(
    many: int, row: dict[str, Any], tail: dict[str, int]
) -> None:
    """They had at most 29 bytes of it: loginuid, exe_writable and three sets of capabilities."""
    given_ = {name: tail[name] for name in list(TAIL)[2 : 2 + many]}
    (entry,) = lists.processes(blocks.PL_V9, body(lambda w: w.process_list([row | given_], before_0_10=True)))
    assert entry.loginuid == given_.get("loginuid", 0xFFFFFFFF)
    assert entry.tty == 0
    assert entry.rest == {name: value for name, value in given_.items() if name != "loginuid"}


def fd_entry(kind: int, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"fd": S64, "ino": U64, "type": st.just(kind), **fields})


FD = st.one_of(
    fd_entry(3, sip=U32, dip=U32, sport=U16, dport=U16, l4proto=U8),
    fd_entry(4, sip=IP6, dip=IP6, sport=U16, dport=U16, l4proto=U8),
    fd_entry(5, ip=U32, port=U16, l4proto=U8),
    fd_entry(6, ip=IP6, port=U16, l4proto=U8),
    fd_entry(8, source=U64, destination=U64, name=TEXT),
    fd_entry(16, open_flags=U32, name=TEXT),
    fd_entry(16, open_flags=U32, name=TEXT, dev=U32),
    *(fd_entry(kind, name=TEXT) for kind in (0, 1, 2, 7, 9, 15, 17, 21, 255)),
)


@pytest.mark.parametrize("block_type", FD_LISTS)
@given(tid=S64, rows=st.lists(FD, max_size=5))
def test_fds_of_every_version_and_type_come_back(block_type: int, tid: int, rows: list[dict[str, Any]]) -> None:
    found_tid, entries = lists.fds(block_type, body(lambda w: w.fd_list(tid, rows, block_type)))
    found = list(entries)
    assert found_tid == tid
    assert len(found) == len(rows)
    for entry, row in zip(found, rows, strict=True):
        assert (entry.fd, entry.ino, entry.type) == (row["fd"], row["ino"], row["type"])
        assert entry.name == row.get("name", b"")
        assert entry.l4proto == row.get("l4proto", 0)
        assert entry.open_flags == row.get("open_flags", 0)
        sip, dip = ("sip6", "dip6") if entry.type in (4, 6) else ("sip", "dip")
        if entry.type in (3, 4, 5, 6):
            assert getattr(entry, sip) == row.get("sip", row.get("ip"))
            assert (entry.sport, entry.dport) == (row.get("sport", row.get("port")), row.get("dport", 0))
        if entry.type in (3, 4):
            assert getattr(entry, dip) == row["dip"]


USER: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"uid": U32, "gid": U32, "name": TEXT, "home": TEXT, "shell": TEXT}),
    st.fixed_dictionaries({"gid": U32, "name": TEXT}),
)


@pytest.mark.parametrize("block_type", USER_LISTS)
@given(rows=st.lists(USER, max_size=5))
def test_users_and_groups_come_back(block_type: int, rows: list[dict[str, Any]]) -> None:
    found = list(lists.users(block_type, body(lambda w: w.user_list(rows, block_type))))
    assert found == [
        lists.UserEntry(0, row["uid"], row["name"], row["gid"], row["home"], row["shell"])
        if "uid" in row
        else lists.UserEntry(1, row["gid"], row["name"])
        for row in rows
    ]


@pytest.mark.parametrize("block_type", INTERFACE_LISTS)
@given(
    rows=st.lists(
        st.one_of(
            st.fixed_dictionaries({"type": st.sampled_from([1, 3]), "addr": U32, "mask": U32, "name": TEXT}),
            st.fixed_dictionaries({"type": st.sampled_from([2, 4]), "addr": IP6, "name": TEXT}),
        ),
        max_size=5,
    )
)
def test_interfaces_of_every_type_come_back(block_type: int, rows: list[dict[str, Any]]) -> None:
    found = list(lists.interfaces(block_type, body(lambda w: w.interface_list(rows, block_type))))
    assert found == [
        lists.InterfaceEntry(row["name"], row["addr"], row["mask"])
        if row["type"] in (1, 3)
        else lists.InterfaceEntry(row["name"], addr6=row["addr"])
        for row in rows
    ]


@given(cpus=U32, memory=U64, max_pid=U64, hostname=st.binary(max_size=200), boot=U64)
def test_machine_info_comes_back(cpus: int, memory: int, max_pid: int, hostname: bytes, boot: int) -> None:
    data = body(lambda w: w.machine_info(hostname, num_cpus=cpus, memory_bytes=memory, max_pid=max_pid, boot_ts=boot))
    assert lists.machine_info(data) == lists.MachineInfo(cpus, memory, max_pid, hostname[:128].split(b"\0")[0], boot)


def test_ipv4_mapped_addresses_are_told() -> None:
    assert lists.is_ipv4_mapped(ip6("::ffff:192.0.2.1"))
    assert not lists.is_ipv4_mapped(ip6("2001:db8::1"))
    assert not lists.is_ipv4_mapped(bytes(16))
    assert ip4("1.2.3.4") == 0x04030201
