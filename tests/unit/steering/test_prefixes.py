"""The longest announced prefix that holds an address is found, as looking at each of them would."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.prefixes import PrefixTable, normalised
from steering.routes import parse_prefix

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


def table_of(announced: dict[str, str]) -> PrefixTable[str]:
    table: PrefixTable[str] = PrefixTable()
    for text, value in announced.items():
        table.put(parse_prefix(text), value)
    return table


@given(st.dictionaries(v4 | v6, st.integers(0, 5), max_size=40), addresses)
def test_a_look_up_finds_what_a_look_at_every_prefix_finds(
    announced: dict[ipaddress.IPv4Network | ipaddress.IPv6Network, int],
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    table: PrefixTable[int] = PrefixTable()
    for network, value in announced.items():
        table.put(parse_prefix(str(network)), value)
    found = table.matches(address)
    plain = normalised(address)
    expected = [
        (network.prefixlen, value)
        for network, value in announced.items()
        if network.version == plain.version and plain in network
    ]
    assert sorted(found) == sorted(expected)
    assert [length for length, _ in found] == sorted((length for length, _ in found), reverse=True)


TABLE = table_of(
    {
        "0.0.0.0/0": "any4",
        "198.51.100.0/24": "net",
        "198.51.100.7/32": "host",
        "::/0": "any6",
        "2001:db8::/32": "net6",
        "2001:db8::1/128": "host6",
    }
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
    assert table_of({}).matches(ipaddress.ip_address("::1")) == []
    assert table_of({"10.0.0.0/8": "a"}).matches(ipaddress.ip_address("::10.0.0.1")) == []


def test_a_prefix_that_is_dropped_is_found_no_more() -> None:
    table = table_of({"10.0.0.0/8": "a", "10.0.0.0/16": "b"})
    for _ in range(2):
        table.drop(parse_prefix("10.0.0.0/16"))
        assert table.matches(ipaddress.ip_address("10.0.0.1")) == [(8, "a")]
    assert (table.get(parse_prefix("10.0.0.0/8")), table.get(parse_prefix("10.0.0.0/16"))) == ("a", None)
    assert len(table) == 1
