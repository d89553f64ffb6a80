"""Starts and heartbeats: of each thousands come every second. From credentials and a body to the answer's bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from contracts import heartbeat, steer
from contracts.beatsession import claimed
from contracts.documents import BadDocument, decode
from contracts.keyset import SignedKeySet
from contracts.problem import Problem
from contracts.token import KeyRing, Speaker, TokenRefused, verify_identity
from steering.admission import Admission
from steering.answering import Answering, Choice
from steering.apikeys import Scope
from steering.beatsessions import BeatSessions, Vouched
from steering.credentials import Certified, Credentials
from steering.fleet import Replayed
from steering.keyset import Published
from steering.metrics import Metrics
from steering.request import Refused, bad_field
from steering.revocations import RevocationList
from steering.startqueue import Start

T = TypeVar("T")

_encode: Final = msgspec.json.Encoder().encode


class Frequent:
    def __init__(
        self,
        answering: Answering,
        metrics: Metrics,
        revocations: RevocationList,
        keys: KeyRing,
        admission: Admission,
    ) -> None:
        """``keys`` are the appliances'."""
        self._answering = answering
        self._metrics = metrics
        self._revocations = revocations
        self._keys = keys
        self.sessions = BeatSessions(keys)
        self._admission = admission
        self.pass_on: Callable[[heartbeat.Heartbeat, float], None] | None = None
        """To other replicas, where there are some."""
        self.pressed: Callable[[], bool] = lambda: False
        """Whether starts wait for their turn."""
        self.keyset: Published | None = None
        """What appliances check viewers' tokens with, where a root key signed it."""
        self._catching_up: asyncio.Task[None] | None = None

    def start(self, raw: bytes, arrived_at: float) -> bytes:
        """The candidates of an admitted caller's question, which came then (monotonic); raises `Refused`."""
        try:
            choice = self._chosen(raw)
            return self._answer(choice, self._answering.sign(choice))
        finally:
            self._metrics.decided(time.monotonic() - arrived_at)

    def take_starts(self, starts: Sequence[Start]) -> list[bytes | Exception]:
        """Admits and answers, counted: of each its answer, or what it is refused with.

        Step by step for all of them together: code that has just run is still in the processor's cache, and eight at
        a time take a fifth less than one by one.
        """
        results = [_tried(self._admitted, start) for start in starts]
        tokens = [_tried(self._answering.sign, result) for result in results]
        answers = [_tried(self._answer, *pair) for pair in zip(results, tokens, strict=True)]
        now = time.monotonic()
        for start, answer in zip(starts, answers, strict=True):
            self._metrics.answered(answer if isinstance(answer, Exception) else None)
            self._metrics.decided(now - start.arrived_at)
        return answers

    def _admitted(self, start: Start) -> Choice:
        self._admission.admit(start.credentials, Scope.STEER)
        return self._chosen(start.body)

    def _chosen(self, raw: bytes) -> Choice:
        try:
            asked = decode(raw, steer.SteerRequest, name="body", limit_bytes=steer.MAX_REQUEST_BYTES)
        except BadDocument as error:
            raise bad_field(error.why) from None
        now, wall = time.monotonic(), time.time()
        self._admission.admit_client(asked, now, wall)
        return self._answering.choose(asked, now, wall)

    def _answer(self, choice: Choice, token: str) -> bytes:
        return _encode(self._answering.answer(choice, token)) + b"\n"

    def speaker(self, credentials: Credentials) -> Speaker | Vouched:
        """Who speaks, by the credentials alone: only who is in the fleet may have us hold megabytes.

        Raises `Refused`.
        """
        if not credentials or isinstance(credentials, Certified):
            raise Refused(Problem.IDENTITY_MISSING, "an identity token is expected as Bearer")
        claim = claimed(credentials)
        if claim is not None:
            return self.sessions.vouched(claim, time.monotonic(), time.time())
        try:
            return verify_identity(credentials, self._keys, audience=heartbeat.AUDIENCE, now=time.time())
        except TokenRefused as error:
            raise Refused(Problem.IDENTITY_REFUSED, str(error)) from None

    def beat(self, speaker: Speaker | Vouched, raw: bytes) -> bytes:
        """Takes a heartbeat; raises `Refused`."""
        view, now = self._answering.view, time.monotonic()
        try:
            speaker.check_body(raw)
            beat = decode(raw, heartbeat.Heartbeat, name="body", limit_bytes=heartbeat.MAX_HEARTBEAT_BYTES)
            if beat.appliance != speaker.appliance:
                raise Refused(Problem.IDENTITY_REFUSED, f"{speaker.appliance} speaks for {beat.appliance}")
            state = view.hear(beat, speaker.issued_at, now)
            if self.pass_on is not None:
                self.pass_on(beat, speaker.issued_at)
        except (TokenRefused, Replayed) as error:
            raise Refused(Problem.IDENTITY_REFUSED, str(error)) from None
        except BadDocument as error:
            raise bad_field(error.why) from None
        if view.behind and (self._catching_up is None or self._catching_up.done()):
            self._catching_up = asyncio.create_task(self._catch_up())
        session = None
        if beat.hello is not None and isinstance(speaker, Speaker):
            session = self.sessions.open(beat.appliance, beat.hello, now)
        news = self._revocations.news(beat.revocations)
        serial = view.routes.serial(beat.appliance)
        keys = self._keys_for(beat.keys)
        reply = heartbeat.HeartbeatReply(state.value, view.content.plan, news, serial, session, keys)
        return _encode(reply) + b"\n"

    def _keys_for(self, known: int | None) -> SignedKeySet | None:
        """The key set, for an appliance that takes it from us and has an older one."""
        mine = self.keyset
        return None if mine is None or known is None or known >= mine.version else mine.signed

    async def _catch_up(self) -> None:
        """A full table takes seconds, and answers wait for none of it: where starts wait, it takes a fifth of the time."""
        began = time.monotonic()
        for _ in self._answering.view.catch_up():
            await asyncio.sleep(4 * (time.monotonic() - began) if self.pressed() else 0)
            began = time.monotonic()

    def busy(self) -> Refused:
        """For a start that cannot have its turn, counted."""
        self._metrics.shed()
        return self._answering.busy()

    def take_beat(self, credentials: Credentials, raw: bytes) -> bytes:
        """`speaker` and `beat`, counted."""
        with self._metrics.hearing():
            return self.beat(self.speaker(credentials), raw)


def _tried(step: Callable[..., T], *arguments: Any) -> T | Exception:
    """What it returns or raises; the error among the arguments when an earlier step has failed."""
    for argument in arguments:
        if isinstance(argument, Exception):
            return argument
    try:
        return step(*arguments)
    except Exception as error:  # noqa: BLE001 - it is the answer to its start, and rendered as everywhere
        return error
