"""`steering keys`: list, add and remove the API keys. The running service reads them on SIGHUP."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from daemon.cli import CommandError, Exit, print_json, print_table
from steering.apikeys import (
    ApiKey,
    KeyExists,
    NoSuchKey,
    Scope,
    add_api_key,
    add_certificate,
    load_api_keys,
    remove_api_key,
)
from steering.config import load_config
from steering.keys import Paths

_DAY_S: Final = 86_400
_READ_AGAIN: Final = "a running service reads it on SIGHUP (systemctl reload)"


def add_keys_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], config: Path) -> None:
    """``config`` is the default of --config."""
    text = "the API keys of playback services, and the certificates that stand for one"
    keys = commands.add_parser(
        "keys", help=text, description=text, epilog="example: steering keys add studio --scopes steer"
    )
    actions = keys.add_subparsers(required=True, metavar="ACTION")
    for name, function, says in (
        ("list", _list, "names, scopes and ends; the keys themselves are kept by nobody"),
        ("add", _add, "make a key and show it once"),
        ("remove", _remove, "from the next reload on, its callers are refused"),
    ):
        action = actions.add_parser(
            name,
            help=says,
            description=says,
            epilog=f"example: steering keys {name}{'' if name == 'list' else ' studio'}",
        )
        action.add_argument(
            "--config", type=Path, default=config, metavar="FILE", help="default: %(default)s"
        )
        action.add_argument("--json", action="store_true", help="for machines")
        if name != "list":
            action.add_argument("name", help="such as studio: lower-case letters, digits, dashes")
        if name == "add":
            every = ",".join(scope.value for scope in Scope)
            action.add_argument("--scopes", default=every, help="default: %(default)s")
            action.add_argument(
                "--certificate",
                metavar="KIND:NAME",
                help="instead of a key: a client certificate with this name, such as DNS:studio.example.net",
            )
            action.add_argument("--days", type=_days, help="until it ends; default: never")
        action.set_defaults(command=function)


def _list(arguments: argparse.Namespace) -> int:
    keys = load_api_keys(_file(arguments))
    if arguments.json:
        print_json([msgspec.structs.asdict(key) for key in keys])
        return Exit.DONE
    now = time.time()
    rows = [[key.name, key.certificate or "an API key", _scopes(key), _end(key, now)] for key in keys]
    print_table(["NAME", "SHOWS", "SCOPES", "ENDS"], rows)
    return Exit.DONE


def _add(arguments: argparse.Namespace) -> int:
    try:
        scopes = tuple(dict.fromkeys(Scope(word.strip()) for word in arguments.scopes.split(",")))
    except ValueError:
        words = ", ".join(scope.value for scope in Scope)
        raise CommandError(f"--scopes {arguments.scopes}: some of {words} are expected", Exit.USAGE) from None
    expires_at = None if arguments.days is None else int(time.time() + arguments.days * _DAY_S)
    certificate, file = arguments.certificate, _file(arguments)
    _check("name", arguments.name, "a name of lower-case letters, digits and dashes is expected")
    key = None
    try:
        if certificate is None:
            key = add_api_key(file, arguments.name, scopes, expires_at)
        else:
            _check("certificate", certificate, "DNS:, URI:, email: or CN: and a name is expected")
            add_certificate(file, arguments.name, certificate, scopes, expires_at)
    except KeyExists as error:
        raise CommandError(f"{error}: there is a key of this name; remove it first") from None
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
    if arguments.json:
        shown = {"api_key": key} if certificate is None else {"certificate": certificate}
        print_json({"name": arguments.name, **shown, "expires_at": expires_at})
    elif certificate is not None:
        print(f"{arguments.name}: whoever shows a certificate with {certificate}; {_READ_AGAIN}")
        if load_config(arguments.config).tls is None:
            print("tls.client_ca_file is not set: nobody can show one yet")
    else:
        print(f"API key, shown this once: {key}\n{_READ_AGAIN}")
    return Exit.DONE


def _check(field: str, text: str, expected: str) -> None:
    try:
        msgspec.convert(
            {"name": "a", "hash": None if field == "certificate" else "0" * 64, field: text}, ApiKey
        )
    except msgspec.ValidationError:
        raise CommandError(f"{text}: {expected}", Exit.USAGE) from None


def _remove(arguments: argparse.Namespace) -> int:
    try:
        remove_api_key(_file(arguments), arguments.name)
    except NoSuchKey:
        raise CommandError(
            f"{arguments.name}: no key of this name; `steering keys list` shows them"
        ) from None
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
    if arguments.json:
        print_json({"removed": arguments.name})
    else:
        print(f"{arguments.name}: removed; {_READ_AGAIN}")
    return Exit.DONE


def _file(arguments: argparse.Namespace) -> Path:
    return Paths(Path(load_config(arguments.config).state_dir)).api_keys


def _scopes(key: ApiKey) -> str:
    return " ".join(scope.value for scope in key.scopes)


def _end(key: ApiKey, now: float) -> str:
    if key.expires_at is None:
        return "never"
    date = datetime.fromtimestamp(key.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{date}, past" if now >= key.expires_at else date


def _days(word: str) -> float:
    days = float(word)
    if not 0 < days <= 36_500:
        raise argparse.ArgumentTypeError(f"{word}: more than 0 and at most 36500 days are expected")
    return days
