"""The frequency sketch: never too low, seldom too high, and it forgets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oca.store.heat import MOST, Heat

KEYS = st.text(min_size=1, max_size=20)


@given(st.lists(st.tuples(KEYS, st.integers(0, 300)), max_size=200))
def test_an_estimate_is_never_below_the_count(touches: list[tuple[str, int]]) -> None:
    heat, counts = Heat(64), dict[str, int]()
    for key, requests in touches:
        heat.touch(key, requests)
        counts[key] = counts.get(key, 0) + requests
    assert all(heat.estimate(key) >= min(count, MOST) for key, count in counts.items())


@given(st.dictionaries(KEYS, st.integers(0, MOST), max_size=50))
def test_ageing_halves_every_estimate(counts: dict[str, int]) -> None:
    heat = Heat(64)
    for key, requests in counts.items():
        heat.touch(key, requests)
    before = {key: heat.estimate(key) for key in counts}
    heat.age()
    assert {key: heat.estimate(key) for key in counts} == {key: count // 2 for key, count in before.items()}


def test_a_counter_stops_at_its_bound() -> None:
    heat = Heat(64)
    heat.touch("a", 10**9)
    heat.touch("a", 1)
    assert heat.estimate("a") == MOST
    heat.age()
    assert heat.estimate("a") == MOST // 2


def test_full_of_keys_it_still_tells_hot_from_cold() -> None:
    """As many keys as it was made for, one in ten of them asked for a hundred times."""
    heat, count = Heat(10_000), 10_000
    for index in range(count):
        heat.touch(f"tt{index:07d}/video.mp4", 100 if index % 10 == 0 else 1)
    cold = [heat.estimate(f"tt{index:07d}/video.mp4") for index in range(count) if index % 10]
    hot = [heat.estimate(f"tt{index:07d}/video.mp4") for index in range(0, count, 10)]
    assert sum(estimate > 3 for estimate in cold) < count / 100
    assert min(hot) >= 100
    assert sum(hot) < 101 * len(hot)


def test_what_was_never_seen_is_cold_and_memory_is_bounded() -> None:
    heat = Heat(1_000_000)
    assert heat.estimate("tt1/video.mp4") == 0
    assert heat.memory_bytes == 3 * 2 << 20
    assert Heat(10**12).memory_bytes == 3 * 2 << 21
