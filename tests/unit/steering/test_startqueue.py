"""Starts wait for their turn for a moment, or are told at once that they cannot have it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from steering.startqueue import IMPATIENT_S, PATIENT_S, SHARE, TOGETHER, TURN_S, Start, StartQueue


class Loop:
    """Virtual time. Each answer takes ``cost_s``, and heartbeats ``beats_s`` in each turn."""

    def __init__(self, cost_s: float = 0.0002, beats_s: float = 0.0) -> None:
        self.now, self.cost_s, self.beats_s = 100.0, cost_s, beats_s
        self.called: list[Callable[[], None]] = []
        self.away_s = 0.0
        self.queue = StartQueue(
            self.work, lambda: self.now + self.away_s, lambda: self.now, self.called.append
        )
        self.waits: list[float] = []
        self.refused = self.answered = 0
        self.starts_s = 0.0

    def put(self, count: int) -> None:
        for _ in range(count):
            self.queue.put(self, None, b"")

    def work(self, starts: Sequence[Start]) -> list[bytes | Exception]:
        for start in starts:
            self.waits.append(self.now + self.away_s - start.arrived_at)
            self.now += self.cost_s
            self.starts_s += self.cost_s
        return [b"" for _ in starts]

    def answer(self, result: bytes | Exception) -> None:
        assert result == b""
        self.answered += 1

    def refuse(self) -> None:
        self.refused += 1
        self.now += self.cost_s / 20

    def turn(self) -> None:
        called, self.called[:] = list(self.called), []
        for function in called:
            function()

    def load(self, seconds: float, starts_per_s: float) -> None:
        """So many starts come, evenly, while it turns."""
        began, sent = self.now, 0
        while self.now - began < seconds:
            self.now += self.beats_s
            due = int((self.now - began) * starts_per_s)
            self.put(due - sent)
            sent = due
            before = self.now
            self.turn()
            self.now = max(self.now, before + 0.0001)


def test_a_start_has_its_turn_when_all_that_was_readable_was_read() -> None:
    loop = Loop()
    loop.put(3)
    assert (loop.waits, len(loop.queue), len(loop.called)) == ([], 3, 1)
    loop.turn()
    assert (len(loop.waits), len(loop.queue), loop.called) == (3, 0, [])


def test_a_turn_is_short_and_the_next_one_goes_on() -> None:
    loop = Loop(cost_s=1.01 * TURN_S / TOGETHER)
    loop.put(2 * TOGETHER + 1)
    answered = []
    while loop.called:
        loop.turn()
        answered.append(len(loop.waits))
    assert answered == [TOGETHER, 2 * TOGETHER, 2 * TOGETHER + 1]


def test_what_can_be_answered_is_and_nobody_is_refused() -> None:
    loop = Loop()
    loop.load(2.0, 4000)
    assert loop.refused == 0
    assert max(loop.waits) < IMPATIENT_S


def test_a_burst_may_wait_for_longer_than_what_always_waits() -> None:
    loop = Loop()
    loop.put(int(PATIENT_S / loop.cost_s) - 5)
    while loop.called:
        loop.turn()
    assert loop.refused == 0
    assert max(loop.waits) > IMPATIENT_S


def test_when_more_come_than_can_be_answered_those_who_are_answered_hardly_wait() -> None:
    loop = Loop()
    loop.load(1.0, 10_000)
    loop.waits.clear()
    loop.load(3.0, 10_000)
    assert max(loop.waits) <= IMPATIENT_S
    assert len(loop.waits) / 3.0 > 0.85 / loop.cost_s
    assert loop.refused > 3 * 4000


def test_heartbeats_go_first_and_starts_still_get_their_share() -> None:
    """A turn in which heartbeats took 100 ms is followed by 25 ms of starts, whatever else comes."""
    loop = Loop(beats_s=0.1)
    began = loop.now
    loop.load(10.0, 6_000)
    assert 0.5 * SHARE < loop.starts_s / (loop.now - began) < SHARE
    assert loop.refused > 0


def test_a_process_that_is_kept_from_the_processor_answers_all_the_same() -> None:
    class Held(Loop):
        def answer(self, result: bytes | Exception) -> None:
            self.away_s += 0.02

    loop = Held()
    loop.put(int(TURN_S / loop.cost_s) - 1)
    loop.turn()
    assert (len(loop.queue), loop.refused) == (0, 0)


def test_all_are_answered_before_the_end() -> None:
    loop = Loop(cost_s=0.1)
    loop.put(20)
    loop.queue.finish()
    assert (len(loop.waits), loop.refused, len(loop.queue)) == (20, 0, 0)
    loop.turn()


def test_an_answer_that_fails_does_not_end_the_others_turns() -> None:
    loop = Loop()

    class Failing(Loop):
        def answer(self, result: bytes | Exception) -> None:
            raise RuntimeError

    loop.queue.put(Failing(), None, b"")
    loop.put(TOGETHER + 1)
    with contextlib.suppress(RuntimeError):
        loop.turn()
    loop.turn()
    assert loop.answered == TOGETHER + 1
