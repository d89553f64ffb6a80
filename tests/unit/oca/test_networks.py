"""Counts by client network, and what a connection is paced at."""

from __future__ import annotations

import pytest

from oca.config import Limits, Pacing
from oca.edge.networks import Networks, network_of
from oca.edge.pacing import Pacer


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.255", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8:1::1", "2001:db8:1:ffff::1", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.9", True),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_a_network_is_a_24_or_a_48(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


def test_a_network_has_its_share_of_connections_and_others_are_not_touched() -> None:
    networks = Networks(Limits(connections_per_network=4), workers=2)
    first = [networks.enter("192.0.2.1"), networks.enter("192.0.2.2")]
    assert None not in first
    assert networks.enter("192.0.2.3") is None
    assert networks.enter("192.0.3.1") is not None
    assert first[0] is not None
    networks.leave(first[0])
    assert networks.enter("192.0.2.3") is not None


def test_a_network_that_hung_up_is_remembered_for_the_second_and_then_forgotten() -> None:
    networks = Networks(Limits(), workers=1)
    network = networks.enter("192.0.2.1")
    assert network is not None
    network.refusals = network.requests = 1000
    networks.leave(network)
    again = networks.enter("192.0.2.1")
    assert again is network
    assert again.refusals == 1000
    networks.leave(again)
    networks.second()
    assert len(networks) == 0


def test_a_second_later_a_network_may_ask_again() -> None:
    networks = Networks(Limits(), workers=1)
    network = networks.enter("192.0.2.1")
    assert network is not None
    network.requests = 10**6
    networks.second()
    assert network.requests == 0
    assert len(networks) == 1


class Paced:
    def __init__(self) -> None:
        self.rates: list[int] = []

    def pace(self, bytes_per_s: int) -> None:
        self.rates.append(bytes_per_s)


def test_a_connection_is_paced_once_it_has_had_its_burst_and_again_when_the_bitrate_changes() -> None:
    wire = Paced()
    pacer = Pacer(Pacing(factor=3.0, burst_s=10.0), wire)  # type: ignore[arg-type]
    for count in (600_000, 600_000, 600_000):  # 1 Mb/s: the burst is 1,250,000 bytes
        pacer.answer(1_000_000, count)
        assert wire.rates == []
    pacer.answer(1_000_000, 600_000)
    pacer.answer(1_000_000, 600_000)
    assert wire.rates == [375_000]
    pacer.answer(3_000_000, 600_000)
    assert wire.rates == [375_000, 1_125_000]
