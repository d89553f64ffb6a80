"""A planet that does not exist: catalog, fleet and what each region watches, from one seed.

Titles are drawn by Zipf's law; each region ranks them by its own taste, which agrees with the others' in part. A
title's encodes share its views as devices do. Sizes are those of the ladder at two hours a title.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.fleet import Appliance, PublicKey, Site, Tier
from fill.planning.table import ObjectTable

_KEY: Final = PublicKey("OKP", "Ed25519", "A" * 43)
_AUDIO: Final = 4
_MANIFESTS: Final = 2
# (Mb/s, share of the watched time): codecs and devices make 24 encodes of the eight rungs of the ladder.
_RUNGS: Final = (
    (0.235, 0.01),
    (0.56, 0.03),
    (1.0, 0.06),
    (3.0, 0.25),
    (5.0, 0.44),
    (7.0, 0.12),
    (15.0, 0.06),
    (25.0, 0.03),
)
_CODECS: Final = (0.7, 0.25, 0.05)
"""Of three codecs, each with all rungs: how much of the watching each has."""


@dataclass(frozen=True)
class Scale:
    """How large the planet is."""

    titles: int = 18_000
    title_bytes: float = 20e9
    sites: int = 1000
    appliances: int = 17_000
    regions: int = 60


def make_table(scale: Scale, rng: np.random.Generator) -> ObjectTable:
    """30 objects a title: 24 encodes, 4 of audio, 2 manifests."""
    encodes = len(_RUNGS) * len(_CODECS)
    per_title = encodes + _AUDIO + _MANIFESTS
    rates = np.array([rate for rate, _ in _RUNGS] * len(_CODECS)) * np.repeat([1.0, 0.75, 0.6], len(_RUNGS))
    shares = np.concatenate((rates, np.full(_AUDIO, 0.128), np.full(_MANIFESTS, 1e-5)))
    length = rng.gamma(6.0, 1 / 6.0, scale.titles)
    sizes = np.maximum(1, np.outer(length, shares / shares.sum()) * scale.title_bytes).astype(np.int64)
    names = [f"tt{number:06}" for number in range(scale.titles)]
    paths = [f"v{number:02}.mp4" for number in range(encodes)]
    paths += [f"a{number}.mp4" for number in range(_AUDIO)] + ["master.m3u8", "manifest.mpd"]
    startup = np.tile(np.arange(per_title) >= encodes, scale.titles)
    countries: list[tuple[str, ...] | None] = [None] * scale.titles
    for number in np.flatnonzero(rng.random(scale.titles) < 0.1):
        countries[number] = tuple(sorted(f"{chr(65 + at // 26)}{chr(65 + at % 26)}" for at in range(30)))
    return ObjectTable(
        [f"{name}/{path}" for name in names for path in paths],
        sizes.reshape(-1),
        startup,
        np.arange(0, scale.titles * per_title + 1, per_title, dtype=np.int64),
        tuple(names),
        tuple(countries),
        rng.integers(1_600_000_000, 1_790_000_000, scale.titles),
        np.zeros(scale.titles, np.bool_),
    )


def encode_shares(table: ObjectTable) -> NDArray[np.float64]:
    """Of a title's bytes delivered, the share of each of its objects: by watched time and rate."""
    rung = np.array([rate * share for rate, share in _RUNGS])
    video = np.concatenate([rung * weight for weight in _CODECS])
    video /= video.sum()
    light = np.concatenate((np.full(_AUDIO, 0.02 / _AUDIO), np.full(_MANIFESTS, 1e-6)))
    one = np.concatenate((video * 0.98, light))
    return np.tile(one / one.sum(), len(table.titles))


def taste(scale: Scale, rng: np.random.Generator, alpha: float = 0.9) -> NDArray[np.float64]:
    """Of each region and title: its share of the region's watching. Half of a rank is the world's, half its own."""
    world = rng.permutation(scale.titles)
    weights = np.zeros((scale.regions, scale.titles))
    law = 1.0 / np.arange(1, scale.titles + 1) ** alpha
    for region in range(scale.regions):
        mixed = np.log1p(world) + rng.normal(0, 1.0, scale.titles)
        weights[region, np.argsort(mixed)] = law / law.sum()
    return weights


def make_fleet(scale: Scale, rng: np.random.Generator) -> list[Site]:
    """Sites of 1 to some 60 appliances; half of them flash (36 TB, 90 Gb/s), half storage (240 TB, 40 Gb/s)."""
    sizes = np.maximum(1, np.round(rng.lognormal(0, 0.8, scale.sites)))
    sizes = np.maximum(1, np.floor(sizes * scale.appliances / sizes.sum())).astype(int)
    short = scale.appliances - int(sizes.sum())
    sizes[rng.integers(0, scale.sites, abs(short))] += 0
    for at in rng.integers(0, scale.sites, max(short, 0)):
        sizes[at] += 1
    sites = []
    for number, size in enumerate(sizes):
        tier = Tier.IXP if number % 12 == 0 else Tier.ISP
        region = number % scale.regions
        boxes = tuple(
            Appliance(
                f"s{number}-b{at}",
                "http://192.0.2.1:8080",
                36_000_000_000_000 if at % 2 else 240_000_000_000_000,
                90_000_000_000 if at % 2 else 40_000_000_000,
                _KEY,
            )
            for at in range(int(size))
        )
        country = f"{chr(65 + region // 26)}{chr(65 + region % 26)}"
        sites.append(Site(f"s{number}", tier, (), boxes, country, f"r{region}"))
    return sites
