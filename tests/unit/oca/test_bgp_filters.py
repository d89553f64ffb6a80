"""Bogons, private and too-long prefixes are refused with their reason; the rest is accepted."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.route import Attributes
from oca.bgp.config import Bgp, Neighbour
from oca.bgp.filters import Filter, Verdict

PLAIN = Attributes(as_path=(64501,))


def config(**changes: Any) -> Bgp:
    return Bgp(64500, (Neighbour("192.0.2.1", 64501, "192.0.2.2"),), **changes)


@pytest.mark.parametrize(
    ("prefix", "verdict"),
    [
        ("20.0.0.0/8", Verdict.ACCEPTED),
        ("20.1.2.0/24", Verdict.ACCEPTED),
        ("2a00:1::/32", Verdict.ACCEPTED),
        ("2a00:1:2::/48", Verdict.ACCEPTED),
        ("20.1.2.0/25", Verdict.TOO_LONG),
        ("2a00:1:2:3::/64", Verdict.TOO_LONG),
        ("10.0.0.0/8", Verdict.PRIVATE),
        ("10.9.0.0/16", Verdict.PRIVATE),
        ("172.31.0.0/16", Verdict.PRIVATE),
        ("172.32.0.0/16", Verdict.ACCEPTED),
        ("192.168.4.0/24", Verdict.PRIVATE),
        ("fd00:1::/32", Verdict.PRIVATE),
        ("100.64.0.0/10", Verdict.SHARED),
        ("100.127.255.0/24", Verdict.SHARED),
        ("100.128.0.0/16", Verdict.ACCEPTED),
        ("127.0.0.0/8", Verdict.BOGON),
        ("0.0.0.0/8", Verdict.BOGON),
        ("169.254.0.0/16", Verdict.BOGON),
        ("198.51.100.0/24", Verdict.BOGON),
        ("240.0.0.0/8", Verdict.BOGON),
        ("224.0.0.0/4", Verdict.BOGON),
        ("2001:db8::/32", Verdict.BOGON),
        ("2002:a00::/24", Verdict.BOGON),
        ("ff02::/16", Verdict.BOGON),
        ("0.0.0.0/0", Verdict.DEFAULT),
        ("::/0", Verdict.DEFAULT),
        ("20.1.2.3/24", Verdict.MALFORMED),
        ("20.1.2.0", Verdict.MALFORMED),
        ("20.1.2.0/x", Verdict.MALFORMED),
        ("20.1.2.0/33", Verdict.MALFORMED),
        ("", Verdict.MALFORMED),
    ],
)
def test_a_prefix_is_judged(prefix: str, verdict: Verdict) -> None:
    assert Filter(config()).judge(prefix, PLAIN) is verdict


@pytest.mark.parametrize(
    ("changes", "prefix"),
    [
        ({"accept_default": True}, "0.0.0.0/0"),
        ({"accept": ("100.64.0.0/16",)}, "100.64.3.0/24"),
        ({"max_length_v4": 28}, "20.1.2.0/28"),
        ({"max_length_v6": 64}, "2a00:1:2:3::/64"),
    ],
)
def test_the_configuration_widens_what_is_accepted(changes: dict[str, Any], prefix: str) -> None:
    assert Filter(config()).judge(prefix, PLAIN) is not Verdict.ACCEPTED
    assert Filter(config(**changes)).judge(prefix, PLAIN) is Verdict.ACCEPTED


def test_a_path_through_ourselves_or_without_end_is_refused() -> None:
    judge = Filter(config()).judge
    assert judge("20.0.0.0/8", Attributes(as_path=(64501, 64500))) is Verdict.LOOP
    assert judge("20.0.0.0/8", Attributes(as_path=tuple(range(1, 130)))) is Verdict.LONG_PATH


@given(st.ip_addresses(), st.integers(1, 48))
def test_nothing_that_the_registries_call_not_global_is_accepted(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int
) -> None:
    network = ipaddress.ip_network((address, min(length, 24 if address.version == 4 else 48)), strict=False)
    if Filter(config()).judge(str(network), PLAIN) is Verdict.ACCEPTED:
        assert not network.is_private or network.is_global
        assert not (network.is_multicast)
        assert not (network.is_link_local)
        assert not (network.is_loopback)
