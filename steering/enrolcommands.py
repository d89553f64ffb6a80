"""`steering enrol` and `steering revoke APPLIANCE`: they write to the store, and the running service hears of it."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from daemon.cli import CommandError, Exit, print_json
from steering.config import Config, load_config
from steering.enrolment import DEFAULT_HOURS, give_code, revoke
from steering.roster import Roster
from steering.store import Store, StoreError
from steering.store.opening import open_store

T = TypeVar("T")

_MAX_HOURS = 24 * 30


def add_enrol_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], config: Path) -> None:
    """``config`` is the default of --config."""
    text = "a code with which an appliance brings its key, once"
    command = commands.add_parser(
        "enrol",
        help=text,
        description=text,
        epilog="example: steering enrol isp-a1, and there: oca init --enrol CODE",
    )
    command.add_argument("appliance", help="its id in the fleet file")
    command.add_argument(
        "--hours", type=_hours, default=DEFAULT_HOURS, help="how long it is good; default: 24"
    )
    command.add_argument("--config", type=Path, default=config, metavar="FILE", help="default: %(default)s")
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(command=_enrol)


def revoke_appliance(arguments: argparse.Namespace) -> int:
    """Its heartbeats are refused and it leaves every answer within a second, without a restart."""
    config = _known(arguments)
    _with_store(config, lambda store: revoke(store, arguments.appliance, time.time()))
    if arguments.json:
        print_json({"appliance": arguments.appliance, "revoked": True})
    else:
        print(f"{arguments.appliance}: revoked; `steering enrol {arguments.appliance}` lets it in again")
    return Exit.DONE


def _enrol(arguments: argparse.Namespace) -> int:
    config = _known(arguments)
    given = _with_store(
        config, lambda store: give_code(store, arguments.appliance, time.time(), arguments.hours * 3600)
    )
    groups = "-".join(given.code[at : at + 5] for at in range(0, len(given.code), 5))
    if arguments.json:
        print_json({"appliance": arguments.appliance, "code": groups, "expires_at": int(given.expires_at)})
        return Exit.DONE
    until = datetime.fromtimestamp(given.expires_at, UTC)
    print(
        f"code for {arguments.appliance}, shown this once, good for one key until {until:%Y-%m-%d %H:%M} UTC:"
    )
    print(f"  {groups}")
    print(f"there: oca init --enrol {groups} --steering {config.public_url}")
    return Exit.DONE


def _known(arguments: argparse.Namespace) -> Config:
    """The configuration, when the fleet file has the appliance."""
    config = load_config(arguments.config)
    if arguments.appliance not in Roster.read(Path(config.fleet)).appliances:
        raise CommandError(f"{arguments.appliance}: not in {config.fleet}: add it there first", Exit.USAGE)
    return config


def _with_store(config: Config, work: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        store, _ = await open_store(config)
        try:
            return await work(store)
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except StoreError as error:
        raise CommandError(str(error)) from None


def _hours(text: str) -> float:
    try:
        hours = float(text)
        if not 0 < hours <= _MAX_HOURS:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours up to {_MAX_HOURS}") from None
    return hours
