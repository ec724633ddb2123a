"""sftools.render.table: rows in columns that fit, for a file and for a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.avro.container import long
from sftools.avro.plan import Plan
from sftools.fields import DEFAULT_FIELDS, FIELDS, TABLE_FIELDS, Field
from sftools.reader import Row, read_rows
from sftools.render.table import table_writer
from sftools.render.text import columns_of, printable
from sftools.schema.versions import schema_json
from sftools.source import open_source

TRACES = Path(__file__).parents[1] / "fixtures" / "traces"
PLAN = Plan(schema_json(5))
BAR = re.compile(r"(?<!\\)\|")


def trace(name: str) -> Iterator[Row]:
    with open_source(str(TRACES / f"{name}.sf")) as source:
        yield from read_rows(source)


def events(*messages: str) -> Iterator[Row]:
    """A K8sEvent with each message: branch, kind, action, time, text."""
    row = Row(PLAN)
    for message in messages:
        text = message.encode()
        row.load(long(11) + long(2) + long(0) + long(0) + long(len(text)) + text, 1)
        assert row.advance()
        yield row


def printed(rows: Iterable[Row], names: Sequence[str], **options: Any) -> list[str]:
    return printed_fields(rows, [FIELDS[name] for name in names], **options)


def printed_fields(rows: Iterable[Row], fields: Sequence[Field], **options: Any) -> list[str]:
    out = io.BytesIO()
    writer = table_writer(out, fields, **options)
    for row in rows:
        writer.row(row)
    writer.close()
    return out.getvalue().decode().splitlines()


def test_a_table_is_githubs_markdown() -> None:
    assert printed(events("a", "{}\n|"), ["type", "ret", "k8s.msg"]) == [
        r"| Rec # | T  | Ret | K8s EV Msg |",
        r"|------:|----|----:|------------|",
        r"|     0 | KE |     | a          |",
        r"|     1 | KE |     | {}\x0a\|   |",
    ]


def test_without_numbers_of_the_rows() -> None:
    lines = printed(trace("every-type"), ["type", "proc.tty", "tags"], numbered=False)
    assert lines[:3] == ["| T  | TTY   | Tags |", "|----|-------|------|", "| PE | false | []   |"]


def test_titles_may_be_others() -> None:
    lines = printed_fields(trace("every-type"), [replace(FIELDS["type"], title="type")], numbered=False)
    assert lines[0] == "| type |"


def test_the_place_of_the_letters_of_operations_is_kept() -> None:
    lines = printed(trace("every-type"), ["opflags"], numbered=False)
    assert "| O   R   C   |" in lines
    assert "|   CWR   C   |" in lines


def test_no_rows_no_table() -> None:
    assert printed(iter(()), TABLE_FIELDS) == []


def test_widths_are_settled_by_the_first_rows_and_then_kept() -> None:
    lines = printed(events(*["short"] * 10_000, *["x" * 30] * 2, *["short"] * 10), ["k8s.msg", "type"])
    assert {len(line) for line in lines} == {len(lines[0]), len(lines[0]) + 20}
    assert lines[10_002] == f"|  10000 | {'x' * 30} | KE |", "in a file a row is one line, and whole"
    assert lines[-1] == "|  10011 | short      | KE |"


def test_one_long_text_does_not_widen_every_row_of_a_file() -> None:
    lines = printed(events("y" * 5000, "short"), ["k8s.msg"])
    assert "y" * 5000 in lines[2]
    assert len(lines[3]) < 120


def test_on_a_terminal_a_long_text_goes_on_below() -> None:
    assert printed(events("Pod web-0 was deleted by the node", "ok"), ["type", "k8s.msg"], columns=36) == [
        "| Rec # | T  | K8s EV Msg          |",
        "|------:|----|---------------------|",
        "|     0 | KE | Pod web-0 was       |",
        "|       |    | deleted by the node |",
        "|     1 | KE | ok                  |",
    ]


def test_where_there_is_less_room_the_bars_come_closer() -> None:
    lines = printed(events("Pod web-0 was deleted", "ok"), ["type", "k8s.msg"], columns=22)
    assert lines[0] == "|Rec #|T |K8s EV Msg |"
    assert lines[2:4] == ["|    0|KE|Pod web-0  |", "|     |  |was deleted|"]


def test_room_that_the_first_rows_leave_is_for_later_ones() -> None:
    lines = printed(events(*["short"] * 10_000, "x" * 70, "y" * 90), ["type", "k8s.msg"], columns=100)
    assert {len(line) for line in lines} == {100}
    assert f"{'x' * 70} " in lines[10_002]
    assert lines[10_003].endswith(f"| {'y' * 82} |")
    assert lines[10_004].rstrip(" |").endswith("| " + "y" * 8)


def test_what_cannot_fit_is_a_list_of_names_and_values() -> None:
    lines = printed(trace("every-type"), TABLE_FIELDS, columns=60)
    assert lines[:9] == [
        "-- Rec # 0 ".ljust(60, "-"),
        "ts_uts        1714557600123456789",
        "type          PE",
        "proc.exe      /bin/sh",
        "proc.args     -c id; cat /etc/passwd",
        "pproc.pid     100",
        "proc.pid      101",
        "proc.tid      101",
        "opflags       CLONE",
    ]
    assert printed(trace("every-type"), TABLE_FIELDS, columns=60, numbered=False)[0] == "-- ".ljust(60, "-")


def cells(lines: Sequence[str]) -> list[list[str]]:
    """The cells of a table's rows without their blanks; what goes on below is joined."""
    rows: list[list[str]] = []
    for line in lines[2:]:
        parts = [part.replace(" ", "") for part in BAR.split(line)[1:-1]]
        if parts[0]:
            rows.append(parts)
        else:
            rows[-1] = [above + part for above, part in zip(rows[-1], parts, strict=True)]
    return rows


def listed(lines: Sequence[str]) -> list[dict[str, str]]:
    """The records of a list, without the blanks in their values."""
    records: list[dict[str, str]] = []
    name = ""
    for line in lines:
        if line.startswith("-- Rec # "):
            records.append({})
        else:
            name = line.partition(" ")[0] or name
            value = line.removeprefix(name).replace(" ", "")
            records[-1][name] = records[-1].get(name, "") + value
    return records


def seen(row: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in row.items() if text}


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 120, 150, 200, 300])
@pytest.mark.parametrize("name", ["nasty", "every-type", "webshell", "odd-numbers"])
def test_a_terminal_is_not_overflowed_and_nothing_is_lost(name: str, columns: int) -> None:
    for names in (TABLE_FIELDS, DEFAULT_FIELDS, ("type", "res")):
        whole, fitted = cells(printed(trace(name), names)), printed(trace(name), names, columns=columns)
        assert max(map(columns_of, fitted)) <= columns
        if fitted[0].startswith("|"):
            assert cells(fitted) == whole
        else:
            texts = [dict(zip(names, row[1:], strict=True)) for row in whole]
            assert [seen(record) for record in listed(fitted)] == [seen(row) for row in texts]


@given(st.lists(st.text(), min_size=1, max_size=5), st.none() | st.integers(38, 200))
def test_whatever_a_text_has_rows_stay_rows(messages: list[str], columns: int | None) -> None:
    lines = printed(events(*messages), ["type", "k8s.msg"], columns=columns)
    assert all(line.isprintable() for line in lines)
    assert columns is None or max(map(columns_of, lines)) <= columns
    assert [row[2] for row in cells(lines)] == [
        printable(message).replace("|", r"\|").replace(" ", "") for message in messages
    ]
    widths = {columns_of(line) for line in lines}
    assert len(widths) == 1 or (columns is None and max(widths) > 100), "wide characters count two"


def test_colors_are_asked_for() -> None:
    names = ("type", "ret", "res")
    for columns in (None, 40, 10):
        plain = printed(trace("odd-numbers"), names, columns=columns)
        colored = printed(trace("odd-numbers"), names, columns=columns, color=True)
        assert not any("\x1b" in line for line in plain)
        assert [re.sub("\x1b\\[[0-9]*m", "", line) for line in colored] == plain
        assert colored[0].startswith("\x1b[1m")
        assert all(line.count("\x1b[0m") * 2 == line.count("\x1b") for line in colored)


def test_failed_calls_are_red() -> None:
    lines = printed(trace("every-type"), ["type", "ret"], color=True)
    assert any("\x1b[31m" in line for line in lines) == any("-" in line for line in lines[2:])
    assert "\x1b[32mPE\x1b[0m" in lines[2]


class Chunks:
    """A file that counts what is written."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def write(self, data: bytes) -> None:
        self.sizes.append(len(data))


def test_rows_are_written_while_others_come() -> None:
    file = Chunks()
    writer = table_writer(file, [FIELDS["type"], FIELDS["k8s.msg"]])  # type: ignore[arg-type]
    for row in events(*["a message of some length"] * 20_000):
        writer.row(row)
    assert sum(file.sizes) > 500_000
    assert max(file.sizes) < 200_000
    writer.close()
