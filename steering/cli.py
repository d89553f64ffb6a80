"""The commands of steering: init, keys, rotate, serve, doctor, fleet, explain, revoke."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import math
import os
import re
import ssl
import sys
import time
import urllib.parse
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from contracts.problem import Problem, words_of
from contracts.steer import Revoked
from daemon.cli import CommandError, Exit, human_rate, print_json, print_table, run
from daemon.unreachable import why_unreachable
from steering.config import load_config
from steering.enrolcommands import add_enrol_command, revoke_appliance
from steering.feedback import TOLERANCE, at_least, told_by, weight_of
from steering.health import State
from steering.keycommands import add_keys_command
from steering.keys import Paths, make
from steering.keyset import load_root, make_root, sign
from steering.report import ApplianceReport, Explanation, FleetReport
from steering.rotation import add_rotate_command

T = TypeVar("T")

_MAX_ANSWER_BYTES: Final = 64 << 20
_TIMEOUT_S: Final = 10
_NETWORKS_SHOWN: Final = 3
"""Of each appliance, the worst ones."""
_NAMED: Final = 10
_DEFAULT_CONFIG = Path("/etc/nearcast/steering.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    return run("steering", _parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="steering",
        description="Picks the best appliances for each playback and signs the URLs.",
        epilog="example: steering serve --config /etc/nearcast/steering.yaml",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text, more in (
        ("init", _init, "make the signing key and an API key; overwrites nothing", ""),
        ("serve", _serve, "answer playback services until SIGTERM", ""),
        ("doctor", _doctor, "find what is wrong before callers do", ""),
        ("fleet", _fleet, "every appliance and its health, as the running service sees it", " --json"),
        (
            "explain",
            _explain,
            "why a client gets the answer it gets",
            " --client-ip 198.51.100.7 --title tt0001",
        ),
        ("revoke", _revoke, "take back an appliance's key, or the tokens of a playback session", " isp-a1"),
    ):
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example: steering {name} --config steering.yaml{more}",
        )
        command.add_argument(
            "--config", type=Path, default=_DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s"
        )
        if name != "serve":
            command.add_argument("--json", action="store_true", help="for machines")
        if name == "init":
            command.add_argument("--new-key", action="store_true", help="add another API key")
        if name in {"fleet", "explain", "revoke"}:
            command.add_argument("--key", default=os.environ.get("STEERING_KEY"), help="or $STEERING_KEY")
            command.add_argument("--url", help="default: public_url of the configuration")
        if name in {"doctor", "fleet", "explain", "revoke"}:
            command.add_argument(
                "--ca", metavar="FILE", help="who signed its certificate; default: the system's"
            )
        if name == "explain":
            command.add_argument("--client-ip", required=True, help="the viewer's address")
            command.add_argument("--title", required=True, help="such as tt0001")
            command.add_argument("--country", help="two letters; needed for a title that is not for all")
            command.add_argument("--session", help="of an answer, to see that answer's order")
        if name == "revoke":
            command.add_argument("appliance", nargs="?", help="whose key is worth nothing from here on")
            command.add_argument("--session", help="as an answer of steering names it")
        command.set_defaults(command=function)
    add_keys_command(commands, _DEFAULT_CONFIG)
    add_enrol_command(commands, _DEFAULT_CONFIG)
    add_rotate_command(commands, _DEFAULT_CONFIG)
    return parser


def _init(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    paths = Paths(Path(config.state_dir))
    try:
        key = make(paths, new_api_key=arguments.new_key)
        make_root(paths)
        if paths.root.exists() and not paths.keyset.exists():
            sign(paths, [load_root(paths.root)], time.time())
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
    if arguments.json:
        print_json({"api_key": key, "jwks": str(paths.public), "roots": str(paths.roots)})
    else:
        print(f"{paths.public}: public keys; copy it to every appliance (auth.keys_file)")
        print(
            f"{paths.roots}: what signs them; with it (auth.roots_file) an appliance learns of later ones itself"
        )
        print(f"API key, shown this once: {key}" if key else "API keys exist; --new-key adds one")
    return Exit.DONE


def _serve(arguments: argparse.Namespace) -> int:
    from steering.serve import serve

    return serve(load_config(arguments.config))


def _doctor(arguments: argparse.Namespace) -> int:
    from steering.doctor import examine

    findings = examine(load_config(arguments.config), arguments.ca)
    if arguments.json:
        print_json(findings)
    else:
        rows = [["ok" if finding.ok else "FAIL", finding.check, finding.detail] for finding in findings]
        print_table(["", "CHECK", "FINDING"], rows)
    return Exit.DONE if all(finding.ok for finding in findings) else Exit.FAILED


def _fleet(arguments: argparse.Namespace) -> int:
    raw, answer = _ask(arguments, "/v1/fleet", {}, FleetReport)
    if arguments.json:
        print_json(raw)
        return Exit.DONE
    rows = []
    for box in answer.appliances:
        plan, age = box.plan, box.heartbeat_age_s
        rows.append(
            [
                box.id,
                box.site,
                box.tier,
                box.state,
                "never" if age is None else f"{age} s",
                # What it last sent is no news of one that is not heard any more.
                "-" if age is None or box.state == State.DOWN.value else human_rate(box.tx_bps),
                human_rate(box.throughput_bps),
                "-" if plan is None else _share(plan.held_bytes, plan.planned_bytes),
                _routes(box),
            ]
        )
    head = ["APPLIANCE", "SITE", "TIER", "STATE", "HEARD", "SENDING", "OF", "PLAN DONE", "ROUTES"]
    print_table(head, rows)
    for box in answer.appliances:
        if box.state != "serving":
            since = "" if box.state_age_s is None else f" for {box.state_age_s:.0f} s"
            print(f"{box.id} is {box.state}{since}: {box.state_reason}")
    for box in answer.appliances:
        _print_starving(box)
    if answer.isolated_s is not None:
        print(f"\nnobody was heard for {answer.isolated_s} s: answers are given from what was known before")
    behind = [box.id for box in answer.appliances if box.keys is not None and box.keys < (answer.keys or 0)]
    if behind:
        more = f" and {len(behind) - _NAMED} more" if len(behind) > _NAMED else ""
        print(f"\nkeys of version {answer.keys} have not come to {', '.join(behind[:_NAMED])}{more}")
    since = "" if answer.plan_age_s is None else f", put in force {timedelta(seconds=answer.plan_age_s)} ago"
    print(f"\ncatalog {answer.catalog or 'not read'}, plan {answer.plan or 'none'}{since}")
    if answer.content_error is not None:
        kept = "" if answer.content_age_s is None else f"; what was read {answer.content_age_s} s ago stays"
        print(f"S3: {answer.content_error}{kept}")
    for key, why in answer.refused_documents.items():
        print(f"refused: {why if why.startswith(key) else f'{key}: {why}'}")
    return Exit.DONE


def _print_starving(box: ApplianceReport) -> None:
    players = box.players
    if players is None:
        return
    if at_least(players.starved, players.sessions) > TOLERANCE:
        print(f"{box.id}: {players.starved:.0f} of all its {players.sessions:.0f} sessions starve")
    networks = list(told_by(players).values())
    lossy = [told for told in networks if weight_of(told, 0.0) < 1.0]
    for told in lossy[:_NETWORKS_SHOWN]:
        print(
            f"{box.id}: players of {told.network} starve: {told.starved:.0f} of {told.sessions:.0f} sessions"
        )
    if len(lossy) > _NETWORKS_SHOWN:
        print(f"{box.id}: and of {len(lossy) - _NETWORKS_SHOWN} networks more (--json has them)")


def _routes(box: ApplianceReport) -> str:
    worse = f", {box.routes_worse} worse" if box.routes_worse else ""
    return f"{box.routes}{worse}" + (f", {box.routes_refused} refused" if box.routes_refused else "")


def _share(held_bytes: int, planned_bytes: int) -> str:
    """Per cent, rounded down: 100 % is said of a whole plan only."""
    return f"{math.floor(100 * held_bytes / planned_bytes)}%" if planned_bytes else "100%"


def _explain(arguments: argparse.Namespace) -> int:
    query = {
        "client_ip": arguments.client_ip,
        "title": arguments.title,
        "country": arguments.country,
        "session": arguments.session,
    }
    asked = {name: value for name, value in query.items() if value is not None}
    raw, answer = _ask(arguments, "/v1/explain", asked, Explanation)
    if arguments.json:
        print_json(raw)
        return Exit.DONE
    if answer.outcome != "answered":
        print(f"Nothing is answered ({answer.outcome}): {answer.detail}.\n")
    rows = [
        [
            "-" if item.place is None else item.place,
            item.appliance,
            item.state,
            "yes" if item.answered else "",
            item.reason,
        ]
        for item in answer.considered
    ]
    print_table(["PLACE", "APPLIANCE", "STATE", "ANSWERED", "REASON"], rows)
    return Exit.DONE


def _revoke(arguments: argparse.Namespace) -> int:
    if (arguments.appliance is None) is (arguments.session is None):
        raise CommandError("revoke: name an appliance, or --session", Exit.USAGE)
    if arguments.appliance is not None:
        return revoke_appliance(arguments)
    raw, answer = _ask(arguments, "/v1/revoke", {}, Revoked, {"session": arguments.session})
    if arguments.json:
        print_json(raw)
        return Exit.DONE
    print(f"{answer.session}: revoked; each appliance hears it with its next heartbeat")
    return Exit.DONE


def _ask(
    arguments: argparse.Namespace,
    path: str,
    query: dict[str, str],
    kind: type[T],
    body: dict[str, str] | None = None,
) -> tuple[Any, T]:
    """What the running service answers: as it came, and as ``kind``. Raises `CommandError`.

    A ``body`` is sent as JSON, with POST.
    """
    base = arguments.url.removesuffix("/") if arguments.url else load_config(arguments.config).public_url
    key = arguments.key or ""
    if not re.fullmatch(r"[!-~]+", key):
        what = "no API key" if not key else "the API key holds a character that none has"
        raise CommandError(f"{what}: --key or the environment variable STEERING_KEY", Exit.USAGE)
    try:
        parts = urllib.parse.urlsplit(base)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError(base)
    except ValueError:
        raise CommandError(
            f"--url {base}: http://HOST:PORT or https://HOST:PORT is expected", Exit.USAGE
        ) from None
    # Neither through a proxy nor along a redirect: the key is for the named server alone.
    with contextlib.closing(_connection(parts, arguments.ca)) as connection:
        try:
            target = f"{parts.path}{path}?{urllib.parse.urlencode(query)}"
            sent = None if body is None else msgspec.json.encode(body)
            method = "GET" if body is None else "POST"
            connection.request(method, target, sent, {"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            status, said = answer.status, answer.read(_MAX_ANSWER_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise CommandError(f"steering does not answer at {base}: {why_unreachable(error)}") from None
    if status != http.HTTPStatus.OK:
        raise _refused(base, status, said)
    try:
        raw = msgspec.json.decode(said)
        return raw, msgspec.convert(raw, kind)
    except msgspec.MsgspecError:
        raise CommandError(f"what answers at {base} is not steering, or another version of it") from None


def _connection(parts: urllib.parse.SplitResult, ca: str | None) -> http.client.HTTPConnection:
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_S)
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise CommandError(f"--ca {ca}: {error.strerror or error}", Exit.USAGE) from None
    return http.client.HTTPSConnection(parts.netloc, timeout=_TIMEOUT_S, context=context)


def _refused(base: str, status: int, body: bytes) -> CommandError:
    if status == Problem.UNAUTHORISED.status:
        return CommandError(
            f"the API key was refused by {base}: --key or STEERING_KEY must hold one that "
            "`steering init` has shown",
            Exit.USAGE,
        )
    why = words_of(body)
    if why is None:
        return CommandError(f"{base} answered {status}")
    code = Exit.USAGE if status == Problem.BAD_FIELD.status else Exit.FAILED
    return CommandError(f"{base} answered {status}: {why}", code)


if __name__ == "__main__":
    sys.exit(main())
