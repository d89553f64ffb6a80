"""The HTTP side of steering: every route of the contract, every answer from memory."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

import msgspec
from aiohttp import web

from contracts import enrol, heartbeat, steer
from contracts.documents import BadDocument, decode
from contracts.fleet import Site
from contracts.problem import Problem
from contracts.token import KeyRing
from daemon.log import event
from steering.admission import Admission
from steering.answering import Answering
from steering.apikeys import ApiKey, Scope
from steering.certified import certified
from steering.config import Config
from steering.credentials import Credentials
from steering.enrolling import Enrolling
from steering.enrolment import ApplianceKeys
from steering.fleet import FleetView
from steering.frequent import Frequent
from steering.health import State
from steering.keys import Signer
from steering.manifests import Manifests
from steering.metrics import Metrics
from steering.openapi import openapi
from steering.players import Players
from steering.rendering import as_json, failure, problem
from steering.report import ApplianceReport, ConsideredReport, Explanation, FleetReport
from steering.request import Refused, bad_field, bearer, read_body
from steering.revocations import RevocationList, TooMany
from steering.store import Store, StoreError

log = logging.getLogger("steering")

_SITES_AT_ONCE: Final = 10
_BODY_UNREAD: Final = {
    item.status for item in (Problem.BAD_REQUEST, Problem.REQUEST_TIMEOUT, Problem.TOO_LARGE)
}


class Api:
    def __init__(
        self,
        config: Config,
        view: FleetView,
        signer: Signer,
        api_keys: Iterable[ApiKey],
        manifests: Manifests,
        public_keys: KeyRing,
    ) -> None:
        self._config = config
        self.revocations = RevocationList()
        """Of sessions; what the store says of them is put in by `serve`."""
        self.store: Store | None = None
        self.answering = Answering(config, view, signer, random.random)
        self.players = Players(config, self.answering, manifests, public_keys, self.revocations.is_revoked)
        self.view = view
        self.keys = ApplianceKeys(
            lambda: view.roster.keys,
            lambda name: view.revoked(name, time.monotonic()),
            lambda name: view.enrolled(name, time.monotonic()),
        )
        """Of appliances; what the store says of them is put in by `serve`."""
        self.enrolling: Enrolling | None = None
        self.metrics = Metrics()
        self.admission = Admission(config, self.answering.sessions, self.metrics)
        self.admission.replace(api_keys)
        self.frequent = Frequent(self.answering, self.metrics, self.revocations, self.keys, self.admission)
        self.content_error: str | None = "not read yet"
        self.content_read_at: float | None = None
        """When S3 was last read without an error (monotonic seconds)."""

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._rendered])
        app.add_routes(
            [
                web.post("/v1/steer", self._steer),
                *self.players.routes(),
                web.post("/v1/revoke", self._revoke),
                web.post(heartbeat.PATH, self._heartbeat),
                web.post(enrol.PATH, self._enrol),
                web.get("/v1/fleet", self._fleet),
                web.get("/v1/explain", self._explain),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/openapi.json", self._openapi),
            ]
        )
        return app

    @web.middleware
    async def _rendered(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """The one place where an error becomes an answer."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            answer = problem(Problem.NOT_FOUND)
        except web.HTTPMethodNotAllowed as error:
            answer = problem(Problem.METHOD)
            answer.headers["Allow"] = error.headers["Allow"]
        except Exception as error:  # noqa: BLE001 - `failure` logs what nobody meant
            answer = failure(error)
        if answer.status in _BODY_UNREAD:
            answer.force_close()  # whatever is left of the body is nobody's
        return answer

    def _caller(self, request: web.Request, scope: Scope) -> None:
        """Lets a caller whose key permits it pass, at its rate; raises `Refused`."""
        self.admission.admit(_credentials(request), scope)

    async def _steer(self, request: web.Request) -> web.Response:
        """The body is JSON whatever its Content-Type says; a browser cannot send it without the key."""
        arrived_at = time.monotonic()
        with self.metrics.answering():
            self._caller(request, Scope.STEER)
            raw = await read_body(request, steer.MAX_REQUEST_BYTES)
            return web.Response(body=self.frequent.start(raw, arrived_at), content_type="application/json")

    async def _revoke(self, request: web.Request) -> web.Response:
        self._caller(request, Scope.REVOKE)
        raw = await read_body(request, steer.MAX_REQUEST_BYTES)
        try:
            wanted = decode(raw, steer.RevokeRequest, name="body", limit_bytes=steer.MAX_REQUEST_BYTES)
        except BadDocument as error:
            raise bad_field(error.why) from None
        now = time.time()
        until = int(now) + self._config.token_ttl_s
        if self.store is None:
            raise Refused(Problem.UNAVAILABLE, "nothing can be revoked here now", retry_s=2)
        try:
            await self.revocations.revoke(self.store, wanted.session, until, now)
        except TooMany as error:
            raise Refused(Problem.UNAVAILABLE, str(error), retry_s=60) from None
        except StoreError as error:
            event(log, "revocation failed", logging.ERROR, session=wanted.session, why=str(error))
            raise Refused(Problem.UNAVAILABLE, "the revocation cannot be kept now", retry_s=5) from None
        event(log, "session revoked", session=wanted.session)
        return as_json(steer.Revoked(wanted.session, until))

    async def _heartbeat(self, request: web.Request) -> web.Response:
        with self.metrics.hearing():
            speaker = self.frequent.speaker(bearer(request))
            raw = await read_body(request, heartbeat.MAX_HEARTBEAT_BYTES)
            return web.Response(body=self.frequent.beat(speaker, raw), content_type="application/json")

    async def _enrol(self, request: web.Request) -> web.Response:
        if self.enrolling is None:
            raise Refused(Problem.UNAVAILABLE, "nobody can enrol here now", retry_s=2)
        return await self.enrolling.handle(request)

    async def _fleet(self, request: web.Request) -> web.Response:
        self._caller(request, Scope.READ)
        roster = self.view.roster
        rows: list[ApplianceReport] = []
        for number, site in enumerate(roster.fleet.sites):
            if number % _SITES_AT_ONCE == 0:
                await asyncio.sleep(0)  # all of a large fleet take a tenth of a second: starts go in between
                if roster is not self.view.roster:
                    raise Refused(Problem.UNAVAILABLE, "another fleet file was read just now", retry_s=1)
            rows += self._reports(site, time.monotonic())
        return as_json(
            FleetReport(
                tuple(rows),
                self.view.content.catalog,
                self.view.content.plan,
                self._content_age_s(),
                self.content_error,
                self.view.content.refused,
                self._isolated_s(time.monotonic()),
                None if self.frequent.keyset is None else self.frequent.keyset.version,
                self._plan_age_s(),
            )
        )

    def _reports(self, site: Site, now: float) -> Iterator[ApplianceReport]:
        announced = self.view.announced
        differ = announced.differences(site.id)
        for box in site.appliances:
            beat, age = self.view.last(box.id), self.view.age_s(box.id, now)
            state = self.view.state(box.id, now)
            standing = self.view.health.of(box.id)
            yield ApplianceReport(
                id=box.id,
                site=site.id,
                tier=site.tier.value,
                url=box.url,
                state=state.value,
                heartbeat_age_s=None if age is None else round(age, 1),
                tx_bps=beat.tx_bps if beat else 0,
                throughput_bps=box.throughput_bps,
                connections=beat.connections if beat else 0,
                plan=beat.plan if beat else None,
                software=beat.software if beat else None,
                routes=announced.count(box.id),
                state_reason=standing.reason,
                state_age_s=None if standing.state is State.JOINING else round(now - standing.since, 1),
                routes_worse=differ.get(box.id, 0),
                routes_refused=announced.refused(site.id),
                players=beat.players if beat else None,
                keys=beat.keys if beat else None,
            )

    def _isolated_s(self, now: float) -> float | None:
        since = self.view.health.isolated_since
        return None if since is None else round(now - since, 1)

    def _plan_age_s(self) -> int | None:
        issued_at = self.view.content.plan_issued_at
        return round(time.time()) - issued_at if issued_at else None

    def _content_age_s(self) -> float | None:
        return None if self.content_read_at is None else round(time.monotonic() - self.content_read_at, 1)

    async def _explain(self, request: web.Request) -> web.Response:
        """What /v1/steer would answer to the same fields, and why, without answering it."""
        self._caller(request, Scope.READ)
        try:
            # OpenAPI writes a list in a query as one parameter for each item.
            asked = {**request.query, "exclude": request.query.getall("exclude", [])}
            question = msgspec.convert(asked, steer.SteerRequest, strict=False)
        except msgspec.ValidationError as error:
            raise bad_field(str(error)) from None
        considered, chosen = self.answering.explain(question, time.monotonic(), time.time())
        outcome, detail = "answered", None
        try:
            self.answering.playable(question, time.time())
            if not chosen:
                raise self.answering.nobody()
        except Refused as refused:
            outcome, detail = refused.problem.name.lower(), refused.detail or refused.problem.title
        reports = tuple(
            ConsideredReport(
                appliance=item.box.id,
                site=item.box.site,
                tier=item.box.tier.value,
                state=item.state.value,
                place=item.place,
                answered=outcome == "answered" and item.box.id in chosen,
                reason=item.reason,
            )
            for item in considered
        )
        known = question.title in self.view.content.titles
        return as_json(Explanation(question.client_ip, question.title, known, outcome, detail, reports))

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        """Ready with what was read, however old: a stale catalog plays, and no catalog does not.

        Anybody may ask: why S3 cannot be read, which names it, is for `steering fleet` to say.
        """
        if self.view.content.catalog is None:
            raise Refused(Problem.UNAVAILABLE, "the catalog could not be read from S3 yet", retry_s=2)
        stale = "" if self.content_error is None else ", and cannot be read now"
        now = time.monotonic()
        self.view.sweep(now)
        if self.view.health.isolated_since is not None:
            stale += f"\nstale: no appliance was heard for {self._isolated_s(now)} s, answers are from what was known"
        return web.Response(
            text=f"ready\ncatalog {self.view.content.catalog}; S3 was {self._content_read()}{stale}\n"
        )

    def _content_read(self) -> str:
        age_s = self._content_age_s()
        return "not read since the start" if age_s is None else f"read {age_s} s ago"

    async def _metrics(self, _: web.Request) -> web.Response:
        now = time.monotonic()
        body, content_type = self.metrics.page(
            self.view.states(now),
            None if self.content_read_at is None else now - self.content_read_at,
            len(self.answering.sessions),
            self._isolated_s(now),
            len(self.frequent.sessions),
            self.view.health.held_up_s,
            self.view.feedback.lowered(),
            self.view.content.plan_issued_at,
            self.view.content.catalog_issued_at,
            len(self.view.content.refused),
        )
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _openapi(self, _: web.Request) -> web.Response:
        return as_json(openapi())


def _credentials(request: web.Request) -> Credentials:
    return bearer(request) if "Authorization" in request.headers else certified(request.transport)
