"""Placement: what every plan has in common, whatever the catalog and the site."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.fleet import Appliance, PublicKey, Site, Tier
from fill.planning.placement import Item, TitleItems, plan_site, rendezvous

_KEY = PublicKey("OKP", "Ed25519", "A" * 43)


def _site(tier: Tier, capacities: list[int]) -> Site:
    boxes = tuple(
        Appliance(f"box{index}", "http://192.0.2.1:8080", capacity, 10**9, _KEY)
        for index, capacity in enumerate(capacities)
    )
    return Site("site", tier, (), boxes)


def _titles(sizes: list[int]) -> list[TitleItems]:
    return [
        TitleItems(f"tt{index:03}", index % 7, (Item(f"tt{index:03}/v.mp4", size),))
        for index, size in enumerate(sizes)
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


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6), st.text(min_size=1))
def test_removing_an_appliance_moves_only_its_own_titles(capacities: list[int], title: str) -> None:
    boxes = _site(Tier.ISP, capacities).appliances
    order = [box.id for box in rendezvous(title, boxes)]
    rest = [box.id for box in rendezvous(title, boxes[1:])]
    assert rest == [name for name in order if name != boxes[0].id]
