"""The commands of steering: init, serve, fleet, explain."""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from daemon.cli import CommandError, Exit, human_rate, print_json, print_table, run
from steering.config import load_config
from steering.keys import Paths, make

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
    for name, function, text in (
        ("init", _init, "make the signing key and an API key; overwrites nothing"),
        ("serve", _serve, "answer playback services until SIGTERM"),
        ("fleet", _fleet, "every appliance and its health, as the running service sees it"),
        ("explain", _explain, "why a client gets the answer it gets"),
    ):
        command = commands.add_parser(
            name, help=text, description=text, epilog=f"example: steering {name} --config steering.yaml"
        )
        command.add_argument(
            "--config", type=Path, default=_DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s"
        )
        if name != "serve":
            command.add_argument("--json", action="store_true", help="for machines")
        if name == "init":
            command.add_argument("--new-key", action="store_true", help="add another API key")
        if name in {"fleet", "explain"}:
            command.add_argument("--key", default=os.environ.get("STEERING_KEY"), help="or $STEERING_KEY")
            command.add_argument("--url", help="default: public_url of the configuration")
        if name == "explain":
            command.add_argument("--client-ip", required=True)
            command.add_argument("--title", required=True)
        command.set_defaults(command=function)
    return parser


def _init(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    paths = Paths(Path(config.state_dir))
    try:
        key = make(paths, new_api_key=arguments.new_key)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
    if arguments.json:
        print_json({"api_key": key, "jwks": str(paths.public)})
    else:
        print(f"{paths.public}: public keys; copy it to every appliance (auth.keys_file)")
        print(f"API key, shown this once: {key}" if key else "API keys exist; --new-key adds one")
    return Exit.DONE


def _serve(arguments: argparse.Namespace) -> int:
    from steering.serve import serve

    return serve(load_config(arguments.config))


def _fleet(arguments: argparse.Namespace) -> int:
    answer = _ask(arguments, "/v1/fleet", {})
    if arguments.json:
        print_json(answer)
        return Exit.DONE
    rows = []
    for box in answer["appliances"]:
        plan = box["plan"]
        age = box["heartbeat_age_s"]
        done = "-" if plan is None else f"{plan['held_bytes'] / max(1, plan['planned_bytes']):.0%}"
        rows.append(
            [
                box["id"],
                box["site"],
                box["tier"],
                box["state"],
                "never" if age is None else f"{age} s",
                human_rate(box["tx_bps"]),
                human_rate(box["throughput_bps"]),
                done,
            ]
        )
    print_table(["APPLIANCE", "SITE", "TIER", "STATE", "HEARD", "SENDING", "OF", "PLAN DONE"], rows)
    print(f"\ncatalog {answer['catalog'] or 'not read'}, plan {answer['plan'] or 'none'}")
    if answer["content_error"]:
        print(f"S3: {answer['content_error']}")
    return Exit.DONE


def _explain(arguments: argparse.Namespace) -> int:
    answer = _ask(arguments, "/v1/explain", {"client_ip": arguments.client_ip, "title": arguments.title})
    if arguments.json:
        print_json(answer)
        return Exit.DONE
    if not answer["known_title"]:
        print(f"{arguments.title} is not in the catalog: every question for it is answered 404.\n")
    rows = [
        [
            item["place"] or "-",
            item["appliance"],
            item["state"],
            "yes" if item["answered"] else "",
            item["reason"],
        ]
        for item in answer["considered"]
    ]
    print_table(["PLACE", "APPLIANCE", "STATE", "ANSWERED", "REASON"], rows)
    return Exit.DONE


def _ask(arguments: argparse.Namespace, path: str, query: dict[str, str]) -> Any:
    base = arguments.url or load_config(arguments.config).public_url
    if not arguments.key:
        raise CommandError("no API key: --key or the environment variable STEERING_KEY", Exit.USAGE)
    url = f"{base}{path}?{urllib.parse.urlencode(query)}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.addheaders = [("Authorization", f"Bearer {arguments.key}")]
    try:
        with opener.open(url, timeout=10) as answer:
            return json.loads(answer.read(64 << 20))
    except urllib.error.HTTPError as error:
        with error:
            body = error.read(4096).decode(errors="replace")
        raise CommandError(f"{base} answered {error.code}: {body}") from None
    except (OSError, ValueError) as error:
        raise CommandError(f"steering does not answer at {base}: {getattr(error, 'reason', error)}") from None


if __name__ == "__main__":
    sys.exit(main())
