"""The fleet file and what heartbeats said since: from these, the snapshot of each decision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from contracts.catalog import is_licensed
from contracts.fleet import Appliance, Fleet, Site
from contracts.heartbeat import Heartbeat
from contracts.token import KeyRing, import_public
from daemon.config import ConfigError, load
from steering.content import Content
from steering.health import State, state_of
from steering.prefixes import Address, PrefixTable
from steering.routes import Routes
from steering.snapshot import Box, Snapshot


class Replayed(Exception):
    """A heartbeat that is not newer than the last one."""


@dataclass(frozen=True)
class Roster:
    """The fleet file, made ready for decisions. Made aside and whole, so that it can be swapped in."""

    fleet: Fleet
    prefixes: PrefixTable[str]
    """Site ids by the client prefixes they announce."""
    keys: KeyRing
    sites: dict[str, Site]
    appliances: dict[str, Appliance]

    @classmethod
    def of(cls, fleet: Fleet) -> Roster:
        """Raises ValueError on a public key that is none."""
        boxes = {box.id: box for site in fleet.sites for box in site.appliances}
        return cls(
            fleet,
            PrefixTable((prefix, site.id) for site in fleet.sites for prefix in site.prefixes),
            KeyRing({box.id: import_public(_jwk(box)) for box in boxes.values()}),
            {site.id: site for site in fleet.sites},
            boxes,
        )

    @classmethod
    def read(cls, path: Path) -> Roster:
        """From the fleet file; raises `ConfigError`. Slow: seconds for 17,000 appliances."""
        fleet = load(path, Fleet)
        try:
            return cls.of(fleet)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None


@dataclass(frozen=True, slots=True)
class _Heard:
    at: float
    issued_at: float
    beat: Heartbeat
    missing: frozenset[str]


class FleetView:
    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self._heard: dict[str, _Heard] = {}
        self.routes = Routes()
        """What the appliances' routers announce."""

    def replace(self, roster: Roster) -> None:
        """Another fleet file is in force; what was heard of those who stay is kept."""
        self.roster = roster
        self._heard = {name: heard for name, heard in self._heard.items() if name in roster.appliances}
        for name in self.routes.known():
            if name not in roster.appliances:
                self.routes.forget(name)

    def hear(self, beat: Heartbeat, issued_at: float, now: float) -> State:
        """Takes a (verified) heartbeat whose token was made at ``issued_at``; the state it leads to.

        Raises `Replayed` on one that is not newer: by its sequence within a boot, by the time of its
        token across boots, for a heartbeat of an ended boot that is sent again would undo the new one.
        """
        before = self._heard.get(beat.appliance)
        if before is not None:
            if before.beat.boot == beat.boot and beat.sequence <= before.beat.sequence:
                raise Replayed(f"sequence {beat.sequence} of boot {beat.boot} was heard already")
            if before.beat.boot != beat.boot and issued_at < before.issued_at:
                raise Replayed(
                    f"boot {beat.boot} spoke before boot {before.beat.boot}, which was heard already"
                )
        missing = frozenset(beat.plan.missing_titles) if beat.plan is not None else frozenset[str]()
        if beat.routes is not None:
            self.routes.hear(beat.appliance, beat.routes)
            beat = msgspec.structs.replace(beat, routes=None)  # thousands of strings that nobody needs again
        self._heard[beat.appliance] = _Heard(now, issued_at, beat, missing)
        return self.state(beat.appliance, now)

    def age_s(self, appliance: str, now: float) -> float | None:
        heard = self._heard.get(appliance)
        return None if heard is None else now - heard.at

    def last(self, appliance: str) -> Heartbeat | None:
        heard = self._heard.get(appliance)
        return None if heard is None else heard.beat

    def state(self, appliance: str, now: float) -> State:
        beat = self.last(appliance)
        return state_of(self.age_s(appliance, now), draining=beat is not None and beat.draining)

    def snapshot(
        self,
        address: Address,
        title: str,
        content: Content,
        now: float,
        *,
        whole: bool = False,
        loaded: bool = True,
    ) -> Snapshot:
        """The fleet as a client at ``address`` sees it; with no load on it unless ``loaded``.

        Appliances of sites that do not announce it, which are never answered, only when ``whole``: a
        decision costs what the client's own sites cost, not what the fleet does.
        """
        lengths: dict[str, int] = {}
        for length, name in self.roster.prefixes.matches(address):
            lengths.setdefault(name, length)
        sites = self.roster.fleet.sites if whole else [self.roster.sites[name] for name in lengths]
        boxes = []
        known = content.titles.get(title)
        for site in sites:
            licensed = known is None or is_licensed(known.countries, site.country)
            for box in site.appliances:
                heard = self._heard.get(box.id)
                holds = heard is not None and _holds(heard, title, content)
                tx_bps = heard.beat.tx_bps if heard is not None and loaded else 0
                boxes.append(self._box(site, box, now, tx_bps, holds, licensed))
        return Snapshot(tuple(boxes), lengths)

    def _box(self, site: Site, box: Appliance, now: float, tx_bps: int, holds: bool, licensed: bool) -> Box:
        return Box(
            box.id,
            site.id,
            site.tier,
            box.url,
            self.state(box.id, now),
            box.throughput_bps,
            tx_bps,
            holds,
            licensed,
        )


def _holds(heard: _Heard, title: str, content: Content) -> bool:
    """Whether the plan that the appliance works on has the title, and nothing of it is missing."""
    plan = heard.beat.plan
    if plan is None or title in heard.missing:
        return False
    return title in content.planned.get((plan.version, heard.beat.appliance), frozenset())


def _jwk(box: Appliance) -> dict[str, str]:
    return {"kty": box.public_key.kty, "crv": box.public_key.crv, "x": box.public_key.x}
