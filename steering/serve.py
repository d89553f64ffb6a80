"""The running service: the API, the reader of S3, signals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import json
import logging
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from contracts.documents import BadDocument
from contracts.enrol import EnrolReply
from daemon.cli import CommandError
from daemon.config import ConfigError
from daemon.lifecycle import allow_open_files, notify, watchdog_interval_s
from daemon.log import event, setup
from daemon.s3 import S3Error
from steering import keptcontent
from steering.api import Api
from steering.apikeys import load_api_keys
from steering.beatqueue import BeatQueue
from steering.certified import server_context
from steering.config import Config
from steering.content import Content, ContentReader, load_trusted
from steering.enrolling import Enrolling
from steering.fastpath import FastPath, Handlers, close_quiet
from steering.fleet import FleetView
from steering.geo import GeoIp
from steering.health import TICK_S, Health
from steering.keys import Paths, Signer, load_public
from steering.keyset import Published, load_keyset, public_roots, unsigned
from steering.listening import Listening
from steering.manifests import Manifests
from steering.memory import Memory
from steering.metrics import Limit
from steering.prober import Prober, look_up
from steering.rendering import failure
from steering.replicas import Replicas
from steering.revocations import OLD_FILE_NAME, adopt_old_file
from steering.roster import Roster
from steering.startqueue import StartQueue
from steering.store import Kind, Store, StoreError
from steering.store.opening import open_store

log = logging.getLogger("steering")

T = TypeVar("T")

_IDLE_S: Final = 75
"""Of a connection between requests, or in the middle of a header. nginx's keepalive_timeout."""
_SWITCH_S: Final = 0.0005
_HELLOS_S: Final = 60
_RECONNECTED_S: Final = 3600
"""A little garbage in a cycle may be kept with the rest each time, so not often."""
_LAST_ANSWERS_S: Final = 5
"""How long requests under way may take once we are told to stop."""


def serve(config: Config) -> int:
    """Serves until SIGTERM or SIGINT; 0 then. Raises `CommandError`, `ConfigError` when it cannot start."""
    setup("steering", config.log_level)
    allow_open_files()
    logging.getLogger("aiohttp.server").addFilter(_not_what_strangers_send)
    paths = Paths(Path(config.state_dir))
    signer = Signer.load(paths, bind_networks=config.bind_networks)
    api_keys = load_api_keys(paths.api_keys)
    geoip = None if config.geoip is None else GeoIp(Path(config.geoip))
    view = FleetView(
        Roster.read(Path(config.fleet)),
        locate=None if geoip is None else geoip.locate,
        beat_s=config.heartbeat_interval_s,
    )
    reader = ContentReader(config.origin, load_trusted(config))
    tls = None if config.tls is None else server_context(config.tls)
    host, port = config.address
    try:
        sock = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=4096
        )
    except OSError as error:
        raise CommandError(f"listen: {config.listen}: {error.strerror}") from None
    manifests = Manifests(lambda key: _aside(reader.manifest, key))
    api = Api(config, view, signer, api_keys, manifests, load_public(paths))
    api.frequent.keyset = _keyset(paths)
    # Threads read S3 and write the store. At 5 ms, which is the default, the loop waits for that long each time that one
    # of them has the interpreter, and every answer with it.
    sys.setswitchinterval(_SWITCH_S)
    uvloop.run(_run(config, api, reader, sock, tls))
    return 0


async def _run(
    config: Config,
    api: Api,
    reader: ContentReader,
    sock: socket.socket,
    tls: ssl.SSLContext | None = None,
) -> None:
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    kept = _recall_content(config, api)
    store = await _open_store(config, api)
    memory = await _recall(config, api, store)
    _leave_alone()
    runner = web.AppRunner(
        api.application(),
        access_log=None,
        keepalive_timeout=_IDLE_S,
        lingering_time=1,
        shutdown_timeout=_LAST_ANSWERS_S,
        # Nobody who speaks to us compresses, and a few bytes could stand for a gigabyte.
        auto_decompress=False,
    )
    await runner.setup()
    assert runner.server is not None
    connections: set[FastPath] = set()
    handlers = Handlers(api.frequent.busy, failure)
    beats = BeatQueue(api.frequent.take_beat, time.thread_time, loop.call_soon)
    starts = StartQueue(api.frequent.take_starts, time.monotonic, time.thread_time, loop.call_soon)
    api.frequent.pressed = lambda: len(starts) > 0
    listening = Listening(
        sock,
        lambda: FastPath(handlers, starts, beats, runner.server, connections),
        config.tls.handshake_timeout_s if config.tls is not None else None,
    )
    await listening.begin(tls)
    chores = [
        asyncio.create_task(chore)
        for chore in (
            _read_content(config, api, reader, kept),
            _reload(config, api, reload, listening),
            _watchdog(),
            _close_quiet(connections),
            _leave_fleet_alone(),
            _tick(api.view.health),
            Prober(api.view, lambda host, port: _aside(look_up, host, port)).run(),
            memory.run(),
            store.run(),
        )
    ]
    notify("READY=1")
    event(log, "serving", listen=config.listen, appliances=len(api.view.roster.appliances))
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *chores], return_when=asyncio.FIRST_COMPLETED)
    notify("STOPPING=1")
    for chore in chores:
        chore.cancel()
    listening.close()
    starts.finish()
    beats.finish()
    for connection in tuple(connections):
        connection.close()
    await runner.cleanup()
    await memory.save(routes=True)
    await store.close()
    event(log, "stopped")
    for ended in done:
        ended.result()  # a chore ends only by failing: let that be seen


async def _open_store(config: Config, api: Api) -> Store:
    """Raises `ConfigError`, `CommandError`."""
    try:
        store, bus = await open_store(config)
    except StoreError as error:
        raise CommandError(str(error)) from None
    if bus is not None:
        api.frequent.pass_on = Replicas(store, bus, api.view, api.answering.sessions).pass_on
    return store


async def _recall(config: Config, api: Api, store: Store) -> Memory:
    """Puts in force what the store has, before anybody is answered; raises `CommandError`."""
    paths = Paths(Path(config.state_dir))
    memory = Memory(store, api.view, api.answering.sessions)
    try:
        await memory.recall()
        api.keys.load(await store.load(Kind.KEY))
        await adopt_old_file(store, paths.state_dir / OLD_FILE_NAME)
        api.revocations.load(await store.load(Kind.REVOKED))
    except StoreError as error:
        raise CommandError(str(error)) from None
    store.watch(Kind.KEY, api.keys.changed)
    store.watch(Kind.REVOKED, api.revocations.changed)
    api.store = store
    api.enrolling = Enrolling(
        store,
        lambda name: name in api.view.roster.appliances,
        lambda: _needs(paths, bind_networks=config.bind_networks),
        api.keys.changed,
        [ipaddress.ip_network(network) for network in config.trusted_proxies],
        lambda: api.metrics.limited(Limit.ENROLMENT),
    )
    return memory


def _needs(paths: Paths, *, bind_networks: bool) -> EnrolReply:
    """Read anew each time: keys rotate."""
    network = json.loads(paths.network.read_bytes()) if bind_networks else None
    keyset = load_keyset(paths)
    return EnrolReply(
        json.loads(paths.public.read_bytes()),
        network,
        public_roots(paths),
        None if keyset is None else keyset.signed,
    )


def _keyset(paths: Paths) -> Published | None:
    """Raises `ConfigError`."""
    differ = unsigned(paths)
    if differ:
        event(log, "keys not signed: run `steering rotate sign`", logging.WARNING, keys=differ)
    return load_keyset(paths)


def _recall_content(config: Config, api: Api) -> Callable[[Content], None]:
    """Puts in force what was read from S3 before the restart; what keeps what is read from here on."""
    path = Path(config.state_dir) / keptcontent.FILE_NAME
    source = keptcontent.source_for(config)
    found = keptcontent.load(path, source)
    if found is not None:
        api.view.content = found
        event(log, "content recalled", catalog=found.catalog, plan=found.plan, titles=len(found.titles))
    return lambda content: keptcontent.save(path, content, source)


async def _read_content(
    config: Config, api: Api, reader: ContentReader, keep: Callable[[Content], None]
) -> None:
    kept = _version(api.view.content)
    while True:
        try:
            content = await _aside(reader.read, api.view.content, list(api.view.roster.appliances))
        except (S3Error, BadDocument) as error:
            _content_failed(api, str(error))
        except Exception as error:
            # Answers go on from memory, so nothing that S3 sends may end them.
            log.exception("content not read")
            _content_failed(api, f"unexpected {type(error).__name__}; its cause is in the log")
        else:
            _content_read(api, content)
            if _version(content) != kept:
                kept = _version(content)
                try:
                    await _aside(keep, content)
                except OSError as error:
                    event(log, "content not kept for a restart", logging.ERROR, why=error.strerror)
        await asyncio.sleep(config.content_refresh_s)


def _version(content: Content) -> tuple[object, ...]:
    """What differs where it is to be kept anew."""
    issued = content.plan_issued_at, content.catalog_issued_at
    return content.catalog, content.plan, issued, len(content.planned), content.behind


def _content_read(api: Api, content: Content) -> None:
    before = api.view.content
    newer = (content.catalog, content.plan) != (before.catalog, before.plan)
    if newer:
        event(log, "content read", catalog=content.catalog, plan=content.plan, titles=len(content.titles))
    elif api.content_error is not None:
        event(log, "S3 answers again", after=api.content_error)
    for key, why in content.refused.items():
        if before.refused.get(key) != why:
            event(log, "document refused", logging.ERROR, key=key, why=why)
    first = before.catalog is None
    api.view.content, api.content_error, api.content_read_at = content, None, time.monotonic()
    if first:
        api.view.look_again()
    if newer:
        _leave_alone()


def _leave_alone() -> None:
    """Spares the collector what is there now: half a gigabyte without a cycle in it, and a look at it holds every
    answer up for long. Young garbage goes first, for what is frozen with the rest is never freed.
    """
    gc.collect(1)
    gc.freeze()


async def _leave_fleet_alone() -> None:
    """Once the fleet has said hello, and what it announces was heard: its connections stay too."""
    wait_s = _HELLOS_S
    while True:
        await asyncio.sleep(wait_s)
        _leave_alone()
        wait_s = _RECONNECTED_S


def _content_failed(api: Api, why: str) -> None:
    if why != api.content_error:
        event(log, "content not read", logging.WARNING, why=why, catalog_kept=api.view.content.catalog)
    api.content_error = why


async def _close_quiet(connections: set[FastPath]) -> None:
    while True:
        await asyncio.sleep(_IDLE_S / 5)
        close_quiet(connections, time.monotonic() - _IDLE_S)


async def _tick(health: Health) -> None:
    while True:
        health.tick(time.monotonic())
        await asyncio.sleep(TICK_S)


async def _watchdog() -> None:
    interval = watchdog_interval_s()
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval or 60)


async def _reload(config: Config, api: Api, asked: asyncio.Event, listening: Listening) -> None:
    """SIGHUP: another fleet file, keys and certificates, or the old ones if anything is wrong with them."""
    paths = Paths(Path(config.state_dir))
    while True:
        await asked.wait()
        asked.clear()
        try:
            roster = await _aside(Roster.read, Path(config.fleet))
            api_keys = load_api_keys(paths.api_keys)
            signer = Signer.load(paths, bind_networks=config.bind_networks)
            public_keys = load_public(paths)
            keyset = _keyset(paths)
            tls = None if config.tls is None else server_context(config.tls)
        except ConfigError as error:
            event(log, "reload refused, fleet and API keys stay as they were", logging.ERROR, why=str(error))
            continue
        if tls is not None:
            await listening.begin(tls)
        api.view.replace(roster)
        api.admission.replace(api_keys)
        api.answering.signer, api.players.keys, api.frequent.keyset = signer, public_keys, keyset
        event(log, "reloaded", appliances=len(roster.appliances), api_keys=len(api_keys))


async def _aside(function: Callable[..., T], *arguments: Any) -> T:
    """What ``function`` returns or raises, in a thread that nobody waits for at the end.

    `asyncio.to_thread` would: a request that S3 never answers would hold up SIGTERM for minutes.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(error: BaseException | None, result: Any) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def work() -> None:
        error, result = None, None
        try:
            result = function(*arguments)
        except Exception as raised:  # noqa: BLE001 - it is raised again where it is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, error, result)

    threading.Thread(target=work, name=function.__qualname__, daemon=True).start()
    return await future


def _not_what_strangers_send(record: logging.LogRecord) -> bool:
    """Keeps broken HTTP out of the log: anybody could fill it, with a traceback for each request."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return not isinstance(error, HttpProcessingError)
