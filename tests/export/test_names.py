"""Keys: where the parts come from, that they fit, and that no two files share one."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.export.names import MAX_KEY_BYTES, KeyRule, name_time, other_version

names = st.binary(min_size=1, max_size=255).map(lambda data: os.fsdecode(data.replace(b"/", b"_").replace(b"\0", b"_")))
RULE = KeyRule("traces/", "c1", "node", "10.0.0.1")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("1714557600", "2024/05/01/1714557600.10.0.0.1.sf"),
        ("host.1714557600", "2024/05/01/host.1714557600.10.0.0.1.sf"),
        ("1714557600000", "2024/05/01/1714557600000.10.0.0.1.sf"),
        ("trace", "trace.10.0.0.1.sf"),
        ("12345", "12345.10.0.0.1.sf"),
        ("a b\n%", "a b%0A%25.10.0.0.1.sf"),
        ("..", "%2E%2E.10.0.0.1.sf"),
        (os.fsdecode(b"\xff"), "%FF.10.0.0.1.sf"),
        ("day/x", "day/x.10.0.0.1.sf"),
    ],
)
def test_key(name: str, key: str) -> None:
    assert RULE.key(name) == "traces/c1/node/10.0.0.1/" + key


def test_what_is_empty_is_left_out() -> None:
    assert KeyRule().key("1714557600") == "2024/05/01/1714557600.sf"


def test_series() -> None:
    first, second = name_time("a.1714557600"), name_time("a.1714557601")
    assert first is not None
    assert second is not None
    assert first.series == second.series
    assert first.ns < second.ns
    assert name_time("b.1714557601") != second
    assert name_time("a") is None


@given(names, names)
def test_no_two_files_share_a_key(one: str, other: str) -> None:
    assert (RULE.key(one) == RULE.key(other)) == (one == other)


@given(st.lists(names, min_size=1, max_size=30))
def test_keys_fit_and_stay_below_their_prefix(parts: list[str]) -> None:
    key = RULE.key("/".join(parts))
    assert len(key.encode()) <= MAX_KEY_BYTES
    assert len(other_version(key, "0" * 64).encode()) <= 1024
    assert not {"", ".", ".."} & set(key.split("/"))
