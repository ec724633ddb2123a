from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools import utils
from sftools.schema.opflags import NAMES
from sftools.schema.sysflow import OID, NetworkFlow

OPEN, READ, WRITE, CLOSE = 1 << 7, 1 << 8, 1 << 9, 1 << 10
CLONE, EXEC, EXIT, SETNS = 1 << 0, 1 << 1, 1 << 2, 1 << 4
RENAME = 1 << 20


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (OPEN | READ | CLOSE, "O   R   C  "),
        (OPEN | READ | WRITE | CLOSE, "O  WR   C  "),
        (0, "           "),
        (sum(1 << bit for bit in (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)), "OACWRNMSCTD"),
        (EXEC, "EXEC"),
        (CLONE | EXIT, "CLONEEXIT"),
        (RENAME | OPEN, "RENAME"),
        (RENAME | 1 << 15, "MKDIRRENAME"),
        (SETNS, "     N     "),
        (1 << 40, "           "),
    ],
)
def test_operations_as_sysprint_shows_them(flags: int, text: str) -> None:
    assert utils.getOpFlagsStr(flags) == text


def test_names_of_operations() -> None:
    assert utils.getOpFlags(OPEN | WRITE) == {"OPEN", "WRITE", "SEND"}
    assert utils.getOpFlags(READ) == {"READ", "RECV"}
    assert utils.getOpFlags(0) == set()
    assert list(utils.getOpFlagsDict(CLOSE | WRITE | OPEN | RENAME)) == ["open", "write", "close"]
    assert set(utils.getOpFlagsDict(READ).values()) == {True}


def test_an_operation_by_its_name_whatever_it_is() -> None:
    assert [utils.getOpStr(flag) for flag in NAMES] == list(NAMES.values())
    assert utils.getOpStr(CLONE | EXIT) == "CLONE|EXIT"
    assert utils.getOpStr(0) == ""


def test_open_flags() -> None:
    assert utils.getOpenFlags(0x1) == {"RDONLY"}
    assert utils.getOpenFlags(0x1002) == {"WRONLY", "CLOEXEC"}
    assert utils.getOpenFlags(0x7) == {"RDONLY", "WRONLY", "RDWR", "CREAT"}
    assert utils.getOpenFlags(0) == set()


def test_times_are_utc_without_a_zone() -> None:
    assert utils.getTimeStrIso8601(1531776712370537340) == "2018-07-16T21:31:52.370537"
    assert utils.getTimeStrIso8601(1700000000000000000) == "2023-11-14T22:13:20"
    assert utils.getTimeStrIso8601(0) == "1970-01-01T00:00:00"
    assert utils.getTimeStrIso8601(-500_000_000) == "1969-12-31T23:59:59.500000"
    assert utils.getTimeStrIso8601(2**63 - 1) == "2262-04-11T23:47:16.854776"


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_time_has_a_text(ns: int) -> None:
    assert utils.getTimeStrIso8601(ns)[-3:].strip("0123456789:.") == ""
    assert len(utils.getTimeStr(ns)) == len("07/16/2018T21:31:52.370537")


def test_a_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    try:
        assert utils.getTimeStr(1531776712370537340) == "07/16/2018T16:31:52.370537"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_addresses() -> None:
    assert utils.getIpIntStr(16777343) == "127.0.0.1"
    assert utils.getIpIntStr(-1) == "255.255.255.255"
    flow = NetworkFlow(OID(0, 1), 0, 1, 0, 0, 16777343, 43210, -1, 443, 6, 3, 0, 0, 0, 0)
    assert utils.getNetFlowStr(flow) == "127.0.0.1:43210-255.255.255.255:443"
    flow.dip6 = bytes(15) + b"\x01"
    assert utils.getNetFlowStr(flow) == "127.0.0.1:43210-[::1]:443"


def test_an_environment() -> None:
    assert utils.getEnvStr(["A=1", "", "=", "B=2"]) == "A=1;B=2"
    assert utils.getEnvStr([]) == ""
