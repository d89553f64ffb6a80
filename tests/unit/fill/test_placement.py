"""Placement: what every plan has in common, whatever the catalog, the demand and the site."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.fleet import Site, Tier
from contracts.placement import Reason
from fill.planning.churn import Before
from fill.planning.rules import Rules
from fill.planning.site import Placed, plan_site
from fill.planning.table import ObjectTable
from fill.planning.validate import BadPlan, check, check_sources
from fill.planning.wanted import newest_first
from tests.unit.fill.catalogs import ALL, DAY_S, site, table, zipf

GB = 10**9

sizes = st.lists(st.lists(st.integers(0, GB), min_size=1, max_size=4), min_size=1, max_size=40)
capacities = st.lists(st.integers(1, 8 * GB), min_size=1, max_size=6)
tiers = st.sampled_from(list(Tier))


def before(placed: Placed, known: ObjectTable) -> Before:
    return Before(placed.rows, placed.holders, len(known))


@given(sizes, capacities, tiers, st.data())
@settings(max_examples=150)
def test_every_plan_is_one_that_may_be_published(
    listed: list[list[int]], boxes: list[int], tier: Tier, data: st.DataObject
) -> None:
    """Capacity and licences, whatever is asked for and whatever was planned before."""
    licences = data.draw(
        st.lists(
            st.sampled_from([None, ("DE",), ("AT", "DE"), ("FR",)]),
            min_size=len(listed),
            max_size=len(listed),
        )
    )
    known = table(listed, licences, dates=[DAY_S] * len(listed), dated=data.draw(st.booleans()))
    where = site(boxes, tier, data.draw(st.sampled_from([None, "DE"])))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    last: Before | None = None
    rules = Rules(rate_bps=data.draw(st.sampled_from([1e3, 1e6, 1e12])))
    for _ in range(3):
        demand = rng.pareto(1.0, len(known)) * (rng.random(len(known)) < 0.8)
        placed = plan_site(known, where, demand, rules, DAY_S, last)
        check(known, placed)
        last = before(placed, known)


@given(sizes, st.integers(1, 5))
def test_what_a_title_needs_to_start_is_wherever_any_of_it_is(listed: list[list[int]], count: int) -> None:
    known = table(listed)
    placed = plan_site(known, site([10**13] * count), zipf(known), ALL, 0.0)
    held = np.zeros((len(known), count), bool)
    held[placed.rows] = placed.holders
    for title in range(len(known.titles)):
        rows = slice(known.starts[title], known.starts[title + 1])
        startup = held[rows][known.startup[rows]]
        others = held[rows][~known.startup[rows]]
        assert (startup == others.any(axis=0)).all() or not len(startup)


def test_the_order_of_the_catalog_does_not_matter() -> None:
    """The same titles under other names of rows: an entry read first is not planned first."""
    known = table([[GB, 1000]] * 30)
    demand = zipf(known)
    where = site([5 * GB] * 4)
    placed = plan_site(known, where, demand, ALL, 0.0)
    again = plan_site(known, where, demand, ALL, 0.0)
    assert (placed.rows == again.rows).all()
    assert (placed.holders == again.holders).all()


@given(st.integers(1, 5))
def test_an_exchange_with_room_holds_its_share_of_the_demand_on_every_appliance(count: int) -> None:
    known = table([[GB]] * 400)
    demand = zipf(known)
    placed = plan_site(known, site([10**13] * count, Tier.IXP), demand, ALL, 0.0)
    assert placed.holders.all()
    held = demand[placed.rows].sum() / demand.sum()
    assert 0.95 <= held < 0.96


def test_an_isp_has_the_top_everywhere_favourites_on_most_and_the_tail_on_some() -> None:
    known = table([[GB]] * 400)
    demand = zipf(known)
    rules = msgspec.structs.replace(ALL, server_share=1.0)
    placed = plan_site(known, site([10**13] * 10), demand, rules, 0.0)
    copies = dict(zip(placed.rows.tolist(), placed.holders.sum(axis=1).tolist(), strict=True))
    order = np.argsort(-demand)
    assert copies[order[0]] == 10
    running = np.cumsum(demand[order]) / demand.sum()
    favourite = int(order[np.searchsorted(running, 0.35)])
    assert copies[favourite] == 8
    assert copies[order[-1]] == 2


def test_without_a_forecast_the_newest_is_everywhere() -> None:
    known = table([[GB, 1000]] * 200, dates=list(range(200)))
    placed = plan_site(known, site([10**12] * 2), newest_first(known), ALL, 100 * DAY_S)
    copies = placed.holders.sum(axis=1).tolist()
    assert copies[-2:] == [2, 2]
    assert copies[:2] == [1, 1]


def test_a_release_is_on_every_appliance_before_its_day() -> None:
    known = table([[GB]] * 100, dates=[2 * DAY_S] + [0] * 99)
    known = replace(known, dated=np.arange(100) == 0)
    demand = zipf(known)
    demand[0] = demand.min()
    placed = plan_site(known, site([20 * GB] * 10), demand, ALL, DAY_S)
    assert placed.rows[0] == 0
    assert placed.holders[0].all()
    assert placed.reason[0] == Reason.RELEASE
    assert placed.urgent[0]
    late = plan_site(known, site([20 * GB] * 10), demand, ALL, 30 * DAY_S)
    assert not (len(late.rows) and late.rows[0] == 0 and late.holders[0].all())


@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("count", [2, 5, 20])
def test_no_appliance_is_asked_for_more_than_a_seventh_above_its_share(alpha: float, count: int) -> None:
    known = table([[GB, 2 * GB, 1000]] * 3000)
    demand = zipf(known, alpha=alpha)
    placed = plan_site(known, site([1800 * GB / count] * count), demand, ALL, 0.0)
    assert placed.load_shares().max() <= 1.15
    assert placed.held_bytes(known).sum() > 0.95 * 1800 * GB


def test_a_hot_title_changes_places_with_several_cold_ones_where_no_one_of_them_makes_room() -> None:
    popular = zipf(table([[GB]] * 3000), alpha=1.2)
    long = popular > np.quantile(popular, 0.95)
    known = table([[8 * GB if is_long else GB // 2] for is_long in long])
    demand = zipf(known, alpha=1.2)
    placed = plan_site(known, site([int(known.size.sum()) / 40] * 20), demand, ALL, 0.0)
    check(known, placed)
    assert placed.load_shares().max() <= 1.15


def test_flash_takes_what_is_hot_and_storage_what_is_large() -> None:
    """Four appliances of a quarter of the capacity and twice the throughput: both are used as they can be."""
    known = table([[GB]] * 4000)
    demand = zipf(known, alpha=1.1)
    mixed = site([100 * GB] * 4 + [400 * GB] * 2, throughputs=[2e9] * 4 + [1e9] * 2)
    placed = plan_site(known, mixed, demand, ALL, 0.0)
    check(known, placed)
    assert placed.load_shares().max() <= 1.15
    assert placed.held_bytes(known).sum() > 0.95 * 1200 * GB


def test_the_hit_ratio_is_near_the_knapsacks() -> None:
    known = table([[GB, 2 * GB, 1000]] * 3000)
    demand = zipf(known, alpha=1.1)
    capacity = 1800 * GB
    placed = plan_site(known, site([capacity / 10] * 10), demand, ALL, 0.0)
    order = np.argsort(-demand / known.room)
    best = demand[order[np.cumsum(known.room[order]) <= capacity]].sum() / demand.sum()
    assert placed.hit_share() > best - 0.02


def test_the_same_night_again_moves_nothing() -> None:
    known = table([[GB, 2 * GB, 1000]] * 2000)
    where, demand = site([60 * GB] * 10), zipf(known)
    first = plan_site(known, where, demand, ALL, 0.0)
    second = plan_site(known, where, demand, ALL, 0.0, before(first, known))
    assert second.change.added.sum() == 0


def test_a_little_noise_moves_little() -> None:
    known = table([[GB, 2 * GB, 1000]] * 2000)
    where, demand = site([60 * GB] * 10), zipf(known)
    first = plan_site(known, where, demand, ALL, 0.0)
    noisy = demand * np.random.default_rng(1).lognormal(0, 0.05, len(demand))
    second = plan_site(known, where, noisy, ALL, 0.0, before(first, known))
    assert second.change.added.sum() < 0.02 * first.held_bytes(known).sum()


@pytest.mark.parametrize("alpha", [0.8, 1.2])
def test_one_of_twenty_dies_and_little_more_than_its_part_moves(alpha: float) -> None:
    rng = np.random.default_rng(3)
    lengths = rng.gamma(2.0, 0.5, 2000)
    known = table([[int(GB * length), int(2 * GB * length), 1000] for length in lengths])
    demand = zipf(known, alpha=alpha)
    full = site([60 * GB] * 20)
    first = plan_site(known, full, demand, ALL, 0.0)
    assert first.load_shares().max() <= 1.15
    fewer = Site("site", Tier.ISP, (), full.appliances[1:])
    known_before = Before(first.rows, first.holders[:, 1:], len(known))
    second = plan_site(known, fewer, demand, ALL, 0.0, known_before)
    assert second.change.added.sum() <= 1.2 / 20 * first.held_bytes(known).sum()


def test_a_night_changes_no_more_than_it_carries_and_the_rest_stays_as_it_was() -> None:
    known = table([[GB]] * 400)
    where = site([50 * GB] * 4)
    first = plan_site(known, where, zipf(known, 1), ALL, 0.0)
    slow = msgspec.structs.replace(ALL, window_s=3600, rate_bps=5 * GB * 8 / 3600)
    last = before(first, known)
    for _ in range(3):
        second = plan_site(known, where, zipf(known, 2), slow, 0.0, last)
        assert (second.change.added <= 5 * GB).all()
        assert second.change.added.sum() > 0
        assert second.change.put_off.sum() > 0
        assert (second.held_bytes(known) > 47 * GB).all(), "what was there stays until it can be replaced"
        assert second.hit_share() > Placed.hit_share(replace(first, wanted=second.wanted))
        last = before(second, known)


def test_a_new_appliance_gets_its_whole_plan() -> None:
    known = table([[GB]] * 400)
    first = plan_site(known, site([50 * GB] * 4), zipf(known), ALL, 0.0)
    slow = msgspec.structs.replace(ALL, window_s=3600, rate_bps=GB * 8 / 3600)
    holders = np.concatenate((first.holders, np.zeros((len(first.rows), 1), bool)), axis=1)
    second = plan_site(
        known, site([50 * GB] * 5), zipf(known), slow, 0.0, Before(first.rows, holders, len(known))
    )
    assert second.change.is_new.tolist() == [False] * 4 + [True]
    assert second.change.added[4] > 10 * GB
    assert (second.change.added[:4] <= GB).all()


def _placed() -> tuple[ObjectTable, Placed]:
    known = table([[GB]] * 4, countries=[("DE",)] * 4)
    return known, plan_site(known, site([10 * GB] * 2, country="DE"), zipf(known), ALL, 0.0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"site": site([GB, GB], country="DE")}, r"appliance box00: \d+ bytes planned"),
        ({"site": site([10 * GB] * 2, country="FR")}, "title tt0000 is not licensed in FR"),
        ({"site": site([10 * GB] * 2)}, "is not licensed in no country"),
        ({"site": site([10 * GB] * 3, country="DE")}, "holders of"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_refused(changes: dict[str, Any], why: str) -> None:
    known, placed = _placed()
    check(known, placed)
    with pytest.raises(BadPlan, match=why):
        check(known, replace(placed, **changes))


def test_a_plan_of_what_the_origin_lacks_is_refused() -> None:
    known = table([[5], [6]])
    check_sources(known, {"tt0000/v0.mp4": 5, "tt0001/v0.mp4": 6, "other": 1})
    with pytest.raises(BadPlan, match=r"tt0001/v0\.mp4: is not there"):
        check_sources(known, {"tt0000/v0.mp4": 5})
    with pytest.raises(BadPlan, match="has 7 bytes"):
        check_sources(known, {"tt0000/v0.mp4": 5, "tt0001/v0.mp4": 7})
