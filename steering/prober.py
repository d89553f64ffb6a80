"""Asks appliances whose heartbeat is late whether their data port answers, and logs what becomes of all."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Final

from daemon.log import event
from steering.fleet import FleetView
from steering.health import State

log = logging.getLogger("steering")

CONCURRENT: Final = 64
"""Probes at a time; whoever does not fit is asked next time, or is suspect by silence alone."""
TIMEOUT_S: Final = 1.0
_LOOK_S: Final = 0.25
_JOINING_S: Final = 10.0
"""After a start without memory, for how long those who were never heard are asked too."""
_JOINING_AGAIN_S: Final = 2.0
_ASKED: Final = b"HEAD / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"

Resolve = Callable[[str, int], Awaitable[str]]


class Prober:
    """``resolve`` gives an address of a name, in a thread that nobody waits for at the end."""

    def __init__(self, view: FleetView, resolve: Resolve) -> None:
        self._view = view
        self._resolve = resolve
        self._under_way: set[asyncio.Task[None]] = set()
        self._isolated = False

    async def run(self) -> None:
        """Until cancelled."""
        began = time.monotonic()
        joining_at = began
        while True:
            now = time.monotonic()
            self._view.sweep(now)
            for name in self._view.health.due(now, CONCURRENT - len(self._under_way)):
                self._begin(name, now)
            if now - began < _JOINING_S and now >= joining_at:
                joining_at = now + _JOINING_AGAIN_S
                for name in self._joining():
                    self._begin(name, now)
            self._tell()
            await asyncio.sleep(_LOOK_S)

    def _joining(self) -> list[str]:
        """Those nobody heard yet, as many as may be asked: nobody else may be there to answer with."""
        of = self._view.health.of
        names = [name for name in self._view.roster.appliances if of(name).state is State.JOINING]
        return names[: max(0, CONCURRENT - len(self._under_way))]

    def _begin(self, name: str, now: float) -> None:
        if name in self._view.roster.appliances:
            task = asyncio.create_task(self._probe(name, self._view.roster.appliances[name].url, now))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _probe(self, name: str, url: str, asked_at: float) -> None:
        try:
            answered = await answers(url, self._resolve)
        except Busy:
            return  # not asked: that says nothing of it
        self._view.probed(name, answered=answered, asked_at=asked_at, now=time.monotonic())

    def _tell(self) -> None:
        changes, self._view.changes = self._view.changes, []
        for name, state, reason in changes[:100]:
            level = logging.WARNING if state in {State.SUSPECT, State.DOWN} else logging.INFO
            event(log, "appliance's state", level, appliance=name, state=state.value, why=reason)
        if len(changes) > 100:
            event(log, "more appliances' states", logging.WARNING, changed=len(changes) - 100)
        isolated = self._view.health.isolated_since is not None
        if isolated != self._isolated:
            self._isolated = isolated
            what = (
                "no appliance is heard: answering from what was known"
                if isolated
                else "appliances are heard again"
            )
            event(log, what, logging.ERROR if isolated else logging.INFO)


async def answers(url: str, resolve: Resolve) -> bool:
    """Whether an HTTP server answers at ``url`` with anything at all, in time. Raises `Busy`."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    context = _unverified() if parts.scheme == "https" else None
    writer = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            host = parts.hostname or ""
            address = host if _is_address(host) else await resolve(host, port)
            reader, writer = await asyncio.open_connection(address, port, ssl=context)
            writer.write(_ASKED)
            return (await reader.readexactly(5)) == b"HTTP/"
    except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.transport.abort()


class Busy(Exception):
    """As many names are being looked up already as may be."""


_looking = threading.BoundedSemaphore(CONCURRENT)
"""One that is given up goes on in its thread: a resolver that is silent would gather them by the hundred."""


def look_up(host: str, port: int) -> str:
    """An address of ``host``; raises OSError, `Busy`. May take long: the resolver's own time-outs."""
    if not _looking.acquire(blocking=False):
        raise Busy(f"{CONCURRENT} names are being looked up already")
    try:
        return str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    finally:
        _looking.release()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _unverified() -> ssl.SSLContext:
    """Only whether somebody is there is asked; who it is the players check."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
