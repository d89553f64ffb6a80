"""A month at one site: the plan beside LRU, beside the rule that this project began with, and beside the optimum."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from bench.planet.trace import Month, make_month, read_trace
from contracts.fleet import Appliance, PublicKey, Site, Tier
from daemon.cli import human_bytes, print_table
from fill.planning.churn import Before
from fill.planning.rules import Rules
from fill.planning.site import Placed, plan_site
from fill.planning.table import ObjectTable

_KEY: Final = PublicKey("OKP", "Ed25519", "A" * 43)
_DAY_S: Final = 86_400
_HALF_LIFE_DAYS: Final = 3.0
_NIGHT: Final = 0.1
"""Of an appliance's storage: what one night can bring."""
_WARM_DAYS: Final = 3
"""Not counted: everybody begins with nothing."""


@dataclass
class Outcome:
    """What came of one rule, day by day."""

    hits: list[float] = field(default_factory=list)
    """Bytes served from the site."""
    moved: list[float] = field(default_factory=list)
    """Bytes brought in."""
    load: list[float] = field(default_factory=list)
    """The busiest appliance over the mean one, of what was really asked for; where it is known."""
    steered: list[float] = field(default_factory=list)
    """The same once steering has evened it out."""


def run_month(appliances: int, storage: float, seed: int, trace: Path | None) -> None:
    """Prints the table of the rules, and what is moved when little or much changes."""
    month = read_trace(trace) if trace is not None else make_month(seed)
    site = make_site(month.table, appliances, storage)
    capacity = float(sum(box.capacity_bytes for box in site.appliances))
    rules = Rules(headroom=0.01, rate_bps=capacity / appliances * _NIGHT * 8 / 14_400)
    began = time.monotonic()
    planned, last = play_plan(month, site, rules)
    plan_s = (time.monotonic() - began) / max(len(month.days), 1)
    rows = [
        ("the plan", planned),
        ("LRU of the whole site", play_lru(month, capacity)),
        ("top 20 % everywhere, rest by hash", play_seed_rule(month, site)),
        ("optimum: each day's demand known", play_optimum(month, capacity)),
    ]
    asked = np.array([day.demand.sum() for day in month.days])[_WARM_DAYS:]
    if not len(asked):
        raise SystemExit(f"a month of {len(month.days)} days: {_WARM_DAYS + 1} at least are needed")
    print_table(
        (
            "rule",
            "byte hit ratio",
            "worst day",
            "brought in a day",
            "max / mean load",
            "worst day's",
            "steered",
        ),
        [
            (
                name,
                f"{sum(found.hits[_WARM_DAYS:]) / asked.sum():.2%}",
                f"{min(np.array(found.hits[_WARM_DAYS:]) / asked):.2%}",
                f"{np.mean(found.moved[_WARM_DAYS:]) / capacity:.1%} of storage" if found.moved else "-",
                f"{np.mean(found.load[_WARM_DAYS:]):.3f}" if found.load else "-",
                f"{max(found.load[_WARM_DAYS:]):.3f}" if found.load else "-",
                f"{max(found.steered[_WARM_DAYS:]):.3f}" if found.steered else "-",
            )
            for name, found in rows
        ],
        title=f"{month.name}: {len(month.table):,} objects, {human_bytes(float(month.table.size.sum()))}; "
        f"{len(month.days)} days, {human_bytes(float(asked.mean()))} a day; {appliances} appliances with "
        f"storage for {storage:.0%}; {plan_s:.2f} s a plan",
    )
    print()
    print_table(
        ("what changes", "bytes moved", "of what the site holds"), stability(month, site, rules, last)
    )


def make_site(table: ObjectTable, appliances: int, storage: float) -> Site:
    """Equal appliances that together store this share of the catalog."""
    each = int(table.room.sum() * storage / appliances)
    boxes = tuple(
        Appliance(f"b{number:02}", "http://192.0.2.1:8080", each, 40_000_000_000, _KEY)
        for number in range(appliances)
    )
    return Site("site", Tier.ISP, (), boxes)


def play_plan(month: Month, site: Site, rules: Rules) -> tuple[Outcome, Placed]:
    """A plan each night from what was asked for on the days before, and from the dates of releases."""
    found = Outcome()
    history = np.zeros(len(month.table))
    weight = 0.0
    before: Before | None = None
    placed: Placed | None = None
    keep = 0.5 ** (1 / _HALF_LIFE_DAYS)
    for number, day in enumerate(month.days):
        expected = np.maximum(history / max(weight, 1e-9), month.prior(number))
        # The first nights install the site; from then on a night carries what it carries.
        tonight = rules if number >= _WARM_DAYS else unlimited(rules)
        placed = plan_site(month.table, site, expected, tonight, number * _DAY_S, before)
        before = Before(placed.rows, placed.holders, len(month.table))
        found.hits.append(float(day.demand[placed.rows].sum()))
        found.moved.append(float(placed.change.added.sum()))
        asked = replace(placed, wanted=replace(placed.wanted, demand=day.demand))
        found.load.append(float(asked.load_shares().max()))
        found.steered.append(float(asked.steered_shares().max()))
        history = history * keep + day.region
        weight = weight * keep + 1
    assert placed is not None
    return found, placed


def play_lru(month: Month, capacity: float) -> Outcome:
    """One cache as large as the site, whole objects, least recently asked for first out."""
    found = Outcome()
    sizes = month.table.room.tolist()
    cache: OrderedDict[int, None] = OrderedDict()
    used = 0
    for day in month.days:
        hits = moved = 0.0
        for item, count in zip(day.objects.tolist(), day.bytes.tolist(), strict=True):
            if item in cache:
                cache.move_to_end(item)
                hits += count
                continue
            cache[item] = None
            used += sizes[item]
            moved += sizes[item]
            while used > capacity:
                used -= sizes[cache.popitem(last=False)[0]]
        found.hits.append(hits)
        found.moved.append(moved)
    return found


def play_seed_rule(month: Month, site: Site) -> Outcome:
    """Whole titles by yesterday's demand: the top fifth on every appliance, the rest on one by its hash, while
    there is room.
    """
    found = Outcome()
    table = month.table
    rooms = table.by_title(table.room.astype(np.float64))
    homes = [xxhash.xxh3_64_intdigest(name.encode()) % len(site.appliances) for name in table.titles]
    holders = np.zeros((len(table.titles), len(site.appliances)), np.bool_)
    for number, day in enumerate(month.days):
        yesterday = month.days[number - 1].demand if number else np.zeros(len(table))
        order = np.argsort(-table.by_title(yesterday), kind="stable")
        before, holders = holders, np.zeros_like(holders)
        free = np.array([box.capacity_bytes for box in site.appliances], np.float64)
        for rank, title in enumerate(order.tolist()):
            boxes = range(len(free)) if rank < 0.2 * len(order) else (homes[title],)
            for box in boxes:
                if rooms[title] <= free[box]:
                    free[box] -= rooms[title]
                    holders[title, box] = True
        held = holders.any(axis=1)
        by_title = table.by_title(day.demand)
        found.hits.append(float(by_title[held].sum()))
        found.moved.append(float((rooms[:, None] * (holders & ~before)).sum()))
        loads = (by_title / np.maximum(holders.sum(axis=1), 1)) @ holders
        found.load.append(float(loads.max() / max(loads.mean(), 1e-9)))
    return found


def play_optimum(month: Month, capacity: float) -> Outcome:
    """The knapsack of each day's own demand, fractions allowed, one copy of each, moved for nothing: no placement
    that stands for a day can serve more.
    """
    found = Outcome()
    for day in month.days:
        order = np.argsort(-day.demand / month.table.room, kind="stable")
        room = np.cumsum(month.table.room[order])
        whole = int(np.searchsorted(room, capacity, side="right"))
        served = float(day.demand[order[:whole]].sum())
        if whole < len(order):
            left = capacity - (float(room[whole - 1]) if whole else 0.0)
            served += float(day.demand[order[whole]]) * left / float(month.table.room[order[whole]])
        found.hits.append(served)
    return found


def stability(month: Month, site: Site, rules: Rules, last: Placed) -> Sequence[tuple[str, str, str]]:
    """Bytes moved by one night's plan when only one thing changed since the last."""
    rng = np.random.default_rng(7)
    table, demand = month.table, last.wanted.demand
    free = unlimited(rules)
    settled = plan_site(table, site, demand, free, len(month.days) * _DAY_S)
    held = float(settled.held_bytes(table).sum())
    before = Before(settled.rows, settled.holders, len(table))
    rows = []

    def moved(what: str, other: Site, expected: NDArray[np.float64], known: Before) -> None:
        placed = plan_site(table, other, expected, free, len(month.days) * _DAY_S, known)
        added = float(placed.change.added.sum())
        rows.append((what, human_bytes(added), f"{added / held:.2%}"))

    moved("nothing", site, demand, before)
    for noise in (0.05, 0.2):
        noisy = demand * rng.lognormal(0, noise, len(table))
        moved(f"each object's demand by {noise:.0%} or so", site, noisy, before)
    fewer = Site(site.id, site.tier, (), site.appliances[1:])
    gone = Before(settled.rows, settled.holders[:, 1:], len(table))
    moved(f"one of {len(site.appliances)} appliances dies", fewer, demand, gone)
    new = Appliance("b99", "http://192.0.2.1:8080", site.appliances[0].capacity_bytes, 40_000_000_000, _KEY)
    more = Site(site.id, site.tier, (), (*site.appliances, new))
    one_more = np.concatenate((settled.holders, np.zeros((len(settled.rows), 1), np.bool_)), axis=1)
    moved("one more is added", more, demand, Before(settled.rows, one_more, len(table)))
    return rows


def unlimited(rules: Rules) -> Rules:
    """The rules, with a night that carries everything: what is asked is what would move."""
    from msgspec.structs import replace as replaced

    return replaced(rules, rate_bps=1e12, window_s=86_400.0)
