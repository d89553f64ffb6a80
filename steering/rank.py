"""The candidates for one playback, in order, each with its reason. Pure.

The order, first difference decides:
    1 the site announces the client's address (an appliance of any other site is not eligible)
    2 serving before suspect
    3 holds the title before would pull it through
    4 ISP before IXP
    5 longer matching prefix first
    6 below 95 % of its throughput before above
    7 rendezvous hash of the title, weighted by throughput

Then, so that one failure does not take all answers, the last of the asked number is replaced by the
best of another site when all the others are of one site.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import xxhash

from contracts.fleet import Tier
from steering.health import State
from steering.prefixes import Address
from steering.snapshot import Box, Snapshot

_NEARLY_FULL: Final = 0.95
_TIERS: Final = {Tier.ISP: 0, Tier.IXP: 1}
_WHY_NOT: Final = {
    State.JOINING: "joining: no heartbeat since steering started",
    State.DRAINING: "draining",
    State.DOWN: "down: no heartbeat for long",
}


@dataclass(frozen=True, slots=True)
class Considered:
    """One appliance and what became of it. ``place`` counts from 1; None is not eligible."""

    box: Box
    place: int | None
    reason: str


def rank(address: Address, title: str, snapshot: Snapshot) -> list[Considered]:
    """Every appliance of the fleet: the eligible ones best first, then the others."""
    lengths: dict[str, int] = {}
    for length, site in snapshot.sites.matches(address):
        lengths.setdefault(site, length)
    eligible: list[tuple[tuple[float, ...], Box]] = []
    out: list[Considered] = []
    for box in snapshot.boxes:
        why = _WHY_NOT.get(box.state)
        if why is None and box.site not in lengths:
            why = f"site {box.site} announces no prefix that holds the client"
        if why is None:
            eligible.append((_order(box, title, lengths[box.site]), box))
        else:
            out.append(Considered(box, None, why))
    eligible.sort(key=lambda pair: (pair[0], pair[1].id))
    placed = [
        Considered(box, place, _reason(box, lengths[box.site]))
        for place, (_, box) in enumerate(eligible, start=1)
    ]
    return placed + out


def select_candidates(ranked: list[Considered], count: int) -> list[Considered]:
    """The first ``count`` of the eligible, in more than one site where there is more than one.

    Suspect appliances are left out while others exist.
    """
    eligible = [item for item in ranked if item.place is not None]
    healthy = [item for item in eligible if item.box.state is State.SERVING]
    eligible = healthy or eligible
    chosen = eligible[:count]
    if count > 1 and len({item.box.site for item in chosen}) == 1:
        elsewhere = next((item for item in eligible[count:] if item.box.site != chosen[0].box.site), None)
        if elsewhere is not None:
            chosen[-1] = elsewhere
    return chosen


def _order(box: Box, title: str, length: int) -> tuple[float, ...]:
    return (
        box.state is not State.SERVING,
        not box.holds,
        _TIERS[box.tier],
        -length,
        box.tx_bps > _NEARLY_FULL * box.throughput_bps,
        _distance(box, title),
    )


def _distance(box: Box, title: str) -> float:
    """Weighted rendezvous: the smallest wins, in proportion to throughput.

    Source: Schindelhauer and Schomaker, Weighted Distributed Hash Tables (2005), logarithmic method.
    """
    number = xxhash.xxh3_64_intdigest(f"{box.id}\0{title}".encode())
    return -math.log((number + 0.5) / 2**64) / box.throughput_bps


def _reason(box: Box, length: int) -> str:
    words = [
        f"{box.tier.value} site {box.site}",
        f"announces the client's /{length}",
        "holds the title" if box.holds else "would pull the title through its parent",
    ]
    if box.state is State.SUSPECT:
        words.append("suspect: heartbeats are missing")
    if box.tx_bps > _NEARLY_FULL * box.throughput_bps:
        words.append("nearly full")
    return ", ".join(words)
