"""Placement: what every plan has in common, whatever the catalog and the site."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.fleet import Appliance, PublicKey, Site, Tier
from fill.planning.placement import Item, Placement, TitleItems, plan_site, rendezvous

_KEY = PublicKey("OKP", "Ed25519", "A" * 43)


def _site(tier: Tier, capacities: list[int], country: str | None = None) -> Site:
    boxes = tuple(
        Appliance(f"box{index}", "http://192.0.2.1:8080", capacity, 10**9, _KEY)
        for index, capacity in enumerate(capacities)
    )
    return Site("site", tier, (), boxes, country)


def _titles(sizes: list[int]) -> list[TitleItems]:
    return [
        TitleItems(f"tt{index:03}", index % 7, (Item(f"tt{index:03}/v.mp4", size),))
        for index, size in enumerate(sizes)
    ]


_LICENCES = [None, (), ("DE",), ("AT", "DE"), ("FR",)]


def _licensed(sizes: list[int]) -> list[TitleItems]:
    return [
        replace(title, countries=_LICENCES[index % len(_LICENCES)])
        for index, title in enumerate(_titles(sizes))
    ]


sites = st.builds(_site, st.sampled_from(list(Tier)), st.lists(st.integers(1, 10**7), min_size=1, max_size=5))
catalogs = st.lists(st.integers(0, 10**6), max_size=40).map(_titles)
shares = st.floats(0, 1)


@given(sites, catalogs, shares)
def test_no_appliance_gets_more_than_it_has_room_for(
    site: Site, titles: list[TitleItems], share: float
) -> None:
    for placement, box in zip(plan_site(site, titles, share), site.appliances, strict=True):
        assert placement.appliance == box.id
        assert sum(title.room_bytes for title, _ in placement.chosen) <= box.capacity_bytes


@given(sites, catalogs, shares)
def test_every_title_is_placed_or_named_as_left_out(
    site: Site, titles: list[TitleItems], share: float
) -> None:
    placements = plan_site(site, titles, share)
    placed = {title.title for placement in placements for title, _ in placement.chosen}
    left_out = {title for placement in placements for title in placement.left_out}
    assert placed | left_out == {title.title for title in titles}
    for placement in placements:
        chosen = [title.title for title, _ in placement.chosen]
        assert len(chosen) == len(set(chosen))
        assert not set(chosen) & set(placement.left_out)


@given(sites, catalogs, shares, st.randoms())
def test_the_order_of_the_catalog_does_not_matter(
    site: Site, titles: list[TitleItems], share: float, random: st.DataObject
) -> None:
    shuffled = list(titles)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert plan_site(site, shuffled, share) == plan_site(site, titles, share)


@given(catalogs, st.integers(1, 5))
def test_an_exchange_with_room_holds_the_whole_catalog(titles: list[TitleItems], count: int) -> None:
    for placement in plan_site(_site(Tier.IXP, [10**12] * count), titles, 0.2):
        assert {title.title for title, _ in placement.chosen} == {title.title for title in titles}


@given(catalogs, st.integers(2, 5))
def test_an_isp_with_room_has_the_newest_everywhere_and_the_rest_once(
    titles: list[TitleItems], count: int
) -> None:
    placements = plan_site(_site(Tier.ISP, [10**12] * count), titles, 0.2)
    newest = [title.title for title in sorted(titles, key=lambda title: (-title.published_at, title.title))]
    top = max(1, -(-len(titles) // 5))
    copies = dict.fromkeys(newest, 0)
    for placement in placements:
        for title, _ in placement.chosen:
            copies[title.title] += 1
    assert copies == {name: count if rank < top else 1 for rank, name in enumerate(newest)}


def test_one_title_is_on_every_appliance_even_of_a_small_catalog() -> None:
    placements = plan_site(_site(Tier.ISP, [10**9, 10**9]), _titles([1000]), 0.0)
    assert [len(placement.chosen) for placement in placements] == [1, 1]


def test_shares_follow_capacity() -> None:
    """An appliance of three times the capacity is first choice for about three times the titles."""
    boxes = _site(Tier.ISP, [10**9, 3 * 10**9]).appliances
    first = [rendezvous(f"title{index}", boxes)[0].id for index in range(4000)]
    assert 0.72 < first.count("box1") / len(first) < 0.78


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6), st.text(min_size=1), st.data())
def test_removing_an_appliance_moves_only_its_own_titles(
    capacities: list[int], title: str, data: st.DataObject
) -> None:
    boxes = _site(Tier.ISP, capacities).appliances
    gone = data.draw(st.sampled_from(boxes))
    order = [box.id for box in rendezvous(title, boxes)]
    rest = [box.id for box in rendezvous(title, [box for box in boxes if box is not gone])]
    assert rest == [name for name in order if name != gone.id]


@given(catalogs, shares, st.integers(2, 5), st.data())
def test_the_plans_of_the_appliances_that_stay_lose_nothing_and_gain_only_what_the_removed_one_had(
    titles: list[TitleItems], share: float, count: int, data: st.DataObject
) -> None:
    """With room for all of it; where room is short, a title that moves may push another out."""
    site = _site(Tier.ISP, [10**12] * count)
    gone = data.draw(st.sampled_from(site.appliances))
    smaller = Site(site.id, site.tier, (), tuple(box for box in site.appliances if box is not gone))
    before = {one.appliance: _chosen(one) for one in plan_site(site, titles, share)}
    after = {one.appliance: _chosen(one) for one in plan_site(smaller, titles, share)}
    for appliance, chosen in after.items():
        assert before[appliance] <= chosen
        assert chosen - before[appliance] <= before[gone.id]
    assert set[str]().union(*after.values()) == set[str]().union(*before.values())


@given(sites, catalogs, shares)
def test_the_same_catalog_and_site_give_the_same_plan(
    site: Site, titles: list[TitleItems], share: float
) -> None:
    assert plan_site(site, titles, share) == plan_site(site, titles, share)


def test_a_title_stays_where_it_was_planned_by_every_version_of_this_program() -> None:
    """Recorded: another order would move a fleet's content in one night."""
    boxes = _site(Tier.ISP, [1, 2, 3]).appliances
    firsts = [rendezvous(f"tt{number:04}", boxes)[0].id for number in range(12)]
    assert "".join(name[-1] for name in firsts) == "220121122122"


def _chosen(placement: Placement) -> set[str]:
    return {title.title for title, _ in placement.chosen}


@given(
    st.sampled_from(list(Tier)),
    st.sampled_from([None, "DE", "FR", "NO"]),
    st.lists(st.integers(0, 10**6), max_size=40).map(_licensed),
    shares,
)
def test_no_appliance_holds_what_is_not_licensed_where_it_stands(
    tier: Tier, country: str | None, titles: list[TitleItems], share: float
) -> None:
    """And what is licensed there is placed as if there were nothing else."""
    allowed = [title for title in titles if title.countries is None or (country or "?") in title.countries]
    site = _site(tier, [10**7, 10**6], country)
    for placement, alone in zip(plan_site(site, titles, share), plan_site(site, allowed, share), strict=True):
        assert placement.chosen == alone.chosen
        assert placement.left_out == alone.left_out
        assert not alone.not_licensed
        assert set(placement.not_licensed) == {title.title for title in titles} - {
            title.title for title in allowed
        }


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_reason_names_the_country_of_a_licence(tier: Tier, share: float) -> None:
    (placement,) = plan_site(_site(tier, [10**9], "DE"), _licensed([1] * 5), share)
    assert len(placement.chosen) == 3
    for title, reason in placement.chosen:
        assert reason.endswith("; licensed in DE") == (title.countries is not None)
