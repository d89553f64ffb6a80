"""The command ``fill``: publish, unpublish, sweep, plan, init-key, run, status."""

from __future__ import annotations

import argparse
import random
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from contracts.documents import BadDocument
from contracts.fleet import Fleet
from daemon import log as daemon_log
from daemon.cli import CommandError, Exit, human_bytes, print_json, run
from daemon.config import ConfigError, load
from daemon.s3 import S3Error, Trouble, open_client
from fill import plancommands
from fill.agent.agent import (
    Agent,
    AlreadyRunning,
    NoPlan,
    NothingPlanned,
    Summary,
    newest_plan,
    only_run,
)
from fill.agent.backoff import Patience
from fill.agent.status import print_status
from fill.agent.storekeeper import Refused, Storekeeper, StorekeeperGone
from fill.agent.work import NoCatalog
from fill.config import Agent as AgentConfig
from fill.config import load_config, load_plan_keys
from fill.progress import meter
from fill.publishing import (
    PUBLISH,
    PUBLISH_EXAMPLE,
    SWEEP,
    SWEEP_EXAMPLE,
    UNPUBLISH,
    UNPUBLISH_EXAMPLE,
    add_publish_arguments,
    publish_command,
    sweep_command,
    unpublish_command,
)
from fill.stopping import WindowClosed, closed_by_sigterm
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
        "Make the key that signs plans, unless there is one; show its public half.",
        "fill init-key --config configs/fill.yaml",
    )
    add("run", _run, "Fetch onto this appliance what its plan names.", "fill run --config configs/fill.yaml")
    add("status", _status, "Say how far the plan is carried out.", "fill status --config configs/fill.yaml")
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
    fleet = load(Path(config.need_planner(arguments.config).fleet), Fleet)
    daemon_log.setup("fill", config.log_level)
    if arguments.backtest:
        if arguments.days < 1:
            raise CommandError(f"--days {arguments.days}: 1 or more is expected", Exit.USAGE)
        return backtest(config, fleet, time.time(), arguments.days, as_json=arguments.json)
    return forecast(config, fleet, time.time(), as_json=arguments.json)


def _plan(arguments: argparse.Namespace) -> int:
    now = time.time()
    return plancommands.plan(arguments, _new_version(now), now)


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "-"


def _run(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    agent = config.need_agent(arguments.config)
    daemon_log.setup("fill", config.log_level)
    keys = load_plan_keys(agent, arguments.config)
    # boto3 asks once: when to ask again is the agent's business.
    client = open_client(config.origin, attempts=1)
    bucket = config.origin.bucket
    patience = Patience(agent.retry, time.sleep, random.random)
    # The storekeeper first: without it there is nothing to lock for.
    with Storekeeper(agent.ingest_socket) as storekeeper, only_run(agent.ingest_socket):
        _refuse_another(storekeeper.holdings().appliance, agent, arguments.config)
        plan = newest_plan(client, bucket, agent.appliance, patience, keys)
        work = Agent(client, bucket, storekeeper, plan, patience)
        try:
            with closed_by_sigterm(), meter(f"filling {agent.appliance}", plan.size) as bar:
                summary = work.carry_out(bar)
        except WindowClosed:
            _say(work.summary, agent.appliance, as_json=arguments.json)
            raise CommandError("stopped before the end; `fill run` goes on from here", Exit.PARTLY) from None
    _say(summary, agent.appliance, as_json=arguments.json)
    if summary.left_out:
        raise CommandError(
            f"{len(summary.left_out)} of {summary.objects} objects left out; "
            f"the first: {next(iter(summary.left_out.values()))}"
        )
    return Exit.DONE


def _refuse_another(appliance: str, agent: AgentConfig, path: Path) -> None:
    """Raises `ConfigError` when the storekeeper is not the one of the configured appliance."""
    if appliance != agent.appliance:
        raise ConfigError(
            f"{path}: agent.appliance: {agent.appliance!r}, but {appliance!r} answers at {agent.ingest_socket}"
        )


def _say(summary: Summary, appliance: str, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    again = summary.published_again
    print(
        f"{appliance}: plan {summary.plan}: {summary.committed} objects filled, {summary.held} were there, "
        f"{len(summary.left_out)} left out, {human_bytes(summary.fetched_bytes)} fetched"
        + (f"; published again since the plan and taken as now: {_some(again)}" if again else "")
    )


def _status(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    agent = config.need_agent(arguments.config)
    keys = load_plan_keys(agent, arguments.config)
    with Storekeeper(agent.ingest_socket) as storekeeper:
        held = storekeeper.holdings()
    _refuse_another(held.appliance, agent, arguments.config)
    newest: str | None = None
    problem: Exception | None = None
    try:
        client = open_client(config.origin, attempts=1)
        patience = Patience(agent.retry, time.sleep, random.random)
        newest = newest_plan(client, config.origin.bucket, agent.appliance, patience, keys).version
    except (S3Error, NoPlan, BadDocument) as error:
        # What the appliance holds is true without S3 too: it is shown, and then the command fails.
        problem = error
    if arguments.json:
        print_json({"holdings": held, "newest_plan": newest, "problem": str(problem) if problem else None})
    else:
        print_status(held, newest)
    if problem is not None and not isinstance(problem, NothingPlanned):
        raise CommandError(str(problem))
    return Exit.DONE


def _new_version(now: float) -> str:
    return version_name(now, secrets.token_bytes(3))
