"""The HTTP side of steering: every route of the contract, every answer from memory."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from contracts import heartbeat, steer
from contracts.documents import BadDocument, decode
from contracts.objectkey import BadKey, parse_title
from contracts.problem import MEDIA_TYPE, Document, Problem, render
from contracts.token import TokenRefused, verify_identity
from daemon.log import event
from steering.budget import Budget
from steering.config import Config
from steering.content import Content
from steering.fleet import FleetView, Replayed
from steering.keys import Signer, hash_api_key
from steering.rank import Considered, rank, select_candidates
from steering.sessions import Session, Sessions

log = logging.getLogger("steering")

TTL_S: Final = 30
"""How soon a player asks again, and how long a playback service may keep an answer."""


class Refused(Exception):
    def __init__(
        self, problem: Problem, detail: str | None = None, *, field: str | None = None, retry_s: float = 0
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.field = field
        self.retry_s = retry_s


class Api:
    def __init__(self, config: Config, view: FleetView, signer: Signer, api_keys: frozenset[str]) -> None:
        self._config = config
        self.view = view
        self._signer = signer
        self._budgets = {key: Budget(config.requests_per_s, config.requests_per_s) for key in api_keys}
        self._sessions = Sessions()
        self.content = Content()
        self.content_error: str | None = "not read yet"
        self._registry = CollectorRegistry()
        self._answers = Counter("steering_answers", "Answers", ["outcome"], registry=self._registry)
        self._beats = Counter("steering_heartbeats", "Heartbeats", ["outcome"], registry=self._registry)
        states = Gauge("steering_appliances", "Appliances", ["state"], registry=self._registry)
        self._states = states

    def application(self) -> web.Application:
        app = web.Application(client_max_size=heartbeat.MAX_HEARTBEAT_BYTES + 1, middlewares=[self._rendered])
        app.add_routes(
            [
                web.post("/v1/steer", self._steer),
                web.get("/v1/steer/{session}/hls", self._manifest),
                web.get("/v1/steer/{session}/dash", self._manifest),
                web.post(heartbeat.PATH, self._heartbeat),
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
        except Refused as refused:
            headers = {"Retry-After": str(max(1, round(refused.retry_s)))} if refused.retry_s else {}
            if refused.problem is Problem.UNAUTHORISED:
                headers["WWW-Authenticate"] = "Bearer"
            body = render(refused.problem, refused.detail, field=refused.field)
            return web.Response(
                status=refused.problem.status, body=body, content_type=MEDIA_TYPE, headers=headers
            )
        except web.HTTPRequestEntityTooLarge:
            return _problem(Problem.TOO_LARGE)
        except web.HTTPNotFound:
            return _problem(Problem.NOT_FOUND)
        except web.HTTPMethodNotAllowed as error:
            answer = _problem(Problem.METHOD)
            answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except Exception:
            log.exception("request failed")
            return _problem(Problem.INTERNAL)

    def _caller(self, request: web.Request) -> None:
        """Lets a playback service with a known key pass, at its rate; raises `Refused`."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        digest = hash_api_key(key.strip())
        known = next((item for item in self._budgets if hmac.compare_digest(item, digest)), None)
        if scheme.lower() != "bearer" or known is None:
            raise Refused(Problem.UNAUTHORISED)
        wait_s = self._budgets[known].take(time.monotonic())
        if wait_s:
            raise Refused(Problem.RATE, retry_s=wait_s)

    async def _steer(self, request: web.Request) -> web.Response:
        self._caller(request)
        raw = await request.content.read(steer.MAX_REQUEST_BYTES + 1)
        try:
            question = decode(raw, steer.SteerRequest, name="body", limit_bytes=steer.MAX_REQUEST_BYTES)
        except BadDocument as error:
            raise _bad_field(error.why) from None
        try:
            answer = self._answer(question)
        except Refused as refused:
            self._answers.labels(refused.problem.name.lower()).inc()
            raise
        self._answers.labels("answered").inc()
        return _json(answer)

    def _answer(self, question: steer.SteerRequest) -> steer.SteerResponse:
        title = self.content.titles.get(question.title)
        if title is None:
            if self.content.catalog is None:
                raise Refused(Problem.UNAVAILABLE, "the catalog was not read yet", retry_s=2)
            raise Refused(Problem.UNKNOWN_TITLE)
        if title.countries is not None and question.country not in title.countries:
            raise Refused(Problem.NOT_LICENSED)
        chosen = select_candidates(self._ranked(question.client_ip, question.title), question.count)
        if not chosen:
            raise Refused(Problem.UNAVAILABLE, "no appliance can serve this client now", retry_s=2)
        now = time.time()
        session = question.session or secrets.token_urlsafe(12)
        token, expires_at = self._signer.sign(question.title, session, now, self._config.token_ttl_s)
        self._sessions.put(session, Session(question.client_ip, question.title, expires_at))
        candidates = tuple(
            steer.Candidate(
                appliance=item.box.id,
                site=item.box.site,
                tier=item.box.tier.value,
                base_url=(base := f"{item.box.url}/URISigningPackage={token}/"),
                hls=base + title.hls,
                dash=base + title.dash,
                reason=item.reason,
            )
            for item in chosen
        )
        return steer.SteerResponse(session, TTL_S, candidates, token, expires_at)

    def _ranked(self, client_ip: str, title: str) -> list[Considered]:
        snapshot = self.view.snapshot(title, self.content, time.monotonic())
        return rank(ipaddress.ip_address(client_ip), title, snapshot)

    async def _manifest(self, request: web.Request) -> web.Response:
        """The content-steering manifest of a session: HLS (draft-pantos-hls-rfc8216bis 7.2) and DASH-IF CTS."""
        name = request.match_info["session"]
        session = self._sessions.get(name, time.time())
        if session is None:
            raise Refused(Problem.UNKNOWN_SESSION)
        chosen = select_candidates(self._ranked(session.client_ip, session.title), 10)
        document = {
            "VERSION": 1,
            "TTL": TTL_S,
            "RELOAD-URI": f"{self._config.public_url}{request.path}",
            "PATHWAY-PRIORITY": [item.box.id for item in chosen],
        }
        answer = _json(document)
        answer.headers.update({"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"})
        return answer

    async def _heartbeat(self, request: web.Request) -> web.Response:
        raw = await request.read()
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise Refused(Problem.IDENTITY_REFUSED, "an identity token is expected as Bearer")
            issuer = verify_identity(
                token.strip(), self.view.keys, audience=heartbeat.AUDIENCE, now=time.time(), body=raw
            )
            beat = decode(raw, heartbeat.Heartbeat, name="body", limit_bytes=heartbeat.MAX_HEARTBEAT_BYTES)
            if beat.appliance != issuer:
                raise Refused(Problem.IDENTITY_REFUSED, f"{issuer} speaks for {beat.appliance}")
            state = self.view.hear(beat, time.monotonic())
        except (TokenRefused, Replayed) as error:
            self._beats.labels("refused").inc()
            raise Refused(Problem.IDENTITY_REFUSED, str(error)) from None
        except BadDocument as error:
            self._beats.labels("refused").inc()
            raise _bad_field(error.why) from None
        self._beats.labels("taken").inc()
        return _json(heartbeat.HeartbeatReply(state.value, self.content.plan))

    async def _fleet(self, request: web.Request) -> web.Response:
        self._caller(request)
        now = time.monotonic()
        rows = []
        for site in self.view.fleet.sites:
            for box in site.appliances:
                beat, age = self.view.last(box.id), self.view.age_s(box.id, now)
                rows.append(
                    {
                        "id": box.id,
                        "site": site.id,
                        "tier": site.tier.value,
                        "url": box.url,
                        "state": self.view.state(box.id, now).value,
                        "heartbeat_age_s": None if age is None else round(age, 1),
                        "tx_bps": beat.tx_bps if beat else 0,
                        "throughput_bps": box.throughput_bps,
                        "connections": beat.connections if beat else 0,
                        "plan": msgspec.to_builtins(beat.plan) if beat and beat.plan else None,
                        "software": beat.software if beat else None,
                    }
                )
        return _json(
            {
                "appliances": rows,
                "catalog": self.content.catalog,
                "plan": self.content.plan,
                "content_error": self.content_error,
            }
        )

    async def _explain(self, request: web.Request) -> web.Response:
        self._caller(request)
        client_ip, title = request.query.get("client_ip", ""), request.query.get("title", "")
        try:
            ipaddress.ip_address(client_ip)
        except ValueError:
            raise Refused(Problem.BAD_FIELD, f"{client_ip!r} is not an address", field="client_ip") from None
        try:
            parse_title(title)
        except BadKey as error:
            raise Refused(Problem.BAD_FIELD, str(error), field="title") from None
        ranked = self._ranked(client_ip, title)
        chosen = {item.box.id for item in select_candidates(ranked, 3)}
        return _json(
            {
                "client_ip": client_ip,
                "title": title,
                "known_title": title in self.content.titles,
                "considered": [
                    {
                        "appliance": item.box.id,
                        "site": item.box.site,
                        "tier": item.box.tier.value,
                        "state": item.box.state.value,
                        "place": item.place,
                        "answered": item.box.id in chosen,
                        "reason": item.reason,
                    }
                    for item in ranked
                ],
            }
        )

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self.content.catalog is None:
            raise Refused(Problem.UNAVAILABLE, self.content_error, retry_s=2)
        return web.Response(text="ready\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        now = time.monotonic()
        self._states.clear()
        for appliance in self.view.appliances:
            self._states.labels(self.view.state(appliance, now).value).inc()
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _openapi(self, _: web.Request) -> web.Response:
        return _json(openapi())


def openapi() -> dict[str, Any]:
    """The OpenAPI 3.1 document, made from the message types themselves."""
    kinds = (steer.SteerRequest, steer.SteerResponse, heartbeat.Heartbeat, heartbeat.HeartbeatReply, Document)
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")

    def body(name: str) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}

    failed = {
        "description": "a problem (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Document"}}},
    }
    bearer: list[dict[str, list[str]]] = [{"bearer": []}]

    def operation(
        summary: str, answer: dict[str, Any], request: str | None = None, *, key: bool = True
    ) -> dict[str, Any]:
        result: dict[str, Any] = {
            "summary": summary,
            "responses": {"200": {"description": "done", **answer}, "default": failed},
        }
        if request is not None:
            result["requestBody"] = {"required": True, **body(request)}
        return {**result, "security": bearer} if key else result

    session = {"name": "session", "in": "path", "required": True, "schema": {"type": "string"}}
    manifest = {
        "get": operation("content-steering manifest of a session", {}, key=False),
        "parameters": [session],
    }
    query = [
        {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}
        for name in ("client_ip", "title")
    ]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Nearcast steering", "version": "1"},
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "paths": {
            "/v1/steer": {
                "post": operation("candidates for a playback", body("SteerResponse"), "SteerRequest")
            },
            "/v1/steer/{session}/hls": manifest,
            "/v1/steer/{session}/dash": manifest,
            heartbeat.PATH: {"post": operation("an appliance lives", body("HeartbeatReply"), "Heartbeat")},
            "/v1/fleet": {"get": operation("the fleet and its health", {})},
            "/v1/explain": {"get": {**operation("why a client gets its answer", {}), "parameters": query}},
            "/healthz": {"get": operation("the process lives", {}, key=False)},
            "/readyz": {"get": operation("it can answer", {}, key=False)},
            "/metrics": {"get": operation("Prometheus metrics", {}, key=False)},
        },
    }


def _bad_field(why: str) -> Refused:
    """422 with the field that msgspec (``... - at `$.client_ip` ``) or a struct's own check names."""
    field = why.rpartition("`$.")[2].rstrip("`") if "`$." in why else why.partition(":")[0].strip()
    for name in ("client_ip", "title", "session", "country", "count"):
        if f"`{name}`" in why:
            field = name
    return Refused(Problem.BAD_FIELD, why, field=field if field.isidentifier() else None)


def _problem(problem: Problem) -> web.Response:
    return web.Response(status=problem.status, body=render(problem), content_type=MEDIA_TYPE)


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value) + b"\n", content_type="application/json")


def log_start(config: Config, view: FleetView) -> None:
    event(log, "serving", listen=config.listen, appliances=len(view.appliances))
