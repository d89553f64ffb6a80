"""An example playback service: the one program that holds the steering key, so that no browser does.

    POST /api/playback  {"title": ID, "session"?: ID}
        -> {"session", "ttl_s", "expires_at", "candidates": [{"appliance", "site", "tier", "reason",
            "base_url"}], "hls": KEY, "dash": KEY, "steered_hls": URL, "steered_dash": URL}
        A player asks for KEY below the base_url of the first candidate, and of the next when that
        one fails. With its session it may ask again at any time: for new candidates, a new token.
        Or it takes one of the URLs and does nothing: a player that knows content steering moves by itself.
    GET  /api/titles    -> {"titles": [{"title", "name"}]}
    GET  /              -> the player page
    GET  /plain.html    -> hls.js or dash.js as they come, moved by steering

A real one would first ask whether this viewer may watch this title. What is here is the rest of
the job: the viewer's address, the key, and honest errors.

    NEARCAST_STEERING_KEY=... python -m demo.playback --steering http://127.0.0.1:7080 --title tt0001
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from aiohttp import web

from contracts.catalog import Title
from contracts.problem import MEDIA_TYPE, Problem, render
from contracts.steer import Session, SteerRequest, SteerResponse
from daemon import log
from daemon.cli import CommandError, Exit, run

KEY_VARIABLE: Final = "NEARCAST_STEERING_KEY"
_MAX_BODY_BYTES: Final = 1024
_MAX_ANSWER_BYTES: Final = 1 << 20
# Steering answers within 100 ms; a viewer who waits longer than this would rather be told.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5, sock_connect=2)

_PLAYER: Final = Path(__file__).parent / "player"
_JAVASCRIPT: Final = "text/javascript"
_PAGES: Final = {
    "/": ("index.html", "text/html"),
    "/plain.html": ("plain.html", "text/html"),
    "/player.css": ("player.css", "text/css"),
    "/plain.css": ("plain.css", "text/css"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
    "/vendor/hls.mjs": ("node_modules/hls.js/dist/hls.min.mjs", _JAVASCRIPT),
    "/vendor/dash.js": ("node_modules/dashjs/dist/modern/esm/dash.mediaplayer.min.js", _JAVASCRIPT),
    **{f"/{script.name}": (script.name, _JAVASCRIPT) for script in sorted(_PLAYER.glob("*.js"))},
}
_PAGE_HEADERS: Final = {
    # Appliances are anywhere, so media may be fetched from anywhere; code and styles only from here.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self' blob:; connect-src 'self' http: https:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class PlaybackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: Title
    session: Session | None = None


class PlaybackCandidate(msgspec.Struct, frozen=True):
    appliance: str
    site: str
    tier: str
    reason: str
    base_url: str


class PlaybackAnswer(msgspec.Struct, frozen=True):
    session: str
    ttl_s: int
    expires_at: int
    candidates: tuple[PlaybackCandidate, ...]
    hls: str
    dash: str
    steered_hls: str
    steered_dash: str


class ListedTitle(msgspec.Struct, frozen=True):
    title: str
    name: str


class Refused(Exception):
    """Becomes a problem document (RFC 9457) whose detail the page shows to the viewer."""

    def __init__(self, problem: Problem, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.response = web.Response(
            status=problem.status, body=render(problem, detail, field=field), content_type=MEDIA_TYPE
        )


class Steering:
    """Asks steering, and says in a viewer's words what went wrong when it cannot."""

    def __init__(self, url: str, key: str, http: aiohttp.ClientSession) -> None:
        self._url = url.rstrip("/") + "/v1/steer"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._http = http

    async def steer(self, question: SteerRequest) -> SteerResponse:
        body = msgspec.json.encode(question)
        try:
            async with self._http.post(self._url, data=body, headers=self._headers) as answer:
                raw = await answer.content.read(_MAX_ANSWER_BYTES)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Refused(
                Problem.UPSTREAM, "Steering does not answer, so nobody can say where to play from."
            ) from error
        if status == 200:
            try:
                return msgspec.json.decode(raw, type=SteerResponse)
            except msgspec.DecodeError as error:
                raise Refused(Problem.UPSTREAM, "Steering's answer cannot be understood.") from error
        raise self._refusal(status, raw, question.title)

    @staticmethod
    def _refusal(status: int, raw: bytes, title: str) -> Refused:
        """Passes on what is the viewer's business; our own mistakes are a bad gateway to them."""
        if status == 404:
            return Refused(Problem.UNKNOWN_TITLE, f"There is no title {title}.")
        if status == 403:
            return Refused(Problem.NOT_LICENSED, f"{title} may not be shown where you are.")
        if status == 429:
            return Refused(Problem.RATE, "Too many playbacks are being started; try again in a moment.")
        if status == 503:
            return Refused(Problem.UNAVAILABLE, f"No appliance can serve {title} at the moment.")
        why = "the steering key was refused" if status == 401 else f"steering answered {status}"
        log.event(
            _log, "steering refused", logging.ERROR, status=status, answer=raw[:500].decode(errors="replace")
        )
        return Refused(Problem.UPSTREAM, f"The playback service is set up wrongly: {why}.")


class Playback:
    """The routes."""

    def __init__(self, steering: Steering, titles: Sequence[ListedTitle], proxies: Sequence[Network]) -> None:
        self._steering = steering
        self._titles = titles
        self._proxies = proxies

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[_finish])
        app.router.add_post("/api/playback", self._playback)
        app.router.add_get("/api/titles", self._list)
        for path in _PAGES:
            app.router.add_get(path, _page)
        return app

    async def _playback(self, request: web.Request) -> web.Response:
        # A form on another site can post, but not with this type: nobody else's page starts playbacks.
        if request.content_type != "application/json":
            raise Refused(Problem.BAD_REQUEST, "Content-Type: application/json is expected.")
        try:
            wanted = msgspec.json.decode(await request.read(), type=PlaybackRequest)
        except msgspec.DecodeError as error:
            raise Refused(Problem.BAD_FIELD, str(error)) from None
        viewer = client_address(request.remote or "", request.headers.get("X-Forwarded-For"), self._proxies)
        answer = await self._steering.steer(
            SteerRequest(client_ip=viewer, title=wanted.title, session=wanted.session)
        )
        return _json(for_the_player(answer))

    async def _list(self, _: web.Request) -> web.Response:
        return _json({"titles": self._titles})


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(peer: str, forwarded_for: str | None, proxies: Sequence[Network]) -> str:
    """The viewer's address: the peer's, or what a proxy of ours says about it.

    X-Forwarded-For is believed from the right, and only as far as each hop is one of ``proxies``:
    everything left of that was written by the viewer, who could claim to be in any network.
    """
    hops = [hop.strip() for hop in (forwarded_for or "").split(",") if hop.strip()]
    address = ipaddress.ip_address(peer)
    while hops and any(address in network for network in proxies):
        try:
            address = ipaddress.ip_address(hops.pop())
        except ValueError:
            raise Refused(Problem.BAD_REQUEST, "X-Forwarded-For holds no address.") from None
    mapped = getattr(address, "ipv4_mapped", None)  # of a dual-stack listener
    return str(mapped or address)


def for_the_player(answer: SteerResponse) -> PlaybackAnswer:
    """Steering's answer without what only we need; manifests as keys, for they are the same everywhere."""
    if not answer.candidates:
        raise Refused(Problem.UNAVAILABLE, "No appliance can serve this title at the moment.")
    first = answer.candidates[0]
    return PlaybackAnswer(
        session=answer.session,
        ttl_s=answer.ttl_s,
        expires_at=answer.expires_at,
        candidates=tuple(
            PlaybackCandidate(item.appliance, item.site, item.tier, item.reason, item.base_url)
            for item in answer.candidates
        ),
        hls=first.hls.removeprefix(first.base_url),
        dash=first.dash.removeprefix(first.base_url),
        steered_hls=answer.hls,
        steered_dash=answer.dash,
    )


async def _page(request: web.Request) -> web.Response:
    name, media_type = _PAGES[request.path]
    # Read anew each time: files of a demo, asked for once per viewer, and edited while it runs.
    body = await asyncio.to_thread((_PLAYER / name).read_bytes)
    return web.Response(body=body, content_type=media_type, charset="utf-8", headers=_PAGE_HEADERS)


@web.middleware
async def _finish(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Renders what went wrong, in the one place for it, and sets what every answer must have."""
    try:
        response = await handler(request)
    except Refused as refused:
        response = refused.response
    except web.HTTPRequestEntityTooLarge:
        response = Refused(Problem.TOO_LARGE, f"At most {_MAX_BODY_BYTES} bytes are read.").response
    except web.HTTPNotFound:
        response = Refused(Problem.NOT_FOUND, f"There is nothing at {request.path}.").response
    except web.HTTPMethodNotAllowed as error:
        response = Refused(Problem.METHOD, f"Allowed: {', '.join(sorted(error.allowed_methods))}.").response
        response.headers["Allow"] = error.headers["Allow"]
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


_log = logging.getLogger("demo.playback")


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="demo.playback",
        description="An example playback service with a player page.",
        epilog=f"The steering key comes from --key-file or the environment variable {KEY_VARIABLE}.",
    )
    result.add_argument(
        "--listen", default="127.0.0.1:7090", metavar="ADDRESS:PORT", help="default: %(default)s"
    )
    result.add_argument("--steering", required=True, metavar="URL", help="such as http://127.0.0.1:7080")
    result.add_argument("--key-file", type=Path, metavar="FILE", help="holds the steering key")
    result.add_argument(
        "--title",
        action="append",
        default=[],
        metavar="ID[=NAME]",
        dest="titles",
        help="offer this title; repeatable",
    )
    result.add_argument(
        "--trust-proxy",
        action="append",
        default=[],
        type=ipaddress.ip_network,
        metavar="NETWORK",
        help="believe X-Forwarded-For from here; repeatable",
    )
    result.set_defaults(command=_serve)
    return result


def _serve(arguments: argparse.Namespace) -> int:
    log.setup("playback")
    key = _steering_key(arguments.key_file)
    titles = [
        ListedTitle(title, name or title) for title, _, name in (t.partition("=") for t in arguments.titles)
    ]
    host, _, port = arguments.listen.rpartition(":")
    if not host or not port.isdigit():
        raise CommandError(f"--listen {arguments.listen}: ADDRESS:PORT is expected", Exit.USAGE)

    async def application() -> web.Application:
        http = aiohttp.ClientSession(timeout=_TIMEOUT)
        app = Playback(Steering(arguments.steering, key, http), titles, arguments.trust_proxy).application()
        app.on_cleanup.append(lambda _: http.close())
        return app

    try:
        web.run_app(application(), host=host.strip("[]"), port=int(port), print=None, access_log=None)
    except OSError as error:
        raise CommandError(f"cannot listen on {arguments.listen}: {error.strerror}") from None
    return Exit.DONE


def _steering_key(file: Path | None) -> str:
    try:
        key = file.read_text().strip() if file is not None else os.environ.get(KEY_VARIABLE, "").strip()
    except OSError as error:
        raise CommandError(f"--key-file {file}: {error.strerror}", Exit.USAGE) from None
    if not key:
        raise CommandError(f"no steering key: name a --key-file or set {KEY_VARIABLE}", Exit.USAGE)
    return key


if __name__ == "__main__":
    sys.exit(run("demo.playback", parser()))
