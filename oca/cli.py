"""The commands of an appliance: init, serve, doctor, status, drain, undrain, scrub; disks are in `oca.diskcommands`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from daemon.cli import CommandError, Exit, human_bytes, human_rate, print_json, print_table, run
from daemon.log import setup
from oca import diskcommands
from oca.adminclient import ask
from oca.bgp import command as bgpcommand
from oca.config import load_config
from oca.status import DiskStatus, ServedCount, Status

_DEFAULT_CONFIG = Path("/etc/nearcast/oca.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    return run("oca", _parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oca", description="The appliance.", epilog="example: oca serve --config /etc/nearcast/oca.yaml"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
        ("init", _init, "make this appliance's key and mark its disks; safe to run again"),
        ("serve", _serve, "serve players until SIGTERM"),
        (
            "bgp",
            bgpcommand.bgp,
            "learn from the ISP's router whom to serve, until SIGTERM; --status shows it",
        ),
        ("doctor", _doctor, "find what is wrong before customers do"),
        ("status", _status, "what the running appliance says of itself"),
        ("drain", _drain, "tell steering, finish what is in flight, send players elsewhere"),
        ("undrain", _undrain, "take sessions again"),
        ("scrub", _scrub, "how far the disks have been read again for rot; --now begins a pass"),
    ):
        command = commands.add_parser(
            name, help=text, description=text, epilog=f"example: oca {name} --config oca.yaml"
        )
        command.add_argument(
            "--config", type=Path, default=_DEFAULT_CONFIG, help="default: %(default)s", metavar="FILE"
        )
        if name == "scrub":
            command.add_argument("--disk", metavar="PATH", help="this disk alone")
            command.add_argument("--now", action="store_true", help="begin a pass, as fast as scrub allows")
        if name == "init":
            command.add_argument(
                "--enrol", metavar="CODE", help="bring the key to steering, as `steering enrol` says"
            )
            command.add_argument("--steering", metavar="URL", help="default: the first of steering.urls")
        if name == "bgp":
            command.add_argument("--status", action="store_true", help="sessions, prefixes, refusals")
        if name != "serve":
            command.add_argument("--json", action="store_true", help="for machines")
        command.set_defaults(command=function)
    diskcommands.add_to(commands, _DEFAULT_CONFIG)
    return parser


def _init(arguments: argparse.Namespace) -> int:
    from oca.identity import Identity
    from oca.store.disks import DiskError, mark

    config = load_config(arguments.config)
    try:
        Path(config.state_dir).mkdir(parents=True, exist_ok=True)
        identity, made = Identity.load_or_make(config.appliance, config.identity_file)
        marked = {}
        for disk in config.disks:
            if not Path(disk.path).is_dir():
                raise CommandError(f"{disk.path}: no such folder: make it, or mount the disk there")
            marked[disk.path] = mark(Path(disk.path), config.appliance)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
    except DiskError as error:
        raise CommandError(str(error)) from None
    enrolled = []
    if arguments.enrol is not None:
        from oca.enrolment import enrol

        enrolled = enrol(config, identity, arguments.enrol, arguments.steering)
    if arguments.json:
        print_json(
            {"appliance": config.appliance, "public_key": identity.public_key(), "enrolled": bool(enrolled)}
        )
        return Exit.DONE
    print(f"{config.identity_file}: {'made' if made else 'there already'}")
    for path, new in marked.items():
        print(f"{path}: {'marked' if new else 'marked already'}")
    for line in enrolled:
        print(line)
    if enrolled:
        return Exit.DONE
    public = ", ".join(f"{name}: {value}" for name, value in identity.public_key().items())
    print(f"For the fleet file, under {config.appliance}:\n  public_key: {{{public}}}")
    return Exit.DONE


def _serve(arguments: argparse.Namespace) -> int:
    from oca.supervisor import Supervisor

    config = load_config(arguments.config)
    setup("oca", config.log_level)
    return Supervisor(config, lambda: load_config(arguments.config)).run()


def _doctor(arguments: argparse.Namespace) -> int:
    from oca.doctor import examine

    findings = examine(load_config(arguments.config))
    if arguments.json:
        print_json(findings)
    else:
        print_table(
            ["", "CHECK", "FINDING"],
            [["ok" if finding.ok else "FAIL", finding.check, finding.detail] for finding in findings],
        )
    return Exit.DONE if all(finding.ok for finding in findings) else Exit.FAILED


def _status(arguments: argparse.Namespace) -> int:
    raw = ask(load_config(arguments.config), "GET", "/v1/status")
    status = msgspec.json.decode(raw, type=Status)
    if arguments.json:
        print_json(status)
        return Exit.DONE
    ratio = status.hit_ratio
    plan = status.plan
    rows: list[tuple[str, object]] = [
        ("state", status.state),
        ("version", status.version),
        ("up", f"{status.uptime_s:.0f} s"),
        ("workers", status.workers),
        ("connections", status.connections),
        ("sending", human_rate(status.tx_bps)),
        ("requests", status.requests),
        (
            "hit ratio",
            "-" if ratio.bytes is None else f"{ratio.requests:.1%} requests, {ratio.bytes:.1%} bytes",
        ),
        *((f"hits, {tier}", _count(count)) for tier, count in status.hits.items() if count.requests),
        *((f"misses, {why}", _count(count)) for why, count in status.misses.items() if count.requests),
        (
            "plan",
            "none yet"
            if plan is None
            else f"{plan.version}: {plan.held_objects} of {plan.objects} objects, "
            f"{human_bytes(plan.held_bytes)} of {human_bytes(plan.bytes)} ({plan.share_done:.0%})",
        ),
        ("incomplete", status.incomplete),
        ("catalog", status.catalog or f"not read: {status.catalog_error}"),
    ]
    if status.catalog and status.catalog_error:
        rows.append(("newer catalog", f"not taken: {status.catalog_error}"))
    rows += [("refused", why) for why in status.catalog_refused.values() if why != status.catalog_error]
    rows += [
        (f"steering {item.url}", item.error or item.state or "no answer yet") for item in status.steering
    ]
    if status.players is not None:
        sessions, starved = status.players.sessions, status.players.starved
        where = (
            f", {len(status.players.networks)} networks told to steering" if status.players.networks else ""
        )
        rows.append(("players", f"{starved:.1f} of {sessions:.0f} sessions starve{where}"))
    for item in status.upstreams:
        state = "" if item.breaker == "closed" else f"; its breaker is {item.breaker}"
        rows.append((f"pulled from {item.name}", human_bytes(item.bytes) + state))
    if status.routes is not None:
        told = f"{status.routes.prefixes} prefixes told to steering"
        rows.append(
            ("routes", told if status.routes.known else "not known yet: steering keeps the last ones")
        )
        if status.routes.bgp is None:
            rows.append(("oca bgp", status.routes.error))
        else:
            rows += [(f"bgp {item.address}", bgpcommand.short(item)) for item in status.routes.bgp.neighbours]
    if status.keys is not None:
        rows.append(("steering's keys", f"version {status.keys}" if status.keys else "none came yet"))
    if status.delivery is not None:
        log = status.delivery
        waiting = f"{log.waiting_parts} parts wait ({human_bytes(log.held_bytes)})"
        rows.append(("delivery log", f"{waiting}: {log.error}" if log.error else f"{waiting}, none failed"))
    print_table(["APPLIANCE", status.id], [[name, str(value)] for name, value in rows])
    print()
    print_table(
        ["DISK", "STATE", "USED", "CAPACITY", "OBJECTS"],
        [
            [
                disk.path,
                disk.state + (f": {disk.why}" if disk.why else ""),
                human_bytes(disk.used_bytes),
                human_bytes(disk.capacity_bytes),
                disk.objects,
            ]
            for disk in status.disks
        ],
    )
    return Exit.DONE


def _count(count: ServedCount) -> str:
    return f"{count.requests}, {human_bytes(count.bytes)}"


def _drain(arguments: argparse.Namespace) -> int:
    return _set_drain(arguments, "/v1/drain")


def _undrain(arguments: argparse.Namespace) -> int:
    return _set_drain(arguments, "/v1/undrain")


def _set_drain(arguments: argparse.Namespace, path: str) -> int:
    answer = msgspec.json.decode(ask(load_config(arguments.config), "POST", path))
    if arguments.json:
        print_json(answer)
    else:
        print(answer["state"])
    return Exit.DONE


def _scrub(arguments: argparse.Namespace) -> int:
    from oca import scrubview

    config = load_config(arguments.config)
    wanted = None if arguments.disk is None else os.path.normpath(arguments.disk)

    def disks() -> Sequence[DiskStatus]:
        listed = msgspec.json.decode(ask(config, "GET", "/v1/disks"), type=list[DiskStatus])
        found = [disk for disk in listed if wanted in {None, os.path.normpath(disk.path)}]
        if not found:
            known = ", ".join(disk.path for disk in listed)
            raise CommandError(
                f"--disk {arguments.disk}: none of this appliance's disks: {known}", Exit.USAGE
            )
        return found

    found = disks()
    if arguments.now:
        for disk in found:
            ask(config, "POST", "/v1/scrub", msgspec.json.encode({"disk": disk.path}))
        found = disks()
    if arguments.json:
        print_json(found)
        return Exit.DONE
    if arguments.now and sys.stdout.isatty():
        found = scrubview.follow(disks)
    scrubview.show(found, time.time())
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
