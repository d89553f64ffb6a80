"""`fill plan` and `fill init-key`: what they print, and what they take."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from contracts.fleet import Fleet
from daemon import log as daemon_log
from daemon.cli import CommandError, Exit, human_bytes, print_json, print_table
from daemon.config import ConfigError, load
from fill.config import load_config
from fill.signing import make_key, public_path
from fill.trust import plan_signer, planners_trust

if TYPE_CHECKING:
    from fill.planning.diff import SiteChange
    from fill.planning.explain import Explanation
    from fill.planning.planner import Planned


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `fill plan` can do besides planning."""
    others = parser.add_mutually_exclusive_group()
    others.add_argument(
        "--explain",
        nargs=2,
        metavar=("TITLE", "SITE"),
        help="say why TITLE is where it is at SITE, by the plan in force; nothing is planned",
    )
    others.add_argument(
        "--diff",
        nargs=2,
        metavar=("A", "B"),
        help="say what plan B changes of plan A, in bytes per site and hour of the window; nothing is planned",
    )
    others.add_argument(
        "--rollback",
        nargs="?",
        const="",
        metavar="VERSION",
        help="put an earlier plan in force again; without VERSION the one before the newest",
    )


def init_key(arguments: argparse.Namespace) -> int:
    """Makes the key of each section that names one; both may name the same."""
    config = load_config(arguments.config)
    named = (
        ("planner", config.planner.signing_key if config.planner is not None else None, "agent.plan_key"),
        ("publish", config.publish.signing_key, "catalog_key"),
    )
    made = [
        (section, Path(key), reader, make_key(Path(key))) for section, key, reader in named if key is not None
    ]
    if not made:
        raise ConfigError(
            f"{arguments.config}: planner.signing_key: missing, and publish.signing_key: where a key is to stand"
        )
    if arguments.json:
        told = {
            section: {"signing_key": str(path), "public_keys": str(public_path(path)), "jwks": document}
            for section, path, _, document in made
        }
        print_json(told)
        return Exit.DONE
    for _, path, reader, _ in made:
        print(f"{public_path(path)}: the public key; copy it to each appliance, as {reader} names it")
    return Exit.DONE


def plan(arguments: argparse.Namespace, version: str, now: float) -> int:
    """Plans and publishes; or with one of its options says what a plan does, or goes back to an earlier one."""
    try:
        from fill.planning import planner as planning
        from fill.planning.validate import BadPlan
    except ModuleNotFoundError as error:
        # Appliances have neither numpy nor a fleet file.
        raise CommandError(f"{error.name} is missing: install nearcast[planner]", Exit.USAGE) from error
    config = load_config(arguments.config)
    section = config.need_planner(arguments.config)
    signer = plan_signer(section, arguments.config)
    daemon_log.setup("fill", config.log_level)
    try:
        if arguments.rollback is not None:
            before, after = planning.roll_back(config.origin, signer, arguments.rollback or None, now)
            if arguments.json:
                print_json({"before": before, "plan": after})
            else:
                print(
                    f"plan {after} is in force again, instead of {before or 'one that this planner disowns'}"
                )
            return Exit.DONE
        if arguments.diff is not None:
            old, new = arguments.diff
            changes = planning.diff_plans(config.origin, section.rules(), signer, old, new)
            return _show_diff(changes, old, new, as_json=arguments.json)
        fleet = load(Path(section.fleet), Fleet)
        trust = planners_trust(config, section, arguments.config)
        if arguments.explain is not None:
            told = planning.explain_title(config.origin, fleet, signer, trust, *arguments.explain)
            return _show_explanation(told, as_json=arguments.json)
        planned = planning.plan_fleet(config.origin, fleet, section.rules(), signer, trust, version, now)
    except (planning.NothingPublished, BadPlan) as error:
        raise CommandError(str(error)) from error
    except planning.NoSuchThing as error:
        raise CommandError(str(error), Exit.USAGE) from error
    if arguments.json:
        print_json(_as_json(planned))
    else:
        _print(planned)
    return Exit.DONE


def _as_json(planned: Planned) -> dict[str, Any]:
    rows = [
        msgspec.to_builtins(box) | {"left_out": site.left_out, "not_licensed": site.not_licensed}
        for site in planned.sites
        for box in site.appliances
    ]
    sites = [
        {
            "site": site.site,
            "tier": site.tier.value,
            "hit_share": site.hit_share,
            "held_bytes": site.held_bytes,
        }
        for site in planned.sites
    ]
    return {
        "plan": planned.version,
        "catalog": planned.catalog,
        "demand": planned.demand,
        "before": planned.before,
        "sites": sites,
        "appliances": rows,
    }


def _print(planned: Planned) -> None:
    source = f"demand {planned.demand}" if planned.demand else "no forecast: the newest first"
    print_table(
        (
            "appliance",
            "site",
            "tier",
            "titles",
            "objects",
            "bytes",
            "of capacity",
            "load",
            "steered",
            "to fetch",
            "put off",
        ),
        [
            (
                *(box.appliance, box.site, box.tier.value, box.titles, box.objects),
                human_bytes(box.bytes),
                f"{box.share:.1%}",
                f"{box.load:.2f}",
                f"{box.steered_load:.2f}",
                human_bytes(box.added_bytes),
                human_bytes(box.put_off_bytes),
            )
            for site in planned.sites
            for box in site.appliances
        ],
        title=f"plan {planned.version} of catalog {planned.catalog}, {source}",
    )
    print()
    print_table(
        ("site", "holds of what is asked for", "did not fit", "not licensed"),
        [
            (site.site, f"{site.hit_share:.1%}", some(site.left_out), some(site.not_licensed))
            for site in planned.sites
        ],
    )


def _show_explanation(told: Explanation, *, as_json: bool) -> int:
    if as_json:
        print_json(told)
        return Exit.DONE
    source = f"demand {told.demand}" if told.demand else "no forecast: the newest first"
    print_table(
        ("object", "size", "asked for a day", "place", "held by", "why"),
        [
            (
                item.key,
                human_bytes(item.size),
                human_bytes(item.demand_bytes_per_day),
                f"{item.place} of {item.of}" if item.place else "-",
                some(item.appliances, 8),
                item.why,
            )
            for item in told.objects
        ],
        title=f"{told.title} at {told.site}: plan {told.plan}, {source}",
    )
    return Exit.DONE


def _show_diff(changes: list[SiteChange], old: str, new: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"old": old, "new": new, "sites": changes})
        return Exit.DONE
    hours = max((len(change.by_hour) for change in changes), default=0)
    print_table(
        (
            "site",
            "to fetch",
            "from outside",
            "to give up",
            *(f"hour {hour}" for hour in range(1, hours + 1)),
            "after the window",
        ),
        [
            (
                change.site,
                human_bytes(change.added_bytes),
                human_bytes(change.outside_bytes),
                human_bytes(change.removed_bytes),
                *(human_bytes(count) for count in change.by_hour),
                human_bytes(change.left_bytes),
            )
            for change in changes
        ],
        title=f"plan {new} against {old}: {len(changes)} sites change",
    )
    return Exit.DONE


def some(names: tuple[str, ...], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "-"
