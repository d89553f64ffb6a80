"""The longest announced prefix that holds an address is found, as looking at each of them would."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.prefixes import PrefixTable, normalised

# Few bits vary, so that prefixes nest and addresses fall into them.
v4 = st.builds(
    lambda low, length: ipaddress.ip_network((low << 24, length), strict=False),
    st.integers(0, 7),
    st.integers(0, 32),
)
v6 = st.builds(
    lambda low, length: ipaddress.ip_network((low << 120, length), strict=False),
    st.integers(0, 7),
    st.integers(0, 128),
)
addresses = st.builds(
    lambda a, b: ipaddress.ip_address((a << 24) + b), st.integers(0, 7), st.integers(0, 3)
) | st.builds(lambda a, b: ipaddress.IPv6Address((a << 120) + b), st.integers(0, 7), st.integers(0, 3))


@given(st.lists(st.tuples(v4 | v6, st.integers(0, 5)), max_size=40), addresses)
def test_a_look_up_finds_what_a_look_at_every_prefix_finds(
    announced: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int]],
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    table = PrefixTable((str(network), value) for network, value in announced)
    found = table.matches(address)
    plain = normalised(address)
    expected = [
        (network.prefixlen, value)
        for network, value in announced
        if network.version == plain.version and plain in network
    ]
    assert sorted(found) == sorted(expected)
    assert [length for length, _ in found] == sorted((length for length, _ in found), reverse=True)


TABLE = PrefixTable(
    [
        ("0.0.0.0/0", "any4"),
        ("198.51.100.0/24", "net"),
        ("198.51.100.7", "host"),
        ("::/0", "any6"),
        ("2001:db8::/32", "net6"),
        ("2001:db8::1/128", "host6"),
    ]
)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("198.51.100.7", ["host", "net", "any4"]),
        ("198.51.100.8", ["net", "any4"]),
        ("198.51.101.0", ["any4"]),
        ("0.0.0.0", ["any4"]),
        ("255.255.255.255", ["any4"]),
        ("2001:db8::1", ["host6", "net6", "any6"]),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", ["net6", "any6"]),
        ("2001:db9::", ["any6"]),
        ("::", ["any6"]),
        # RFC 4291 section 2.5.5.2: a dual-stack socket shows an IPv4 viewer so.
        ("::ffff:198.51.100.7", ["host", "net", "any4"]),
        # The deprecated compatible form is IPv6.
        ("::198.51.100.7", ["any6"]),
    ],
)
def test_the_longest_comes_first(address: str, found: list[str]) -> None:
    assert [value for _, value in TABLE.matches(ipaddress.ip_address(address))] == found


def test_no_prefix_means_no_match() -> None:
    assert PrefixTable[str]([]).matches(ipaddress.ip_address("::1")) == []
    assert PrefixTable([("10.0.0.0/8", "a")]).matches(ipaddress.ip_address("::10.0.0.1")) == []


def test_two_sites_may_announce_the_same_prefix() -> None:
    table = PrefixTable([("10.0.0.0/8", "a"), ("10.0.0.0/8", "b")])
    assert table.matches(ipaddress.ip_address("10.1.2.3")) == [(8, "a"), (8, "b")]


def test_every_length_at_once_and_a_hundred_thousand_prefixes_are_looked_up_in_few_steps() -> None:
    """The cost of a look-up is the number of lengths (161 at most), not of prefixes."""
    many = [(f"10.{number >> 8 & 255}.{number & 255}.0/24", number) for number in range(65536)]
    nested = [
        (str(ipaddress.ip_network((0x0A000001, length), strict=False)), -length) for length in range(33)
    ]
    table = PrefixTable(many + nested)
    found = table.matches(ipaddress.ip_address("10.0.0.1"))
    assert [length for length, _ in found] == sorted([*range(33), 24], reverse=True)
    assert (24, 0) in found
