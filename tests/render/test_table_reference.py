"""The existing sysprint's tables of real and made-up traces (../shared): ours has the same rows and values.

It cuts cells and spoils texts; what differs is in DEFECTS, by the numbers of the specification's list.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sftools.errors import InputError
from sftools.fields import DEFAULT_FIELDS, FIELDS, K8S_EVENT_FIELDS, TABLE_FIELDS, FieldType
from sftools.reader import read_rows
from sftools.render.table import table_writer
from sftools.source import open_source

SHARED = Path(__file__).parents[3] / "shared" / "traces"
PRINTED = SHARED / "sysprint"
FIELDS_OF = {"": TABLE_FIELDS, "k": (*TABLE_FIELDS, "pod.name"), "K": K8S_EVENT_FIELDS, "A": DEFAULT_FIELDS}

# What its cells have otherwise, and ours are right with; the test counts which of them were met.
DEFECTS = {
    "cut": "21: a longer text becomes .. and its end",
    "boolean": "18: true and false are 1 and 0",
    "unescaped": "20: a | in a text is as one between cells; controls go to the terminal",
    "stripped": "16: leading and trailing blanks are taken off, although the place of operations' letters counts",
}
# Whole tables: 14, a NetworkEvent ends its run.
NO_TABLE = ("networkevent",)
# 15: it takes one process for another in row 0.
WRONG_PROCESS = ("keycollision",)


def tables() -> list[Any]:
    if not PRINTED.is_dir():
        return []
    cases = []
    for folder in (PRINTED, PRINTED / "synthetic"):
        for path in sorted(folder.iterdir()):
            name = path.name.removesuffix(".gz")
            if name.endswith(".table"):
                trace, _, kind = name.removesuffix(".table").partition(".")
                cases.append(pytest.param(path, trace, FIELDS_OF[kind], id=name))
    return cases


def theirs(text: str) -> tuple[list[str], list[list[str]]]:
    """Titles and rows. 19: every 1000 rows a rule begins a page, whose columns have other widths, without titles."""
    titles: list[str] = []
    rows = []
    bars: list[int] = []
    before = ""
    for line in text.splitlines():
        if re.fullmatch(r"\|[-|]+\|", line):
            bars = [at for at, char in enumerate(line) if char == "|"]
            titles = titles or [title.strip() for title in before.split("|")[1:-1]]
        elif bars:
            assert len(line) == bars[-1] + 1
            rows.append([line[start + 1 : end].strip() for start, end in pairwise(bars)])
        before = line
    return titles, rows


def ours(trace: str, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    folder = "sysflow-old" if trace.startswith("v1000") else "collector"
    path = SHARED / folder / f"{trace}.sf"
    out = io.BytesIO()
    writer = table_writer(out, [FIELDS[name] for name in names])
    found = path if path.exists() else PRINTED / "synthetic" / f"{trace}.sf"
    with contextlib.suppress(InputError), open_source(str(found)) as source:
        for row in read_rows(source):
            writer.row(row)
    writer.close()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in out.getvalue().decode().splitlines()]
    if not rows:
        return [], []
    return [title.strip() for title in rows[0]], [[cell[1:-1] for cell in row] for row in rows[2:]]


def difference(name: str, theirs: str, ours: str) -> str:
    """The defect of a cell, "" where it has none. Fails where it is none of those."""
    if FIELDS[name].type is FieldType.BOOL and theirs:
        assert (theirs, ours.strip()) in (("1", "true"), ("0", "false"))
        return "boolean"
    defect = ""
    if "\\" in ours:
        plain = ours.replace(r"\|", "|").replace(r"\x0a", "\n").replace(r"\x09", "\t")
        defect, ours = ("unescaped" if plain != ours else ""), plain
    if theirs.startswith("..") and theirs != ours.strip():
        assert ours.strip().endswith(theirs[2:])
        return "cut"
    assert theirs == ours.strip()
    if name == "opflags" and ours.startswith(" ") and ours.strip():
        return "stripped"
    return defect


@pytest.mark.parametrize(("path", "trace", "names"), tables())
def test_rows_and_values_are_those_of_the_existing_sysprint(path: Path, trace: str, names: tuple[str, ...]) -> None:
    text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
    titles, rows = theirs(text)
    our_titles, our_rows = ours(trace, names)
    if trace in NO_TABLE:
        assert text.strip() == ""
        assert our_rows
        return
    assert our_titles == titles
    assert len(our_rows) == len(rows)
    for number, (row, our_row) in enumerate(zip(rows, our_rows, strict=True)):
        if trace in WRONG_PROCESS and number == 0:
            continue
        for name, cell, our_cell in zip(("idx", *names), row, our_row, strict=True):
            assert difference(name, cell, our_cell) in ("", *DEFECTS), (number, name)


def test_each_defect_is_one() -> None:
    if not PRINTED.is_dir():
        pytest.skip("needs the shared traces")
    met = set()
    for path, trace in (
        (PRINTED / "alpine-alpine.A.table", "alpine-alpine"),
        (PRINTED / "synthetic/synth.A.table", "synth"),
    ):
        for row, our_row in zip(theirs(path.read_text())[1], ours(trace, DEFAULT_FIELDS)[1], strict=True):
            met |= {difference(*cells) for cells in zip(("idx", *DEFAULT_FIELDS), row, our_row, strict=True)}
    assert met == {"", *DEFECTS}
