"""Tells steering every two seconds that this appliance lives, what it carries and what it holds."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import aiohttp
import msgspec

from contracts.documents import BadDocument, decode, encode
from contracts.heartbeat import (
    MAX_REPLY_BYTES,
    PATH,
    DiskReport,
    Heartbeat,
    HeartbeatReply,
    PlanProgress,
    Revocations,
)
from contracts.objectkey import title_of
from daemon.log import event
from daemon.unreachable import why_unreachable
from oca.config import Steering
from oca.identity import Identity
from oca.routejournal import RouteJournals
from oca.status import Status, SteeringStatus
from oca.steeringtls import trust_where_needed
from oca.store.index import Index
from oca.trustedkeys import TrustedKeys
from oca.vouching import Vouching

log = logging.getLogger("oca.heartbeat")

_MAX_MISSING_TITLES: Final = 20_000
_MAX_PARTS: Final = 20
"""Of routes, sent to one steering without waiting for the next beat: 100,000 prefixes."""
_NOT_BELIEVED: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
"""How steering refuses a session; one that knows none of them reads a malformed token."""


class Heart:
    """One beat goes to every configured steering URL; each may be away without harm to the others."""

    def __init__(
        self,
        config: Steering,
        identity: Identity,
        http: aiohttp.ClientSession,
        status: Callable[[], Status],
        index: Index,
        on_revoked: Callable[[frozenset[str]], None],
    ) -> None:
        self._config = config
        self._vouching = {url: Vouching(identity, random.random) for url in config.urls}
        self._http = http
        self._status = status
        self._index = index
        self._on_revoked = on_revoked
        self._revocations: dict[str, Revocations] = {}
        self._boot = secrets.token_hex(8)
        self._sequence = 0
        self._heard: dict[str, float] = {}
        self._states: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self.routes = RouteJournals(lambda: secrets.randbits(48) + 1)
        self.newest_plan: str | None = None
        """The newest plan version that steering knows of."""
        self._keys: TrustedKeys | None = None
        self._on_keys: Callable[[bytes | None], None] = lambda _: None
        self._tls = trust_where_needed(config)

    def follow(self, keys: TrustedKeys, on_keys: Callable[[bytes | None], None]) -> None:
        """From now on key sets that steering answers with go to ``keys``, and what is in force to ``on_keys``."""
        self._keys, self._on_keys = keys, on_keys
        on_keys(keys.jwks)

    async def run(self) -> None:
        """Beats until cancelled."""
        while True:
            started = time.monotonic()
            await self.beat()
            elapsed = time.monotonic() - started
            await asyncio.sleep(max(0.1, self._config.heartbeat_interval_s - elapsed))

    async def beat(self) -> None:
        """One heartbeat to every steering URL, at the same time."""
        self._sequence += 1
        message = self._message()
        await asyncio.gather(*(self._send(url, message) for url in self._config.urls))

    def steering(self) -> tuple[SteeringStatus, ...]:
        now = time.monotonic()
        return tuple(
            SteeringStatus(
                url,
                self._states.get(url, ""),
                self._errors.get(url, ""),
                round(now - self._heard[url], 1) if url in self._heard else None,
            )
            for url in self._config.urls
        )

    async def _send(self, url: str, message: Heartbeat) -> None:
        for _ in range(_MAX_PARTS):
            if not await self._told(url, message):
                return
            self._sequence += 1
            message = msgspec.structs.replace(message, sequence=self._sequence)

    async def _told(self, url: str, message: Heartbeat) -> bool:
        """One message and its answer; whether there are more routes to tell at once."""
        try:
            reply = await self._posted(url, message)
            if reply is None:  # the session was not believed: the same once more, signed
                reply = await self._posted(url, message)
        except TimeoutError:
            self._failed(url, "did not answer in time")
        except (aiohttp.ClientError, OSError, BadDocument) as error:
            self._failed(url, why_unreachable(error))
        else:
            if reply is not None:
                self._answered(url, reply)
                return self.routes.answered(url, reply.routes)
        return False

    async def _posted(self, url: str, message: Heartbeat) -> HeartbeatReply | None:
        """The answer, None when it is that the session which vouched for the message is worth nothing."""
        vouching, known = self._vouching[url], self._revocations.get(url)
        hello = vouching.hello(time.monotonic())
        body = encode(
            msgspec.structs.replace(
                message,
                revocations=known.version if known else "",
                routes=self.routes.part(url),
                hello=hello,
            )
        )
        token, session = vouching.credentials(hello, body, time.time())
        async with self._http.post(
            url + PATH,
            data=body,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=max(1.0, self._config.heartbeat_interval_s)),
            allow_redirects=False,
            ssl=self._tls,
        ) as answer:
            raw = await answer.content.read(MAX_REPLY_BYTES + 1)
            if session is not None and answer.status in _NOT_BELIEVED:
                vouching.refused(session, time.monotonic())
                return None
            if answer.status != HTTPStatus.OK:
                raise BadDocument(url, f"answered {answer.status}: {_detail(raw)}")
        reply = decode(raw, HeartbeatReply, name=url, limit_bytes=MAX_REPLY_BYTES)
        vouching.accepted(hello, reply.session, time.monotonic())
        return reply

    def _answered(self, url: str, reply: HeartbeatReply) -> None:
        if self._errors.pop(url, None) is not None or reply.state != self._states.get(url):
            event(log, "steering answers", url=url, state=reply.state)
        self._heard[url] = time.monotonic()
        self._states[url] = reply.state
        self.newest_plan = reply.plan
        if reply.revocations is not None:
            self._revoked(url, reply.revocations)
        if reply.keys is not None and self._keys is not None and self._keys.offered(reply.keys, url):
            self._on_keys(self._keys.jwks)

    def _revoked(self, url: str, list_: Revocations) -> None:
        """Each steering revokes what it has signed; what one of them revoked is revoked."""
        self._revocations[url] = list_
        event(log, "revocations", url=url, version=list_.version, sessions=len(list_.sessions))
        self._on_revoked(frozenset().union(*(item.sessions for item in self._revocations.values())))

    def _failed(self, url: str, why: str) -> None:
        if self._errors.get(url) != why:
            event(log, "heartbeat failed", logging.WARNING, url=url, why=why)
        self._errors[url] = why

    def _message(self) -> Heartbeat:
        status = self._status()
        return Heartbeat(
            appliance=status.id,
            boot=self._boot,
            sequence=self._sequence,
            software=status.version,
            draining=status.state == "draining",
            connections=status.connections,
            tx_bps=status.tx_bps,
            requests=status.requests,
            disks=tuple(
                DiskReport(disk.path, disk.capacity_bytes, disk.used_bytes, disk.state)
                for disk in status.disks
            ),
            plan=self._progress(status),
            players=status.players,
            keys=None if self._keys is None else self._keys.version,
        )

    def _progress(self, status: Status) -> PlanProgress | None:
        if status.plan is None:
            return None
        missing = sorted({title_of(key) for key in self._index.missing()})
        return PlanProgress(
            status.plan.version,
            status.plan.bytes,
            status.plan.held_bytes,
            tuple(missing[:_MAX_MISSING_TITLES]),
        )


def _detail(raw: bytes) -> str:
    """What a problem document says, or the start of whatever else was sent."""
    try:
        document = msgspec.json.decode(raw)
        return str(document.get("detail") or document.get("title"))
    except (msgspec.DecodeError, AttributeError):
        return repr(raw[:80])
