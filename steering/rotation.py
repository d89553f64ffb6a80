"""`steering rotate`: another signing key, without one token being refused.

begin     the next key is made and published; nothing is signed with it yet
(now every appliance gets signing.jwks, and reads it on SIGHUP)
finish    the next key signs from the next SIGHUP on; the previous one stays published, for its tokens live on
retire    keys that sign no more are taken out of signing.jwks, once their last tokens have expired
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any, Final

from joserfc.jwk import ECKey

from daemon.cli import CommandError, Exit, print_json
from daemon.keyfiles import replace_json
from steering.config import load_config
from steering.keys import Paths, load_private, publish, published, replace_published

_ENDED: Final = "nearcast_signs_until"
"""Seconds since 1970. RFC 7517 section 4: members that a reader does not know are ignored."""


class NothingBegun(Exception):
    """There is no next key."""


class AlreadyBegun(Exception):
    """There is a next key already."""


def begin(paths: Paths) -> str:
    """The ``kid`` of the next key. Raises `AlreadyBegun`, `ConfigError`, OSError."""
    if paths.following.exists():
        raise AlreadyBegun
    key = ECKey.generate_key("P-256")
    # Published first: a key that could sign before it is known would be the worse half.
    publish(paths, key)
    replace_json(paths.following, key.as_dict(private=True), mode=0o600)
    return key.thumbprint()


def finish(paths: Paths, now: float) -> str:
    """The ``kid`` that signs from now on. Raises `NothingBegun`, `ConfigError`, OSError."""
    if not paths.following.exists():
        raise NothingBegun
    key, before = load_private(paths.following), load_private(paths.private).thumbprint()
    publish(paths, key)
    os.replace(paths.following, paths.private)
    # Only then: a key that is marked and still signs would be retired too soon.
    kept = [item | {_ENDED: int(now)} if item.get("kid") == before else item for item in published(paths)]
    replace_published(paths, kept)
    return key.thumbprint()


def retire(paths: Paths, now: float, token_ttl_s: int) -> list[str]:
    """The ``kid`` of each that is published no more. Raises `ConfigError`, OSError."""

    def is_over(item: dict[str, Any]) -> bool:
        ended = item.get(_ENDED)
        return isinstance(ended, int) and now >= ended + token_ttl_s

    known = published(paths)
    gone = [str(item.get("kid")) for item in known if is_over(item)]
    if gone:
        replace_published(paths, [item for item in known if not is_over(item)])
    return gone


def add_rotate_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], config: Path) -> None:
    """``config`` is the default of --config."""
    text = "change the key that signs viewers' tokens"
    command = commands.add_parser(
        "rotate",
        help=text,
        description=__doc__,
        epilog="example: steering rotate begin --config steering.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("step", choices=("begin", "finish", "retire"))
    command.add_argument("--config", type=Path, default=config, metavar="FILE", help="default: %(default)s")
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(command=_rotate)


def _rotate(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    paths = Paths(Path(config.state_dir))
    try:
        done, says = _step(arguments.step, paths, config.token_ttl_s)
    except AlreadyBegun:
        raise CommandError("a next key is published already: `steering rotate finish` lets it sign") from None
    except NothingBegun:
        raise CommandError("there is no next key yet: `steering rotate begin` makes it") from None
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
    if arguments.json:
        print_json(done)
    else:
        print(says)
    return Exit.DONE


def _step(step: str, paths: Paths, token_ttl_s: int) -> tuple[dict[str, Any], str]:
    if step == "begin":
        kid = begin(paths)
        return {"next": kid}, (
            f"{paths.public}: has the next key; copy it to every appliance (auth.keys_file) and reload them, "
            "then `steering rotate finish`"
        )
    if step == "finish":
        kid = finish(paths, time.time())
        return {"signs": kid}, (
            "the next key signs once the service has read it (systemctl reload); "
            f"in {token_ttl_s} s `steering rotate retire` takes the previous one out of {paths.public}"
        )
    gone = retire(paths, time.time(), token_ttl_s)
    return {"retired": gone}, f"{len(gone)} keys retired" + (
        f"; copy {paths.public} to every appliance" if gone else ": none has ended, or its tokens live on"
    )
