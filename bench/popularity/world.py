"""A fleet, a catalog and what is watched, all from one seed: what the logs of a month are drawn from.

Titles by Zipf's law, each region with its own taste (log-normal) and devices; titles come out all the time, begin high
and halve every few days; popularity drifts; weeks have weekends. Some viewers are served by an exchange, and some
requests miss and are pulled from there, so that the same bytes stand in two logs.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.catalog import CatalogIndex, TitleRef
from contracts.fleet import Appliance, Fleet, PublicKey, Site, Tier

RUNGS: Final = (
    # (name, all of one width; bits per second)
    ("0240p", 235_000), ("0360p", 560_000), ("0480p", 1_000_000), ("0720p", 3_000_000),
    ("1080p", 5_000_000), ("1080h", 7_000_000), ("2160p", 15_000_000), ("2160h", 25_000_000),
)  # fmt: skip
WEEKDAYS: Final = (0.92, 0.88, 0.90, 0.94, 1.08, 1.22, 1.06)
DURATION_S: Final = 5400
TAGS: Final = 40
ABOVE: Final = 0.07
"""Of a site's viewing, served by the exchange."""
MISSES: Final = 0.05
"""Of what a site serves itself, pulled from the exchange."""
VERSION: Final = "20260101T000000Z-000000"


@dataclass(frozen=True, slots=True)
class Scale:
    titles: int = 18_000
    regions: int = 12
    sites: int = 250
    appliances: int = 1_000
    """Of ISPs; each region has one at an exchange besides."""
    rows_per_day: int = 3_300_000
    """Of viewing, on a mean day; misses come on top."""
    releases_per_day: float = 6.0


class World:
    def __init__(self, scale: Scale, first_day: datetime.date, days: int, seed: int) -> None:
        self.scale = scale
        self.first_day = first_day
        self.days = days
        chance = np.random.default_rng(seed)
        titles, regions = scale.titles, scale.regions
        order = chance.permutation(titles) + 1
        self.tags = chance.integers(0, TAGS, (titles, 3))
        taste = chance.normal(0, 0.8, TAGS)
        liked = taste[self.tags].sum(axis=1)
        released = chance.integers(-900, -30, titles)
        fresh = chance.permutation(titles)[: round(scale.releases_per_day * (days + 37))]
        released[fresh] = chance.integers(-30, days + 7, len(fresh))
        self.released: NDArray[np.int64] = released
        base = -0.9 * np.log(order)
        # What comes out is large from the first day, and how large is told by its tags.
        base[fresh] = np.log(0.004) + liked[fresh] + chance.normal(0, 0.5, len(fresh))
        steps = chance.normal(0, 0.06, (days, titles)).cumsum(axis=0)
        self._log_weight = base + steps
        self._regional = chance.normal(0, 0.8, (regions, titles))
        self._half_life = chance.uniform(2, 6, titles)
        self._mixes = np.array([chance.dirichlet((1, 2, 3, 6, 8, 3, 2, 1)) for _ in range(regions)])
        self._device = chance.normal(0, 0.7, (titles, len(RUNGS)))
        self.region_share = chance.dirichlet(np.full(regions, 4.0))
        self.noise = 1 + chance.normal(0, 0.03, (days, regions))
        self.fleet, self.region_of_site, self.site_share = self._built(chance)

    def _built(self, chance: np.random.Generator) -> tuple[Fleet, NDArray[np.int64], NDArray[np.float64]]:
        scale = self.scale
        region = np.sort(chance.integers(0, scale.regions, scale.sites))
        region[: scale.regions] = np.arange(scale.regions)
        size = chance.lognormal(0, 1.1, scale.sites)
        boxes = np.maximum(1, np.floor(size / size.sum() * scale.appliances)).astype(int)
        while boxes.sum() != scale.appliances:
            at = int(np.argmax(boxes)) if boxes.sum() > scale.appliances else int(np.argmin(boxes / size))
            boxes[at] += 1 if boxes.sum() < scale.appliances else -1
        capacity = sum(self.sizes()) * scale.titles // 5
        sites = []
        for number in range(scale.sites):
            name = f"isp-{number:04d}"
            prefix = f"{100 + number // 256}.{number % 256}.0.0/16"
            each = max(int(capacity) // int(boxes[number]), 1)
            made = tuple(_box(f"{name}-{place:03d}", each) for place in range(int(boxes[number])))
            sites.append(Site(name, Tier.ISP, (prefix,), made, region=f"region-{region[number]:02d}"))
        for number in range(scale.regions):
            made = (_box(f"ixp-{number:04d}-000", int(capacity) * 5),)
            sites.append(
                Site(f"ixp-{number:04d}", Tier.IXP, ("0.0.0.0/0",), made, region=f"region-{number:02d}")
            )
        share = size.copy()
        for number in range(scale.regions):
            share[region == number] /= share[region == number].sum()
        return Fleet(tuple(sites)), region, share

    @staticmethod
    def sizes() -> list[int]:
        return [bits * DURATION_S // 8 for _, bits in RUNGS]

    def sizes_of(self, keys: list[str]) -> NDArray[np.int64]:
        of = {name: size for (name, _), size in zip(RUNGS, self.sizes(), strict=True)}
        return np.array([of[key.split("/")[1]] for key in keys], np.int64)

    def keys_of(self, title: int) -> tuple[str, ...]:
        return tuple(f"tt{title:05d}/{name}/video.mp4" for name, _ in RUNGS)

    def demand(self, day: int, region: int) -> NDArray[np.float64]:
        """The chance of each object, title by title and rung by rung, to be what a row is of."""
        age = day - self.released
        young = 1 + 6 * np.exp2(-np.maximum(age, 0) / self._half_life)
        weight = np.exp(self._log_weight[day] + self._regional[region]) * young * (age >= 0)
        mix = self._mixes[region] * np.exp(self._device)
        chances = (weight / weight.sum())[:, None] * (mix / mix.sum(axis=1, keepdims=True))
        return np.asarray(chances.ravel())

    def rows(self, day: int, region: int) -> int:
        weekday = (self.first_day.weekday() + day) % 7
        mean = self.scale.rows_per_day * self.region_share[region]
        return int(mean * WEEKDAYS[weekday] * self.noise[day, region])

    def catalog(self) -> CatalogIndex:
        """As it is on the day after the last one: of what is still to come, the next week."""
        midnight = datetime.datetime.combine(self.first_day, datetime.time(), datetime.UTC)
        refs = []
        for title in range(self.scale.titles):
            at = int((midnight + datetime.timedelta(days=int(self.released[title]))).timestamp())
            tags = tuple(sorted({f"tag-{tag}" for tag in self.tags[title].tolist()}))
            name = f"tt{title:05d}"
            entry = f"catalog/{VERSION}/titles/{name}.json"
            refs.append(TitleRef(name, entry, sum(self.sizes()), at, at, tags))
        return CatalogIndex(VERSION, tuple(refs))


def _box(name: str, capacity_bytes: int) -> Appliance:
    key = PublicKey("OKP", "Ed25519", "A" * 43)
    # By name, not by address: an exchange's own network is then nobody's.
    return Appliance(name, f"http://{name}.example.net", capacity_bytes, 100_000_000_000, key)
