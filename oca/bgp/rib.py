"""The routes that remain of what the neighbours announce. Pure: time is passed in.

A session that is lost keeps its routes for a grace time. When it is back, what the router does not announce
again is withdrawn at the end of its table (End-of-RIB, RFC 4724), or, from routers that mark none, when it has
been quiet for a while: never before, for half a table would send half the viewers elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from contracts.route import Attributes, Origin
from oca.bgp.config import Bgp, Neighbour
from oca.bgp.events import Down, EndOfRib, Event, Up, Update
from oca.bgp.filters import Filter, Verdict

WARN_SHARE: Final = 0.8
"""Of max_prefixes, from which on it is said."""
_FAMILIES: Final = frozenset({4, 6})
_NO_REASON: Final = "closing connection"
"""What exabgp says after each call that failed, once it has said why, if it knows."""
_ORIGINS: Final = {Origin.IGP: 0, Origin.EGP: 1, Origin.INCOMPLETE: 2}


@dataclass(slots=True)
class Session:
    config: Neighbour
    up: bool = False
    since: float = 0.0
    """Of this state."""
    why: str = "no session yet"
    """Why it is not up; empty when it is."""
    routes: dict[str, Attributes] = field(default_factory=dict)
    refused: dict[str, Verdict] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    """Of the session before, and not announced in this one yet."""
    ended: set[int] = field(default_factory=set)
    """Families whose table is whole."""
    changed_at: float = 0.0
    lost_at: float | None = None
    """When the session that `routes` are of went down; None while it is up or nothing is kept."""
    paused_until: float | None = None
    """It announced too many prefixes."""
    flaps: int = 0
    told: set[str] = field(default_factory=set)
    """Why calls failed, as far as it was said since the last session."""

    @property
    def whole(self) -> bool:
        return self.up and self.ended >= _FAMILIES

    @property
    def prefixes(self) -> int:
        """Accepted and refused."""
        return len(self.routes) + len(self.refused)

    def refusals(self) -> Counter[Verdict]:
        return Counter(self.refused.values())


class Rib:
    """``notices`` collects what an operator should read, once each time it happens: (what, facts)."""

    def __init__(self, config: Bgp, now: float) -> None:
        self._config = config
        self._filter = Filter(config)
        self._began = now
        self.sessions = {str(ipaddress.ip_address(item.address)): Session(item) for item in config.neighbours}
        for session in self.sessions.values():
            session.since = now
        self.routes: dict[str, Attributes] = {}
        """The best of each prefix."""
        self.changed: set[str] = set()
        """Prefixes whose best is another since somebody emptied this."""
        self.whole = False
        """Whether every neighbour has told its table, or has had its time. Once it is, it stays so."""
        self.notices: list[tuple[str, dict[str, object]]] = []

    def take(self, event: Event, now: float) -> None:
        session = self.sessions[event.neighbour]
        match event:
            case Up() if session.paused_until is None:
                self._up(event.neighbour, session, now)
            case Down(why=why):
                self._down(event.neighbour, session, why, now)
            case Update() if session.paused_until is None:
                self._update(event, session, now)
            case EndOfRib(family=family) if session.paused_until is None:
                session.ended.add(family)
                self._sweep(event.neighbour, session, family)
            case _:
                pass  # what was under way when the session was stopped
        self._look(now)

    def lost(self, why: str, now: float) -> None:
        """No session is up any more, for exabgp ended."""
        for name, session in self.sessions.items():
            self._down(name, session, why, now)

    def tick(self, now: float) -> None:
        """Lets time have its effect; once a second or so."""
        for name, session in self.sessions.items():
            if session.paused_until is not None and now >= session.paused_until:
                session.paused_until = None
                session.why = "to be tried again after too many prefixes"
                self._say("BGP session is tried again", neighbour=name)
            if session.lost_at is not None and now - session.lost_at >= self._config.grace_s:
                count = session.prefixes
                self._drop(session)
                self._say(
                    "BGP routes withdrawn: the session did not come back", neighbour=name, prefixes=count
                )
            if session.up and not session.whole and now - session.changed_at >= self._config.settle_s:
                for family in _FAMILIES - session.ended:
                    session.ended.add(family)
                    self._sweep(name, session, family)
        self._look(now)

    @property
    def paused(self) -> frozenset[str]:
        """Neighbours, as configured, with whom there is to be no session now."""
        return frozenset(
            session.config.address for session in self.sessions.values() if session.paused_until is not None
        )

    def _up(self, name: str, session: Session, now: float) -> None:
        session.up, session.since, session.why, session.lost_at = True, now, "", None
        session.changed_at = now
        session.told.clear()
        session.stale = {*session.routes, *session.refused}
        session.ended = set()
        self._say("BGP session up", neighbour=name, kept=len(session.stale))

    def _down(self, name: str, session: Session, why: str, now: float) -> None:
        if session.up:
            session.flaps += 1
            session.since, session.up = now, False
            session.lost_at = now if session.prefixes else None
            self._say("BGP session down", neighbour=name, why=why, kept=session.prefixes)
        elif session.paused_until is None and why not in session.told and not why.startswith(_NO_REASON):
            session.told.add(why)
            self._say("BGP session not up", neighbour=name, why=why)
        if session.paused_until is None and not (session.told and why.startswith(_NO_REASON)):
            session.why = why or "no reason was given"

    def _update(self, update: Update, session: Session, now: float) -> None:
        session.changed_at = now
        for prefix in update.withdrawn:
            session.stale.discard(prefix)
            session.refused.pop(prefix, None)
            if session.routes.pop(prefix, None) is not None:
                self._choose(prefix)
        limit = session.config.max_prefixes
        before = session.prefixes
        attributes = update.attributes
        for prefix in update.announced:
            session.stale.discard(prefix)
            verdict = self._filter.judge(prefix, attributes)
            if verdict is Verdict.ACCEPTED:
                session.refused.pop(prefix, None)
                if session.routes.get(prefix) != attributes:
                    session.routes[prefix] = attributes
                    self._choose(prefix)
            else:
                session.refused[prefix] = verdict
                if session.routes.pop(prefix, None) is not None:
                    self._choose(prefix)
            if session.prefixes > limit:
                self._stop(update.neighbour, session, now)
                return
        if before <= WARN_SHARE * limit < session.prefixes:
            self._say(
                "BGP prefixes near the limit",
                neighbour=update.neighbour,
                prefixes=session.prefixes,
                limit=limit,
            )

    def _stop(self, name: str, session: Session, now: float) -> None:
        """Too many: nothing that it says is believed any more, RFC 4486 section 4."""
        session.up, session.since = False, now
        session.flaps += 1
        session.paused_until = now + self._config.max_prefix_pause_s
        session.why = f"stopped: more than {session.config.max_prefixes} prefixes"
        self._drop(session)
        self._say("BGP session stopped: too many prefixes", neighbour=name, limit=session.config.max_prefixes)

    def _drop(self, session: Session) -> None:
        gone = list(session.routes)
        session.routes, session.refused, session.stale, session.lost_at = {}, {}, set(), None
        session.ended = set()
        for prefix in gone:
            self._choose(prefix)

    def _sweep(self, name: str, session: Session, family: int) -> None:
        gone = [prefix for prefix in session.stale if (":" in prefix) == (family == 6)]
        for prefix in gone:
            session.stale.discard(prefix)
            session.refused.pop(prefix, None)
            if session.routes.pop(prefix, None) is not None:
                self._choose(prefix)
        self._say(
            "BGP table whole",
            neighbour=name,
            family=f"IPv{family}",
            prefixes=session.prefixes,
            swept=len(gone),
        )
        if session.whole and session.refused and not session.routes:
            self._say("BGP refused all prefixes", neighbour=name, **_named(session.refusals()))

    def _choose(self, prefix: str) -> None:
        """The best of all neighbours, RFC 4271 section 9.1.2.2; the neighbour's place in the file breaks ties."""
        best: Attributes | None = None
        for session in self.sessions.values():
            offered = session.routes.get(prefix)
            if offered is not None and (best is None or _rank(offered) < _rank(best)):
                best = offered
        if best is None:
            self.routes.pop(prefix, None)
        else:
            self.routes[prefix] = best
        self.changed.add(prefix)

    def _look(self, now: float) -> None:
        if not self.whole:
            waited = now - self._began >= self._config.settle_s
            self.whole = all(
                session.whole or (not session.up and waited) for session in self.sessions.values()
            )

    def _say(self, what: str, **facts: object) -> None:
        self.notices.append((what, facts))


def _rank(attributes: Attributes) -> tuple[int, int, int, int, bool]:
    return (
        -attributes.local_preference,
        len(attributes.as_path),
        _ORIGINS[attributes.origin],
        attributes.med,
        not attributes.ebgp,
    )


def _named(refusals: Counter[Verdict]) -> dict[str, object]:
    return {verdict.name.lower(): count for verdict, count in refusals.items()}
