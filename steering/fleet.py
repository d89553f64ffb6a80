"""The fleet file and what heartbeats said since: from these, the snapshot of each decision."""

from __future__ import annotations

from pathlib import Path

from contracts.fleet import Fleet
from contracts.heartbeat import Heartbeat
from contracts.token import KeyRing, import_public
from daemon.config import load
from steering.content import Content
from steering.health import State, state_of
from steering.prefixes import PrefixTable
from steering.snapshot import Box, Snapshot


class Replayed(Exception):
    """A heartbeat that is not newer than the last one of the same boot."""


class FleetView:
    def __init__(self, fleet: Fleet) -> None:
        self._heard: dict[str, tuple[float, Heartbeat]] = {}
        self.replace(fleet)

    @staticmethod
    def read(path: Path) -> Fleet:
        """The fleet file; raises `daemon.config.ConfigError`."""
        return load(path, Fleet)

    def replace(self, fleet: Fleet) -> None:
        """Another fleet file is in force; what was heard of those who stay is kept."""
        self.fleet = fleet
        self._sites = PrefixTable([(prefix, site.id) for site in fleet.sites for prefix in site.prefixes])
        self.keys = KeyRing(
            {
                box.id: import_public(
                    {"kty": box.public_key.kty, "crv": box.public_key.crv, "x": box.public_key.x}
                )
                for site in fleet.sites
                for box in site.appliances
            }
        )
        self.appliances = [box.id for site in fleet.sites for box in site.appliances]
        self._heard = {name: heard for name, heard in self._heard.items() if name in self.appliances}

    def hear(self, beat: Heartbeat, now: float) -> State:
        """Takes a (verified) heartbeat; the state it leads to. Raises `Replayed`."""
        before = self._heard.get(beat.appliance)
        if before is not None and before[1].boot == beat.boot and beat.sequence <= before[1].sequence:
            raise Replayed(f"sequence {beat.sequence} of boot {beat.boot} was heard already")
        self._heard[beat.appliance] = (now, beat)
        return self.state(beat.appliance, now)

    def age_s(self, appliance: str, now: float) -> float | None:
        heard = self._heard.get(appliance)
        return None if heard is None else now - heard[0]

    def last(self, appliance: str) -> Heartbeat | None:
        heard = self._heard.get(appliance)
        return None if heard is None else heard[1]

    def state(self, appliance: str, now: float) -> State:
        beat = self.last(appliance)
        return state_of(self.age_s(appliance, now), draining=beat is not None and beat.draining)

    def snapshot(self, title: str, content: Content, now: float) -> Snapshot:
        boxes: list[Box] = []
        for site in self.fleet.sites:
            for box in site.appliances:
                beat = self.last(box.id)
                boxes.append(
                    Box(
                        box.id,
                        site.id,
                        site.tier,
                        box.url,
                        self.state(box.id, now),
                        box.throughput_bps,
                        beat.tx_bps if beat is not None else 0,
                        _holds(beat, title, content),
                    )
                )
        return Snapshot(tuple(boxes), self._sites)


def _holds(beat: Heartbeat | None, title: str, content: Content) -> bool:
    """Whether the plan that the appliance works on has the title, and nothing of it is missing."""
    if beat is None or beat.plan is None or title in beat.plan.missing_titles:
        return False
    return title in content.planned.get((beat.plan.version, beat.appliance), frozenset())
