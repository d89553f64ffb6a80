"""Which sessions vouch for appliances' heartbeats: one each, opened by a signed hello (`contracts.beatsession`).

A session is as good as the key that opened it: whose key was revoked, or is another since, has none from that moment.
They are in memory alone. After a restart, and at another replica, each appliance says hello once more.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from joserfc.jwk import ECKey, OKPKey

from contracts.beatsession import (
    MAX_AGE_S,
    NAME_BYTES,
    BeatSession,
    Claimed,
    agree,
    draw_name,
    draw_share,
    is_mac,
    share_of,
)
from contracts.problem import Problem
from contracts.token import CLOCK_SKEW_S, KeyRing, Refusal
from steering.request import Refused

LIFETIME_S: Final = 3600
MAX_SESSIONS: Final = 100_000
"""About 50 MB. Only who has a key in force opens one, and it replaces its last."""


@dataclass(slots=True)
class _Session:
    appliance: str
    key: bytes
    opened_by: ECKey | OKPKey
    ends_at: float


@dataclass(frozen=True, slots=True)
class Vouched:
    """Who claims to speak by a session, and when it was said (seconds since 1970)."""

    appliance: str
    issued_at: float
    claim: Claimed
    key: bytes

    def check_body(self, body: bytes) -> None:
        """Raises `Refused` unless the session's owner made this message."""
        if not is_mac(self.key, self.claim, body):
            raise Refused(Problem.BEAT_SESSION, "the MAC is not of this message and session")


class BeatSessions:
    """``keys`` are the appliances' that are in force."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        # One for all: it keeps no secret that this process's memory does not hold anyway.
        self._private = draw_share()
        self._share = share_of(self._private)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._of: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, appliance: str, hello: str, now: float) -> BeatSession | None:
        """The session that answers a verified ``hello``; None when its share is of no use."""
        opened_by = self._keys.get(appliance)
        if opened_by is None:
            return None
        name = draw_name(secrets.token_bytes(NAME_BYTES))
        try:
            key = agree(
                self._private, hello, appliance=appliance, session=name, hello=hello, answer=self._share
            )
        except ValueError:
            return None
        self._sessions.pop(self._of.get(appliance, ""), None)
        self._sessions[name] = _Session(appliance, key, opened_by, now + LIFETIME_S)
        self._of[appliance] = name
        if len(self._sessions) > MAX_SESSIONS:
            _, oldest = self._sessions.popitem(last=False)
            del self._of[oldest.appliance]
        return BeatSession(name, self._share, LIFETIME_S)

    def vouched(self, claim: Claimed, now: float, wall: float) -> Vouched:
        """Who speaks; the caller owes it a look at the body. Raises `Refused`."""
        session = self._sessions.get(claim.session)
        if session is None or now >= session.ends_at or not self._in_force(session):
            raise Refused(Problem.BEAT_SESSION, "the session is not known here, has ended, or its key has")
        if wall >= claim.at + MAX_AGE_S:
            raise Refused(Problem.IDENTITY_REFUSED, Refusal.STALE.value)
        if claim.at > wall + CLOCK_SKEW_S:
            raise Refused(Problem.IDENTITY_REFUSED, Refusal.NOT_YET.value)
        return Vouched(session.appliance, claim.at, claim, session.key)

    def _in_force(self, session: _Session) -> bool:
        """Whether the appliance's key is still the one that opened the session."""
        key = self._keys.get(session.appliance)
        if key is session.opened_by:
            return True
        if key is None or key.as_dict(private=False) != session.opened_by.as_dict(private=False):
            return False
        session.opened_by = key  # the same, read anew from a file
        return True
