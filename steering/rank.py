"""The candidates for one playback, best first. Pure: the same question and snapshot give the same answer.

Who may be answered (`verdict`): an appliance that serves, of a site that announces the client and stands in a
country of the title's licence, with room for the title's bitrate, and not one of those that just failed the asker.

The order, first difference decides:
    1 it holds what the device plays of the title, before it would pull it through its parent
    2 the longer prefix; then embedded, private, public, regional
    3 local preference, AS path length, origin, MED, eBGP before iBGP     (2 and 3: `steering.preference`)
    4 the nearer site, where both differ by more than a quarter
    5 of appliances that are still equal, those that the client's network is not starved by    (`steering.feedback`)
    6 of sites, the less loaded of two that the session's hash names
    7 inside a site, rendezvous hashing of the title with bounded loads   (6 and 7: `steering.spread`)

A session that was answered before keeps its first appliance while that may be answered, full or not: its own bits are
among those that fill it. Health, routes, licence, holdings and failures move a session, and so does an appliance that
starves its network (once: it stays where it went); load and hashes do not.
The second candidate shares no failure domain with the first, and all of them are not of one site, where there is
another.

Suspect appliances are answered when nobody serves.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from contracts.catalog import is_licensed
from contracts.fleet import Tier
from steering.feedback import Lowered, is_set_back, weights
from steering.health import State
from steering.nearness import groups
from steering.preference import Route
from steering.snapshot import Box, Reach, SiteView, Snapshot
from steering.spread import FULL, in_order, spread, two_choices


class Verdict(enum.Enum):
    """Why an appliance is not answered."""

    UNANNOUNCED = "site {site} announces no prefix that holds the client"
    NOT_LICENSED = "the title is not licensed where site {site} stands"
    EXCLUDED = "the asker says that it just failed"
    JOINING = "joining: no heartbeat since steering started"
    DRAINING = "draining"
    SUSPECT = "suspect: heartbeats are missing, and others serve"
    DOWN = "down: no heartbeat for long"
    FULL = "full: above 95 % of its throughput with this playback"


_BY_STATE: Final = {
    State.JOINING: Verdict.JOINING,
    State.DRAINING: Verdict.DRAINING,
    State.SUSPECT: Verdict.SUSPECT,
    State.DOWN: Verdict.DOWN,
    State.SERVING: Verdict.FULL,
}


class Question(msgspec.Struct, frozen=True, gc=False):
    title: str
    session: str
    bit: int
    """Of `Box.holdings`: what the device plays of the title."""
    bitrate_bps: float
    countries: tuple[str, ...] | None = None
    excluded: frozenset[str] = frozenset()
    incumbent: str | None = None
    """The appliance that the session was answered first before."""


class Placed(msgspec.Struct, frozen=True, gc=False):
    box: Box
    reach: Reach
    holds: bool
    suspect: bool = False
    lowered: Lowered | None = None
    """Players of the client's network starved there."""


class Considered(msgspec.Struct, frozen=True):
    """One appliance and what became of it. ``place`` counts from 1; None is not eligible."""

    box: Box
    state: State
    place: int | None
    reason: str


class _Scan:
    """The serving appliances of a site that may be answered, room or not, by their places."""

    __slots__ = ("_mask", "_may", "_pullers", "_row", "held_back", "holders", "lowered", "reach")

    def __init__(self, question: Question, reach: Reach) -> None:
        site = reach.site
        self.reach = reach
        self._may: Sequence[int] = site.serving
        if question.excluded:
            self._may = [place for place in site.serving if site.boxes[place].id not in question.excluded]
        self._row, self._mask = row, mask = site.holdings.at(question.bit)
        self.holders = [place for place in self._may if row[place] & mask] if row else []
        self._pullers: list[int] | None = None
        self.held_back: list[int] = []
        """Of the holders and pullers, those that come after their equals for this session."""
        self.lowered: dict[str, Lowered] = {}

    @property
    def pullers(self) -> list[int]:
        """Most starts are answered before anybody asks."""
        if self._pullers is None:
            holders = {*self.holders, *self.held_back}
            self._pullers = [place for place in self._may if place not in holders]
        return self._pullers

    def holds(self, place: int) -> bool:
        return bool(self._row) and self._row[place] & self._mask != 0

    def placed(self, place: int, *, holds: bool) -> Placed:
        box = self.reach.site.boxes[place]
        return Placed(box, self.reach, holds, lowered=self.lowered.get(box.id) if self.lowered else None)

    @property
    def share(self) -> float:
        """Of the site's capacity, without those that are held back."""
        site = self.reach.site
        if not self.held_back:
            return site.share
        load = site.load_bps - sum(site.loads[place] for place in self.held_back)
        capacity = site.capacity_bps - sum(site.sizes[place] for place in self.held_back)
        return load / capacity if capacity else math.inf

    def hold_back(self, lowered: Mapping[str, Lowered]) -> None:
        boxes = self.reach.site.boxes
        self.lowered.update({box.id: lowered[box.id] for box in boxes if box.id in lowered})
        for places in (self.holders, self.pullers):
            for place in list(places):
                if boxes[place].id in lowered and lowered[boxes[place].id].set_back:
                    places.remove(place)
                    self.held_back.append(place)


def decide(question: Question, snapshot: Snapshot, count: int) -> list[Placed]:
    """At most ``count`` candidates, none when nobody may be answered."""
    pool: list[Placed] = []
    domains, sites = set(), set()
    for some in _ranked(question, snapshot):
        for placed in some:
            pool.append(placed)
            domains.add(_domain(placed.box))
            sites.add(placed.box.site)
            if len(pool) >= count and (count < 2 or len(domains) > 1):
                break  # the rest of this site would be answered after others
        if len(pool) >= count and (count < 2 or len(domains) > 1) and (count < 3 or len(sites) > 1):
            break
    if count > 1 and len(domains) > 1:
        domain = _domain(pool[0].box)
        second = next(at for at, item in enumerate(pool) if _domain(item.box) != domain)
        pool.insert(1, pool.pop(second))
    chosen = pool[:count]
    if count > 2 and len(sites) > 1 and all(item.box.site == chosen[0].box.site for item in chosen):
        chosen[-1] = next(item for item in pool if item.box.site != chosen[0].box.site)
    return chosen


def rank(question: Question, snapshot: Snapshot) -> Iterator[Placed]:
    """Every appliance that may be answered, best first; worked out as far as it is asked for."""
    return itertools.chain.from_iterable(_ranked(question, snapshot))


def _ranked(question: Question, snapshot: Snapshot) -> Iterator[Iterable[Placed]]:
    """As `rank`, those of one site together."""
    scanned: list[_Equals] = []
    for equals in _equals(question, snapshot):
        scanned.append(equals)
        if question.incumbent is None:
            yield from _placed(question, equals, holds=True)
    if question.incumbent is not None:
        for holds in (True, False):
            yield from _with_incumbent(question, scanned, holds=holds)
    else:
        for equals in scanned:
            yield from _placed(question, equals, holds=False)
    scans = [scan for equals in scanned for scan in equals]
    if not any(scan.holders or scan.pullers or scan.held_back for scan in scans):
        for scan in scans:
            yield _suspects(question, scan)


def _suspects(question: Question, scan: _Scan) -> list[Placed]:
    site = scan.reach.site
    places = [
        box.place
        for box, state in zip(site.boxes, site.states, strict=True)
        if state is State.SUSPECT and box.id not in question.excluded
    ]
    if not places:
        return []
    order = in_order(question.title, [site.sizes[at] for at in places], [site.seeds[at] for at in places])
    return [Placed(site.boxes[places[at]], scan.reach, scan.holds(places[at]), suspect=True) for at in order]


def explain(question: Question, snapshot: Snapshot, others: Iterable[Reach]) -> list[Considered]:
    """Every appliance, those that may be answered first and in order. ``others``: who does not announce."""
    placed = list(rank(question, snapshot))
    found = [
        Considered(item.box, item.reach.site.states[item.box.place], place, reason(item))
        for place, item in enumerate(placed, start=1)
    ]
    known = {item.box.id for item in placed}
    announced = {reach.site.id for reach in snapshot.reaches}
    for reach in itertools.chain(snapshot.reaches, others):
        for box, state in zip(reach.site.boxes, reach.site.states, strict=True):
            if box.id not in known:
                why = verdict(question, reach, box, announced=reach.site.id in announced)
                found.append(Considered(box, state, None, why.value.format(site=box.site)))
    return found


def verdict(question: Question, reach: Reach, box: Box, *, announced: bool) -> Verdict:
    """Why ``box`` is not answered; only for one that `rank` left out."""
    if not announced:
        return Verdict.UNANNOUNCED
    if not is_licensed(question.countries, reach.site.country):
        return Verdict.NOT_LICENSED
    if box.id in question.excluded:
        return Verdict.EXCLUDED
    return _BY_STATE[reach.site.states[box.place]]


def reason(placed: Placed) -> str:
    """Why it stands where it stands, in words that an engineer of the network reads."""
    box, reach = placed.box, placed.reach
    words = [_announcement(box.tier, box.site, reach.length, reach.route)]
    if reach.distance_km is not None:
        words.append(f"{reach.distance_km:.0f} km away")
    words.append("holds the title" if placed.holds else "would pull the title through its parent")
    if placed.lowered is not None:
        words.append(str(placed.lowered))
    if placed.suspect:
        words.append("suspect: heartbeats are missing")
    return ", ".join(words)


@lru_cache(8192)
def _announcement(tier: Tier, site: str, length: int, route: Route | None) -> str:
    """Each answer says it of three appliances, and a site has few that differ."""
    words = f"{tier.value} site {site}"
    if route is None:
        return f"{words}, announces no prefix of the client, and is asked for lack of one that does"
    words += f", announces the client's /{length}"
    path = route.attributes
    if path.as_path or path.med or path.local_preference != 100:
        hops = f"local preference {path.local_preference}, {len(path.as_path)} AS away, MED {path.med}"
        words += f", {path.peering.value}, {hops}"
    return words


def _domain(box: Box) -> tuple[str, str]:
    """Racks are numbered in each site anew."""
    return box.site, box.failure_domain


class _Equals:
    """Sites that are equally near, in this session's order. None is looked at before it is asked for: ten regional sites
    may announce everybody, and one of them is answered.
    """

    def __init__(self, question: Question, group: Sequence[Reach], snapshot: Snapshot) -> None:
        self._question = question
        self._snapshot = snapshot
        self._reaches = {reach.site.id: reach for reach in group}
        self._scans: dict[str, _Scan] = {}
        self._order: list[SiteView] | None = None
        if snapshot.told:  # then all are compared
            _hold_back(question, snapshot, [self._scan(reach.site) for reach in group])

    def __iter__(self) -> Iterator[_Scan]:
        if self._order is None:
            sites = [reach.site for reach in self._reaches.values()]
            alone = len(sites) == 1
            self._order = sites if alone else two_choices(sites, self._share, self._question.session)
        for site in self._order:
            yield self._scan(site)

    @property
    def held_back(self) -> list[_Scan]:
        """Those with appliances that come after their equals."""
        return [scan for scan in self if scan.held_back] if self._snapshot.told else []

    def _scan(self, site: SiteView) -> _Scan:
        scan = self._scans.get(site.id)
        if scan is None:
            scan = self._scans[site.id] = _Scan(self._question, self._reaches[site.id])
        return scan

    def _share(self, site: SiteView) -> float:
        return self._scans[site.id].share if site.id in self._scans else site.share


def _equals(question: Question, snapshot: Snapshot) -> Iterator[_Equals]:
    """The sites where the title may be, best first."""
    found: Iterable[Sequence[Reach]] = snapshot.groups
    if question.countries is not None:
        found = groups(
            [item for item in snapshot.reaches if is_licensed(question.countries, item.site.country)]
        )
    for group in found:
        yield _Equals(question, group, snapshot)


def _hold_back(question: Question, snapshot: Snapshot, scans: list[_Scan]) -> None:
    told, session = snapshot.told, question.session
    for holds in (True, False):
        boxes = {
            box.id: box
            for scan in scans
            for box in [scan.reach.site.boxes[place] for place in (scan.holders if holds else scan.pullers)]
        }
        lowered = {
            name: Lowered(weight, told[name], is_set_back(session, boxes[name].seed, weight))
            for name, weight in weights(told, boxes).items()
        }
        for scan in scans if lowered else ():
            scan.hold_back(lowered)


def _placed(question: Question, equals: _Equals, *, holds: bool) -> Iterator[Iterable[Placed]]:
    """Those of equally near sites."""
    for scan in equals:
        yield _of_site(question, scan, scan.holders if holds else scan.pullers, holds=holds)
    for scan in equals.held_back:
        places = [place for place in scan.held_back if scan.holds(place) is holds]
        yield _of_site(question, scan, places, holds=holds)


def _of_site(question: Question, scan: _Scan, places: list[int], *, holds: bool) -> Iterator[Placed]:
    for place in spread(question.title, question.bitrate_bps, scan.reach.site, places):
        yield scan.placed(place, holds=holds)


def _with_incumbent(question: Question, scanned: list[_Equals], *, holds: bool) -> Iterator[Iterable[Placed]]:
    found = None
    for scan in itertools.chain.from_iterable(scanned):
        for place in scan.holders if holds else scan.pullers:
            if scan.reach.site.boxes[place].id == question.incumbent:
                found = scan.reach.site.boxes[place]
                yield [scan.placed(place, holds=holds)]
    for equals in scanned:
        for some in _placed(question, equals, holds=holds):
            yield (placed for placed in some if placed.box is not found)


__all__ = ["FULL", "Considered", "Placed", "Question", "Verdict", "decide", "explain", "rank", "reason"]
