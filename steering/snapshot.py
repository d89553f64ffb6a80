"""The fleet as one decision sees it. Immutable: a decision never sees half of a change.

msgspec's structs, because one is made for each heartbeat and each start, and the collector need not look at
17,000 of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Final

import msgspec

from contracts.catalog import Country
from contracts.fleet import Location, Tier
from steering.feedback import Told
from steering.health import State
from steering.preference import Route

NOBODY_HOLDS: Final = -1
"""In place of a bit of `Box.holdings`: of a title that is not in the catalog."""


class Box(msgspec.Struct, frozen=True, gc=False):
    """One appliance."""

    id: str
    site: str
    tier: Tier
    url: str
    failure_domain: str
    throughput_bps: int
    seed: int
    """Of its hashes: drawn from the id."""
    state: State = State.JOINING
    load_bps: float = 0.0
    holdings: bytes = b""
    """A bit for each question that may be asked of a title: `steering.holdings`."""

    @property
    def serves(self) -> bool:
        return self.state is State.SERVING

    def holds(self, bit: int) -> bool:
        """``bit`` may be `NOBODY_HOLDS`, and lie beyond what was known when the holdings were made."""
        return 0 <= bit < len(self.holdings) << 3 and self.holdings[bit >> 3] >> (bit & 7) & 1 == 1


class SiteView(msgspec.Struct, frozen=True, gc=False):
    id: str
    tier: Tier
    country: Country | None
    location: Location | None
    throughput_bps: int
    seed: int
    boxes: tuple[Box, ...] = ()
    serving: tuple[Box, ...] = ()
    """Those of them that may be answered; `load_bps` and `capacity_bps` are theirs together."""
    load_bps: float = 0.0
    capacity_bps: int = 0

    def standing(self, boxes: tuple[Box, ...]) -> SiteView:
        """The site with its appliances as they stand now."""
        serving = tuple([box for box in boxes if box.state is State.SERVING])
        return msgspec.structs.replace(
            self,
            boxes=boxes,
            serving=boxes if len(serving) == len(boxes) else serving,
            load_bps=sum([box.load_bps for box in serving]),
            capacity_bps=sum([box.throughput_bps for box in serving]),
        )

    def put(self, place: int, box: Box) -> SiteView:
        """The same with ``box`` as it stands now in ``place``."""
        before = self.boxes[place]
        boxes = (*self.boxes[:place], box, *self.boxes[place + 1 :])
        if box.state is not before.state:
            return self.standing(boxes)
        # Nearly always its load alone is another: that of all need not be added up anew.
        load_bps, serving = self.load_bps, self.serving
        if len(serving) == len(boxes):
            serving = boxes
        elif box.serves:
            serving = tuple([box if item is before else item for item in serving])
        if box.serves:
            load_bps += box.load_bps - before.load_bps
        return msgspec.structs.replace(self, boxes=boxes, serving=serving, load_bps=load_bps)

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
