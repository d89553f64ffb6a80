"""Missing slices become few requests, none too long, that ask for nothing twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fill.agent.transfer import RUN_SLICES, runs


@given(st.sets(st.integers(0, 200)))
def test_runs_cover_exactly_what_is_missing(missing: set[int]) -> None:
    found = list(runs(sorted(missing)))
    assert [index for run in found for index in run] == sorted(missing)
    assert all(1 <= len(run) <= RUN_SLICES for run in found)


@given(st.integers(0, 100))
def test_neighbours_share_a_request(count: int) -> None:
    assert len(list(runs(range(count)))) == -(-count // RUN_SLICES)
