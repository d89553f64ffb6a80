"""The storekeeper process: wires the store's parts together and runs until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import aiohttp
from aiohttp import web

from contracts import ingest
from contracts.catalog import CatalogObject
from contracts.objectkey import title_of
from daemon.log import event
from oca.admin import Admin
from oca.config import Config
from oca.heartbeat import Heart
from oca.identity import Identity
from oca.ipc import SOCKET_NAME
from oca.routes import RouteFeed
from oca.status import HitRatio, ObjectStatus, PlanStatus, Purged, Status, UpstreamStatus
from oca.store.catalog import CatalogView
from oca.store.census import Census
from oca.store.deliverylog import DeliveryLog
from oca.store.disklist import DiskList, disk_of
from oca.store.edgelink import EdgeLinks
from oca.store.heat import Heat
from oca.store.httpclient import HttpClient
from oca.store.httporigin import Tally
from oca.store.ingest import IngestServer
from oca.store.joining import Joining
from oca.store.leaving import leave
from oca.store.mover import Mover
from oca.store.obeyed import Obeyed
from oca.store.operations import Operations
from oca.store.planfile import PlanFile
from oca.store.pull import Puller
from oca.store.scrubber import Scrubber
from oca.store.served import Cause, served
from oca.store.settle import settle
from oca.store.shared import shared_cache
from oca.store.store import Store
from oca.store.tiering import Tiering
from oca.store.upstream import NoBucket, OriginUpstream, ParentUpstream, Upstream, client_session
from oca.store.watermarks import Watermarks
from oca.trustedkeys import TrustedKeys

log = logging.getLogger("oca.store")

_RATE_WINDOW_S = 5.0
_HEAT_OBJECTS = 1 << 20
"""Distinct objects between two ageings, up to which the sketch tells them well apart: 6 MiB."""
_LAST_REPORTS_S = 1.0
"""For workers that end with us to say what they counted; they have gone already when the supervisor stops us."""
_SYNC_S = 2.0
"""For a worker to say that it has heard what it was told: its loop never waits so long."""
_NOTICE_S = 2.0
"""Between telling steering and sending players away: steering's answers in flight arrive."""


class Storekeeper:
    def __init__(self, config: Config, http: aiohttp.ClientSession) -> None:
        self.config = config
        self.started = time.monotonic()
        self.version = metadata.version("nearcast") if _installed() else "checkout"
        self.disk_list = DiskList(Path(config.state_dir), config.disks)
        self.store = Store(
            config.appliance,
            [disk_of(disk, config.disk_timeout_s) for disk in self.disk_list.load()],
            config.demand.floor_share,
        )
        self.joining = Joining(self.store, time.monotonic, config.disk_retry_s)
        self.mover = Mover(self.store, config.tiers.move_bps)
        self.operations = Operations(
            self.store, self.joining, self.mover, self.disk_list, config.disk_timeout_s
        )
        self.tiering = Tiering(
            self.store,
            self.mover,
            Heat(_HEAT_OBJECTS),
            time.monotonic,
            hot_requests=config.tiers.hot_requests,
            half_life_s=config.tiers.half_life_s,
        )
        identity = Identity.load(config.appliance, config.identity_file)
        origin = OriginUpstream(config.origin, http) if config.origin is not None else NoBucket()
        upstreams: list[Upstream] = [ParentUpstream(parent, identity, http) for parent in config.parents]
        if isinstance(origin, OriginUpstream):
            upstreams.append(origin)
        obeyed = Obeyed.of(config)
        self.catalog = CatalogView(origin, obeyed, time.monotonic, self._changed, self._removed)
        self.joining.on_joined.append(lambda _: self._removed(self.catalog.removed))
        self.puller = Puller(
            self.store, self.catalog, upstreams, config.pull, time.monotonic, secrets.SystemRandom()
        )
        self.scrubber = Scrubber(
            self.store,
            config.scrub,
            Path(config.state_dir),
            lambda key: self._chore(self.puller.fetch_whole(key)),
        )
        self.census = Census(self.store, self.operations, self.scrubber.status)
        for disk in self.store.disks:
            disk.set_aside = config.http_share
        self.links = EdgeLinks(self.store, self.puller, config.steering.votes_interval_s)
        self.links.touched.append(self.tiering.touched)
        self.http = HttpClient(config.pull)
        tally = Tally(self.puller.breakers, self.puller.bytes_from, self.puller.faults)
        if config.http_origins:
            self.links.shared = shared_cache(
                config, identity, lambda: self.store.disks, self.http, tally, self.links.tell
            )
        self._plan_file = PlanFile(Path(config.state_dir))
        self.ingest = IngestServer(
            self.store,
            self._plan_file.remember,
            lambda audience: identity.token(audience, time.time()),
            lambda: obeyed.word,
        )
        self.heart = Heart(config.steering, identity, http, self.status, self.store.index, self.links.revoke)
        self.keys = TrustedKeys(config)
        self.heart.follow(self.keys, self.links.rekey)
        self.routes = (
            RouteFeed(Path(config.run_dir), config.bgp.grace_s, self._rerouted) if config.bgp else None
        )
        self.admin = Admin(
            self.status,
            lambda: self.links.traffic,
            self.object_status,
            self.not_ready,
            self.drain,
            self._purge,
            self.operations.carry_out,
            self.scrubber.start_now,
        )
        self._leaving = False
        self._chores: set[asyncio.Task[None]] = set()
        self.delivery = DeliveryLog(config) if config.delivery is not None else None
        if self.delivery is not None:
            self.links.touched.append(self.delivery.touched)
        self._rates: list[tuple[float, int]] = []

    async def run(self, admin_socket: socket.socket, ready: int) -> None:
        """Serves until SIGTERM or SIGINT; writes a byte to the descriptor ``ready`` once it does."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._announce_end)
        await self.joining.open()
        if self.links.shared is not None:
            await self.links.shared.store.open()
        self._recall_plan()
        self.operations.resume()
        runner = web.AppRunner(self.admin.application(), access_log=None)
        await runner.setup()
        await web.SockSite(runner, admin_socket).start()
        run_dir = Path(self.config.run_dir)
        servers = [
            await self.links.listen(run_dir / SOCKET_NAME),
            await self.ingest.listen(run_dir / ingest.SOCKET_NAME),
        ]
        chores = [
            asyncio.create_task(chore)
            for chore in (
                self.heart.run(),
                self._refresh_catalog(),
                self._rate(),
                self.tiering.run(),
                self.scrubber.run(),
                Watermarks(self.store, self.config.demand).run(),
            )
        ]
        self._chore(settle(self.store, self.joining))
        if self.delivery is not None:
            chores.append(asyncio.create_task(self.delivery.run()))
        if self.routes is not None:
            chores.append(asyncio.create_task(self.routes.run()))
        os.write(ready, b"r")
        event(log, "storekeeper ready", objects=len(self.store.index), plan=self.store.plan)
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *chores], return_when=asyncio.FIRST_COMPLETED)
        for chore in chores:
            chore.cancel()
        await self.links.last_reports(_LAST_REPORTS_S)
        if self.delivery is not None:
            await self.delivery.close()
        for server in servers:
            server.close()
        await runner.cleanup()
        await leave(self.store, self.joining.unsettled)
        for ended in done:
            ended.result()  # a chore ends only by failing: let that be seen, and the supervisor restart us

    def drain(self, on: bool) -> None:
        """Steering hears it first, then the players feel it; undraining takes effect at once."""
        self._leaving = on
        self._chore(self._drain(on))

    async def _drain(self, on: bool) -> None:
        await self.heart.beat()
        if on and self.config.steering.urls:
            await asyncio.sleep(_NOTICE_S)
        if self._leaving is on:
            self.links.drain(on)

    async def _purge(self, matches: Callable[[str], bool]) -> Purged:
        """Answers when it has taken effect in every worker; one that hangs is waited for a while only."""
        purged = await self.store.purge(matches)
        if self.links.shared is not None:
            purged += self.links.shared.purge(matches)
        return Purged(purged, *await self.links.synced(_SYNC_S))

    def _rerouted(self, prefixes: set[str]) -> None:
        if self.routes is not None:
            self.heart.routes.changed(self.routes.routes, prefixes)

    def _announce_end(self) -> None:
        """The supervisor is about to stop, and sees to the players itself."""
        self._leaving = True
        self._chore(self.heart.beat())

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _refresh_catalog(self) -> None:
        while True:
            if self.config.origin is not None:
                await self.catalog.refresh()
            await asyncio.sleep(self.config.pull.catalog_refresh_s)

    async def _rate(self) -> None:
        """Keeps the last seconds' totals of bytes sent, for ``tx_bps``."""
        while True:
            total = self.links.traffic.counters
            now = time.monotonic()
            self._rates.append((now, total.hit_bytes + total.miss_bytes))
            while self._rates[0][0] < now - _RATE_WINDOW_S:
                self._rates.pop(0)
            await asyncio.sleep(1)

    def _removed(self, titles: frozenset[str]) -> None:
        """Drops every object of ``titles``, planned or not: they are in no catalog, and nobody may watch them."""
        if titles:
            self._chore(self._drop(titles))

    async def _drop(self, titles: frozenset[str]) -> None:
        objects = await self.store.purge(lambda key: title_of(key) in titles)
        if objects:
            event(log, "removed titles dropped", titles=len(titles), objects=objects)

    def _changed(self, objects: dict[str, CatalogObject]) -> None:
        """Drops what was published again with other bytes: the next player gets the new ones."""
        stale = [
            entry
            for item in objects.values()
            if (entry := self.store.index.get(item.key)) is not None and entry.etag != item.etag
        ]
        self.store.evict(stale, Cause.EXPIRED)
        for item in objects.values():
            if any(not disk.in_service for disk in self.store.disks):
                self.store.meanwhile.published(item)
            begun = self.store.incomplete.get(item.key)
            if begun is not None and begun.item.etag != item.etag:
                self.store.abandon(begun)

    def _recall_plan(self) -> None:
        plan = self._plan_file.recall()
        if plan is not None:
            planned = {item.key: item.size for item in plan.objects}
            self.store.adopt(plan.version, planned, plan.issued_at)

    def not_ready(self) -> str | None:
        """Why this appliance should take no traffic now; None when it may."""
        if self._state() == "draining":
            return "draining"
        if not any(disk.in_service for disk in self.store.disks):
            return "no disk is in service"
        if not self.links.workers:
            return "no edge worker is connected"
        return None

    def status(self) -> Status:
        counters = self.links.traffic.counters
        return Status(
            id=self.config.appliance,
            state=self._state(),
            version=self.version,
            uptime_s=round(time.monotonic() - self.started, 1),
            workers=self.links.workers,
            connections=self.links.connections,
            tx_bps=self._tx_bps(),
            requests=counters.requests,
            hit_ratio=HitRatio.of(counters),
            hits=served(self.store.served.hits),
            misses=served(self.store.served.misses),
            disks=self.census.disks(),
            plan=self._plan_status(),
            incomplete=len(self.store.incomplete),
            steering=self.heart.steering(),
            upstreams=tuple(
                UpstreamStatus(
                    name,
                    count,
                    {fault.value: n for (who, fault), n in self.puller.faults.items() if who == name},
                    self.puller.breakers[name].state.value,
                )
                for name, count in self.puller.bytes_from.items()
            ),
            catalog=self.catalog.version,
            catalog_error=self.catalog.error,
            catalog_refused=self.catalog.refused,
            moved_objects=self.mover.moved_objects,
            moved_bytes=self.mover.moved_bytes,
            delivery=self.delivery.status() if self.delivery is not None else None,
            routes=self.routes.summary() if self.routes is not None else None,
            players=self.links.votes.players(),
            keys=self.keys.version,
        )

    def _state(self) -> Literal["starting", "serving", "draining"]:
        if self.links.draining or self._leaving:
            return "draining"
        return "serving" if self.links.workers else "starting"

    def _plan_status(self) -> PlanStatus | None:
        if self.store.plan is None:
            return None
        pinned = self.store.index.pinned
        total = sum(pinned.values())
        held_objects, held_bytes = self.store.index.in_plan()
        share = held_bytes / total if total else 1.0
        return PlanStatus(
            *(self.store.plan, len(pinned), total, held_objects, held_bytes, round(share, 4)),
            issued_at=self.store.plan_issued_at,
        )

    def _tx_bps(self) -> int:
        if len(self._rates) < 2:
            return 0
        (then, before), (now, after) = self._rates[0], self._rates[-1]
        return max(0, int((after - before) * 8 / (now - then)))

    def object_status(self, key: str) -> ObjectStatus | None:
        pinned = key in self.store.index.pinned
        begun = self.store.incomplete.get(key)
        entry = self.store.index.get(key)
        if entry is not None:
            slices = -(-entry.size >> 20)
            return ObjectStatus(
                key,
                entry.size,
                entry.etag,
                str(entry.disk.path),
                True,
                pinned,
                slices,
                slices,
                entry.requests,
            )
        if begun is not None:
            item, disk = begun.item, str(begun.disk.path)
            return ObjectStatus(
                key, item.size, item.etag, disk, False, pinned, begun.verified, begun.slices, 0
            )
        return None


def _installed() -> bool:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version("nearcast"))
    return False


async def run(config: Config, admin_socket: socket.socket, ready: int) -> None:
    async with client_session(config.pull) as http:
        await Storekeeper(config, http).run(admin_socket, ready)
