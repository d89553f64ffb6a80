"""Which sessions were answered lately: bounded in number, forgotten after their token's life."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

MAX_SESSIONS: Final = 1_000_000
"""About 450 MB. Whoever is forgotten before his token ends gets 404 and plays on where he is."""


class Session(msgspec.Struct, frozen=True, gc=False):
    client_ip: str
    title: str
    expires_at: float
    appliance: str = ""
    """The first that it was answered, where it stays; empty: none yet."""
    max_height: int | None = None


class Sessions:
    """In the order of their last answer, which is that of their expiry: all tokens live equally long."""

    def __init__(self, limit: int = MAX_SESSIONS) -> None:
        self._limit = limit
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self.unsaved: set[str] = set()
        """Put, or dropped, since they were saved last."""

    def __len__(self) -> int:
        return len(self._sessions)

    def put(self, name: str, session: Session, now: float) -> None:
        while self._sessions and now >= next(iter(self._sessions.values())).expires_at:
            self.unsaved.add(self._sessions.popitem(last=False)[0])
        self._sessions[name] = session
        self._sessions.move_to_end(name)
        self.unsaved.add(name)
        if len(self._sessions) > self._limit:
            self.unsaved.add(self._sessions.popitem(last=False)[0])

    def seat(self, name: str, session: Session) -> None:
        """In place of what is known of it; when it is forgotten stays as it was."""
        self._sessions[name] = session
        self.unsaved.add(name)

    def get(self, name: str, now: float) -> Session | None:
        found = self._sessions.get(name)
        return None if found is None or now >= found.expires_at else found
