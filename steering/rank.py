"""The candidates for one playback, in order, each with its reason. Pure.

The order, first difference decides:
    1 the site announces the client's address, and stands in a country of the title's licence
      (an appliance of any other site is not eligible)
    2 serving before suspect
    3 below 95 % of its throughput before above: a full site's new viewers go to the exchange
    4 holds the title before would pull it through
    5 ISP before IXP
    6 longer matching prefix first
    7 rendezvous hash, weighted by throughput: of the session among those that hold the title, so that
      its viewers spread; of the title among those that do not, so that one pulls it and not each
    8 the id, so that the order is whole

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
from steering.snapshot import Box, Snapshot

_NEARLY_FULL: Final = 0.95
_TIERS: Final = {Tier.ISP: 0, Tier.IXP: 1, Tier.REGIONAL: 2}
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


def rank(title: str, session: str, snapshot: Snapshot) -> list[Considered]:
    """Every appliance of the snapshot: the eligible ones best first, then the others."""
    eligible: list[tuple[tuple[float, ...], str, Box]] = []
    out: list[Considered] = []
    for box in snapshot.boxes:
        why = _WHY_NOT.get(box.state)
        if box.site not in snapshot.lengths:
            why = f"site {box.site} announces no prefix that holds the client"
        elif not box.licensed:
            why = f"the title is not licensed where site {box.site} stands"
        if why is None:
            order = _order(box, title, session, snapshot.lengths[box.site])
            eligible.append((order, box.id, box))
        else:
            out.append(Considered(box, None, why))
    eligible.sort(key=lambda item: item[:2])
    placed = [
        Considered(box, place, _reason(box, snapshot.lengths[box.site]))
        for place, (_, _, box) in enumerate(eligible, start=1)
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


def nearly_full(box: Box) -> bool:
    return box.tx_bps > _NEARLY_FULL * box.throughput_bps


def _order(box: Box, title: str, session: str, length: int) -> tuple[float, ...]:
    return (
        box.state is not State.SERVING,
        nearly_full(box),
        not box.holds,
        _TIERS[box.tier],
        -length,
        _distance(box, session if box.holds else title),
    )


def _distance(box: Box, what: str) -> float:
    """Weighted rendezvous: the smallest wins, in proportion to throughput.

    Source: Schindelhauer and Schomaker, Weighted Distributed Hash Tables (2005), logarithmic method.
    """
    number = xxhash.xxh3_64_intdigest(f"{box.id}\0{what}".encode())
    return -math.log((number + 0.5) / 2**64) / box.throughput_bps


def _reason(box: Box, length: int) -> str:
    words = [
        f"{box.tier.value} site {box.site}",
        f"announces the client's /{length}",
        "holds the title" if box.holds else "would pull the title through its parent",
    ]
    if box.state is State.SUSPECT:
        words.append("suspect: heartbeats are missing")
    if nearly_full(box):
        words.append("nearly full")
    return ", ".join(words)
