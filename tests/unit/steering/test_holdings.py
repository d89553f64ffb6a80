"""An appliance holds a title when all of it is there, or all that a smaller screen plays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steering.holdings import HD_LINES, Title, holdings_of, without
from steering.snapshot import Holdings


def title(number: int, *, larger: int = 0, objects: int = 3) -> Title:
    high = frozenset(f"t{number}/{index}" for index in range(larger))
    return Title("hls", "dash", None, number, objects, high, ((360, 500), (1080, 5000), (2160, 16000)))


TITLES = {f"t{number}": title(number, larger=number % 2) for number in range(20)}


def holder(bits: bytes) -> Holdings:
    return Holdings.of([bits])


@given(
    st.dictionaries(st.sampled_from(sorted(TITLES)), st.sets(st.integers(0, 2))),
    st.lists(st.sampled_from(sorted(TITLES))),
)
def test_the_bits_say_what_the_sets_of_keys_say(there: dict[str, set[int]], missing: list[str]) -> None:
    keys = {name: [f"{name}/{index}" for index in found] for name, found in there.items()}
    mine = holder(without(holdings_of(keys, TITLES), missing, TITLES))
    for name, known in TITLES.items():
        found = set(keys.get(name, ())) if name not in missing else set()
        everything = {f"{name}/{index}" for index in range(3)}
        assert mine.holds(0, known.bit(None)) == (found >= everything)
        assert mine.holds(0, known.bit(2160)) == (found >= everything)
        assert mine.holds(0, known.bit(HD_LINES)) == (found >= everything - known.larger)


def test_a_title_that_came_after_the_plan_is_held_by_nobody() -> None:
    mine = holder(holdings_of({"t0": ["t0/0", "t0/1", "t0/2"]}, {"t0": TITLES["t0"]}))
    assert mine.holds(0, TITLES["t0"].bit(None))
    assert not mine.holds(0, title(5).bit(None))
    assert without(mine.row(0), ["t5", "unknown"], TITLES) == mine.row(0)


def test_a_start_counts_as_the_best_encode_that_the_device_plays() -> None:
    known = title(1)
    assert known.bitrate_bps(None, None, 7) == 5000
    assert known.bitrate_bps(2160, None, 7) == 16000
    assert known.bitrate_bps(720, None, 7) == 500
    assert known.bitrate_bps(100, None, 7) == 500
    assert known.bitrate_bps(2160, 900, 7) == 900
    assert Title("hls", "dash", None, 1, 3).bitrate_bps(2160, None, 7) == 7
