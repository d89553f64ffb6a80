"""What a site has together follows its appliances."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.snapshot import Box
from tests.unit.steering.fleets import boxes, site

changes = st.lists(st.tuples(st.integers(0, 5), boxes), max_size=8)


@given(st.lists(boxes, min_size=1, max_size=6), changes)
def test_a_site_whose_loads_change_one_by_one_is_as_if_all_were_looked_at(
    members: list[Box], changed: list[tuple[int, Box]]
) -> None:
    step_by_step = site("isp-a", *members)
    for number, to in changed:
        place = number % len(members)
        before = step_by_step.boxes[place]
        moved = msgspec.structs.replace(before, load_bps=to.load_bps, holdings=to.holdings)
        step_by_step = step_by_step.put(place, moved)
    at_once = step_by_step.standing(step_by_step.boxes)
    assert step_by_step.load_bps == pytest.approx(at_once.load_bps, abs=1e-6)
    assert msgspec.structs.replace(step_by_step, load_bps=0.0) == msgspec.structs.replace(
        at_once, load_bps=0.0
    )
    assert [item for item in at_once.boxes if item.serves] == list(at_once.serving)
