"""Catalogs and sites of any size, as tests of the planner want them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.fleet import Appliance, PublicKey, Site, Tier
from fill.planning.rules import Rules
from fill.planning.table import ObjectTable

KEY = PublicKey("OKP", "Ed25519", "A" * 43)
DAY_S = 86_400
ALL = Rules(headroom=0.0, rate_bps=1e12, window_s=86_400)
"""A night carries everything."""


def site(
    capacities: Sequence[float],
    tier: Tier = Tier.ISP,
    country: str | None = None,
    throughputs: Sequence[float] | None = None,
) -> Site:
    boxes = tuple(
        Appliance(
            f"box{index:02}",
            "http://192.0.2.1:8080",
            max(1, int(capacity)),
            int(throughputs[index] if throughputs else 10**9),
            KEY,
        )
        for index, capacity in enumerate(capacities)
    )
    return Site("site", tier, (), boxes, country)


def table(
    sizes: Sequence[Sequence[int]],
    countries: Sequence[tuple[str, ...] | None] | None = None,
    dates: Sequence[int] | None = None,
    dated: bool = False,
) -> ObjectTable:
    """Titles tt0, tt1, ... of these sizes; the last object of a title of several is what it needs to start."""
    names = [f"tt{number:04}" for number in range(len(sizes))]
    return ObjectTable(
        [f"{name}/v{at}.mp4" for name, listed in zip(names, sizes, strict=True) for at in range(len(listed))],
        np.array([size for listed in sizes for size in listed], np.int64),
        np.array(
            [len(listed) > 1 and at == len(listed) - 1 for listed in sizes for at in range(len(listed))], bool
        ),
        np.concatenate(([0], np.cumsum([len(listed) for listed in sizes]))).astype(np.int64),
        tuple(names),
        tuple(countries or [None] * len(names)),
        np.array(dates if dates is not None else [0] * len(names), np.int64),
        np.full(len(names), dated),
    )


def zipf(
    known: ObjectTable, seed: int = 1, alpha: float = 1.0
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Demand by Zipf's law over titles, in an order of its own."""
    order = np.random.default_rng(seed).permutation(len(known.titles))
    weight = 1.0 / (1 + order) ** alpha
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = weight[known.title] * known.size
    return found
