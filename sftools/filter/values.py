"""The types of fields: how their values are written, and how they are held when compared.

TEXT is bytes, as the capture has them. NUMBER is an int. BOOL is a bool. ADDRESS is an IPv4 address as FdInfo has it
(an int, read little-endian from network order) or an IPv6 address of 16 bytes; as a value in a filter also a network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

_NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})")
_BOOLS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses of one version that agree with `prefix` in the bits of `mask`: ints as the addresses are held."""

    version: int
    mask: int
    prefix: int


class FieldType(Enum):
    """A field's type; the value is its name in messages and documentation."""

    TEXT = "text"
    NUMBER = "number"
    BOOL = "bool"
    ADDRESS = "address"

    def parse(self, text: str) -> Any:
        """A value as written in a filter. Raises ValueError with the reason."""
        return _PARSERS[self](text)


def members(values: Sequence[Any]) -> Callable[[Any], bool]:
    """The test whether a value is one of `values`, or an address in a network of them."""
    networks = [value for value in values if isinstance(value, Network)]
    if not networks:
        if len(values) == 1:
            want = values[0]
            return lambda value: bool(value == want)
        return frozenset(values).__contains__
    return _address_test(frozenset(value for value in values if not isinstance(value, Network)), networks)


def parse_text(text: str) -> bytes:
    """Text as the bytes a capture has; bytes of the command line that are no UTF-8 come through unchanged."""
    return text.encode("utf-8", "surrogateescape")


def parse_bytes(text: str) -> bytes:
    """Bytes written as hexadecimal digits. Raises ValueError."""
    if not re.fullmatch(r"(?:[0-9a-fA-F]{2})+", text):
        raise ValueError("is no even number of hexadecimal digits")
    return bytes.fromhex(text)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("is no number")
    number = int(text, 16 if "x" in text.lower() else 10)
    if not -(2**63) <= number < 2**64:
        raise ValueError("is a number of more than 64 bits")
    return number


def _bool(text: str) -> bool:
    if text not in _BOOLS:
        raise ValueError("is neither true nor false")
    return _BOOLS[text]


def _address(text: str) -> int | bytes | Network:
    try:
        if "/" not in text:
            address = ipaddress.ip_address(text)
            if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None and address.scope_id is None:
                return address.packed
            mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else address
            if mapped is None:
                raise ValueError
            return int.from_bytes(mapped.packed, "little")
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is no IP address or network") from None
    order: Any = "little" if network.version == 4 else "big"
    mask = int.from_bytes(network.netmask.packed, order)
    return Network(network.version, mask, int.from_bytes(network.network_address.packed, order))


def _address_test(addresses: frozenset[Any], networks: list[Network]) -> Callable[[Any], bool]:
    # By mask, so that ten thousand networks cost a look-up for each length of prefix and not ten thousand tests.
    by_mask: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
    for network in networks:
        by_mask[network.version].setdefault(network.mask, set()).add(network.prefix)
    masks4 = tuple(by_mask[4].items())
    masks6 = tuple(by_mask[6].items())

    def test(value: Any) -> bool:
        if value in addresses:
            return True
        if isinstance(value, int):
            return any(value & mask in found for mask, found in masks4)
        number = int.from_bytes(value, "big")
        return any(number & mask in found for mask, found in masks6)

    return test


_PARSERS: dict[FieldType, Callable[[str], Any]] = {
    FieldType.TEXT: parse_text,
    FieldType.NUMBER: _number,
    FieldType.BOOL: _bool,
    FieldType.ADDRESS: _address,
}
