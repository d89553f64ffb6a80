"""What vouches for the heartbeats to one steering: a signature, and after its hello a session's MAC.

    signing    the next heartbeat is signed and says hello; an answer with a session leads to `in session`,
               one without (a steering that knows no sessions) stays here
    in session heartbeats carry a MAC; a refusal, and most of the lifetime, leads to `signing`
    resting    the next heartbeats are signed and say no hello: sessions ended before they were of any use, as behind
               a balancer that gives each heartbeat to another replica

Times are of a monotonic clock, but for ``wall``, which is seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from contracts.beatsession import BeatSession, agree, credentials, draw_share, share_of
from contracts.heartbeat import AUDIENCE
from oca.identity import Identity

_RENEW: Final = (0.75, 0.95)
"""Of the lifetime, drawn anew each time: a fleet that said hello at once, after a restart of steering, spreads."""
_USELESS: Final = 3
"""Sessions in a row that were refused before they were accepted once; then it rests."""
_REST_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class _Session:
    name: str
    key: bytes
    renew_at: float


class Vouching:
    """``chance`` gives a number of 0 to 1."""

    def __init__(self, identity: Identity, chance: Callable[[], float]) -> None:
        self._identity = identity
        self._chance = chance
        self._private: X25519PrivateKey | None = None
        self._session: _Session | None = None
        self._useless = 0
        self._rests_until = float("-inf")

    def hello(self, now: float) -> str | None:
        """What the next heartbeat says as ``hello``; it is signed when that is something."""
        if self._session is not None and now < self._session.renew_at:
            return None
        self._session = None
        if now < self._rests_until:
            return None
        if self._private is None:
            self._private = draw_share()
        return share_of(self._private)

    def credentials(self, hello: str | None, body: bytes, wall: float) -> tuple[str, str | None]:
        """What goes with ``body``, and which session vouches for it; None: it is signed."""
        session = self._session
        if hello is None and session is not None:
            return credentials(session.name, session.key, int(wall), body), session.name
        return self._identity.token(AUDIENCE, wall, body), None

    def accepted(self, hello: str | None, session: BeatSession | None, now: float) -> None:
        """Steering took a heartbeat; ``session`` is its answer to ``hello``."""
        if hello is None:
            if self._session is not None:
                self._useless = 0
            return
        private = self._private
        if session is None or private is None or share_of(private) != hello:
            return
        self._private = None
        try:
            key = agree(
                private,
                session.share,
                appliance=self._identity.appliance,
                session=session.name,
                hello=hello,
                answer=session.share,
            )
        except ValueError:
            return  # no steering answers so; and without a session each heartbeat is signed
        low, high = _RENEW
        self._session = _Session(
            session.name, key, now + session.lifetime_s * (low + (high - low) * self._chance())
        )

    def refused(self, session: str, now: float) -> None:
        """Steering does not believe this session: it restarted, is another replica, or took our key back."""
        if self._session is None or self._session.name != session:
            return
        self._session = None
        self._useless += 1
        if self._useless >= _USELESS:
            self._useless, self._rests_until = 0, now + _REST_S
