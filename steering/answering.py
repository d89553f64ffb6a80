"""From a question to its answer: who may have the title, which appliances, signed. No HTTP here."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from contracts.catalog import is_licensed, is_released
from contracts.problem import Problem
from contracts.steer import Candidate, SteerRequest, SteerResponse, address_of
from steering.config import Config
from steering.fleet import FleetView
from steering.holdings import Title
from steering.keys import Signer
from steering.rank import Considered, Placed, Question, decide, explain, reason
from steering.request import Refused
from steering.sessions import Session, Sessions
from steering.snapshot import NOBODY_HOLDS, Snapshot

TTL_S: Final = 30
"""How soon a player asks again, and how long a playback service may keep an answer."""
MAX_PATHWAYS: Final = 10

_RETRY_S: Final = (2.0, 8.0)
"""Drawn anew for each who is refused: all of a midnight's starts must not come back in one second."""


class Choice(NamedTuple):
    """A start that was decided and is not signed yet."""

    asked: SteerRequest
    title: Title
    session: str
    placed: list[Placed]
    expires_at: int
    """Seconds since 1970, as ``wall``, when it was decided."""
    wall: float


class Answering:
    """``chance`` gives a number of 0 to 1."""

    def __init__(self, config: Config, view: FleetView, signer: Signer, chance: Callable[[], float]) -> None:
        self._config = config
        self.signer = signer
        self._chance = chance
        self.sessions = Sessions()
        self.view = view

    def steer(self, asked: SteerRequest, now: float, wall: float) -> SteerResponse:
        """Raises `Refused`. ``now`` is the monotonic clock, ``wall`` seconds since 1970."""
        choice = self.choose(asked, now, wall)
        return self.answer(choice, self.sign(choice))

    def choose(self, asked: SteerRequest, now: float, wall: float) -> Choice:
        """Decides, and counts the start where it goes; `sign` and `answer` follow. Raises `Refused`."""
        title = self.playable(asked, wall)
        session = asked.session or secrets.token_urlsafe(12)
        known = self.sessions.get(session, wall) if asked.session is not None else None
        question = self._question(asked, title, session, known)
        chosen, _ = self._decide(question, asked.client_ip, now, asked.count)
        if not chosen:
            raise self.nobody()
        first = chosen[0].box.id
        if first != question.incumbent:
            self.view.give(first, question.bitrate_bps)
        expires_at = int(wall) + self._config.token_ttl_s
        self.sessions.put(
            session, Session(asked.client_ip, asked.title, expires_at, first, asked.max_height), wall
        )
        return Choice(asked, title, session, chosen, expires_at, wall)

    def sign(self, choice: Choice) -> str:
        """The token for all candidates."""
        asked = choice.asked
        token, _ = self.signer.sign(
            asked.title, choice.session, choice.wall, self._config.token_ttl_s, asked.client_ip
        )
        return token

    def answer(self, choice: Choice, token: str) -> SteerResponse:
        title = choice.title
        candidates = tuple([_candidate(item, title, token) for item in choice.placed])
        base = f"{self._config.public_url}/URISigningPackage={token}/"
        return SteerResponse(
            choice.session, TTL_S, candidates, token, choice.expires_at, base + title.hls, base + title.dash
        )

    def playable(self, asked: SteerRequest, wall: float) -> Title:
        """The title, when this viewer may have it; raises `Refused`."""
        title = self.view.content.titles.get(asked.title)
        if title is None:
            if self.view.content.catalog is None:
                raise Refused(Problem.UNAVAILABLE, "the catalog was not read yet", retry_s=2)
            raise Refused(Problem.UNKNOWN_TITLE)
        if not is_licensed(title.countries, asked.country):
            where = "the question names no country" if asked.country is None else asked.country
            raise Refused(Problem.NOT_LICENSED, where)
        if not is_released(title.released_at, wall):
            raise Refused(Problem.NOT_RELEASED, f"it will be at {title.released_at} seconds since 1970")
        return title

    def pathways(self, name: str, session: Session, now: float) -> list[str]:
        """Where a session that was answered before may play, best first; none when nobody may be answered."""
        asked = SteerRequest(session.client_ip, session.title, name, max_height=session.max_height)
        title = self.view.content.titles.get(session.title)
        question = self._question(asked, title, name, session)
        chosen, _ = self._decide(question, session.client_ip, now, MAX_PATHWAYS)
        if any(item.box.id == session.appliance and _is_left(item) for item in chosen):
            # Its players starve. Who was moved stays where he went: weights rise and fall.
            first = chosen[0].box.id
            self.view.give(first, question.bitrate_bps)
            self.sessions.seat(name, msgspec.structs.replace(session, appliance=first))
        return [item.box.id for item in chosen]

    def explain(self, asked: SteerRequest, now: float, wall: float) -> tuple[list[Considered], set[str]]:
        """Every appliance of the fleet, and the ids of those that would be answered."""
        known = self.sessions.get(asked.session, wall) if asked.session is not None else None
        title = self.view.content.titles.get(asked.title)
        question = self._question(asked, title, asked.session or "", known)
        chosen, snapshot = self._decide(question, asked.client_ip, now, asked.count)
        told = explain(question, snapshot, self.view.elsewhere(snapshot))
        return told, {item.box.id for item in chosen}

    def nobody(self) -> Refused:
        detail = "no appliance can serve this client now"
        return Refused(Problem.UNAVAILABLE, detail, retry_s=self._retry_s())

    def busy(self) -> Refused:
        return Refused(Problem.BUSY, "ask another replica, or later", retry_s=self._retry_s())

    def _retry_s(self) -> float:
        low, high = _RETRY_S
        return low + (high - low) * self._chance()

    def _decide(
        self, question: Question, client_ip: str, now: float, count: int
    ) -> tuple[list[Placed], Snapshot]:
        """The candidates, and what they were chosen from: sites that announce the client before all others."""
        address = address_of(client_ip)
        snapshot = self.view.snapshot(address, now)
        chosen = decide(question, snapshot, count)
        if len(chosen) < count:
            wider = self.view.beyond(snapshot, address)
            if wider is not snapshot:
                return decide(question, wider, count), wider
        return chosen, snapshot

    def _question(
        self, asked: SteerRequest, title: Title | None, session: str, known: Session | None
    ) -> Question:
        """An unknown title, which only an explanation asks for, is one that nobody holds."""
        default = self._config.start_bitrate_bps
        return Question(
            asked.title,
            session,
            NOBODY_HOLDS if title is None else title.bit(asked.max_height),
            default if title is None else title.bitrate_bps(asked.max_height, asked.max_bitrate_bps, default),
            None if title is None else title.countries,
            frozenset(asked.exclude),
            known.appliance if known is not None and known.title == asked.title else None,
        )


def _is_left(item: Placed) -> bool:
    return item.lowered is not None and item.lowered.set_back


def _candidate(item: Placed, title: Title, token: str) -> Candidate:
    box = item.box
    base = f"{box.url}/URISigningPackage={token}/"
    return Candidate(
        box.id, box.site, box.tier.value, base, base + title.hls, base + title.dash, reason(item)
    )
