"""The running service: the API, the reader of S3, signals."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from pathlib import Path

import uvloop
from aiohttp import web

from contracts.documents import BadDocument
from daemon.cli import CommandError
from daemon.config import ConfigError
from daemon.lifecycle import notify, watchdog_interval_s
from daemon.log import event, setup
from daemon.s3 import S3Error
from steering.api import Api, log_start
from steering.config import Config
from steering.content import ContentReader
from steering.fleet import FleetView
from steering.keys import Paths, Signer, load_api_keys

log = logging.getLogger("steering")


def serve(config: Config) -> int:
    """Serves until SIGTERM or SIGINT; 0 then. Raises `CommandError`, `ConfigError` when it cannot start."""
    setup("steering", config.log_level)
    paths = Paths(Path(config.state_dir))
    signer, api_keys = Signer.load(paths), load_api_keys(paths)
    view = FleetView(FleetView.read(Path(config.fleet)))
    host, port = config.address
    try:
        sock = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=4096
        )
    except OSError as error:
        raise CommandError(f"listen: {config.listen}: {error.strerror}") from None
    uvloop.run(_run(config, Api(config, view, signer, api_keys), sock))
    return 0


async def _run(config: Config, api: Api, sock: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, config, api.view)
    runner = web.AppRunner(api.application(), access_log=None)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    chores = [asyncio.create_task(_read_content(config, api)), asyncio.create_task(_watchdog())]
    notify("READY=1")
    log_start(config, api.view)
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *chores], return_when=asyncio.FIRST_COMPLETED)
    notify("STOPPING=1")
    for chore in chores:
        chore.cancel()
    await runner.cleanup()
    for ended in done:
        ended.result()  # a chore ends only by failing: let that be seen


async def _read_content(config: Config, api: Api) -> None:
    reader = ContentReader(config.origin)
    while True:
        try:
            content = await asyncio.to_thread(reader.read, api.content, api.view.appliances)
            if (content.catalog, content.plan) != (api.content.catalog, api.content.plan):
                event(
                    log,
                    "content read",
                    catalog=content.catalog,
                    plan=content.plan,
                    titles=len(content.titles),
                )
            api.content, api.content_error = content, None
        except (S3Error, BadDocument) as error:
            if str(error) != api.content_error:
                event(log, "content not read", logging.WARNING, why=str(error))
            api.content_error = str(error)
        await asyncio.sleep(config.content_refresh_s)


async def _watchdog() -> None:
    interval = watchdog_interval_s()
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval or 60)


def _reload(config: Config, view: FleetView) -> None:
    """SIGHUP: another fleet file, or the old one if it is wrong."""
    try:
        view.replace(FleetView.read(Path(config.fleet)))
    except ConfigError as error:
        event(log, "fleet file refused, the old one stays", logging.ERROR, why=str(error))
    else:
        event(log, "fleet file read", appliances=len(view.appliances))
