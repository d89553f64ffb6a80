"""What is asked for again and again is not forgotten, however many others come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oca.edge.memory import Memory


def test_as_many_as_promised_are_remembered_however_often_they_are_asked_for() -> None:
    memory: Memory[int, str] = Memory(60)
    for number in range(60):
        memory.put(number, "x")
    for _ in range(5):
        assert all(memory.get(number) is not None for number in range(60))


def test_what_is_asked_for_stays_while_strangers_pass() -> None:
    memory: Memory[int, str] = Memory(60)
    memory.put(-1, "mine")
    for number in range(10_000):
        memory.put(number, "x")
        if number % 20 == 0:
            assert memory.get(-1) == "mine"
    assert memory.get(0) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30))), st.integers(1, 20))
def test_it_is_bounded_and_never_wrong(done: list[tuple[bool, int]], limit: int) -> None:
    memory: Memory[int, int] = Memory(limit)
    for put, key in done:
        if put:
            memory.put(key, key * 7)
        else:
            assert memory.get(key) in {None, key * 7}
        assert len(memory) <= 2 * limit
    memory.clear()
    assert len(memory) == 0
