"""The worker process: accepts connections and owns what they share."""

from __future__ import annotations

import asyncio
import email.utils
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from contracts.token import KeyRing
from daemon.config import ConfigError
from daemon.log import event
from oca import ipc
from oca.config import Config
from oca.edge import tls
from oca.edge.accesslog import AccessLog
from oca.edge.answer import partial, whole
from oca.edge.authorise import Authoriser
from oca.edge.connection import Connection
from oca.edge.files import Files, OpenFile
from oca.edge.ledger import Ledger
from oca.edge.networks import Networks
from oca.edge.repeat import Recalled, Repeats, cut
from oca.edge.storelink import StoreLink
from oca.edge.wire import PlainWire, Wire

log = logging.getLogger("oca.edge")

_ACCEPTS_A_TURN: Final = 64
_WARMING_THREADS: Final = 16
_GRACE_S: Final = 2.0
"""A request may be on its way to an idle connection: who sends one within this is answered, not cut."""
_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # Linux
_OVERLOAD: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""accept(2) fails for want of something that closing connections gives back: wait a little."""


class Worker:
    """What the connections of one process share. ``now`` is monotonic, ``clock`` is the time of day."""

    def __init__(self, number: int, config: Config, listening: Sequence[socket.socket]) -> None:
        self.number = number
        self.limits = config.limits
        self.wait_timeout_s = config.pull.wait_timeout_s
        self.hit = b"Cache-Status: %b; hit\r\n" % config.appliance.encode()
        self.miss = b"Cache-Status: %b; fwd=miss; stored\r\n" % config.appliance.encode()
        self.repeats = Repeats()
        self.loop = asyncio.get_running_loop()
        self.log = AccessLog(config.access_log, config.appliance) if config.access_log else None
        self.ledger = Ledger(self.log)
        self.counters = self.ledger.counters
        self.draining = False
        self.files = Files([disk.path for disk in config.disks], self._fault)
        self.store = StoreLink(Path(config.run_dir) / ipc.SOCKET_NAME, self.files, self._drain, self._revoke)
        self.authoriser = Authoriser(
            config.appliance,
            _keys(config.auth.keys_file),
            _keys(config.auth.peers_file),
            required=config.auth.required,
        )
        self.networks = Networks(config.limits, config.worker_count)
        self.pacing = config.pacing
        self._congestion_control = config.congestion_control
        self._drain_timeout_s = config.drain_timeout_s
        self._listening = listening
        self._tls = tls.Acceptor(config.tls) if config.tls is not None else None
        self._share = max(1, config.limits.connections // config.worker_count)
        self._connections: set[Connection] = set()
        self._threads = ThreadPoolExecutor(_WARMING_THREADS, thread_name_prefix="warm")
        self._origins = frozenset(config.cors_origins)
        self._tick()

    async def run(self, ready: int) -> None:
        """Serves until SIGTERM, then finishes what is in flight."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, stop.set)
        self.loop.set_exception_handler(_unexpected)
        link = asyncio.create_task(self.store.run())
        for sock in self._listening:
            sock.setblocking(False)
            self._listen(sock)
        self.ledger.watch(self.loop)
        os.write(ready, b"r")
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), 1)
            except TimeoutError:
                self._tick()
                self._report()
        for sock in self._listening:
            self.loop.remove_reader(sock.fileno())
        await self._leave()
        self._report()
        if self.log is not None:
            self.log.close()
        link.cancel()

    async def _leave(self) -> None:
        """Answers what is in flight and whoever asks in the next moment, then closes what is idle."""
        self.draining = True
        began = time.monotonic()
        while self._connections and time.monotonic() < began + self._drain_timeout_s:
            await asyncio.sleep(0.05)
            self._tick()
            if time.monotonic() > began + _GRACE_S:
                self._close_idle()
        for connection in tuple(self._connections):
            connection.close()

    def _listen(self, listening: socket.socket) -> None:
        # Inherited by every connection that is accepted.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._congestion_control is not None:
            _choose_congestion_control(listening, self._congestion_control)
        if self.limits.unsent_bytes:
            listening.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, self.limits.unsent_bytes)
        # The second one, where there is one, speaks TLS.
        acceptor = self._tls if listening is not self._listening[0] else None
        self.loop.add_reader(listening.fileno(), self._accept, listening, acceptor)

    def _accept(self, listening: socket.socket, acceptor: tls.Acceptor | None) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, peer = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OVERLOAD:
                    event(log, "cannot accept", logging.ERROR, why=error.strerror)
                    self.loop.remove_reader(listening.fileno())
                    self.loop.call_later(0.1, self._listen, listening)
                    return
                continue  # the client was gone before we came (ECONNABORTED and its kin)
            network = self.networks.enter(peer[0]) if len(self._connections) < self._share else None
            if network is None:
                self.counters.refused += 1
                sock.close()
                continue
            sock.setblocking(False)
            self.counters.accepted += 1
            if acceptor is None:
                wire: Wire = PlainWire(self.loop, sock)
            else:
                wire = acceptor.accept(self.loop, sock)
            self._connections.add(Connection(self, wire, peer[0], network))

    def closed(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self.networks.leave(connection.network)

    def recall(self, data: bytes, range_at: int) -> Recalled | None:
        """The answer to a request that differs from one before in its range alone, from a whole object."""
        shape, start, end, range_at = cut(data, range_at)
        repeat = self.repeats.get(shape, end)
        if repeat is None or self.clock >= repeat.expires_at:
            return None
        file = self.files.open_complete(repeat.key)
        if file is None:
            return None
        what = file.representation
        if end < 0:
            end, status, head = what.size, 200, whole(what)
        else:
            end = min(end, what.size)
            if start >= end:
                return None
            status, head = 206, partial(what, start, end)
        head = b"".join((head, self.hit, repeat.fields, self.tail))
        return Recalled(repeat.request, status, head, (start, end), file, range_at, repeat.session)

    def cors(self, headers: Mapping[bytes, str]) -> bytes:
        """The CORS fields for whoever asks (Fetch standard); nothing for origins that are not configured."""
        if not self._origins:
            return b""
        exposed = (
            b"Access-Control-Expose-Headers: Cache-Status, Content-Range, Content-Length, Date, ETag\r\n"
        )
        if "*" in self._origins:
            return b"Access-Control-Allow-Origin: *\r\nTiming-Allow-Origin: *\r\n" + exposed
        origin = headers.get(b"origin")
        if origin not in self._origins:
            return b"Vary: Origin\r\n"
        assert origin is not None
        text = origin.encode("latin-1")
        return (
            b"Vary: Origin\r\nAccess-Control-Allow-Origin: %b\r\nTiming-Allow-Origin: %b\r\n" % (text, text)
            + exposed
        )

    def warm(
        self,
        read: Callable[[int, int, int], None],
        file: OpenFile,
        start: int,
        end: int,
        done: Callable[[int, OSError | None], None],
    ) -> None:
        """Has a thread read a span, then calls ``done`` here. Holds the file open meanwhile."""

        def work() -> None:
            fault: OSError | None = None
            try:
                read(file.fd, start, end)
            except OSError as error:
                fault = error
            self.loop.call_soon_threadsafe(done, end, fault)

        self._threads.submit(work)

    def _tick(self) -> None:
        self.now = self.loop.time()
        self.clock = time.time()
        date = email.utils.formatdate(self.clock, usegmt=True).encode()
        self.tail = b"Date: %b\r\nConnection: keep-alive\r\n\r\n" % date
        self.last_tail = b"Date: %b\r\nConnection: close\r\n\r\n" % date
        self.networks.second()
        if self.log is not None:
            self.log.tick(self.clock)
        for connection in [item for item in getattr(self, "_connections", ()) if item.deadline < self.now]:
            connection.expire()

    def _report(self) -> None:
        if self.store.up:
            self.store.send(self.ledger.take(self.number, len(self._connections)))
        else:
            self.ledger.hold()

    def _drain(self, on: bool) -> None:
        """From now on each answer is the last of its connection, and who is new is sent elsewhere."""
        self.draining = on
        if on:
            self.loop.call_later(_GRACE_S, self._close_idle)

    def _revoke(self, sessions: frozenset[str]) -> None:
        if self.authoriser.revoke(sessions):
            self.repeats.clear()

    def _close_idle(self) -> None:
        for connection in tuple(self._connections) if self.draining else ():
            if connection.idle:
                connection.close()

    def _fault(self, key: str, disk: str, number: int) -> None:
        self.store.send(ipc.Fault(key, disk, number))


def _choose_congestion_control(sock: socket.socket, name: str) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except OSError as error:
        have = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().strip()
        raise ConfigError(f"congestion_control: {name}: {error.strerror}: the kernel has {have}") from None


def _unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody caught: logged once, and the worker serves on."""
    fault = context.get("exception")
    if isinstance(fault, OSError) or ("transport" in context and not isinstance(fault, Exception)):
        # A client's broken handshake or connection. aiofastnet may give an error that cannot be printed.
        event(log, "connection failed", logging.DEBUG, why=context.get("message"))
        return
    log.error("unexpected: %s", context.get("message"), exc_info=fault)


def _keys(path: str | None) -> KeyRing:
    """The public keys in a JWK Set; raises `ConfigError`."""
    if path is None:
        return KeyRing({})
    try:
        return KeyRing.from_jwks(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


async def run(number: int, config: Config, listening: Sequence[socket.socket], ready: int) -> None:
    await Worker(number, config, listening).run(ready)
