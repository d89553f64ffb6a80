"""Starts spread within the bound, a title stays on few, and more capacity never makes the worst worse."""

from __future__ import annotations

import dataclasses
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from steering import spread as spreading
from steering.rank import decide
from steering.snapshot import SiteView
from steering.spread import BOUND, FULL, bound_of, distance, seed_of, two_choices
from tests.unit.steering.fleets import Drawn, box, question, reach, site, snapshot_of

throughputs = st.lists(st.integers(1, 4).map(lambda times: 1000 * times), min_size=1, max_size=8)


def fleet(sizes: list[int]) -> dict[str, Drawn]:
    return {f"b{number}": box(f"b{number}", throughput_bps=size) for number, size in enumerate(sizes)}


def spread(title: str, bitrate_bps: float, boxes: list[Drawn]) -> list[Drawn]:
    places = range(len(boxes))
    return [boxes[place] for place in spreading.spread(title, bitrate_bps, site("isp-a", *boxes), places)]


def start(boxes: dict[str, Drawn], titles: list[str], bitrate_bps: float) -> int:
    """Sends a start of each title to the first in its order; how many nobody had room for."""
    refused = 0
    for title in titles:
        found = spread(title, bitrate_bps, list(boxes.values()))
        if not found:
            refused += 1
            continue
        first = found[0]
        boxes[first.id] = dataclasses.replace(first, load_bps=first.load_bps + bitrate_bps)
    return refused


def shares(boxes: dict[str, Drawn]) -> list[float]:
    return [item.load_bps / item.throughput_bps for item in boxes.values()]


def guaranteed(boxes: dict[str, Drawn], load_bps: float, bitrate_bps: float) -> float:
    """No appliance carries a larger share than this after starts of ``load_bps`` together."""
    capacity = sum(item.throughput_bps for item in boxes.values())
    smallest = min(item.throughput_bps for item in boxes.values())
    # Where the bound leaves nobody, the least loaded takes one more start.
    return min(FULL, max(bound_of(load_bps, capacity), load_bps / capacity + bitrate_bps / smallest))


@given(st.sampled_from([[1000] * 6, [1000, 3000, 2000, 1000, 4000, 2000]]), st.text("abc", min_size=1))
def test_idle_appliances_stand_in_the_order_of_their_distances(sizes: list[int], title: str) -> None:
    boxes = list(fleet(sizes).values())
    by_distance = sorted(
        boxes, key=lambda item: distance(item.throughput_bps, seed_of(item.id), title.encode())
    )
    assert spread(title, 0.5, boxes) == by_distance


titles = st.lists(st.sampled_from(["tt1", "tt1", "tt1", "tt2", "tt3"]), max_size=150)


@given(throughputs, titles, st.integers(5, 60).map(float))
def test_no_appliance_takes_more_than_the_bound(sizes: list[int], wanted: list[str], rate: float) -> None:
    boxes = fleet(sizes)
    refused = start(boxes, wanted, rate)
    carried = (len(wanted) - refused) * rate
    assert sum(item.load_bps for item in boxes.values()) == carried
    assert max(shares(boxes)) <= guaranteed(boxes, carried, rate) + 1e-9
    if refused:  # only when nobody had room
        assert all(item.load_bps + rate > FULL * item.throughput_bps for item in boxes.values())


@given(throughputs, titles, st.integers(5, 60).map(float), st.integers(1, 4))
def test_more_capacity_never_makes_the_worst_worse_than_was_guaranteed(
    sizes: list[int], wanted: list[str], rate: float, more: int
) -> None:
    boxes, larger = fleet(sizes), fleet([*sizes, 1000 * more])
    refused, refused_larger = start(boxes, wanted, rate), start(larger, wanted, rate)
    assert refused_larger <= refused
    carried = (len(wanted) - refused_larger) * rate
    if not refused:
        assert max(shares(larger)) <= guaranteed(boxes, carried, rate) + 1e-9


@given(throughputs, st.lists(st.text("abc", max_size=3), min_size=1, max_size=20))
def test_losing_one_moves_only_what_it_had_while_nobody_is_near_the_bound(
    sizes: list[int], names: list[str]
) -> None:
    boxes = list(fleet(sizes).values())
    for gone in boxes:
        rest = [item for item in boxes if item is not gone]
        for name in names:
            order = [item.id for item in spread(name, 0.0, boxes)]
            assert [item.id for item in spread(name, 0.0, rest)] == [x for x in order if x != gone.id]


def test_a_title_is_on_few_while_there_is_little_to_do_and_titles_are_on_all() -> None:
    boxes = {f"b{number}": box(f"b{number}", throughput_bps=10**9) for number in range(10)}
    start(boxes, ["tt1"] * 10, 100_000.0)
    assert sum(item.load_bps > 0 for item in boxes.values()) == 1
    start(boxes, [f"tt{number}" for number in range(500)], 100_000.0)
    assert all(item.load_bps > 0 for item in boxes.values())


def test_hashes_spread_in_proportion_to_throughput() -> None:
    big, small = seed_of("big"), seed_of("small")
    names = [f"title-{number}".encode() for number in range(4000)]
    first = Counter(distance(3000, big, name) < distance(1000, small, name) for name in names)
    assert 0.72 < first[True] / 4000 < 0.78


def test_of_two_sites_the_less_loaded_is_asked_and_equal_ones_by_hash() -> None:
    sites = [site(f"isp-{number}", box("b")) for number in range(6)]
    firsts = Counter(two_choices(sites, lambda _: 0.5, f"session-{number}")[0].id for number in range(600))
    assert len(firsts) == 6
    by_hash = two_choices(sites, lambda _: 0.5, "session-1")

    def first_has(more: float) -> list[SiteView]:
        return two_choices(sites, lambda item: 0.5 + more * (item is by_hash[0]), "session-1")

    assert first_has(0.005) == by_hash
    assert first_has(0.1) == [by_hash[1], by_hash[0], *by_hash[2:]]


def test_of_many_sites_only_two_are_looked_at() -> None:
    sites, asked = [site(f"isp-{number}", box("b")) for number in range(6)], list[SiteView]()

    def share(item: SiteView) -> float:
        asked.append(item)
        return 0.5

    assert two_choices(sites, share, "session-1")[:2] == asked[::-1]


def test_a_midnight_of_one_title_is_level_and_overflows_tier_by_tier() -> None:
    """The bench does it with heartbeats and 200,000 starts: bench.steering.herd."""
    near = {f"a{number}": box(f"a{number}", throughput_bps=100_000) for number in range(20)}
    far = {f"c{number}": box(f"c{number}", throughput_bps=100_000) for number in range(4)}
    went: Counter[str] = Counter()
    for number in range(2400):
        shot = snapshot_of(
            (reach(site("isp-a", *near.values())), reach(site("ixp-c", *far.values()), 0)),
        )
        found = decide(question(f"s{number}", bitrate_bps=1000.0), shot, 1)
        if not found:
            went["nobody"] += 1
            continue
        one = found[0].box
        went[one.site] += 1
        mine = near if one.site == "isp-a" else far
        mine[one.id] = dataclasses.replace(mine[one.id], load_bps=mine[one.id].load_bps + 1000.0)
        loads = [item.load_bps for item in near.values()]
        if number == 1000:
            assert max(loads) / (sum(loads) / 20) <= BOUND + 0.01
        if one.site == "ixp-c":
            assert min(loads) == max(loads) == 95_000
    assert went == {"isp-a": 1900, "ixp-c": 380, "nobody": 120}


def test_a_seed_is_drawn_from_the_name() -> None:
    assert seed_of("a") == seed_of("a") != seed_of("b")
