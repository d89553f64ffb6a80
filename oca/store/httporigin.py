"""Whom to ask for what an HTTP origin has: the parents first, then the origin, each behind its breaker."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from daemon.log import event
from oca.config import Config
from oca.httpcache.fields import Fields, first, values
from oca.httpcache.forward import upstream_fields
from oca.httpcache.messages import Ask
from oca.identity import Identity
from oca.store.breaker import Breaker
from oca.store.httpclient import HttpClient, Interim, Response, Server
from oca.store.upstream import Fault, UpstreamError

log = logging.getLogger("oca.store.httporigin")

_JITTER_S: Final = 0.05
_TOKEN_S: Final = 30.0
ERRORS: Final = frozenset({500, 502, 503, 504})
"""Of RFC 5861 section 4: the answer is the server's failure."""

_OF_THE_SERVER: Final = frozenset({Fault.UNREACHABLE, Fault.SLOW})
"""What speaks against asking it for anything else. An application that dies of one request lives for the next."""


@dataclass(frozen=True)
class Tally:
    """The storekeeper's books on upstreams, shared with those of slices: one page for the operator."""

    breakers: dict[str, Breaker]
    bytes_from: dict[str, int]
    faults: dict[tuple[str, Fault], int]

    def open(self, name: str) -> None:
        self.breakers.setdefault(name, Breaker())
        self.bytes_from.setdefault(name, 0)

    def fault(self, name: str, fault: Fault) -> None:
        self.faults[name, fault] = self.faults.get((name, fault), 0) + 1


class HttpUpstreams:
    def __init__(
        self,
        config: Config,
        identity: Identity,
        client: HttpClient,
        tally: Tally,
        now: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._appliance = config.appliance
        self._identity = identity
        self._client = client
        self._tally = tally
        self._now = now
        self._chance = chance
        self._origins = [Server(origin.name, origin.url) for origin in config.http_origins]
        self._hosts = [
            origin.host or server.authority
            for origin, server in zip(config.http_origins, self._origins, strict=True)
        ]
        self._parents = [Server(parent.id, parent.url) for parent in config.parents]
        self._tokens: dict[str, tuple[str, float]] = {}
        for server in (*self._origins, *self._parents):
            tally.open(server.name)

    def authorities(self, origin: int, request: Fields) -> frozenset[str]:
        """Hosts under which the same resources are known: ours, as the client says, and the origin's."""
        ours = first(request, "host")
        return frozenset(
            name.lower() for name in (self._origins[origin].authority, self._hosts[origin], ours) if name
        )

    async def ask(
        self,
        ask: Ask,
        fields: Fields,
        *,
        whole: bool,
        body: AsyncIterator[bytes] | None = None,
        interim: Interim | None = None,
    ) -> tuple[Response, str]:
        """The answer and who gave it; raises `UpstreamError` when nobody did, and `Loop`.

        ``fields`` are the request's, with our own conditions; ``whole`` is told to `upstream_fields`.
        """
        origin, host = self._origins[ask.origin], self._hosts[ask.origin]
        servers = [origin]
        # An unsafe request is for the origin alone; and one header cannot hold two authorisations.
        if ask.method in {"GET", "HEAD"} and first(ask.fields, "authorization") is None:
            servers = [*self._parents, origin]
        failure = UpstreamError(Fault.UNREACHABLE, f"{origin.name} keeps failing, and is left alone for now")
        for server in servers:
            breaker = self._tally.breakers[server.name]
            if not breaker.admits(self._now()):
                continue
            parent = server is not origin
            sent = upstream_fields(
                fields,
                self._appliance,
                ask.address,
                server.authority if parent else host,
                whole=whole,
                secure=ask.secure,
            )
            if parent:
                sent = (*sent, ("Authorization", f"Bearer {self._token(server.name)}"))
            try:
                response = await self._client.request(
                    server, ask.method, ask.key, sent, body, ask.body_bytes, interim
                )
            except UpstreamError as error:
                if error.fault in _OF_THE_SERVER:
                    breaker.failed(self._now())
                else:
                    breaker.withdrew()
                failure = self._note(server, ask, error)
            except BaseException:
                breaker.withdrew()
                raise
            else:
                if not parent or values(response.fields, "via"):
                    breaker.succeeded()
                    return response, server.name
                # The parent speaks for itself: it refused us, knows no such origin, or cannot reach it.
                response.close()
                if response.status in ERRORS:
                    breaker.failed(self._now())
                else:
                    breaker.succeeded()
                failure = self._note(
                    server, ask, UpstreamError(Fault.STATUS, f"{server.name} answered {response.status}")
                )
            if body is not None:
                break  # some of it is gone: it cannot be sent to another
            await asyncio.sleep(self._chance.uniform(0, _JITTER_S) if parent else 0)
        raise failure

    def received(self, name: str, count: int) -> None:
        self._tally.bytes_from[name] += count

    def broke_off(self, name: str, error: UpstreamError) -> None:
        """An answer that had begun well ended badly."""
        self._tally.fault(name, error.fault)

    def _note(self, server: Server, ask: Ask, error: UpstreamError) -> UpstreamError:
        self._tally.fault(server.name, error.fault)
        event(
            log, "upstream failed", logging.WARNING, upstream=server.name,
            key=ask.key.partition("?")[0], why=str(error),
        )  # fmt: skip
        return error

    def _token(self, name: str) -> str:
        token, until = self._tokens.get(name, ("", 0.0))
        now = time.time()
        if now >= until:
            token = self._identity.token(name, now)
            self._tokens[name] = token, now + _TOKEN_S
        return token
