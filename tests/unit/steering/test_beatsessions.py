"""A session vouches for the appliance whose key opened it, as long as that key is in force."""

from __future__ import annotations

import pytest
from joserfc.jwk import ECKey, OKPKey

from contracts.beatsession import BeatSession, Claimed, agree, claimed, credentials, draw_share, share_of
from contracts.problem import Problem
from contracts.token import KeyRing
from steering import beatsessions as module
from steering.beatsessions import LIFETIME_S, BeatSessions, Vouched
from steering.request import Refused

WALL = 1_800_000_000.0


class Keys(KeyRing):
    def __init__(self) -> None:
        super().__init__({})
        self.known: dict[str, ECKey | OKPKey] = {
            name: OKPKey.generate_key("Ed25519") for name in ("a1", "a2")
        }

    def get(self, kid: object) -> ECKey | OKPKey | None:
        return self.known.get(str(kid))


class Appliance:
    def __init__(self, name: str, sessions: BeatSessions, now: float = 0.0) -> None:
        private = draw_share()
        hello = share_of(private)
        opened = sessions.open(name, hello, now)
        assert isinstance(opened, BeatSession)
        self.session = opened
        self.key = agree(
            private, opened.share, appliance=name, session=opened.name, hello=hello, answer=opened.share
        )

    def says(self, body: bytes, at: float = WALL) -> Claimed:
        claim = claimed(credentials(self.session.name, self.key, int(at), body))
        assert claim is not None
        return claim


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def sessions(keys: Keys) -> BeatSessions:
    return BeatSessions(keys)


def refused(sessions: BeatSessions, claim: Claimed, now: float = 1.0) -> Problem:
    with pytest.raises(Refused) as caught:
        sessions.vouched(claim, now, WALL)
    return caught.value.problem


def test_it_vouches_for_its_appliance_and_each_of_its_messages(sessions: BeatSessions) -> None:
    for name in ("a1", "a2"):
        appliance = Appliance(name, sessions)
        for body in (b"one", b"two"):
            vouched = sessions.vouched(appliance.says(body), 1.0, WALL)
            assert (vouched.appliance, vouched.issued_at) == (name, WALL)
            vouched.check_body(body)


def test_another_message_and_another_sessions_key_are_refused(sessions: BeatSessions) -> None:
    mine, other = Appliance("a1", sessions), Appliance("a2", sessions)
    for claim, body in (
        (mine.says(b"one"), b"two"),
        (mine.says(b"one")._replace(at=int(WALL) + 1), b"one"),
        (other.says(b"one")._replace(session=mine.session.name), b"one"),
    ):
        vouched = sessions.vouched(claim, 1.0, WALL)
        assert isinstance(vouched, Vouched)
        with pytest.raises(Refused) as caught:
            vouched.check_body(body)
        assert caught.value.problem is Problem.BEAT_SESSION
    sessions.vouched(mine.says(b"one"), 1.0, WALL).check_body(b"one")


def test_a_message_is_not_good_for_longer_than_a_signed_one(sessions: BeatSessions) -> None:
    appliance = Appliance("a1", sessions)
    sessions.vouched(appliance.says(b"", WALL - 59), 1.0, WALL)
    assert refused(sessions, appliance.says(b"", WALL - 60)) is Problem.IDENTITY_REFUSED
    sessions.vouched(appliance.says(b"", WALL + 30), 1.0, WALL)
    assert refused(sessions, appliance.says(b"", WALL + 31)) is Problem.IDENTITY_REFUSED


def test_a_hello_ends_the_session_before_it(sessions: BeatSessions) -> None:
    first, second = Appliance("a1", sessions), Appliance("a1", sessions)
    assert refused(sessions, first.says(b"")) is Problem.BEAT_SESSION
    sessions.vouched(second.says(b""), 1.0, WALL)
    assert len(sessions) == 1


def test_a_session_ends_with_its_life(sessions: BeatSessions) -> None:
    appliance = Appliance("a1", sessions, now=5.0)
    sessions.vouched(appliance.says(b""), 5.0 + LIFETIME_S - 1, WALL)
    assert refused(sessions, appliance.says(b""), 5.0 + LIFETIME_S) is Problem.BEAT_SESSION


def test_a_key_that_was_taken_back_or_is_another_vouches_for_nothing(
    keys: Keys, sessions: BeatSessions
) -> None:
    one, other = Appliance("a1", sessions), Appliance("a2", sessions)
    del keys.known["a1"]
    keys.known["a2"] = OKPKey.generate_key("Ed25519")
    assert refused(sessions, one.says(b"")) is Problem.BEAT_SESSION
    assert refused(sessions, other.says(b"")) is Problem.BEAT_SESSION
    assert sessions.open("a1", share_of(draw_share()), 2.0) is None


def test_the_same_key_read_anew_from_its_file_is_the_same(keys: Keys, sessions: BeatSessions) -> None:
    appliance = Appliance("a1", sessions)
    keys.known["a1"] = OKPKey.import_key(keys.known["a1"].as_dict(private=False))
    sessions.vouched(appliance.says(b""), 1.0, WALL)


def test_a_share_of_no_use_opens_nothing(sessions: BeatSessions) -> None:
    appliance = Appliance("a1", sessions)
    assert sessions.open("a1", "A" * 43, 1.0) is None
    sessions.vouched(appliance.says(b""), 1.0, WALL)


def test_their_number_is_bounded(keys: Keys, sessions: BeatSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SESSIONS", 1)
    first = Appliance("a1", sessions)
    second = Appliance("a2", sessions)
    assert refused(sessions, first.says(b"")) is Problem.BEAT_SESSION
    sessions.vouched(second.says(b""), 1.0, WALL)
    Appliance("a1", sessions)
