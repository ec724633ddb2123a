"""The scap writer: its blocks byte by byte, and every block of every real capture decoded and written again."""

import io
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.scap import blocks, lists
from sftools.scap.event_table import EVENTS
from sftools.scap.writer import (
    ScapWriter,
    encode_param,
    ip4,
    ip6,
    sockaddr,
    sockaddr_unix,
    socktuple,
    socktuple_unix,
    strings,
)

TRACES = Path(__file__).parents[2].parent / "shared" / "traces"
CAPTURES = sorted([*TRACES.glob("collector/*.scap"), *TRACES.glob("recorded/*.scap")])


def written(write: Callable[[ScapWriter], object]) -> bytes:
    out = io.BytesIO()
    write(ScapWriter(out))
    return out.getvalue()


def body_of(block: bytes) -> bytes:
    """The body of one block, after a check of its lengths."""
    total = struct.unpack_from("<I", block, 4)[0]
    assert total == len(block)
    assert total % 4 == 0
    assert struct.unpack("<I", block[-4:])[0] == total
    return block[8:-4]


# Blocks


def test_section_header() -> None:
    expected = "0a0d0d0a 1c000000 4d3c2b1a 0100 0200 ffffffffffffffff 1c000000"
    assert written(lambda w: w.section()) == bytes.fromhex(expected)


def test_byte_swapped_section_header_is_the_same_with_swapped_integers() -> None:
    expected = "0a0d0d0a 0000001c 1a2b3c4d 0001 0002 ffffffffffffffff 0000001c"
    assert written(lambda w: w.byte_swapped_section()) == bytes.fromhex(expected)


def test_body_is_padded_to_four_bytes() -> None:
    assert written(lambda w: w.block(0x999, b"abcde")) == bytes.fromhex("99090000 14000000 6162636465000000 14000000")


def test_machine_info() -> None:
    body = body_of(written(lambda w: w.machine_info("web1", num_cpus=4, boot_ts=99)))
    assert len(body) == 180
    info = lists.machine_info(body)
    assert (info.hostname, info.num_cpus, info.boot_ts) == (b"web1", 4, 99)


PROCESS = {
    "tid": 7, "pid": 5, "ptid": 1, "sid": 4, "vpgid": 3, "comm": "sh", "exe": "/bin/sh", "exepath": "/usr/bin/dash",
    "args": strings(["-c", "id"]), "cwd": "/tmp", "fdlimit": 1024, "flags": 9, "uid": 1000, "gid": 1001,
    "vmsize_kb": 1, "env": strings(["A=1"]), "vtid": 2, "vpid": 1, "cgroups": strings(["cpu=/docker/x"]), "root": "/",
}  # fmt: skip
SINCE = {"sid": 6, "vpgid": 8, "exepath": 7, "env": 3, "vtid": 4, "vpid": 4, "cgroups": 4, "root": 5}


@pytest.mark.parametrize("block_type", blocks.PROCESS_LISTS, ids=hex)
def test_process_list_of_every_version_is_read_back(block_type: int) -> None:
    version = blocks.PROCESS_LISTS[block_type]
    block = written(lambda w: w.process_list([PROCESS, PROCESS], block_type))
    assert struct.unpack_from("<I", block)[0] == block_type
    entries = list(lists.processes(block_type, body_of(block)))
    assert len(entries) == 2
    for name, value in PROCESS.items():
        if SINCE.get(name, 1) <= version and name != "vmsize_kb":
            expected = value.encode() if isinstance(value, str) else value
            assert getattr(entries[1], name) == expected, name


def test_process_list_v9_has_its_tail_only_as_far_as_given() -> None:
    bare = len(written(lambda w: w.process_list([PROCESS])))
    with_tty = written(lambda w: w.process_list([{**PROCESS, "pidns_init_start_ts": 1, "tty": 2, "exe_writable": 1}]))
    # exe_writable comes after loginuid, which is not given.
    assert len(with_tty) == bare + 12


def test_process_list_before_0_10_begins_its_tail_with_loginuid() -> None:
    entry = {**PROCESS, "pidns_init_start_ts": 1, "tty": 2, "loginuid": 1000, "exe_writable": 1}
    body = body_of(written(lambda w: w.process_list([entry], before_0_10=True)))
    (read,) = lists.processes(blocks.PL_V9, body)
    assert (read.loginuid, read.tty) == (1000, 0)


FDS: list[dict[str, Any]] = [
    {"fd": 0, "ino": 6, "type": 1, "name": "/dev/null"},
    {"fd": 1, "ino": 7, "type": 7, "name": "pipe:[7]"},
    {"fd": 2, "ino": 8, "type": 3, "sip": ip4("10.0.0.1"), "dip": ip4("10.0.0.2"), "sport": 40000, "dport": 80,
     "l4proto": 2},
    {"fd": 3, "ino": 9, "type": 5, "ip": ip4("0.0.0.0"), "port": 80, "l4proto": 2},
    {"fd": 4, "ino": 10, "type": 4, "sip": ip6("fd00::1"), "dip": ip6("fd00::2"), "sport": 1, "dport": 2, "l4proto": 3},
    {"fd": 5, "ino": 11, "type": 6, "ip": ip6("::"), "port": 443, "l4proto": 2},
    {"fd": 6, "ino": 12, "type": 8, "source": 1, "destination": 2, "name": "/run/x.sock"},
    {"fd": 7, "ino": 13, "type": 16, "open_flags": 2, "name": "/tmp/a", "dev": 64},
    {"fd": 8, "ino": 14, "type": 9, "name": ""},
]  # fmt: skip


@pytest.mark.parametrize("block_type", blocks.FD_LISTS, ids=hex)
def test_fd_list_of_every_version_is_read_back(block_type: int) -> None:
    tid, entries = lists.fds(block_type, body_of(written(lambda w: w.fd_list(42, FDS, block_type))))
    assert tid == 42
    read = list(entries)
    assert [(e.fd, e.ino, e.type) for e in read] == [(e["fd"], e["ino"], e["type"]) for e in FDS]
    assert (read[2].sip, read[2].dport, read[2].l4proto) == (ip4("10.0.0.1"), 80, 2)
    assert (read[4].sip6, read[4].dip6) == (ip6("fd00::1"), ip6("fd00::2"))
    assert (read[7].open_flags, read[7].name) == (2, b"/tmp/a")


@pytest.mark.parametrize("block_type", blocks.USER_LISTS, ids=hex)
def test_user_list_of_every_version_is_read_back(block_type: int) -> None:
    users = [{"uid": 5, "gid": 6, "name": "eva", "home": "/home/eva", "shell": "/bin/sh"}, {"gid": 6, "name": "staff"}]
    user, group = lists.users(block_type, body_of(written(lambda w: w.user_list(users, block_type))))
    assert (user.kind, user.id, user.gid, user.name, user.shell) == (0, 5, 6, b"eva", b"/bin/sh")
    assert (group.kind, group.id, group.name) == (1, 6, b"staff")


@pytest.mark.parametrize("block_type", blocks.INTERFACE_LISTS, ids=hex)
def test_interface_list_of_every_version_is_read_back(block_type: int) -> None:
    interfaces = [
        {"type": 1, "addr": ip4("127.0.0.1"), "mask": ip4("255.0.0.0"), "name": "lo"},
        {"type": 2, "addr": ip6("fe80::1"), "name": b"eth0", "linkspeed": 10},
        {"type": 3, "addr": ip4("10.0.0.1"), "name": "eth1"},
    ]
    body = body_of(written(lambda w: w.interface_list(interfaces, block_type)))
    first, second, third = lists.interfaces(block_type, body)
    assert (first.name, first.addr) == (b"lo", ip4("127.0.0.1"))
    assert (second.name, second.addr6) == (b"eth0", ip6("fe80::1"))
    assert third.name == b"eth1"


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown field cmdline"):
        written(lambda w: w.process_list([{"tid": 1, "cmdline": "x"}]))
    with pytest.raises(ValueError, match="unknown field path"):
        written(lambda w: w.fd_list(1, [{"fd": 1, "type": 1, "path": "/"}]))


# Events


def test_event_has_a_26_byte_header_and_16_bit_lengths() -> None:
    block = written(lambda w: w.event(5, 7, "PPME_SYSCALL_CLOSE_E", [3], cpu=1))
    expected = "16020000 34000000 0100 0500000000000000 0700000000000000 24000000 0400 01000000 0800 0300000000000000"
    assert block == bytes.fromhex(expected + "0000 34000000")


def test_event_before_v2_has_no_count() -> None:
    block = written(lambda w: w.event(5, 7, "PPME_SYSCALL_CLOSE_E", [3], block_type=blocks.EV))
    expected = "04020000 30000000 0000 0500000000000000 0700000000000000 20000000 0400 0800 0300000000000000"
    assert block == bytes.fromhex(expected + "0000 30000000")


def test_large_event_has_32_bit_lengths() -> None:
    block = written(lambda w: w.event(5, 7, "PPME_SYSCALL_CLOSE_E", [3], block_type=blocks.EV_V2_LARGE))
    expected = "21020000 34000000 0000 0500000000000000 0700000000000000 26000000 0400 01000000 08000000"
    assert block == bytes.fromhex(expected + "0300000000000000" + "34000000")


def test_flags_stand_between_cpu_and_header() -> None:
    plain = body_of(written(lambda w: w.event(5, 7, "PPME_SYSCALL_CLOSE_X", [0])))
    flagged = body_of(written(lambda w: w.event(5, 7, "PPME_SYSCALL_CLOSE_X", [0], block_type=blocks.EVF_V2, flags=9)))
    event = flagged[6:]
    assert flagged[:6] == bytes.fromhex("0000 09000000")
    assert event.rstrip(b"\0") == plain[2:].rstrip(b"\0")


def test_parameters_by_name_leave_the_others_absent() -> None:
    body = body_of(written(lambda w: w.event(5, 7, "PPME_SYSCALL_READ_X", {"res": 3, "data": b"abc"}, nparams=2)))
    assert body[28:32] == struct.pack("<HH", 8, 3)
    body = body_of(written(lambda w: w.event(5, 7, "PPME_SYSCALL_READ_X", {"size": 3})))
    assert body[28:36] == struct.pack("<HHHH", 0, 0, 0, 4)


def test_unknown_parameter_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match="PPME_SYSCALL_READ_X has no parameter fdd; it has res data fd size"):
        written(lambda w: w.event(0, 0, "PPME_SYSCALL_READ_X", {"fdd": 3}))


def test_value_of_a_wrong_kind_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="PPME_SYSCALL_READ_X, res: a text for a parameter of type PT_ERRNO"):
        written(lambda w: w.event(0, 0, "PPME_SYSCALL_READ_X", {"res": "no"}))


def test_a_long_parameter_needs_a_large_event() -> None:
    with pytest.raises(ValueError, match="needs a large event"):
        written(lambda w: w.event(0, 0, "PPME_SYSCALL_READ_X", {"data": bytes(65536)}))
    block = written(lambda w: w.event(0, 0, "PPME_SYSCALL_READ_X", [1, bytes(65536)], block_type=blocks.EV_V2_LARGE))
    assert len(body_of(block)) == 2 + 26 + 8 + 8 + 65536


def test_an_event_of_the_future_takes_bytes() -> None:
    body = body_of(written(lambda w: w.event(0, 0, 60000, [b"ab", b""])))
    assert body[22:24] == struct.pack("<H", 60000)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("PT_FD", -1, "ffffffffffffffff"),
        ("PT_UINT32", -1, "ffffffff"),
        ("PT_SIGTYPE", 9, "09"),
        ("PT_CHARBUF", "ab", "616200"),
        ("PT_FSPATH", "\udcff", "ff00"),
        ("PT_BYTEBUF", "ab", "6162"),
        ("PT_BYTEBUF", ["-c", "id"], "2d6300696400"),
        ("PT_ERRNO", None, ""),
        ("PT_ERRNO", b"\1", "01"),
    ],
)
def test_parameter_encoding(kind: str, value: Any, expected: str) -> None:
    assert encode_param(kind, value) == bytes.fromhex(expected)


def test_socket_parameters() -> None:
    assert sockaddr("127.0.0.1", 80) == bytes.fromhex("02 7f000001 5000")
    assert sockaddr("::1", 80) == bytes.fromhex("0a" + "00" * 15 + "01 5000")
    assert sockaddr_unix("/x") == b"\1/x\0"
    assert socktuple("1.2.3.4", 1, "5.6.7.8", 2) == bytes.fromhex("02 01020304 0100 05060708 0200")
    assert socktuple("::1", 1, "::2", 2) == bytes.fromhex("0a" + "00" * 15 + "01 0100" + "00" * 15 + "02 0200")
    assert socktuple_unix(1, 2, "/x") == b"\1" + struct.pack("<QQ", 1, 2) + b"/x\0"


@given(st.sampled_from(EVENTS), st.lists(st.binary(max_size=40), max_size=32), st.integers(), st.booleans())
def test_any_event_decodes_to_what_was_written(event: Any, params: list[bytes], ts: int, wide: bool) -> None:
    block_type = blocks.EVF_V2_LARGE if wide else blocks.EV_V2
    block = written(lambda w: w.event(ts, -1, event.id, params, block_type=block_type, flags=1))
    assert body_of(block)
    (kind, body, _) = next(walk(block))
    assert decode_event(kind, body)[1:] == (ts % 2**64, -1, event.id, params)


# Real captures, decoded by the code below and written again byte for byte


def walk(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(type, body with padding, whole block) of every block."""
    at = 0
    while at < len(data):
        kind, total = struct.unpack_from("<II", data, at)
        yield kind, data[at + 8 : at + total - 4], data[at : at + total]
        at += total


class Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def read(self, form: str) -> Any:
        if form == "str":
            size = self.read("H")
            self.at += size
            return self.data[self.at - size : self.at]
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def entry(self, layout: str) -> dict[str, Any]:
        """`name:form name:form ...` read in order."""
        return {name: self.read(form) for name, form in (word.split(":") for word in layout.split())}

    def sized_entries(self, own: int = 4) -> Iterator["Cursor"]:
        """A cursor for every entry that a u32 length precedes; less than 4 bytes at the end are padding."""
        while len(self.data) - self.at >= 4:
            size = self.read("I") - own
            yield Cursor(self.data[self.at : self.at + size])
            self.at += size


def decode_event(kind: int, body: bytes) -> tuple[int, int, int, int, list[bytes]]:
    flagged = kind in (blocks.EVF_V2, blocks.EVF_V2_LARGE)
    wide = kind in (blocks.EV_V2_LARGE, blocks.EVF_V2_LARGE)
    cursor = Cursor(body)
    cpu = cursor.read("H")
    if flagged:
        cursor.read("I")
    head = cursor.entry("ts:Q tid:q len:I type:H nparams:I")
    sizes = [cursor.read("I" if wide else "H") for _ in range(head["nparams"])]
    params = [cursor.read(f"{size}s") for size in sizes]
    return cpu, head["ts"], head["tid"], head["type"], params


PROCESS_LAYOUT = (
    "tid:q pid:q ptid:q sid:q vpgid:q comm:str exe:str exepath:str args:str cwd:str fdlimit:Q flags:I uid:I gid:I "
    "vmsize_kb:I vmrss_kb:I vmswap_kb:I pfmajor:Q pfminor:Q env:str vtid:q vpid:q cgroups:str root:str"
)
TAIL_LAYOUT = (
    "pidns_init_start_ts:Q tty:I loginuid:I exe_writable:B cap_inheritable:Q cap_permitted:Q cap_effective:Q "
    "exe_upper_layer:B exe_ino:Q exe_ino_ctime:Q exe_ino_mtime:Q exe_from_memfd:B exe_lower_layer:B pgid:q"
)
FD_LAYOUTS = {
    3: "sip:I dip:I sport:H dport:H l4proto:B",
    4: "sip:16s dip:16s sport:H dport:H l4proto:B",
    5: "ip:I port:H l4proto:B",
    6: "ip:16s port:H l4proto:B",
    8: "source:Q destination:Q name:str",
    16: "open_flags:I name:str",
}


def rewrite(kind: int, body: bytes, writer: ScapWriter) -> None:
    """Decode a block's body and write it again."""
    cursor = Cursor(body)
    if kind == blocks.SHB:
        writer.section(**cursor.entry("magic:I major:H minor:H length:q"))
    elif kind == blocks.MI:
        fields = cursor.entry("num_cpus:I memory_bytes:Q max_pid:Q hostname:128s boot_ts:Q flags:Q")
        writer.machine_info(**fields, reserved=(cursor.read("Q"), cursor.read("Q")))
    elif kind == blocks.PL_V9:
        entries = []
        for entry in cursor.sized_entries():
            process = entry.entry(PROCESS_LAYOUT)
            old = len(entry.data) - entry.at <= 29
            for word in TAIL_LAYOUT.split()[2 if old else 0 :]:
                if entry.at < len(entry.data):
                    process |= entry.entry(word)
            entries.append(process)
        writer.process_list(entries, kind, before_0_10=old)
    elif kind == blocks.FDL_V2:
        tid = cursor.read("q")
        entries = []
        for entry in cursor.sized_entries():
            fd = entry.entry("fd:q ino:Q type:B")
            fd |= entry.entry(FD_LAYOUTS.get(fd["type"], "name:str"))
            if fd["type"] == 16 and entry.at < len(entry.data):
                fd |= entry.entry("dev:I")
            entries.append(fd)
        writer.fd_list(tid, entries, kind)
    elif kind == blocks.IL_V2:
        entries = []
        for entry in cursor.sized_entries(own=0):
            interface = entry.entry("type:H namelen:H")
            size = interface.pop("namelen")
            form = "I" if interface["type"] in (1, 3) else "16s"
            interface |= entry.entry(f"addr:{form} mask:{form} bcast:{form}")
            if interface["type"] in (1, 2):
                interface |= entry.entry("linkspeed:Q")
            entries.append(interface | entry.entry(f"name:{size}s"))
        writer.interface_list(entries, kind)
    elif kind == blocks.UL_V2:
        users = ("uid:I gid:I name:str home:str shell:str", "gid:I name:str")
        writer.user_list([entry.entry(users[entry.read("B")]) for entry in cursor.sized_entries()], kind)
    else:
        cpu, ts, tid, event, raw = decode_event(kind, body)
        writer.event(ts, tid, event, typed(event, raw), cpu=cpu, block_type=kind)


INTEGERS = {"PT_FD": "q", "PT_PID": "q", "PT_ERRNO": "q", "PT_UINT64": "Q", "PT_UINT32": "I", "PT_FLAGS32": "I",
            "PT_UINT16": "H", "PT_UINT8": "B", "PT_UID": "I", "PT_GID": "I", "PT_MODE": "I"}  # fmt: skip


def typed(event: int, raw: list[bytes]) -> list[Any]:
    """Parameters as their types' values, so that writing them encodes them anew."""
    values: list[Any] = list(raw)
    for i, (data, param) in enumerate(zip(raw, EVENTS[event].params, strict=False)):
        if not data:
            values[i] = None
        elif param.type in INTEGERS:
            (values[i],) = struct.unpack("<" + INTEGERS[param.type], data)
        elif param.type in ("PT_CHARBUF", "PT_FSPATH", "PT_FSRELPATH") and data.index(0) == len(data) - 1:
            values[i] = data[:-1].decode("utf-8", "surrogateescape")
        elif param.name in ("args", "env", "cgroups"):
            values[i] = data[:-1].split(b"\0")
    return values


@pytest.mark.skipif(not CAPTURES, reason="needs ../shared/traces")
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_real_capture_is_written_again_byte_for_byte(path: Path) -> None:
    """Lists in full; of events the first 50 of every type and number of parameters (all pass, but take 10 s)."""
    seen: Counter[bytes] = Counter()
    for number, (kind, body, block) in enumerate(walk(path.read_bytes())):
        if kind in blocks.EVENTS:
            seen[body[22:28]] += 1
            if seen[body[22:28]] > 50:
                continue
        again = written(lambda w, kind=kind, body=body: rewrite(kind, body, w))
        assert again == block, f"block {number} of type {kind:#x}"
