"""The command ``fill``: publish, plan, run, status."""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from contracts.documents import BadDocument
from contracts.fleet import Fleet
from contracts.objectkey import BadKey, parse_title
from daemon import log as daemon_log
from daemon.cli import CommandError, Exit, human_bytes, print_json, print_table, run
from daemon.config import load
from daemon.s3 import S3Error, open_client
from fill.agent.agent import Agent, AlreadyRunning, NoPlan, Summary, newest_plan, only_run
from fill.agent.storekeeper import Refused, Storekeeper, StorekeeperGone
from fill.config import load_config
from fill.planning.placement import Placement
from fill.planning.planner import NothingPublished, plan_fleet
from fill.progress import meter
from fill.version import version_name

DEFAULT_CONFIG: Final = "/etc/nearcast/fill.yaml"
_FAILURES: Final = (S3Error, BadDocument, NothingPublished, NoPlan, AlreadyRunning, StorekeeperGone, Refused)


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

    publishing = add(
        "publish",
        _publish,
        "Encode a video and put it into the catalog; published again, it replaces the title.",
        "fill publish film.mp4 --title tt0001 --config configs/fill.yaml",
    )
    publishing.add_argument("source", type=Path, metavar="SOURCE")
    publishing.add_argument("--title", required=True, metavar="ID")
    add(
        "plan",
        _plan,
        "Decide which appliance shall hold which title.",
        "fill plan --config configs/fill.yaml",
    )
    add("run", _run, "Fetch onto this appliance what its plan names.", "fill run --config configs/fill.yaml")
    add("status", _status, "Say how far the plan is carried out.", "fill status --config configs/fill.yaml")
    return parser


def _told(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Runs ``command``; what may go wrong in every command becomes its one line here."""
    try:
        return command(arguments)
    except _FAILURES as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or 'system'}: {error.strerror or error}") from error


def _publish(arguments: argparse.Namespace) -> int:
    # Imported here: the agent runs on appliances, which have no encoder.
    try:
        from fill.publish.boxes import BadMp4
        from fill.publish.check import BadEncode
        from fill.publish.encode import EncodeFailed
        from fill.publish.probe import NotVideo
        from fill.publish.publish import publish
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is missing: install nearcast[publish]", Exit.USAGE) from error
    try:
        title = parse_title(arguments.title)
    except BadKey as error:
        raise CommandError(f"--title: {error}", Exit.USAGE) from None
    config = load_config(arguments.config)
    daemon_log.setup("fill", config.log_level)
    now = time.time()
    try:
        done = publish(config, arguments.source, title, version=_new_version(now), now=now)
    except NotVideo as error:
        raise CommandError(str(error), Exit.USAGE) from error
    except (EncodeFailed, BadEncode, BadMp4) as error:
        raise CommandError(str(error)) from error
    objects = done.entry.objects
    size = sum(item.size for item in objects)
    if arguments.json:
        print_json(
            {
                "title": title,
                "catalog": done.version,
                "titles": done.titles,
                "duration_s": done.entry.duration_s,
                "bytes": size,
                "objects": [item.key for item in objects],
                "hls": done.entry.hls,
                "dash": done.entry.dash,
            }
        )
    else:
        print(
            f"{title}: {len(objects)} objects, {human_bytes(size)}, {done.entry.duration_s:.1f} s; "
            f"catalog {done.version} has {done.titles} title{'s' if done.titles != 1 else ''}"
        )
    return Exit.DONE


def _plan(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    planner = config.need_planner(arguments.config)
    fleet = load(Path(planner.fleet), Fleet)
    daemon_log.setup("fill", config.log_level)
    planned = plan_fleet(
        open_client(config.origin),
        config.origin.bucket,
        fleet,
        planner.top_share,
        _new_version(time.time()),
    )
    rows = [_plan_row(placement) for placement in planned.placements]
    if arguments.json:
        print_json({"plan": planned.version, "catalog": planned.catalog, "appliances": rows})
        return Exit.DONE
    print_table(
        ("appliance", "site", "tier", "titles", "objects", "bytes", "of capacity", "did not fit"),
        [
            (
                *(row["appliance"], row["site"], row["tier"], row["titles"], row["objects"]),
                human_bytes(row["bytes"]),
                f"{row['share']:.1%}",
                _some(row["left_out"]),
            )
            for row in rows
        ],
        title=f"plan {planned.version} of catalog {planned.catalog}",
    )
    return Exit.DONE


def _plan_row(placement: Placement) -> dict[str, Any]:
    items = [item for title, _ in placement.chosen for item in title.items]
    return {
        "appliance": placement.appliance,
        "site": placement.site,
        "tier": placement.tier.value,
        "titles": len(placement.chosen),
        "objects": len(items),
        "bytes": sum(item.size for item in items),
        "share": placement.room_bytes / placement.capacity_bytes,
        "left_out": placement.left_out,
    }


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "-"


def _run(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    agent = config.need_agent(arguments.config)
    daemon_log.setup("fill", config.log_level)
    # The storekeeper first: without it there is nothing to lock for.
    with Storekeeper(agent.ingest_socket) as storekeeper, only_run(agent.ingest_socket):
        client = open_client(config.origin)
        plan = newest_plan(client, config.origin.bucket, agent.appliance)
        with meter(f"filling {agent.appliance}", plan.size) as bar:
            summary = Agent(client, config.origin.bucket, storekeeper, plan).carry_out(bar)
    _say(summary, agent.appliance, as_json=arguments.json)
    if summary.left_out:
        raise CommandError(
            f"{len(summary.left_out)} of {summary.objects} objects left out; "
            f"the first: {next(iter(summary.left_out.values()))}"
        )
    return Exit.DONE


def _say(summary: Summary, appliance: str, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    print(
        f"{appliance}: plan {summary.plan}: {summary.committed} objects filled, {summary.held} were there, "
        f"{len(summary.left_out)} left out, {human_bytes(summary.fetched_bytes)} fetched"
    )


def _status(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    agent = config.need_agent(arguments.config)
    with Storekeeper(agent.ingest_socket) as storekeeper:
        held = storekeeper.holdings()
    newest: str | None = None
    problem: str | None = None
    try:
        newest = newest_plan(open_client(config.origin), config.origin.bucket, agent.appliance).version
    except (S3Error, NoPlan, BadDocument) as error:
        # What the appliance holds is true without S3 too.
        problem = str(error)
    if arguments.json:
        print_json({"holdings": held, "newest_plan": newest, "problem": problem})
        return Exit.DONE
    share = held.held_bytes / held.planned_bytes if held.planned_bytes else 1.0
    print_table(
        ("appliance", held.appliance),
        [
            ("plan in force", held.plan or "none yet"),
            ("newest plan", newest or problem),
            ("held of it", f"{held.held_objects} of {held.planned_objects} objects"),
            ("bytes", f"{human_bytes(held.held_bytes)} of {human_bytes(held.planned_bytes)} ({share:.1%})"),
            ("under way", f"{len(held.incomplete)} objects"),
            ("beside the plan", f"{held.other_objects} objects, {human_bytes(held.other_bytes)}"),
        ],
    )
    return Exit.DONE


def _new_version(now: float) -> str:
    return version_name(now, secrets.token_bytes(3))
