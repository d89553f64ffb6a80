"""The lines of exabgp 4 and 5 are read alike, and nothing else is believed."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.route import Attributes, Origin, Peering
from oca.bgp.events import BadLine, Down, EndOfRib, Up, Update, read_line

PEERINGS = {"192.0.2.1": Peering.PRIVATE}


def line(kind: str = "update", peer: str = "192.0.2.1", peer_as: int = 64501, **neighbour: Any) -> bytes:
    about = {"address": {"local": "192.0.2.2", "peer": peer}, "asn": {"local": 64500, "peer": peer_as}}
    return json.dumps({"exabgp": "5.0.0", "type": kind, "neighbor": about | neighbour}).encode()


def update(peer_as: int = 64501, **parts: Any) -> bytes:
    return line(peer_as=peer_as, message={"update": parts})


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        (line("state", state="up"), Up("192.0.2.1")),
        (line("state", state="down", reason="closing connection"), Down("192.0.2.1", "closing connection")),
        (line("state", state="connected"), None),
        (line("notification", notification="cease"), None),
        (line(message={"eor": {"afi": "ipv4", "safi": "unicast"}}), EndOfRib("192.0.2.1", 4)),
        (line(message={"eor": {"afi": "ipv6", "safi": "unicast"}}), EndOfRib("192.0.2.1", 6)),
        (line(message={"eor": {"afi": "ipv4", "safi": "multicast"}}), None),
        (line(message={"keepalive": None}), None),
        (b'{"type": "notification"}', None),
    ],
)
def test_a_line_is_an_event(raw: bytes, event: object) -> None:
    assert read_line(raw, PEERINGS) == event


SEGMENTS = {
    "0": {"element": "as-sequence", "value": [64501, 64502]},
    "1": {"element": "as-set", "value": [9, 8, 7]},
    "2": {"element": "confed-sequence", "value": [1, 2, 3]},
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (SEGMENTS, (64501, 64502, 7)),
        ({}, ()),
        ([64501, 64502], (64501, 64502)),
        ({str(n): {"element": "as-sequence", "value": [n]} for n in (10, 9, 2)}, (2, 9, 10)),
    ],
)
def test_a_path_is_counted_as_bgp_counts_it(path: object, expected: tuple[int, ...]) -> None:
    raw = update(
        attribute={"origin": "egp", "as-path": path, "med": 50},
        announce={"ipv4 unicast": {"hop": [{"nlri": "20.0.0.0/8"}]}},
    )
    attributes = Attributes(100, expected, Origin.EGP, 50, ebgp=True, peering=Peering.PRIVATE)
    assert read_line(raw, PEERINGS) == Update("192.0.2.1", attributes, ("20.0.0.0/8",), ())


def test_an_update_may_announce_and_withdraw_in_both_families() -> None:
    raw = update(
        64500,
        attribute={"origin": "igp", "local-preference": 300},
        announce={
            "ipv4 unicast": {"192.0.2.1": [{"nlri": "20.0.0.0/8"}, {"nlri": "21.0.0.0/8"}]},
            "ipv6 unicast": {"::1": [{"nlri": "2a00::/16"}]},
            "ipv4 flow": {"no-nexthop": [{"string": "flow"}]},
        },
        withdraw={"ipv4 unicast": [{"nlri": "22.0.0.0/8"}]},
    )
    found = read_line(raw, PEERINGS)
    assert isinstance(found, Update)
    assert found.announced == ("20.0.0.0/8", "21.0.0.0/8", "2a00::/16")
    assert found.withdrawn == ("22.0.0.0/8",)
    assert (found.attributes.local_preference, found.attributes.ebgp) == (300, False)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"done",
        b"\xff\xfe",
        b"[" * 100_000,
        line("state", peer="192.0.2.99", state="up"),
        update(attribute={"med": -1}),
        update(attribute={"med": 1 << 32}),
        update(attribute={"med": True}),
        update(attribute={"origin": "elsewhere"}),
        update(attribute={"as-path": {"x": {}}}),
        update(announce={"ipv4 unicast": {"hop": [{}]}}),
        update(announce={"ipv4 unicast": {"hop": [{"nlri": 7}]}}),
        update(announce={"ipv4 unicast": {"hop": [{"nlri": "1" * 65}]}}),
        update(announce=[]),
    ],
)
def test_any_other_line_is_refused(raw: bytes) -> None:
    with pytest.raises(BadLine):
        read_line(raw, PEERINGS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["attribute", "announce", "withdraw"]), json_values))
def test_no_update_breaks_the_reader(parts: dict[str, Any]) -> None:
    with contextlib.suppress(BadLine):
        read_line(update(**parts), PEERINGS)
