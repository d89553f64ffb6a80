"""The fleet as it stands: what heartbeats said, what was given since, and what a client of it can reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from contracts.fleet import Appliance, Location, Site, Tier
from contracts.heartbeat import Heartbeat
from steering.announced import Announced
from steering.content import Content
from steering.feedback import Feedback
from steering.geo import distance_km
from steering.health import BEAT_S, Health, Standing, State
from steering.holdings import without
from steering.load import Load
from steering.nearness import groups
from steering.prefixes import Address
from steering.roster import Roster
from steering.routes import Routes
from steering.snapshot import Box, Holdings, Reach, SiteView, Snapshot
from steering.spread import seed_of

_NO_LOAD: Final = Load()
NEAREST: Final = 16
"""Exchanges, and regional sites, that are looked at for a client whom they do not announce."""


class Replayed(Exception):
    """A heartbeat that is not newer than the last one."""


class Heard(msgspec.Struct, frozen=True, gc=False):
    """The last heartbeat. ``at`` is of our clock, ``issued_at`` of its sender's."""

    at: float
    issued_at: float
    beat: Heartbeat
    told: bool = False
    """By another replica; the appliance may say the same here in a moment."""


class FleetView:
    def __init__(
        self,
        roster: Roster,
        content: Content | None = None,
        locate: Callable[[Address], Location | None] | None = None,
        beat_s: float = BEAT_S,
    ) -> None:
        """``locate`` says where a client is; None is no GeoIP database. Appliances speak every ``beat_s``."""
        self.roster = roster
        self._locate = locate
        self.content = content or Content()
        """An appliance's share of it is looked at with its next heartbeat, so that none takes long."""
        self.routes = Routes()
        """What the appliances' routers announce."""
        self.announced = Announced(self.routes)
        self.health = Health(beat_s=beat_s)
        self.feedback = Feedback()
        """What players went through."""
        self.changes: list[tuple[str, State, str]] = []
        """Who got into which state, and why, since somebody emptied this: for the log."""
        self.unsaved: set[str] = set()
        """Who was heard, or got into another state, since somebody emptied this: for a restart."""
        self._heard: dict[str, Heard] = {}
        self._loads: dict[str, Load] = {}
        self._held: dict[str, tuple[str, bytes]] = {}
        """What each holds as it stands in a site's table, and in which."""
        self._sites: dict[str, SiteView] = {}
        self._places: dict[str, int] = {}
        """Of each appliance, in its site."""
        self._take(roster)

    def replace(self, roster: Roster) -> None:
        """Another fleet file is in force; what was heard of those who stay is kept."""
        self.roster = roster
        for known in (self._heard, self._loads, self._held):
            for name in [name for name in known if name not in roster.appliances]:
                del known[name]
        for name in [name for name in self.health.standings if name not in roster.appliances]:
            self.health.forget(name)
            self.feedback.forget(name)
        for name in self.routes.known():
            if name not in roster.appliances:
                self.routes.forget(name)
        for _ in self.catch_up():
            pass  # of appliances that the new file does not have
        self._take(roster)

    @property
    def behind(self) -> bool:
        """Whether routes were taken that answers do not follow yet."""
        return self.routes.behind or self.announced.behind

    def catch_up(self) -> Iterator[None]:
        """Lets answers follow, a millisecond or two at a time; who drives it lets others have their turn in between."""
        while self.behind:
            if self.announced.behind:
                self.announced.step()
            else:
                self.routes.step()
            yield

    def _take(self, roster: Roster) -> None:
        self.announced.read(roster.fleet)
        known = self._sites
        self._places = {
            box.id: place for site in roster.fleet.sites for place, box in enumerate(site.appliances)
        }
        self._sites = {site.id: _site_view(site, known.get(site.id)) for site in roster.fleet.sites}

    def hear(self, beat: Heartbeat, issued_at: float, now: float, *, told: bool = False) -> State:
        """Takes a (verified) heartbeat whose token was made at ``issued_at``; the state it leads to.

        Raises `Replayed` on one that is not newer: by its sequence within a boot, by the time of its
        token across boots, for a heartbeat of an ended boot that is sent again would undo the new one.
        One that another replica has ``told`` may be heard once more, from the appliance itself.
        """
        name = beat.appliance
        before = self._heard.get(name)
        if before is not None:
            again = before.told and not told and beat.sequence == before.beat.sequence
            if before.beat.boot == beat.boot and beat.sequence <= before.beat.sequence and not again:
                raise Replayed(f"sequence {beat.sequence} of boot {beat.boot} was heard already")
            if before.beat.boot != beat.boot and issued_at < before.issued_at:
                raise Replayed(
                    f"boot {beat.boot} spoke before boot {before.beat.boot}, which was heard already"
                )
        if beat.routes is not None:
            self.routes.hear(name, beat.routes)
        if beat.routes is not None or beat.hello is not None:
            # Thousands of strings that nobody needs again.
            beat = msgspec.structs.replace(beat, routes=None, hello=None)
        self._heard[name] = Heard(now, issued_at, beat, told)
        self.unsaved.add(name)
        self.feedback.hear(name, beat.players)
        state = self.health.hear(name, draining=beat.draining, now=now)
        self._settle()
        load = self._loads[name] = self._loads.get(name, _NO_LOAD).heard(beat.tx_bps, now)
        self._stands(name, state)
        self._loads_at(name, load.total)
        self._holds(name, beat)
        return state

    def give(self, appliance: str, bitrate_bps: float) -> None:
        """A start was sent there."""
        load = self._loads[appliance] = self._loads.get(appliance, _NO_LOAD).given(bitrate_bps)
        self._loads_at(appliance, load.total)

    def age_s(self, appliance: str, now: float) -> float | None:
        heard = self._heard.get(appliance)
        return None if heard is None else now - heard.at

    def heard(self, appliance: str) -> Heard | None:
        return self._heard.get(appliance)

    def recall(self, appliance: str, heard: Heard) -> None:
        """What was heard before a restart; `restore` follows once all of it is recalled."""
        self._heard[appliance] = heard
        self.feedback.hear(appliance, heard.beat.players)
        self._holds(appliance, heard.beat)

    def restore(self, standings: dict[str, Standing], now: float) -> None:
        self.health.restore(standings, now)
        for name, standing in standings.items():
            self._stands(name, standing.state)

    def look_again(self) -> None:
        """What appliances hold of content that was not known when they were heard. Takes long: once, at start."""
        for name, heard in self._heard.items():
            self._holds(name, heard.beat)

    def last(self, appliance: str) -> Heartbeat | None:
        heard = self._heard.get(appliance)
        return None if heard is None else heard.beat

    def state(self, appliance: str, now: float) -> State:
        self.sweep(now)
        return self.health.of(appliance).state

    def states(self, now: float) -> list[State]:
        """Of every appliance."""
        self.sweep(now)
        of = self.health.of
        return [of(name).state for name in self.roster.appliances]

    def sweep(self, now: float) -> None:
        """Lets silence have its effect on what is answered; costs nothing when it was done a moment ago."""
        self.health.sweep(now)
        self._settle()

    def probed(self, appliance: str, *, answered: bool, asked_at: float, now: float) -> None:
        """What came of a probe of its data port, see `Health.probed`."""
        if appliance in self.roster.appliances:
            self.health.of(appliance)
            self.health.probed(appliance, answered=answered, asked_at=asked_at, now=now)
            self._settle()

    def revoked(self, appliance: str, now: float) -> None:
        """Its key is worth nothing any more: it leaves the answers, and is unknown until it enrols again."""
        if appliance in self.roster.appliances:
            self._heard.pop(appliance, None)
            self.health.revoked(appliance, now)
            self._settle()

    def enrolled(self, appliance: str, now: float) -> None:
        """It has another key: heartbeats that the old one signed are as good as none."""
        if appliance in self.roster.appliances:
            self._heard.pop(appliance, None)
            self.health.enrolled(appliance, now)
            self._settle()

    def _settle(self) -> None:
        """Writes down what the appliances' states have become where decisions look."""
        if not self.health.changed:
            return
        changed, self.health.changed = self.health.changed, []
        self.unsaved.update(changed)
        for name in changed:
            standing = self.health.of(name)
            if name in self.roster.site_of:
                self._stands(name, standing.state)
                self.changes.append((name, standing.state, standing.reason))

    def load(self, appliance: str) -> Load:
        return self._loads.get(appliance, _NO_LOAD)

    def site(self, name: str) -> SiteView:
        return self._sites[name]

    def snapshot(self, address: Address, now: float) -> Snapshot:
        """The sites that announce a client at ``address``, each by its longest prefix, as they stand."""
        self.sweep(now)
        sites, found = self._sites, list[tuple[Reach, ...]]()
        seen: set[str] = set()
        for length, ways in self.announced.matches(address):  # the longest first: no group has two lengths
            for way in ways:
                group = [Reach(sites[route.site], length, route) for route in way if route.site not in seen]
                if group:
                    found.append(tuple(group))
            seen.update([route.site for way in ways for route in way])
        place = None if self._locate is None else self._locate(address)
        if place is not None:
            located = [
                Reach(reach.site, reach.length, reach.route, distance_km(place, reach.site.location))
                for group in found
                for reach in group
            ]
            return Snapshot(groups(located), self.feedback.of(address))
        return Snapshot(tuple(found), self.feedback.of(address))

    def beyond(self, snapshot: Snapshot, address: Address) -> Snapshot:
        """With the nearest exchanges and regional sites that do not announce the client: for who finds too few.

        ``snapshot`` itself when there is no GeoIP database. An ISP's appliances serve none but who is announced.
        """
        if self._locate is None:
            return snapshot
        place = self._locate(address)
        found: list[Reach] = []
        for tier in (Tier.IXP, Tier.REGIONAL):
            near = [
                Reach(reach.site, -1, None, distance_km(place, reach.site.location))
                for reach in self.elsewhere(snapshot)
                if reach.site.tier is tier
            ]
            near.sort(
                key=lambda item: (math.inf if item.distance_km is None else item.distance_km, item.site.id)
            )
            found += near[:NEAREST]
        return msgspec.structs.replace(snapshot, groups=groups((*snapshot.reaches, *found)))

    def elsewhere(self, snapshot: Snapshot) -> Iterator[Reach]:
        """Every other site."""
        there = {reach.site.id for reach in snapshot.reaches}
        for site in self._sites.values():
            if site.id not in there:
                yield Reach(site, 0, None)

    def _stands(self, name: str, state: State) -> None:
        site, place = self._sites[self.roster.site_of[name]], self._places[name]
        if site.states[place] is not state:
            self._sites[site.id] = site.with_state(place, state)

    def _loads_at(self, name: str, load_bps: float) -> None:
        site = self._sites[self.roster.site_of[name]]
        self._sites[site.id] = site.with_load(self._places[name], load_bps)

    def _holds(self, name: str, beat: Heartbeat) -> None:
        """What the plan that the appliance works on has, less what it says is missing."""
        held = b""
        if beat.plan is not None:
            planned = self.content.planned.get((beat.plan.version, name), b"")
            held = without(planned, beat.plan.missing_titles, self.content.titles)
        site = self._sites[self.roster.site_of[name]]
        where, known = self._held.get(name, (site.id, b""))
        if where == site.id and (held is known or held == known):
            return
        self._sites[site.id] = site.with_holdings(self._places[name], held)
        self._held[name] = site.id, held


def _site_view(site: Site, known: SiteView | None) -> SiteView:
    """As the fleet file has it, its appliances as they stood before when they stood in the same site."""
    boxes = tuple([_box(site, place, box) for place, box in enumerate(site.appliances)])
    view = SiteView.of(site.id, site.tier, site.country, site.location, seed_of(site.id), boxes)
    if known is None:
        return view
    before = {box.id: box.place for box in known.boxes}
    states, loads, rows = list(view.states), list(view.loads), [b""] * len(boxes)
    for box in boxes:
        if (at := before.get(box.id)) is not None:
            states[box.place], loads[box.place] = known.states[at], known.loads[at]
            rows[box.place] = known.holdings.row(at)
    return view.standing(states, loads, Holdings.of(rows))


def _box(site: Site, place: int, box: Appliance) -> Box:
    return Box(
        *(box.id, site.id, place, site.tier, box.url, box.failure_domain, box.throughput_bps, seed_of(box.id))
    )
