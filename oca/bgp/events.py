"""What exabgp says, a line of JSON each, as typed events. Pure.

Both generations are read: since 5 a path is a dictionary of segments by their place, before it a plain list
(`as-path`) with sets beside it (`as-set`). Of a session's states `up` and `down` are believed; `connected` is
only TCP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from contracts.route import Attributes, Origin, Peering

MAX_LINE_BYTES: Final = 1 << 20
"""One BGP message is at most 64 KiB (RFC 8654): 16,000 prefixes of four bytes, about 25 letters each as JSON."""

_FAMILIES: Final = {"ipv4 unicast": 4, "ipv6 unicast": 6}


class BadLine(ValueError):
    """A line that says nothing we know, and why."""


@dataclass(frozen=True, slots=True)
class Up:
    neighbour: str


@dataclass(frozen=True, slots=True)
class Down:
    neighbour: str
    why: str


@dataclass(frozen=True, slots=True)
class Update:
    neighbour: str
    attributes: Attributes
    announced: tuple[str, ...]
    withdrawn: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndOfRib:
    """The table of this family (4 or 6) is whole, RFC 4724 section 2."""

    neighbour: str
    family: int


Event = Up | Down | Update | EndOfRib


class _Address(msgspec.Struct):
    peer: str


class _Asn(msgspec.Struct):
    local: int
    peer: int


class _Message(msgspec.Struct):
    update: dict[str, Any] | None = None
    eor: dict[str, str] | None = None


class _Neighbour(msgspec.Struct):
    address: _Address
    asn: _Asn | None = None
    state: str | None = None
    reason: str = ""
    message: _Message | None = None


class _Line(msgspec.Struct):
    type: str
    neighbor: _Neighbour | None = None


_decode = msgspec.json.Decoder(_Line).decode


def read_line(line: bytes, peerings: dict[str, Peering]) -> Event | None:
    """The event; None for what needs no heed. Raises `BadLine`.

    ``peerings``: of the configured neighbours by address; others are not believed.
    """
    try:
        found = _decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadLine(str(error)) from None
    neighbour = found.neighbor
    if neighbour is None:
        return None
    name = neighbour.address.peer
    if name not in peerings:
        raise BadLine(f"{name[:64]} is no neighbour of ours")
    if found.type == "state":
        if neighbour.state == "up":
            return Up(name)
        return Down(name, neighbour.reason[:500]) if neighbour.state == "down" else None
    if found.type != "update" or neighbour.message is None:
        return None
    if neighbour.message.eor is not None:
        family = _FAMILIES.get(
            " ".join((neighbour.message.eor.get("afi", ""), neighbour.message.eor.get("safi", "")))
        )
        return None if family is None else EndOfRib(name, family)
    if neighbour.message.update is None:
        return None
    try:
        ebgp = neighbour.asn is None or neighbour.asn.local != neighbour.asn.peer
        return _update(name, neighbour.message.update, ebgp, peerings[name])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadLine(f"an update of another shape: {error}") from None


def _update(name: str, update: dict[str, Any], ebgp: bool, peering: Peering) -> Update:
    given = update.get("attribute", {})
    attributes = Attributes(
        local_preference=_number(given.get("local-preference", 100)),
        as_path=_path(given.get("as-path", {})),
        origin=Origin(given.get("origin", "incomplete")),
        med=_number(given.get("med", 0)),
        ebgp=ebgp,
        peering=peering,
    )
    announced: list[str] = []
    for family, by_hop in update.get("announce", {}).items():
        if family in _FAMILIES:
            for routes in by_hop.values():
                announced += [route["nlri"] for route in routes]
    withdrawn: list[str] = []
    for family, routes in update.get("withdraw", {}).items():
        if family in _FAMILIES:
            withdrawn += [route["nlri"] for route in routes]
    if not all(isinstance(text, str) and len(text) <= 64 for text in (*announced, *withdrawn)):
        raise ValueError("a prefix that is no text")
    return Update(name, attributes, tuple(announced), tuple(withdrawn))


def _path(path: Any) -> tuple[int, ...]:
    """As BGP counts it: a set is one AS (RFC 4271 section 9.1.2.2), a confederation none (RFC 5065)."""
    if isinstance(path, list):
        return tuple(_number(number) for number in path)
    found: list[int] = []
    for place in sorted(path, key=int):
        segment = path[place]
        numbers = [_number(number) for number in segment["value"]]
        if segment["element"] == "as-sequence":
            found += numbers
        elif segment["element"] == "as-set" and numbers:
            found.append(min(numbers))
    return tuple(found)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise ValueError(f"{value!r} is not a number of 32 bits")
    return value
