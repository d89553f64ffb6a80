"""The door of a worker process: accepts connections until it is told to stop, then sees the last ones out."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from daemon.config import ConfigError
from daemon.log import event
from oca.config import Config
from oca.edge import tls
from oca.edge.connection import Connection
from oca.edge.wire import PlainWire, Wire
from oca.edge.worker import GRACE_S, Worker

log = logging.getLogger("oca.edge")

_ACCEPTS_A_TURN: Final = 64
_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # Linux
_OVERLOAD: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""accept(2) fails for want of something that closing connections gives back: wait a little."""


async def run(number: int, config: Config, listening: Sequence[socket.socket], ready: int) -> None:
    """Serves until SIGTERM, then finishes what is in flight; writes a byte to ``ready`` once it serves."""
    worker = Worker(number, config)
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        worker.loop.add_signal_handler(signum, stop.set)
    worker.loop.set_exception_handler(_unexpected)
    link = asyncio.create_task(worker.store.run())
    listener = Listener(worker, config, listening)
    worker.ledger.watch(worker.loop)
    os.write(ready, b"r")
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), 1)
        except TimeoutError:
            worker.tick()
            worker.report()
    listener.close()
    await _see_out(worker, config.drain_timeout_s)
    await worker.store.reached()
    worker.report()
    link.cancel()
    await worker.store.close()
    if worker.log is not None:
        worker.log.close()


async def _see_out(worker: Worker, within_s: float) -> None:
    """Answers what is in flight and whoever asks in the next moment, then closes what is idle."""
    worker.draining = True
    began = time.monotonic()
    while worker.connections and time.monotonic() < began + within_s:
        await asyncio.sleep(0.05)
        worker.tick()
        if time.monotonic() > began + GRACE_S:
            worker.close_idle()
    for connection in tuple(worker.connections):
        connection.close()


class Listener:
    """The first socket is plain; the second, where there is one, speaks TLS. Raises `ConfigError`."""

    def __init__(self, worker: Worker, config: Config, listening: Sequence[socket.socket]) -> None:
        self._worker = worker
        self._share = max(1, config.limits.connections // config.worker_count)
        acceptors = [None, tls.Acceptor(config.tls) if config.tls is not None else None]
        self._acceptors = dict(zip(listening, acceptors, strict=False))
        for sock in listening:
            sock.setblocking(False)
            # Inherited by every connection that is accepted.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if config.congestion_control is not None:
                _choose_congestion_control(sock, config.congestion_control)
            if config.limits.unsent_bytes:
                sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, config.limits.unsent_bytes)
            self._listen(sock)

    def close(self) -> None:
        """Accepts no more. The sockets are the supervisor's: what waits in them is an heir's."""
        for sock in self._acceptors:
            self._worker.loop.remove_reader(sock.fileno())

    def _listen(self, listening: socket.socket) -> None:
        self._worker.loop.add_reader(listening.fileno(), self._accept, listening, self._acceptors[listening])

    def _accept(self, listening: socket.socket, acceptor: tls.Acceptor | None) -> None:
        worker = self._worker
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, peer = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OVERLOAD:
                    event(log, "cannot accept", logging.ERROR, why=error.strerror)
                    worker.loop.remove_reader(listening.fileno())
                    worker.loop.call_later(0.1, self._listen, listening)
                    return
                continue  # the client was gone before we came (ECONNABORTED and its kin)
            network = worker.networks.enter(peer[0]) if len(worker.connections) < self._share else None
            if network is None:
                worker.ledger.counters.refused += 1
                sock.close()
                continue
            sock.setblocking(False)
            worker.ledger.counters.accepted += 1
            if acceptor is None:
                wire: Wire = PlainWire(worker.poller, sock)
            else:
                wire = acceptor.accept(worker.loop, sock)
            worker.connections.add(Connection(worker, wire, peer[0], network))


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
