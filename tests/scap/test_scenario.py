"""The scenario language, and the fixtures that are made with it."""

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sftools.scap import blocks, lists
from sftools.scap.event_table import EVENTS
from sftools.scap.scenario import ERAS, ScenarioError, build
from sftools.scap.writer import sockaddr, socktuple

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted((ROOT / "tests" / "fixtures" / "scenarios").glob("*.scenario"))
RECORDED = sorted((ROOT.parent / "shared" / "traces" / "recorded").glob("*.scap"))

TABLES = "process 500 comm=a exe=/bin/a exepath=/bin/a cwd=/srv\n"


class Written(NamedTuple):
    """An event as it stands in a capture."""

    block_type: int
    ts: int
    tid: int
    code: str
    params: list[bytes]


def walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind, total = struct.unpack_from("<II", data, at)
        assert struct.unpack_from("<I", data, at + total - 4)[0] == total
        yield kind, data[at + 8 : at + total - 4]
        at += total


def events(data: bytes) -> list[Written]:
    """The events of a capture of block versions 2."""
    found = []
    for kind, body in walk(data):
        if kind not in blocks.EVENTS:
            continue
        at = 6 if kind in (blocks.EVF_V2, blocks.EVF_V2_LARGE) else 2
        ts, tid, _, number, count = struct.unpack_from("<QqIHI", body, at)
        width = "I" if kind in (blocks.EV_V2_LARGE, blocks.EVF_V2_LARGE) else "H"
        sizes = struct.unpack_from(f"<{count}{width}", body, at + 26)
        at += 26 + struct.calcsize(f"<{count}{width}")
        params = []
        for size in sizes:
            params.append(body[at : at + size])
            at += size
        found.append(Written(kind, ts, tid, EVENTS[number].code, params))
    return found


def i64(value: int) -> bytes:
    return struct.pack("<q", value)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


# Events


def test_a_call_is_an_enter_and_an_exit_event_one_microsecond_apart() -> None:
    enter, exit_ = events(build(TABLES + "+ 500 read fd=3 size=4096 res=2 data=ok"))
    assert (enter.code, enter.tid, enter.params) == ("PPME_SYSCALL_READ_E", 500, [i64(3), u32(4096)])
    assert (exit_.code, exit_.tid, exit_.params) == ("PPME_SYSCALL_READ_X", 500, [i64(2), b"ok"])
    assert exit_.ts - enter.ts == 1000


def test_exit_only_captures_have_everything_in_the_exit_event() -> None:
    (exit_,) = events(build("era exit-only\n" + TABLES + "+ 500 read fd=3 size=4096 res=2 data=ok"))
    assert exit_.params == [i64(2), b"ok", i64(3), u32(4096)]


def test_either_side_can_be_lost() -> None:
    data = build(TABLES + "+ 500 close -enter fd=3 res=0\n+ 500 close -exit fd=3 res=0")
    assert [event.code for event in events(data)] == ["PPME_SYSCALL_CLOSE_X", "PPME_SYSCALL_CLOSE_E"]


def test_times_are_relative_or_absolute() -> None:
    lines = ["=7 500 procexit", "+ 500 procexit", "+2ms 500 procexit", "+1.5s 500 procexit", "+1m 500 procexit"]
    times = [event.ts for event in events(build("\n".join(lines)))]
    assert times == [7, 10_007, 2_010_007, 1_502_010_007, 61_502_010_007]


def test_values_by_type() -> None:
    enter, exit_ = events(
        build(TABLES + "+ 500 connect enter.fd=4 exit.fd=5 addr=192.0.2.1:80 res=-EINPROGRESS tuple=[::1]:5->[::2]:80")
    )
    assert enter.params == [i64(4), sockaddr("192.0.2.1", 80)]
    assert exit_.params == [i64(-115), socktuple("::1", 5, "::2", 80), i64(5)]
    (_, opened) = events(build('+ 500 openat dirfd=AT_FDCWD name="/a \\xff" flags=O_RDWR|O_CREAT fd=none mode=0x1a4'))
    assert opened.params[:5] == [b"", i64(-100), b"/a \xff\0", u32(7), u32(420)]


def test_large_and_flagged_blocks() -> None:
    lines = [f"+ 500 write -enter res=3 data=fill:3 {words}" for words in ("", "evf", "large", "large evf")]
    written = events(build("\n".join(lines)))
    expected = [blocks.EV_V2, blocks.EVF_V2, blocks.EV_V2_LARGE, blocks.EVF_V2_LARGE]
    assert [event.block_type for event in written] == expected
    assert all(event.params == [i64(3), b"xxx"] for event in written)


def test_a_clone_is_seen_from_both_sides() -> None:
    enter, parent, child = events(build(TABLES + "+ 500 clone child=501 flags=CLONE_FILES vtid=2 vpid=2"))
    names = [param.name for param in EVENTS[223].params]
    assert enter.code == "PPME_SYSCALL_CLONE_20_E"
    of_parent, of_child = dict(zip(names, parent.params, strict=True)), dict(zip(names, child.params, strict=True))
    assert (parent.tid, of_parent["res"], of_parent["tid"]) == (500, i64(501), i64(500))
    assert (child.tid, of_child["res"], of_child["tid"], of_child["ptid"]) == (501, i64(0), i64(501), i64(500))
    assert (of_child["vtid"], of_child["flags"], of_child["comm"]) == (i64(2), u32(1), b"a\0")


def test_a_parent_is_told_the_tid_that_its_own_pid_namespace_has() -> None:
    first = "+ 500 clone child=501 flags=CLONE_NEWPID vtid=1 vpid=1\n"
    written = events(build(TABLES + first + "+ 501 clone child=502 vtid=2 vpid=2"))
    assert [event.params[0] for event in written if event.params] == [i64(501), i64(0), i64(2), i64(0)]


def test_a_clone_may_be_seen_from_one_side_or_the_child_first() -> None:
    def sides(options: str) -> list[int]:
        return [event.tid for event in events(build(TABLES + "+ 500 clone child=501 " + options)) if event.params]

    assert sides("only=parent") == [500]
    assert sides("only=child") == [501]
    assert sides("first=child") == [501, 500]


def test_an_exec_changes_what_later_events_say_of_the_thread_unless_it_fails() -> None:
    names = [param.name for param in EVENTS[293].params]
    lines = "+ 500 execve filename=/bin/no res=-ENOENT\n+ 500 execve filename=/bin/b exe=b args=\"x 'y z'\"\n"
    written = [event for event in events(build(TABLES + lines)) if event.code == "PPME_SYSCALL_EXECVE_19_X"]
    failed, done = (dict(zip(names, event.params, strict=False)) for event in written)
    assert (failed["res"], failed["exe"], failed["comm"]) == (i64(-2), b"/bin/no\0", b"a\0")
    assert (done["exe"], done["args"], done["comm"], done["trusted_exepath"]) == (
        b"b\0", b"x\0y z\0", b"b\0", b"/bin/b\0",
    )  # fmt: skip


# Tables and sections


def test_tables_stand_before_the_first_event() -> None:
    text = """
        user 7 eva
        interface lo 127.0.0.1
        process 500 comm=a uid=7 args="-l 'a b'"   # a comment
        thread 501 of=500
        fd 500 3 tcp 10.0.0.1:80
        + 500 close fd=3 res=0
    """
    found = list(walk(build(text)))
    kinds = [kind for kind, _ in found]
    assert kinds == [
        blocks.SHB, blocks.MI, blocks.IL_V2, blocks.UL_V2, blocks.PL_V9, blocks.FDL_V2, blocks.EV_V2, blocks.EV_V2,
    ]  # fmt: skip
    main, thread = lists.processes(blocks.PL_V9, found[4][1])
    assert (main.tid, main.pid, main.uid, main.args) == (500, 500, 7, b"-l\0a b\0")
    assert (thread.tid, thread.pid, thread.comm) == (501, 500, b"a")
    tid, fds = lists.fds(blocks.FDL_V2, found[5][1])
    assert (tid, [(fd.fd, fd.type, fd.sport) for fd in fds]) == (500, [(3, 5, 80)])


def test_a_section_starts_anew() -> None:
    kinds = [kind for kind, _ in walk(build("process 1\nsection\nprocess 2\n"))]
    assert kinds == [blocks.SHB, blocks.MI, blocks.PL_V9] * 2


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("+ 500 read fdd=3", "read has no parameter fdd; it has fd size res data"),
        ("+ 500 raed fd=3", "there is no event named raed"),
        ("+ 500 read fd=O_NONSENSE", "O_NONSENSE is neither a number nor a flag"),
        ("+ 500 read fd=3 -entre", "unknown words -entre"),
        ("+5x 500 read fd=3", "is no time"),
        ("proces 500", "unknown word proces"),
        ("process 500 name=a", "a process has no name"),
        ("process 500 container=web", "web is not known"),
        ("+ 7 clone child=8", "7 is not known"),
        ("era 1999", "1999 is not known"),
    ],
)
def test_errors_name_the_line(line: str, cause: str) -> None:
    with pytest.raises(ScenarioError, match="story, line 2: ") as caught:
        build(f"process 1\n{line}\n", "story")
    assert cause in str(caught.value)


# The eras


@pytest.mark.skipif(not RECORDED, reason="needs ../shared/traces")
def test_era_0_18_has_as_many_parameters_as_real_captures_of_that_time() -> None:
    seen = {(event.code, len(event.params)) for path in RECORDED for event in events(path.read_bytes())}
    rows = {row.code: row for row in EVENTS}
    assert {(code, ERAS["0.18"].parameters(rows[code])) for code, _ in seen} == seen


# The fixtures


def test_fixtures_are_up_to_date() -> None:
    command = [sys.executable, ROOT / "scripts" / "make_fixtures.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", sorted({path.stem for path in SCENARIOS} - {"byte-swapped", "damaged", "truncated"}))
def test_lists_of_sound_fixtures_are_read_to_the_end(name: str) -> None:
    for kind, body in walk((ROOT / "tests" / "fixtures" / f"{name}.scap").read_bytes()):
        if kind in blocks.PROCESS_LISTS:
            assert list(lists.processes(kind, body))
        elif kind in blocks.FD_LISTS:
            assert list(lists.fds(kind, body)[1])
        elif kind in blocks.USER_LISTS:
            assert list(lists.users(kind, body))
        elif kind in blocks.INTERFACE_LISTS and body:
            assert list(lists.interfaces(kind, body))
