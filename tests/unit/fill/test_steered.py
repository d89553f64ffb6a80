"""What steering can even out, and what it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from fill.planning.steered import evened


def test_what_two_hold_is_given_to_the_one_with_less_of_its_own() -> None:
    holders = np.array([[True, False], [True, True]])
    found = evened(np.array([30.0, 70.0]), holders, np.array([1e9, 1e9]))
    assert found == pytest.approx([1, 1], abs=0.02)


def test_an_appliance_is_even_at_its_share_of_the_throughput() -> None:
    holders = np.ones((5, 3), np.bool_)
    found = evened(np.arange(5.0), holders, np.array([1e9, 2e9, 4e9]))
    assert found == pytest.approx([1, 1, 1])


def test_what_one_alone_holds_stays_its_own() -> None:
    holders = np.array([[True, False, False], [False, True, True]])
    found = evened(np.array([60.0, 40.0]), holders, np.array([1e9] * 3))
    assert found == pytest.approx([1.8, 0.6, 0.6], abs=0.02)


def test_what_nobody_asks_for_is_even_enough() -> None:
    assert np.isfinite(evened(np.zeros(2), np.ones((2, 2), np.bool_), np.array([1.0, 2.0]))).all()
