"""The types of fields: how their values are written, and how they are held when compared.

TEXT is bytes, as the capture has them. NUMBER is an int. BOOL is a bool. ADDRESS is an IPv4 address as FdInfo has it
(an int, read little-endian from network order) or an IPv6 address of 16 bytes; as a value in a filter also a network.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any

from sftools.conditions.values import parse_address, parse_number

_BOOLS = {"true": True, "false": False}


class FieldType(Enum):
    """A field's type; the value is its name in messages and documentation."""

    TEXT = "text"
    NUMBER = "number"
    BOOL = "bool"
    ADDRESS = "address"

    def parse(self, text: str) -> Any:
        """A value as written in a filter. Raises ValueError with the reason."""
        return _PARSERS[self](text)


def parse_text(text: str) -> bytes:
    """Text as the bytes a capture has; bytes of the command line that are no UTF-8 come through unchanged."""
    return text.encode("utf-8", "surrogateescape")


def parse_bytes(text: str) -> bytes:
    """Bytes written as hexadecimal digits. Raises ValueError."""
    if not re.fullmatch(r"(?:[0-9a-fA-F]{2})+", text):
        raise ValueError("is no even number of hexadecimal digits")
    return bytes.fromhex(text)


def _bool(text: str) -> bool:
    if text not in _BOOLS:
        raise ValueError("is neither true nor false")
    return _BOOLS[text]


_PARSERS: dict[FieldType, Callable[[str], Any]] = {
    FieldType.TEXT: parse_text,
    FieldType.NUMBER: parse_number,
    FieldType.BOOL: _bool,
    FieldType.ADDRESS: parse_address,
}
