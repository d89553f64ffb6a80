"""What may happen to a disk, and when it is looked at again."""

from __future__ import annotations

import pytest

from oca.store.diskstate import PROVEN_S, Event, NotNow, Patience, State, after


def test_a_disk_that_fails_is_probed_and_serves_again() -> None:
    state = State.SERVING
    for event in (Event.FAULT, Event.LOOK, Event.JOINED):
        state = after(state, event)
    assert state is State.SERVING


def test_a_disk_that_failed_cannot_be_drained() -> None:
    with pytest.raises(NotNow, match="a disk that is failed cannot drain"):
        after(State.FAILED, Event.DRAIN)


def test_nothing_happens_any_more_to_a_disk_that_is_out() -> None:
    for event in Event:
        with pytest.raises(NotNow):
            after(State.OUT, event)


def test_each_look_comes_twice_as_late_until_the_disk_has_proved_itself() -> None:
    patience = Patience(5)
    assert [patience.failed(0) for _ in range(8)] == [5, 10, 20, 40, 80, 160, 300, 300]
    patience.joined(1000)
    assert patience.failed(1000 + PROVEN_S - 1) == 300
    patience.joined(2000)
    assert patience.failed(2000 + PROVEN_S) == 5
