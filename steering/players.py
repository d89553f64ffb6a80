"""What players themselves ask: manifests that hold every pathway of their session, and the order of these.

The order is that of content steering: draft-pantos-hls-rfc8216bis section 7, ETSI TS 103 998. Players in browsers,
on any page of any playback service, read all of it, refusals too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

from aiohttp import web

from contracts.documents import BadDocument
from contracts.problem import Problem
from contracts.token import KeyRing, TokenRefused, verify_viewer
from daemon.s3 import S3Error
from steering.answering import Answering
from steering.config import Config
from steering.holdings import Title
from steering.manifests import Busy, Manifests
from steering.pathways import BadManifest, Pathway, clones, steered_description, steered_playlist
from steering.rendering import as_json, refusal
from steering.report import SteeringManifest
from steering.request import Refused
from steering.sessions import Session

_names = re.compile(r"[a-z][a-z0-9-]{0,62}(,[a-z][a-z0-9-]{0,62}){0,9}\Z").match
_HEADERS: Final = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"}

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class Players:
    """``keys`` are those that steering itself signs with; ``is_revoked`` is asked of a session."""

    def __init__(
        self,
        config: Config,
        answering: Answering,
        manifests: Manifests,
        keys: KeyRing,
        is_revoked: Callable[[str], bool],
    ) -> None:
        self._config = config
        self._answering = answering
        self._manifests = manifests
        self._is_revoked = is_revoked
        self.keys = keys

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/steer/{session}/hls", _for_players(self._order)),
            web.get("/v1/steer/{session}/dash", _for_players(self._order)),
            web.get("/URISigningPackage={token}/{key:.+}", _for_players(self._manifest)),
        ]

    async def _order(self, request: web.Request) -> web.Response:
        """A session stays with its appliance however full that is: all viewers of a full one would leave it
        at once, and come back with the next order.
        """
        name = request.match_info["session"]
        wanted = self._pathways(name, self._session(name))
        # What the player's manifest has, as its server URL says: nothing needs to be remembered.
        asked = request.query.get("pathways", "")
        known = asked.split(",") if _names(asked) else []
        urls = {box: appliance.url for box, appliance in self._answering.view.roster.appliances.items()}
        uri = f"{self._config.public_url}{request.path}" + (f"?pathways={asked}" if known else "")
        return as_json(
            SteeringManifest(
                1,
                self._config.manifest_ttl_s,
                uri,
                tuple(wanted),
                clones(known, urls, wanted) if known else (),
            )
        )

    async def _manifest(self, request: web.Request) -> web.Response:
        token, key = request.match_info["token"], request.match_info["key"]
        try:
            grant = verify_viewer(token, self.keys, time.time())
        except TokenRefused as error:
            raise Refused(Problem.TOKEN_REFUSED, str(error)) from None
        content = self._answering.view.content
        title = content.titles.get(grant.title)
        if title is None or key not in {title.hls, title.dash}:
            raise Refused(Problem.NOT_FOUND)
        if self._is_revoked(grant.session):
            raise Refused(Problem.TOKEN_REFUSED, "the session was revoked")
        names = self._pathways(grant.session, self._session(grant.session))
        appliances = self._answering.view.roster.appliances
        pathways = [Pathway(name, f"{appliances[name].url}/URISigningPackage={token}/") for name in names]
        try:
            published = await self._manifests.get(key, content.entries[grant.title])
        except (Busy, BadDocument, S3Error) as error:
            # Which bucket, and why, is for the log: anybody who plays reads this.
            raise Refused(
                Problem.UNAVAILABLE, "the manifest cannot be read now; a candidate's own can", retry_s=2
            ) from error
        return self._steered(title, key, published, pathways, grant.session)

    def _steered(
        self, title: Title, key: str, published: bytes, pathways: list[Pathway], session: str
    ) -> web.Response:
        form = "hls" if key == title.hls else "dash"
        known = ",".join(pathway.id for pathway in pathways)
        server = f"{self._config.public_url}/v1/steer/{quote(session, safe='')}/{form}?pathways={known}"
        try:
            if form == "hls":
                text = steered_playlist(published.decode(errors="replace"), key, pathways, server)
                return web.Response(text=text, content_type="application/vnd.apple.mpegurl")
            body = steered_description(published, key, pathways, server)
            return web.Response(body=body, content_type="application/dash+xml")
        except BadManifest as error:
            raise Refused(Problem.UPSTREAM, str(error)) from None

    def _session(self, name: str) -> Session:
        session = self._answering.sessions.get(name, time.time())
        if session is None:
            raise Refused(Problem.UNKNOWN_SESSION)
        return session

    def _pathways(self, name: str, session: Session) -> list[str]:
        """An empty list is no order: a player that gets an error stays where it is and asks again."""
        found = self._answering.pathways(name, session, time.monotonic())
        if not found:
            raise self._answering.nobody()
        return found


def _for_players(handler: _Handler) -> _Handler:
    async def answered(request: web.Request) -> web.Response:
        try:
            answer = await handler(request)
        except Refused as refused:
            answer = refusal(refused)
        answer.headers.update(_HEADERS)
        return answer

    return answered
