"""Missing slices become few requests, none too long, that ask for nothing twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill.agent.transfer import (
    LONGEST_ORIGIN_RUN_SLICES,
    LONGEST_RUN_SLICES,
    RUN_SLICES,
    first_run,
    last_run,
    runs,
)


@given(st.sets(st.integers(0, 200)))
def test_runs_cover_exactly_what_is_missing(missing: set[int]) -> None:
    found = list(runs(sorted(missing)))
    assert [index for run in found for index in run] == sorted(missing)
    assert all(1 <= len(run) <= RUN_SLICES for run in found)


@given(st.integers(0, 100))
def test_neighbours_share_a_request(count: int) -> None:
    assert len(list(runs(range(count)))) == -(-count // RUN_SLICES)


@given(st.sets(st.integers(0, 2000), min_size=1))
def test_a_run_lies_in_what_is_left_from_either_end(left: set[int]) -> None:
    first, last = first_run(left), last_run(left)
    assert left.issuperset(first)
    assert left.issuperset(last)
    assert first.start == min(left)
    assert last.stop == max(left) + 1
    assert max(len(first), len(last)) <= LONGEST_RUN_SLICES


@pytest.mark.parametrize("longest", [LONGEST_RUN_SLICES, LONGEST_ORIGIN_RUN_SLICES])
def test_runs_are_long_as_long_as_much_is_left_and_end_short(longest: int) -> None:
    left, lengths = set(range(2048)), []
    while left:
        run = first_run(left, longest)
        left.difference_update(run)
        lengths.append(len(run))
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == longest
    assert lengths[-8:-1] == [RUN_SLICES] * 7
