"""Sessions are remembered for as long as their token works, and never more than a number of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steering.sessions import MAX_SESSIONS, Session, Sessions


def session(expires_at: float = 10.0) -> Session:
    return Session("192.0.2.1", "tt1", expires_at)


def test_a_session_is_known_until_its_token_expires() -> None:
    sessions = Sessions()
    sessions.put("a", session(), 0)
    assert sessions.get("a", 9.99) == session()
    assert sessions.get("a", 10) is None
    assert sessions.get("b", 0) is None


def test_the_one_answered_longest_ago_is_forgotten_first() -> None:
    sessions = Sessions(limit=2)
    for name in ("a", "b", "a", "c"):
        sessions.put(name, session(), 0)
    assert [sessions.get(name, 0) is not None for name in "abc"] == [True, False, True]


def test_what_has_expired_takes_no_room() -> None:
    sessions = Sessions()
    for number in range(100):
        sessions.put(str(number), session(expires_at=number + 10), number)
    assert len(sessions) == 10


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 5)), max_size=100), st.integers(1, 5))
def test_their_number_is_bounded(puts: list[tuple[int, float]], limit: int) -> None:
    sessions, now = Sessions(limit), 0.0
    for name, wait_s in puts:
        now += wait_s
        sessions.put(str(name), session(now + 7), now)
        assert len(sessions) <= limit
        assert sessions.get(str(name), now) is not None


def test_the_bound_in_service_is_a_million() -> None:
    assert MAX_SESSIONS == 1_000_000
