"""What is learned of reuse: spans of ages, hazards, and what keeping an object is worth."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.store import reuse
from oca.store.reuse import AGES, Reuse, span_of


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_an_older_age_is_never_in_an_earlier_span(one: int, other: int) -> None:
    assert 0 <= span_of(min(one, other)) <= span_of(max(one, other)) < AGES


@given(st.lists(st.floats(1e-9, 10), min_size=AGES, max_size=AGES))
def test_worth_is_the_best_quotient_of_touches_by_time(hazards: list[float]) -> None:
    """Beside the definition: every time to stop is tried."""
    for span, worth in enumerate(reuse._worth(hazards)):
        touches = time = 0.0
        stays, best = 1.0, 0.0
        for later in range(span, AGES):
            width = reuse._widths[later]
            stay = math.exp(-hazards[later] * width)
            touches += stays * (1 - stay)
            time += stays * width * (1 + stay) / 2
            stays *= stay
            best = max(best, touches / time)
        assert worth == pytest.approx(best, rel=1e-6)


def learned(gap: int, rounds: int, objects: int) -> list[float]:
    """The worth by age of objects that come round every ``gap`` touches."""
    seen = Reuse([float(gap)])
    now = 0
    for _ in range(rounds):
        for number in range(objects):
            now += gap // objects
            seen.note(f"tt{number}", 0, now)
            if seen.due(now):
                seen.learn(now, objects)
    return seen.worth[0]


def test_what_comes_round_is_worth_more_the_nearer_it_is() -> None:
    worth = learned(gap=4000, rounds=50, objects=400)
    assert worth[span_of(3000)] > 2 * worth[span_of(100)]


def test_what_is_never_asked_for_again_is_worth_less_and_less() -> None:
    seen = Reuse([1.0])
    for now in range(1, 20_000):
        seen.note(f"tt{now}", 0, now)
        if seen.due(now):
            seen.learn(now, 100)
    worth = seen.worth[0]
    assert worth[span_of(4000)] < worth[span_of(400)] < worth[span_of(40)]
    assert worth[span_of(400)] < 1e-4
