"""The command ``fill``: publish, unpublish, sign-catalog, sweep, popularity, plan, init-key, run, status."""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from contracts.documents import BadDocument
from contracts.fleet import Fleet
from daemon import log as daemon_log
from daemon.cli import CommandError, Exit, run
from daemon.config import load
from daemon.s3 import S3Error, Trouble
from fill import plancommands
from fill.agent.agent import AlreadyRunning
from fill.agent.orders import NoPlan
from fill.agent.storekeeper import Refused, StorekeeperGone
from fill.agent.work import NoCatalog
from fill.config import load_config
from fill.filling import (
    RUN,
    RUN_EXAMPLE,
    STATUS,
    STATUS_EXAMPLE,
    add_run_arguments,
    run_command,
    status_command,
)
from fill.publishing import (
    PUBLISH,
    PUBLISH_EXAMPLE,
    SIGN,
    SIGN_EXAMPLE,
    SWEEP,
    SWEEP_EXAMPLE,
    UNPUBLISH,
    UNPUBLISH_EXAMPLE,
    add_publish_arguments,
    add_sign_arguments,
    publish_command,
    sign_command,
    sweep_command,
    unpublish_command,
)
from fill.trust import planners_trust
from fill.version import version_name

DEFAULT_CONFIG: Final = "/etc/nearcast/fill.yaml"
_FAILURES: Final = (
    BadDocument,
    NoPlan,
    NoCatalog,
    AlreadyRunning,
    StorekeeperGone,
    Refused,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run("fill", _parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fill", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str, example: str) -> Any:
        made = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.add_argument("--config", type=Path, default=Path(DEFAULT_CONFIG), metavar="FILE")
        made.add_argument("--json", action="store_true", help="print the result as JSON")
        made.set_defaults(command=lambda arguments: _told(command, arguments))
        return made

    add_publish_arguments(add("publish", publish_command, PUBLISH, PUBLISH_EXAMPLE))
    removing = add("unpublish", unpublish_command, UNPUBLISH, UNPUBLISH_EXAMPLE)
    removing.add_argument("title", metavar="ID")
    add_sign_arguments(add("sign-catalog", sign_command, SIGN, SIGN_EXAMPLE))
    sweeping = add("sweep", sweep_command, SWEEP, SWEEP_EXAMPLE)
    sweeping.add_argument("--dry-run", action="store_true", help="only say what would go")
    counting = add(
        "popularity",
        _popularity,
        "Count what was watched, and forecast what will be: the table that `fill plan` plans from.",
        "fill popularity --config configs/fill.yaml",
    )
    counting.add_argument(
        "--backtest",
        action="store_true",
        help="instead: say how good the forecasts of the last days would have been",
    )
    counting.add_argument(
        "--days", type=int, default=7, metavar="N", help="of --backtest: how many days to forecast (7)"
    )
    planning = add(
        "plan",
        _plan,
        "Decide which appliance shall hold what, and publish it.",
        "fill plan --config configs/fill.yaml",
    )
    plancommands.add_options(planning)
    add(
        "init-key",
        _init_key,
        "Make the keys that sign plans and catalogs, unless there are any; show their public halves.",
        "fill init-key --config configs/fill.yaml",
    )
    add_run_arguments(add("run", run_command, RUN, RUN_EXAMPLE))
    add("status", status_command, STATUS, STATUS_EXAMPLE)
    return parser


def _told(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Runs ``command``; what may go wrong in every command becomes its one line here."""
    try:
        return command(arguments)
    except S3Error as error:
        missing = error.trouble is Trouble.NO_CREDENTIALS
        raise CommandError(str(error), Exit.USAGE if missing else Exit.FAILED) from error
    except _FAILURES as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or 'system'}: {error.strerror or error}") from error


def _init_key(arguments: argparse.Namespace) -> int:
    return plancommands.init_key(arguments)


def _popularity(arguments: argparse.Namespace) -> int:
    # Imported here: no appliance has numpy or DuckDB.
    try:
        from fill.popularity.report import backtest, forecast
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is missing: install nearcast[planner]", Exit.USAGE) from error
    config = load_config(arguments.config)
    planner = config.need_planner(arguments.config)
    fleet = load(Path(planner.fleet), Fleet)
    trust = planners_trust(config, planner, arguments.config)
    daemon_log.setup("fill", config.log_level)
    if arguments.backtest:
        if arguments.days < 1:
            raise CommandError(f"--days {arguments.days}: 1 or more is expected", Exit.USAGE)
        return backtest(config, trust, fleet, time.time(), arguments.days, as_json=arguments.json)
    return forecast(config, trust, fleet, time.time(), as_json=arguments.json)


def _plan(arguments: argparse.Namespace) -> int:
    now = time.time()
    return plancommands.plan(arguments, _new_version(now), now)


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "-"


def _new_version(now: float) -> str:
    return version_name(now, secrets.token_bytes(3))
