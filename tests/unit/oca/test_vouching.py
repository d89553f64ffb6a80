"""An appliance signs until it has a session, and again as soon as that is worth nothing."""

from __future__ import annotations

from joserfc.jwk import OKPKey

from contracts.beatsession import BeatSession, agree, claimed, draw_name, draw_share, is_mac, share_of
from contracts.heartbeat import AUDIENCE
from contracts.token import KeyRing, verify_identity
from oca.identity import Identity
from oca.vouching import Vouching

KEY = OKPKey.generate_key("Ed25519")
RING = KeyRing({"a1": OKPKey.import_key(KEY.as_dict(private=False))})
LIFE_S = 1000


class Steering:
    """The other side of one appliance, which it answers with a session or not."""

    def __init__(self) -> None:
        self.vouching = Vouching(Identity("a1", KEY), lambda: 0.5)
        self.private = draw_share()
        self.names = 0
        self.key = b""

    def session(self, hello: str) -> BeatSession:
        self.names += 1
        name, share = draw_name(self.names.to_bytes(16, "big")), share_of(self.private)
        self.key = agree(self.private, hello, appliance="a1", session=name, hello=hello, answer=share)
        return BeatSession(name, share, LIFE_S)

    def beat(self, now: float, *, knows_sessions: bool = True, believes: bool = True) -> str:
        """How the heartbeat was vouched for, and whether steering took it."""
        hello = self.vouching.hello(now)
        credentials, session = self.vouching.credentials(hello, b"body", 50.0)
        if session is None:
            verify_identity(credentials, RING, audience=AUDIENCE, now=50.0).check_body(b"body")
            told = self.session(hello) if hello is not None and knows_sessions else None
            self.vouching.accepted(hello, told, now)
            return "signed" if hello is None else "hello"
        assert hello is None
        claim = claimed(credentials)
        assert claim is not None
        assert claim.at == 50
        if not believes or not is_mac(self.key, claim, b"body"):
            self.vouching.refused(session, now)
            return "refused"
        self.vouching.accepted(None, None, now)
        return "mac"


def test_after_its_hello_it_sends_macs() -> None:
    steering = Steering()
    assert [steering.beat(now) for now in (0.0, 2.0, 4.0)] == ["hello", "mac", "mac"]


def test_a_steering_that_knows_no_sessions_gets_signatures() -> None:
    steering = Steering()
    assert [steering.beat(now, knows_sessions=False) for now in (0.0, 2.0)] == ["hello", "hello"]
    assert steering.beat(4.0) == "hello"
    assert steering.beat(6.0) == "mac"


def test_a_hello_is_due_before_the_session_ends() -> None:
    steering = Steering()
    steering.beat(0.0)
    assert [steering.beat(now) for now in (0.84 * LIFE_S, 0.86 * LIFE_S)] == ["mac", "hello"]


def test_a_session_that_is_not_believed_is_replaced_at_once() -> None:
    steering = Steering()
    steering.beat(0.0)
    assert steering.beat(2.0, believes=False) == "refused"
    assert [steering.beat(2.0), steering.beat(4.0)] == ["hello", "mac"]


def test_sessions_that_never_help_are_not_asked_for_until_it_has_rested() -> None:
    steering = Steering()
    for now in (0.0, 2.0, 4.0):
        assert [steering.beat(now), steering.beat(now, believes=False)] == ["hello", "refused"]
    assert [steering.beat(now) for now in (6.0, 8.0, 600.0)] == ["signed"] * 3
    assert [steering.beat(now) for now in (605.0, 607.0)] == ["hello", "mac"]


def test_one_that_helped_counts_anew() -> None:
    steering = Steering()
    for now in range(10):
        outcomes = [steering.beat(now), steering.beat(now), steering.beat(now, believes=False)]
        assert outcomes == ["hello", "mac", "refused"]


def test_an_answer_to_another_hello_changes_nothing() -> None:
    steering = Steering()
    hello = steering.vouching.hello(0.0)
    assert hello is not None
    stale = share_of(draw_share())
    steering.vouching.accepted(stale, steering.session(stale), 0.0)
    assert steering.vouching.hello(0.0) == hello


def test_a_share_of_no_use_leaves_it_signing() -> None:
    steering = Steering()
    hello = steering.vouching.hello(0.0)
    steering.vouching.accepted(hello, BeatSession(draw_name(bytes(16)), "A" * 43, LIFE_S), 0.0)
    assert steering.beat(2.0) == "hello"


def test_a_refusal_of_an_older_session_leaves_the_newer() -> None:
    steering = Steering()
    steering.beat(0.0)
    steering.vouching.refused(draw_name(b"x" * 16), 1.0)
    assert steering.beat(2.0) == "mac"
