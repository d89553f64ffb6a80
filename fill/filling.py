"""What `fill run` and `fill status` do, from their arguments to what they print."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from contracts.documents import BadDocument
from contracts.plan import Plan
from daemon import log as daemon_log
from daemon.cli import CommandError, Exit, human_bytes, print_json, print_table
from daemon.config import ConfigError
from daemon.s3 import S3Error, open_client
from fill.agent.agent import Agent, Move, WindowEnded, only_run
from fill.agent.backoff import Patience
from fill.agent.engine import engine
from fill.agent.orders import NoPlan, NothingPlanned, Orders, newest_orders
from fill.agent.report import STATE_NAME, Kept, Lines, Report, Several, read_kept
from fill.agent.status import print_status
from fill.agent.storekeeper import Storekeeper
from fill.agent.tally import Summary
from fill.agent.window import State, Window, at, jitter_s, shown
from fill.catalog import CatalogReader, Trust
from fill.config import Agent as AgentConfig
from fill.config import load_config
from fill.stopping import WindowClosed, closed_by_sigterm
from fill.trust import agents_trust, plan_keys

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RUN: Final = "Fetch onto this appliance what its plan names."
RUN_EXAMPLE: Final = "fill run --config configs/fill.yaml"
STATUS: Final = "Say how far the plan is carried out."
STATUS_EXAMPLE: Final = "fill status --config configs/fill.yaml"
_MOST_SHOWN: Final = 20
_WAITED_S: Final = 15 * 60
"""For a window to open, with --scheduled: as often the timer starts us."""


@dataclass(frozen=True, slots=True)
class Permit:
    """What may be fetched now: all of it until ``until`` (None: no end), or only what is urgent."""

    until: float | None
    urgent_only: bool
    zone: tzinfo
    said: str = ""


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--now", action="store_true", help="also outside the windows of the configuration")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would move, and from where; move nothing"
    )
    parser.add_argument(
        "--scheduled",
        action="store_true",
        help="as the timer starts it: waits up to 15 minutes for a window to open",
    )


def run_command(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    agent = config.need_agent(arguments.config)
    daemon_log.setup("fill", config.log_level)
    keys, trust = plan_keys(agent, arguments.config), agents_trust(config, agent, arguments.config)
    # boto3 asks once: when to ask again is the agent's business.
    client = open_client(config.origin, attempts=1)
    # The storekeeper first: without it there is nothing to lock for.
    with (
        Storekeeper(agent.ingest_socket) as storekeeper,
        only_run(agent.ingest_socket),
        engine(agent, config.origin, client) as parts,
    ):
        held = storekeeper.holdings()
        _refuse_another(held.appliance, agent, arguments.config)
        orders = newest_orders(client, config.origin.bucket, held, parts.patience, keys)
        plan = orders.plan
        work = Agent(client, config.origin.bucket, storekeeper, orders, parts, trust(held.catalog))
        if arguments.dry_run:
            _preview(work.preview(), agent.appliance, plan, as_json=arguments.json)
            _judge_words(orders, work.summary.catalog_refused)
            return Exit.DONE
        try:
            with closed_by_sigterm():
                permit = _permit(agent, plan, arguments)
                with _report(agent, permit.zone) as report:
                    work.carry_out(report, permit.until, urgent_only=permit.urgent_only)
        except WindowEnded:
            _say(work.summary, agent.appliance, as_json=arguments.json)
            raise CommandError("the window has closed; the next one goes on from here", Exit.PARTLY) from None
        except WindowClosed:
            _say(work.summary, agent.appliance, as_json=arguments.json)
            raise CommandError("stopped before the end; `fill run` goes on from here", Exit.PARTLY) from None
    _say(work.summary, agent.appliance, as_json=arguments.json)
    _judge_words(orders, work.summary.catalog_refused)
    _judge(work.summary, permit)
    return Exit.DONE


@contextmanager
def _report(agent: AgentConfig, zone: tzinfo) -> Iterator[Report]:
    kept = Kept(Path(agent.ingest_socket).with_name(STATE_NAME), time.monotonic)
    try:
        if sys.stderr.isatty():
            # Half of what rich has to load: not for a run that nobody watches.
            from fill.agent.screen import screen

            with screen(zone) as drawn:
                yield Several((drawn, kept))
        else:
            yield Several((Lines(time.monotonic), kept))
    finally:
        kept.remove()


def _preview(moves: Sequence[Move], appliance: str, plan: Plan, *, as_json: bool) -> None:
    if as_json:
        print_json({"plan": plan.version, "moves": moves})
        return
    from_whom: dict[str, list[int]] = {}
    for move in moves:
        from_whom.setdefault(move.source, []).append(move.size)
    print_table(
        ("from", "objects", "bytes"),
        [(name, len(sizes), human_bytes(sum(sizes))) for name, sizes in sorted(from_whom.items())],
        title=f"{appliance}: plan {plan.version}: what would move",
    )
    for move in moves[:_MOST_SHOWN]:
        print(f"{move.key}  {human_bytes(move.size)}  from {move.source}")
    if len(moves) > _MOST_SHOWN:
        print(f"and {len(moves) - _MOST_SHOWN} more: --json has them all")


def _judge_words(orders: Orders, catalog_refused: str) -> None:
    """Raises `CommandError` where the bucket says another plan, or another catalog, and was not believed."""
    said = []
    if orders.refused:
        said.append(f"{orders.refused}; plan {orders.plan.version}, which was in force, stays so")
    if catalog_refused:
        said.append(f"{catalog_refused}; the catalog that was in force stays so")
    if said:
        raise CommandError("; ".join(said))


def _judge(summary: Summary, permit: Permit) -> None:
    """Raises `CommandError` for what was left out, or has to wait."""
    if summary.left_out:
        raise CommandError(
            f"{len(summary.left_out)} of {summary.objects} objects left out; "
            f"the first: {next(iter(summary.left_out.values()))}"
        )
    if summary.waiting:
        raise CommandError(f"{summary.waiting} objects wait: {permit.said}", Exit.PARTLY)


def _permit(agent: AgentConfig, plan: Plan, arguments: argparse.Namespace) -> Permit:
    """What may be fetched now; waits, if it is to, for a window that is about to open. Raises `ConfigError`."""
    # The timer comes at any hour: where no window is configured it gets the default one.
    windows = agent.windows or ((Window(),) if arguments.scheduled else ())
    name = agent.timezone or plan.timezone
    zone: ZoneInfo | None
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        zone = None
    if not windows or arguments.now:
        return Permit(None, urgent_only=False, zone=zone or UTC)
    if zone is None:
        raise ConfigError(
            f"{arguments.config}: agent.timezone: {name!r} is no IANA time zone that is known here, "
            "such as Europe/Berlin"
        )
    later_s = jitter_s(plan.site, agent.jitter_s)
    found = at(time.time(), windows, zone, later_s)
    wait_s = found.slot.start - time.time()
    if found.state is State.CLOSED and arguments.scheduled and wait_s <= _WAITED_S:
        time.sleep(max(0.0, wait_s))
        return Permit(found.slot.end, urgent_only=False, zone=zone)
    if found.state is State.CLOSED:
        opens = f"the window opens {shown(found.slot.start, zone)}; --now does not wait for it"
        return Permit(None, urgent_only=True, zone=zone, said=opens)
    return Permit(found.slot.end, urgent_only=False, zone=zone)


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


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _catalog_refused(client: S3Client, bucket: str, trust: Trust, patience: Patience) -> str:
    """Why `catalog/latest` is not to be obeyed; empty when it is. Raises `S3Error`."""
    try:
        CatalogReader(client, bucket, trust, patience.read).word()
    except BadDocument as error:
        return str(error)
    return ""


def status_command(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    agent = config.need_agent(arguments.config)
    keys, trust = plan_keys(agent, arguments.config), agents_trust(config, agent, arguments.config)
    with Storekeeper(agent.ingest_socket) as storekeeper:
        held = storekeeper.holdings()
    _refuse_another(held.appliance, agent, arguments.config)
    view = read_kept(Path(agent.ingest_socket).with_name(STATE_NAME), time.time())
    orders: Orders | None = None
    problem: Exception | None = None
    try:
        client = open_client(config.origin, attempts=1)
        patience = Patience(agent.retry, time.sleep, random.random)
        orders = newest_orders(client, config.origin.bucket, held, patience, keys)
        _judge_words(orders, _catalog_refused(client, config.origin.bucket, trust(held.catalog), patience))
    except (S3Error, NoPlan, BadDocument, CommandError) as error:
        # What the appliance holds is true without S3 too: it is shown, and then the command fails.
        problem = error
    newest = orders.plan.version if orders is not None and not orders.refused else None
    if arguments.json:
        said = str(problem) if problem else None
        print_json({"holdings": held, "newest_plan": newest, "problem": said, "run": view})
    else:
        print_status(held, newest, view, time.time())
    if problem is not None and not isinstance(problem, NothingPlanned):
        raise CommandError(str(problem))
    return Exit.DONE
