"""Addresses and networks as they are held, and membership."""

import ipaddress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sftools.conditions.values import members, parse_address


def held(address: str) -> Any:
    """An address as FdInfo has it."""
    packed = ipaddress.ip_address(address).packed
    return int.from_bytes(packed, "little") if len(packed) == 4 else packed


def test_members_of_networks() -> None:
    values = [parse_address(text) for text in ("10.0.0.0/8", "192.168.7.9/24", "1.2.3.4", "fd00::/8", "::1")]
    test = members(values)
    for inside in ("10.255.0.1", "192.168.7.255", "1.2.3.4", "fd12::1", "::1"):
        assert test(held(inside)), inside
    for outside in ("11.0.0.1", "192.168.8.1", "1.2.3.5", "fe00::1", "::2"):
        assert not test(held(outside)), outside


@given(
    st.ip_addresses(v=4) | st.ip_addresses(v=6),
    st.integers(0, 128),
    st.ip_addresses(v=4) | st.ip_addresses(v=6),
)
def test_membership_agrees_with_ipaddress(base: Any, length: int, address: Any) -> None:
    network = ipaddress.ip_network(f"{base}/{min(length, base.max_prefixlen)}", strict=False)
    test = members([parse_address(str(network))])
    assert test(held(str(address))) == (address in network)
    assert test(held(str(network[0])))
    assert test(held(str(network[-1])))
