"""What the connections of one worker process share: its memory, its clock, its line to the storekeeper."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from joserfc.jwk import OctKey

from contracts.clientnetwork import import_key
from contracts.token import KeyRing
from daemon.config import ConfigError
from oca import ipc
from oca.config import Config
from oca.edge.accesslog import AccessLog
from oca.edge.answer import Heads
from oca.edge.authorise import Authoriser
from oca.edge.cors import Cors
from oca.edge.files import Files, OpenFile
from oca.edge.ledger import Ledger
from oca.edge.networks import Network, Networks
from oca.edge.poller import Poller
from oca.edge.repeat import Recalled, Repeats, cut
from oca.edge.shared import Shared
from oca.edge.storelink import StoreLink
from oca.trustedkeys import TrustedKeys, keys_in

GRACE_S: Final = 2.0
"""A request may be on its way to an idle connection: who sends one within this is answered, not cut."""


class Open(Protocol):
    """A connection, as far as its worker knows it."""

    deadline: float
    network: Network

    @property
    def idle(self) -> bool: ...
    def expire(self) -> None: ...
    def close(self) -> None: ...


class Worker:
    """``now`` is monotonic, ``clock`` is the time of day; both are as of the last `tick`."""

    def __init__(self, number: int, config: Config) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits = config.limits
        self.pacing = config.pacing
        self.wait_timeout_s = config.pull.wait_timeout_s
        self.draining = False
        self.hit = b"Cache-Status: %b; hit\r\n" % config.appliance.encode()
        self.miss = b"Cache-Status: %b; fwd=miss; stored\r\n" % config.appliance.encode()
        self.connections: set[Open] = set()
        self.networks = Networks(config.limits, config.worker_count)
        self.log = AccessLog(config.access_log, config.appliance) if config.access_log else None
        self.ledger = Ledger(self.log)
        self.poller = Poller(self.loop)
        self.repeats = Repeats()
        self.files = Files([disk.path for disk in config.disks], self._fault, config.disk_timeout_s)
        self.store = StoreLink(
            Path(config.run_dir) / ipc.SOCKET_NAME, self.files, self._drain, self._revoke, self._rekey
        )
        self.shared = Shared(self, config) if config.http_origins else None
        self.store.shared = self.shared
        self.authoriser = Authoriser(
            config.appliance,
            TrustedKeys(config).ring,
            keys_in(config.auth.peers_file),
            required=config.auth.required,
            network_key=_network_key(config.auth.network_key_file),
        )
        self._number = number
        self._cors = Cors(config.cors_origins)
        self.tick()

    def tick(self) -> None:
        """A second has passed, or less."""
        self.now = self.loop.time()
        self.clock = time.time()
        date = email.utils.formatdate(self.clock, usegmt=True).encode()
        self.idle_until = self.now + self.limits.idle_timeout_s
        self.tail = b"Date: %b\r\nConnection: keep-alive\r\n\r\n" % date
        self.last_tail = b"Date: %b\r\nConnection: close\r\n\r\n" % date
        self.networks.second()
        if self.log is not None:
            self.log.tick(self.clock)
        for connection in [item for item in self.connections if item.deadline < self.now]:
            connection.expire()

    def report(self) -> None:
        """Tells the storekeeper what was counted since the last report."""
        if self.store.up:
            self.store.send(self.ledger.take(self._number, len(self.connections)))
        else:
            self.ledger.hold()

    def closed(self, connection: Open) -> None:
        if connection in self.connections:
            self.connections.discard(connection)
            self.networks.leave(connection.network)

    def recall(self, data: bytes, range_at: int) -> Recalled | None:
        """The answer to a request that differs from one before in its range alone, from a whole object."""
        shape, start, end, range_at = cut(data, range_at)
        repeat = self.repeats.get(shape, end)
        if repeat is None or self.clock >= repeat.expires_at or self.draining:
            return None
        file = self.files.open_complete(repeat.key)
        if file is None:
            return None
        heads = file.heads
        if heads.tail is not self.tail or heads.fields is not repeat.fields:
            heads = file.heads = Heads(file.representation, self.hit, repeat.fields, self.tail)
        size = file.representation.size
        if not start < size:
            return None
        if end < 0:
            return repeat, file, 200, heads.whole, (0, size), range_at
        if end > size:
            end = size
        if end <= start:
            return None
        return repeat, file, 206, heads.partial % (end - start, start, end - 1), (start, end), range_at

    def cors(self, headers: Mapping[bytes, str]) -> bytes:
        """The CORS fields for whoever asks; the same object for the same origin."""
        return self._cors.fields(headers.get(b"origin"))

    def warm(
        self,
        read: Callable[[int, int, int], None],
        file: OpenFile,
        start: int,
        end: int,
        done: Callable[[int, OSError | None], None],
    ) -> None:
        """Has a thread of the disk read a span, then calls ``done`` here. Holds the file open meanwhile."""

        def finished(reading: asyncio.Future[None]) -> None:
            error = reading.exception()
            done(end, error if isinstance(error, OSError) else None)

        reading = self.files.threads(file.disk).run(lambda: read(file.fd, start, end))
        reading.add_done_callback(finished)

    def _drain(self, on: bool) -> None:
        """From now on each answer is the last of its connection, and who is new is sent elsewhere."""
        self.draining = on
        if on:
            self.loop.call_later(GRACE_S, self.close_idle)

    def _revoke(self, sessions: frozenset[str]) -> None:
        if self.authoriser.revoke(sessions):
            self.repeats.clear()

    def _rekey(self, jwks: bytes) -> None:
        if self.authoriser.rekey(KeyRing.from_jwks(jwks)):
            self.repeats.clear()

    def close_idle(self) -> None:
        """While draining: closes every connection that nobody waits on."""
        for connection in tuple(self.connections) if self.draining else ():
            if connection.idle:
                connection.close()

    def _fault(self, key: str, disk: str, number: int) -> None:
        self.store.send(ipc.Fault(key, disk, number))


def _network_key(path: str | None) -> OctKey | None:
    """The key that opens tokens bound to a network; raises `ConfigError`."""
    if path is None:
        return None
    try:
        return import_key(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"auth.network_key_file: {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"auth.network_key_file: {path}: {error}") from None
