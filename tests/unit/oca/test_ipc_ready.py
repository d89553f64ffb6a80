"""Workers hear of neighbouring slices in one message: each message wakes them beside their players."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oca.ipc import Ready, ready


def test_neighbours_share_a_message() -> None:
    assert ready("tt1/a", [3, 4, 5, 9]) == [Ready("tt1/a", 3, 5), Ready("tt1/a", 9, 9)]


@given(st.sets(st.integers(0, 200)))
def test_of_each_slice_they_hear_once(there: set[int]) -> None:
    found = ready("tt1/a", sorted(there))
    assert [index for one in found for index in range(one.first, one.last + 1)] == sorted(there)
