"""sftools.render.table: widths, cuts and what a terminal may get to see."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from sftools.reader import Joined
from sftools.render.table import printable, table_lines
from sftools.schema.sysflow import OID, File, FileFlow, SFObjectState


def rows(*paths: str) -> Iterator[Joined]:
    for i, path in enumerate(paths):
        flow = FileFlow(OID(0, 10**i), 0, 1, 0, 0, 0, bytes(20), 3, 0, 0, 0, 0)
        yield Joined(flow, None, file=File(SFObjectState.REUP, bytes(20), 0, 102, path, None))


def test_columns_are_as_wide_as_they_need() -> None:
    assert list(table_lines(rows("/a", "/etc/passwd"), ("type", "proc.pid", "res"), None)) == [
        "T   PID  Resource",
        "--  ---  -----------",
        "FF    1  /a",
        "FF   10  /etc/passwd",
    ]


def test_a_terminal_is_not_overflowed_where_that_can_be() -> None:
    lines = list(table_lines(rows("/a" * 50, "b" * 99), ("type", "res", "file.path"), 50))
    assert max(map(len, lines)) <= 50
    cell = lines[2].split()[1]
    assert cell.startswith("..")
    assert cell.endswith("a/a")
    assert lines[3].split()[1].endswith("bb..")


def test_no_rows_no_table() -> None:
    assert list(table_lines(rows(), ("type",), None)) == []


def test_rows_come_while_the_trace_is_read() -> None:
    taken = 0

    def endless() -> Iterator[Joined]:
        nonlocal taken
        while True:
            taken += 1
            yield from rows("/x")

    lines = table_lines(endless(), ("type", "res"), None)
    for _ in range(5000):
        next(lines)
    assert taken < 6000


def test_characters_that_a_terminal_would_obey_are_escaped() -> None:
    assert printable("plain /a b") == "plain /a b"
    assert printable("\u4f60\u597d") == "\u4f60\u597d"
    assert printable("a\x1b[2J\n\t\x7f\x9b") == "a\\x1b[2J\\x0a\\x09\\x7f\\x9b"
    assert printable("\u202egpj.exe\u2028") == "\\u202egpj.exe\\u2028"
    assert printable("caf\uefe9") == "caf\\xe9", "a byte that was no UTF-8"
    assert printable("\ud800\U000e0001") == "\\ud800\\U000e0001"


@given(st.text())
def test_all_that_is_printed_is_printable(text: str) -> None:
    assert all(line.isprintable() for line in table_lines(rows(text), ("res", "file.path"), None))
