"""Both sides of a heartbeat session come to the same key, and its MAC is good for one message at one time."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.beatsession import (
    agree,
    claimed,
    credentials,
    draw_name,
    draw_share,
    is_mac,
    share_of,
)

NAME = draw_name(bytes(16))


def keys(**other: str) -> tuple[bytes, bytes]:
    """As the appliance comes to it, and as steering does, who believes ``other`` things."""
    mine, theirs = draw_share(), draw_share()
    context = {"appliance": "a1", "session": NAME, "hello": share_of(mine), "answer": share_of(theirs)}
    return agree(mine, share_of(theirs), **context), agree(theirs, share_of(mine), **context | other)


def test_both_sides_come_to_one_key_and_no_two_sessions_to_the_same() -> None:
    mine, theirs = keys()
    assert mine == theirs
    assert len(mine) == 32
    assert keys()[0] != mine


@pytest.mark.parametrize("name", ["appliance", "session", "hello", "answer"])
def test_whoever_believes_another_thing_of_the_session_has_another_key(name: str) -> None:
    mine, theirs = keys(**{name: "b" * 22})
    assert mine != theirs


@pytest.mark.parametrize(
    "share", ["A" * 43, base64.urlsafe_b64encode(b"\1" + bytes(31)).decode()[:43], "A", "*" * 43]
)
def test_a_share_with_which_everybody_knows_the_key_is_refused(share: str) -> None:
    with pytest.raises(ValueError, match="share"):
        agree(draw_share(), share, appliance="a1", session=NAME, hello="x", answer=share)


@given(st.binary(max_size=200), st.integers(0, 10**11), st.binary(min_size=32, max_size=32))
def test_a_mac_is_good_for_its_body_its_time_and_its_key_alone(body: bytes, at: int, key: bytes) -> None:
    claim = claimed(credentials(NAME, key, at, body))
    assert claim is not None
    assert (claim.session, claim.at) == (NAME, at)
    assert is_mac(key, claim, body)
    assert not is_mac(key, claim, body + b" ")
    assert not is_mac(key, claim._replace(at=at + 1), body)
    assert not is_mac(bytes(32 * [1]), claim, body) or key == bytes(32 * [1])


@pytest.mark.parametrize(
    "text",
    ["", "mac1", "a.b.c", f"mac1.{NAME}.5.x", f"mac2.{NAME}.5.{'A' * 43}", f"mac1.{NAME}.-5.{'A' * 43}"],
)
def test_what_is_no_mac_is_left_to_others(text: str) -> None:
    assert claimed(text) is None
