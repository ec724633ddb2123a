"""How values are written."""

import ipaddress
from typing import Any

import pytest

from sftools.filter.values import FieldType, parse_bytes, parse_text


def held(address: str) -> Any:
    """An address as FdInfo has it."""
    packed = ipaddress.ip_address(address).packed
    return int.from_bytes(packed, "little") if len(packed) == 4 else packed


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("42", 42),
        ("-2", -2),
        ("+7", 7),
        ("0x1F", 31),
        ("-0x10", -16),
        ("007", 7),
        (str(2**64 - 1), 2**64 - 1),
    ],
)
def test_numbers(text: str, number: int) -> None:
    assert FieldType.NUMBER.parse(text) == number


@pytest.mark.parametrize(
    "text", ["", "x", "1.5", "1e3", "0x", "--1", "1_000", "\u0661", str(2**64), "9" * 10_000, " 1"]
)
def test_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        FieldType.NUMBER.parse(text)


def test_bools() -> None:
    assert FieldType.BOOL.parse("true") is True
    assert FieldType.BOOL.parse("false") is False
    with pytest.raises(ValueError, match="neither true nor false"):
        FieldType.BOOL.parse("1")


def test_text_keeps_bytes_of_the_command_line_that_are_no_utf8() -> None:
    assert parse_text(b"caf\xc3\xa9-\xff".decode("utf-8", "surrogateescape")) == b"caf\xc3\xa9-\xff"


def test_hexadecimal_bytes() -> None:
    assert parse_bytes("2F6574") == b"/et"
    for text in ("", "2f6", "zz", "2f 65"):
        with pytest.raises(ValueError, match="hexadecimal"):
            parse_bytes(text)


def test_addresses_are_held_as_in_fds() -> None:
    assert FieldType.ADDRESS.parse("10.0.0.1") == 0x0100000A
    assert FieldType.ADDRESS.parse("::1") == bytes(15) + b"\x01"
    assert FieldType.ADDRESS.parse("::ffff:10.0.0.1") == 0x0100000A


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.0/33", "::g", "fe80::1%eth0", "10.0.0.1/8/8", "localhost"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="is no IP address or network"):
        FieldType.ADDRESS.parse(text)
