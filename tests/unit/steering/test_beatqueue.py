"""Heartbeats of one turn are taken together, answered in their order, and what one of them breaks is its own."""

from __future__ import annotations

from collections.abc import Callable

from steering.beatqueue import TOGETHER, TURN_S, BeatQueue
from steering.credentials import Credentials


class Turns:
    """What happened, in order."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.done: list[str] = []
        self.worked_s = 0.0
        self.cost_s = 0.0
        self.queue = BeatQueue(self.take, lambda: self.worked_s, self.soon.append)

    def take(self, credentials: Credentials, body: bytes) -> bytes:
        self.worked_s += self.cost_s
        self.done.append(f"took {body.decode()}")
        if body == b"bad":
            raise ValueError("bad")
        return body

    def turn(self) -> None:
        due, self.soon[:] = list(self.soon), []
        for function in due:
            function()


class Box:
    def __init__(self, turns: Turns, then: bytes | None = None) -> None:
        self._turns = turns
        self._then = then

    def answer(self, result: bytes | Exception) -> None:
        self._turns.done.append(f"answered {result!r}")
        if self._then is not None:
            self._turns.queue.put(Box(self._turns), None, self._then)


def test_all_that_was_read_is_taken_before_anybody_is_answered() -> None:
    turns = Turns()
    for body in (b"1", b"2"):
        turns.queue.put(Box(turns), None, body)
    assert (turns.done, len(turns.soon)) == ([], 1)
    turns.turn()
    assert turns.done == ["took 1", "took 2", "answered b'1'", "answered b'2'"]
    assert turns.soon == []


def test_what_cannot_be_taken_is_an_answer_to_its_sender_alone() -> None:
    turns = Turns()
    for body in (b"1", b"bad", b"2"):
        turns.queue.put(Box(turns), None, body)
    turns.turn()
    assert turns.done[3:] == ["answered b'1'", "answered ValueError('bad')", "answered b'2'"]


def test_what_follows_an_answer_has_the_next_turn() -> None:
    turns = Turns()
    turns.queue.put(Box(turns, then=b"next"), None, b"1")
    turns.turn()
    assert (turns.done[-1], len(turns.soon)) == ("answered b'1'", 1)
    turns.turn()
    assert turns.done[-2:] == ["took next", "answered b'next'"]


def test_a_storm_of_hellos_leaves_others_their_turn_and_ends() -> None:
    turns = Turns()
    turns.cost_s = 1.01 * TURN_S / TOGETHER
    for number in range(2 * TOGETHER + 1):
        turns.queue.put(Box(turns), None, b"%d" % number)
    taken = []
    while turns.soon:
        assert len(turns.soon) == 1
        turns.turn()
        taken.append(sum(what.startswith("took") for what in turns.done))
    assert taken == [TOGETHER, 2 * TOGETHER, 2 * TOGETHER + 1]
    assert sum(what.startswith("answered") for what in turns.done) == 2 * TOGETHER + 1


def test_at_the_end_all_that_wait_are_answered() -> None:
    turns = Turns()
    turns.cost_s = TURN_S
    for _ in range(3 * TOGETHER):
        turns.queue.put(Box(turns), None, b"1")
    turns.queue.finish()
    assert turns.done.count("answered b'1'") == 3 * TOGETHER
