from __future__ import annotations

import sys

import pytest

from sftools.errors import SftoolsError

pyarrow = pytest.importorskip("pyarrow")

from sftools.render.dataframe import dataframe  # noqa: E402

LARGE = 1531776712370537341  # a double has no room for it


def test_types_hold_what_the_table_holds() -> None:
    pandas = pytest.importorskip("pandas")
    text = pyarrow.array(["a", None, "b"]).dictionary_encode()
    frame = dataframe(
        pyarrow.table(
            {
                "text": text,
                "number": pyarrow.array([LARGE, None, 0]),
                "bool": pyarrow.array([True, None, False]),
                "time": pyarrow.array([LARGE, None, 0], pyarrow.timestamp("ns", "UTC")),
                "list": pyarrow.array([["x"], None, []]),
            }
        )
    )
    assert list(frame["text"]) == ["a", None, "b"]
    assert frame["number"][0] == LARGE
    assert frame["number"][1] is pandas.NA
    assert list(frame["bool"].fillna(False)) == [True, False, False]
    assert frame["time"][0].value == LARGE
    assert frame["time"][0].tzname() == "UTC"
    assert pandas.isna(frame["time"][1])
    assert list(frame["list"]) == [["x"], None, []]


def test_dictionaries_of_several_batches_are_one_column() -> None:
    pytest.importorskip("pandas")
    batches = [
        pyarrow.record_batch({"text": pyarrow.array(values).dictionary_encode()})
        for values in (["a", "b"], ["c", None, "a"])
    ]
    assert list(dataframe(pyarrow.Table.from_batches(batches))["text"]) == ["a", "b", "c", None, "a"]


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SftoolsError, match=r"pip install 'sftools\[pandas\]'"):
        dataframe(pyarrow.table({}))
