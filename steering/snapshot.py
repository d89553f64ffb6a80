"""The fleet as one decision sees it. Immutable: a decision never sees half of a change.

What changes of a site's appliances stands side by side, not with each appliance: a start looks at the loads and holdings
of dozens, and each that lies elsewhere in memory costs as much as to decide about it. Measured: bench/steering/README.md.

msgspec's structs, because one is made for each heartbeat and each start, and the collector need not look at
17,000 of them.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from contracts.catalog import Country
from contracts.fleet import Location, Tier
from steering.feedback import Told
from steering.health import State
from steering.preference import Route

NOBODY_HOLDS: Final = -1
"""In place of a bit of `Holdings`: of a title that is not in the catalog."""


class Box(msgspec.Struct, frozen=True, gc=False):
    """One appliance, as the fleet file has it."""

    id: str
    site: str
    place: int
    """In `SiteView.boxes`, and in all that stands beside it."""
    tier: Tier
    url: str
    failure_domain: str
    throughput_bps: int
    seed: int
    """Of its hashes: drawn from the id."""


class Holdings(msgspec.Struct, frozen=True, gc=False):
    """What the appliances of a site hold: a bit for each question that may be asked of a title (`steering.holdings`)."""

    width: int
    """How many appliances."""
    table: bytes = b""
    """The first eight bits of each appliance, then the next eight of each, ..."""

    @classmethod
    def of(cls, rows: Sequence[bytes]) -> Holdings:
        """By appliance. Rows may be of different lengths: what was not known when one was made is not held."""
        width, length = len(rows), max(map(len, rows), default=0)
        table = bytearray(width * length)
        for place, row in enumerate(rows):
            table[place::width] = row.ljust(length, b"\0")
        return cls(width, bytes(table))

    def put(self, place: int, row: bytes) -> Holdings:
        """The same with another row."""
        length = max(len(row), len(self.table) // self.width)
        table = bytearray(self.table.ljust(length * self.width, b"\0"))
        table[place :: self.width] = row.ljust(length, b"\0")
        return Holdings(self.width, bytes(table))

    def row(self, place: int) -> bytes:
        return self.table[place :: self.width]

    def at(self, bit: int) -> tuple[bytes, int]:
        """A byte of each appliance, and which bit of it says whether it holds what ``bit`` asks for.

        No bytes where nobody knows of it; ``bit`` may be `NOBODY_HOLDS`.
        """
        if bit < 0:
            return b"", 0
        start = (bit >> 3) * self.width
        return self.table[start : start + self.width], 1 << (bit & 7)

    def holds(self, place: int, bit: int) -> bool:
        row, mask = self.at(bit)
        return bool(row) and row[place] & mask != 0


class SiteView(msgspec.Struct, frozen=True, gc=False):
    id: str
    tier: Tier
    country: Country | None
    location: Location | None
    seed: int
    boxes: tuple[Box, ...]
    sizes: tuple[int, ...]
    """Of each its `throughput_bps`; ``seeds`` likewise."""
    seeds: tuple[int, ...]
    throughput_bps: int
    states: tuple[State, ...]
    loads: array[float]
    """Of each, in bits per second. Like all here it is never changed in place."""
    holdings: Holdings
    serving: tuple[int, ...]
    """The places of those that may be answered; `load_bps` and `capacity_bps` are theirs together."""
    load_bps: float
    capacity_bps: int

    @classmethod
    def of(
        cls,
        name: str,
        tier: Tier,
        country: Country | None,
        location: Location | None,
        seed: int,
        boxes: tuple[Box, ...],
    ) -> SiteView:
        """Of appliances that nobody has heard yet."""
        sizes = tuple([box.throughput_bps for box in boxes])
        seeds = tuple([box.seed for box in boxes])
        states, loads = (State.JOINING,) * len(boxes), array("d", bytes(8 * len(boxes)))
        holdings = Holdings(len(boxes))
        return cls(
            *(name, tier, country, location, seed, boxes, sizes, seeds, sum(sizes)),
            *(states, loads, holdings, (), 0.0, 0),
        )

    def standing(self, states: Sequence[State], loads: Sequence[float], holdings: Holdings) -> SiteView:
        """The site with its appliances as they stand now."""
        serving = tuple([place for place, state in enumerate(states) if state is State.SERVING])
        return msgspec.structs.replace(
            self,
            states=tuple(states),
            loads=array("d", loads),
            holdings=holdings,
            serving=serving,
            load_bps=sum([loads[place] for place in serving]),
            capacity_bps=sum([self.sizes[place] for place in serving]),
        )

    def with_state(self, place: int, state: State) -> SiteView:
        states = list(self.states)
        states[place] = state
        return self.standing(states, self.loads, self.holdings)

    def with_load(self, place: int, load_bps: float) -> SiteView:
        """After nearly every heartbeat and start: those of all need not be added up anew."""
        loads = self.loads[:]
        loads[place] = load_bps
        more = load_bps - self.loads[place] if self.states[place] is State.SERVING else 0.0
        return msgspec.structs.replace(self, loads=loads, load_bps=self.load_bps + more)

    def with_holdings(self, place: int, row: bytes) -> SiteView:
        return msgspec.structs.replace(self, holdings=self.holdings.put(place, row))

    @property
    def share(self) -> float:
        """Of its capacity, that is in use."""
        return self.load_bps / self.capacity_bps if self.capacity_bps else math.inf


class Reach(msgspec.Struct, frozen=True, gc=False):
    """A site, and how it is joined to the client.

    ``route`` None is not at all: the site is there for who is announced by nobody who has room.
    ``distance_km`` None is unknown.
    """

    site: SiteView
    length: int
    route: Route | None
    distance_km: float | None = None


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    groups: tuple[tuple[Reach, ...], ...]
    """Every site that may be answered to the client, best first; those of one tuple are equally near."""
    told: Mapping[str, Told] = {}
    """By appliance: what players of the client's network went through there; none starved where it is not named."""

    @property
    def reaches(self) -> tuple[Reach, ...]:
        return tuple(itertools.chain.from_iterable(self.groups))
