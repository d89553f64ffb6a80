"""Who asks through proxies: what a trusted one says of whom it heard, and nobody else's word."""

from __future__ import annotations

import ipaddress

import pytest

from steering.forwarded import asker

PROXIES = [ipaddress.ip_network(text) for text in ("127.0.0.0/8", "192.0.2.0/28", "2001:db8:f::/64")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "is_"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.7"], "203.0.113.9"),  # no proxy of ours: he made that up
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", ["10.9.9.9, 198.51.100.7"], "198.51.100.7"),  # the first was the client's own word
        ("127.0.0.1", ["10.9.9.9", "198.51.100.7 , 192.0.2.3"], "198.51.100.7"),  # two proxies, two fields
        ("::ffff:127.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("2001:db8:f::1", ["2001:db8:1::7"], "2001:db8:1::7"),
        ("127.0.0.1", ["192.0.2.1"], "192.0.2.1"),  # a proxy itself asks
        ("127.0.0.1", ["unknown"], "unknown"),
        ("127.0.0.1", [""], ""),
    ],
)
def test_the_last_that_is_no_proxy_asks(peer: str, forwarded: list[str], is_: str) -> None:
    assert asker(peer, forwarded, PROXIES) == is_


def test_without_trusted_proxies_the_peer_asks() -> None:
    assert asker("127.0.0.1", ["198.51.100.7"], []) == "127.0.0.1"
