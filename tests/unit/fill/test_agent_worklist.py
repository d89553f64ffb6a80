"""Who waits for work hears that there is none, or that the round is over."""

from __future__ import annotations

import threading
import time

from contracts.catalog import CatalogObject
from fill.agent.worklist import Worklist
from tests.waiting import PATIENCE_S


def _item(number: int) -> CatalogObject:
    return CatalogObject(f"tt{number}/v.mp4", 1, "video/mp4", '"x"', 0, b"x" * 16)


def test_who_waits_for_another_hand_is_let_go_when_the_round_is_ended() -> None:
    """A run that is stopped does not come back for what it has taken: nobody says `done`."""
    worklist = Worklist(iter([_item(1)]), time.monotonic)
    assert worklist.take() is not None
    took: list[object] = []
    waiting = threading.Thread(target=lambda: took.append(worklist.take()), daemon=True)
    waiting.start()
    worklist.end()
    waiting.join(PATIENCE_S / 4)
    assert took == [None]
    assert worklist.take() is None


def test_what_was_put_off_comes_again_and_the_last_one_done_ends_the_round() -> None:
    worklist = Worklist(iter([_item(1), _item(2)]), time.monotonic)
    first, second = worklist.take(), worklist.take()
    assert first is not None
    assert second is not None
    worklist.later(first, 0.0)
    worklist.done()
    again = worklist.take()
    assert again is first
    worklist.done()
    assert worklist.take() is None
