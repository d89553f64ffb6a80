"""What a site has together follows its appliances."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.health import State
from steering.snapshot import NOBODY_HOLDS, Holdings
from tests.unit.steering.fleets import ALL, Drawn, boxes, site

STATES = (State.SERVING, State.DRAINING)
changes = st.lists(st.tuples(st.integers(0, 5), boxes), max_size=8)
rows = st.binary(max_size=3)


@given(st.lists(boxes, min_size=1, max_size=6), changes)
def test_a_site_whose_appliances_change_one_by_one_is_as_if_all_were_looked_at(
    members: list[Drawn], changed: list[tuple[int, Drawn]]
) -> None:
    found = site("isp-a", *members)
    for number, to in changed:
        place = number % len(members)
        found = found.with_load(place, to.load_bps).with_holdings(place, ALL if to.holds else b"")
        found = found.with_state(place, to.state).with_load(place, to.load_bps + 1.0)
    at_once = found.standing(found.states, found.loads, found.holdings)
    assert found.load_bps == pytest.approx(at_once.load_bps, abs=1e-6)
    assert msgspec.structs.replace(found, load_bps=0.0) == msgspec.structs.replace(at_once, load_bps=0.0)
    last = {number % len(members): to for number, to in changed}
    for place, first in enumerate(members):
        to = last.get(place, first)
        assert found.states[place] is to.state
        assert found.loads[place] == (to.load_bps + 1.0 if place in last else first.load_bps)
        assert found.holdings.holds(place, 0) is to.holds


@given(st.lists(rows, min_size=1, max_size=5), st.lists(st.tuples(st.integers(0, 4), rows), max_size=5))
def test_a_table_of_holdings_says_what_its_rows_say(
    first: list[bytes], changed: list[tuple[int, bytes]]
) -> None:
    table = Holdings.of(first)
    for number, row in changed:
        first[number % len(first)] = row
        table = table.put(number % len(first), row)
    for place, row in enumerate(first):
        assert table.row(place).rstrip(b"\0") == row.rstrip(b"\0")
        for bit in range(40):
            known = bit // 8 < len(row)
            assert table.holds(place, bit) == (known and row[bit // 8] >> bit % 8 & 1 == 1)
        assert not table.holds(place, NOBODY_HOLDS)


def test_a_change_leaves_what_others_have_seen() -> None:
    before = site("isp-a", *(Drawn(f"a{n}", "", s, 1000, 5.0, holds=True) for n, s in enumerate(STATES)))
    seen = msgspec.json.encode([before.loads.tolist(), before.holdings.table.hex(), before.load_bps])
    before.with_load(0, 7.0).with_holdings(1, b"").with_state(0, STATES[1])
    assert seen == msgspec.json.encode([before.loads.tolist(), before.holdings.table.hex(), before.load_bps])
