"""Which sessions were answered lately: bounded in number, forgotten after their token's life."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_MAX_SESSIONS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Session:
    client_ip: str
    title: str
    expires_at: float


class Sessions:
    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def put(self, name: str, session: Session) -> None:
        self._sessions[name] = session
        self._sessions.move_to_end(name)
        if len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def get(self, name: str, now: float) -> Session | None:
        found = self._sessions.get(name)
        if found is not None and now >= found.expires_at:
            del self._sessions[name]
            return None
        return found
