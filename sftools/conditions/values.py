"""Numbers and addresses as conditions have them, and how equality with several of them is tested."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})")


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses of one version that agree with `prefix` in the bits of `mask`: ints as the addresses are held."""

    version: int
    mask: int
    prefix: int


def parse_number(text: str) -> int:
    """A decimal or hexadecimal number of at most 64 bits, signed or not. Raises ValueError with the reason."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("is no number")
    number = int(text, 16 if "x" in text.lower() else 10)
    if not -(2**63) <= number < 2**64:
        raise ValueError("is a number of more than 64 bits")
    return number


def parse_address(text: str) -> int | bytes | Network:
    """An IPv4 address as an int, read little-endian from network order, an IPv6 address as 16 bytes, or a network.

    Raises ValueError with the reason.
    """
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


def members(values: Sequence[Any]) -> Callable[[Any], bool]:
    """The test whether a value is one of `values`, or an address in a network of them."""
    networks = [value for value in values if isinstance(value, Network)]
    if not networks:
        if len(values) == 1:
            want = values[0]
            return lambda value: bool(value == want)
        return frozenset(values).__contains__
    return _address_test(frozenset(value for value in values if not isinstance(value, Network)), networks)


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
