"""`steering rotate`: another signing key, without one token being refused.

begin     the next key is made and published; nothing is signed with it yet
(systemctl reload: appliances get it with their heartbeats, and `steering fleet` names those that have not)
finish    the next key signs from the next SIGHUP on; the previous one stays published, for its tokens live on
retire    keys that sign no more are taken out of signing.jwks, once their last tokens have expired; with --now at
          once, for a key that was stolen: its tokens are refused everywhere, and players need new ones
sign      the published keys are signed by the root key as they are, where a step above could not
root      another root key: what the former one signed brings it to the appliances
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any, Final

from joserfc.jwk import ECKey, OKPKey

from daemon.cli import CommandError, Exit, print_json
from daemon.keyfiles import replace_json
from steering.config import load_config
from steering.keys import Paths, load_private, publish, published, replace_published
from steering.keyset import NoRoot, load_roots, replace_root, sign

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
    text = "change the key that signs viewers' tokens, or the root key"
    command = commands.add_parser(
        "rotate",
        help=text,
        description=__doc__,
        epilog="example: steering rotate begin --config steering.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("step", choices=("begin", "finish", "retire", "sign", "root"))
    command.add_argument("--now", action="store_true", help="retire: though tokens of the key live on")
    command.add_argument(
        "--root", type=Path, metavar="FILE", help="the root key, where it is not in state_dir"
    )
    command.add_argument("--config", type=Path, default=config, metavar="FILE", help="default: %(default)s")
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(command=_rotate)


def _rotate(arguments: argparse.Namespace) -> int:
    if arguments.now and arguments.step != "retire":
        raise CommandError("--now goes with retire alone", Exit.USAGE)
    config = load_config(arguments.config)
    paths = Paths(Path(config.state_dir))
    token_ttl_s = 0 if arguments.now else config.token_ttl_s
    try:
        # Before anything is changed: what cannot be signed is not published.
        roots = [] if arguments.step == "finish" else _roots(paths, arguments.root or paths.root)
        if arguments.step == "sign" and not roots:
            raise NoRoot(str(paths.root))
        if arguments.step == "root":
            roots = [replace_root(arguments.root or paths.root), *roots[:1]]
        done, says = _step(arguments.step, paths, token_ttl_s)
        if roots and (arguments.step != "retire" or done["retired"]):
            done["version"] = sign(paths, roots, time.time())
    except AlreadyBegun:
        raise CommandError("a next key is published already: `steering rotate finish` lets it sign") from None
    except NothingBegun:
        raise CommandError("there is no next key yet: `steering rotate begin` makes it") from None
    except NoRoot as error:
        raise CommandError(
            f"{error}: the root key is not there: --root FILE, or `steering init` where there never was one",
            Exit.USAGE,
        ) from None
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
    if arguments.json:
        print_json(done)
    else:
        print(says)
        if "version" in done:
            print(
                f"{paths.keyset}: version {done['version']}, signed; give every replica both, and reload them"
            )
            print(
                "appliances with auth.roots_file take it from there: `steering fleet` names those that have not"
            )
    return Exit.DONE


def _roots(paths: Paths, file: Path) -> list[OKPKey]:
    """None where there never was a root key. Raises `NoRoot`, `ConfigError`."""
    return load_roots(file) if paths.roots.exists() or file != paths.root else []


def _step(step: str, paths: Paths, token_ttl_s: int) -> tuple[dict[str, Any], str]:
    if step == "begin":
        kid = begin(paths)
        return {"next": kid}, (
            f"{paths.public}: has the next key; appliances without auth.roots_file need a copy "
            "(auth.keys_file) and a reload; when all have it, `steering rotate finish`"
        )
    if step == "finish":
        kid = finish(paths, time.time())
        return {"signs": kid}, (
            "the next key signs once the service has read it (systemctl reload); "
            f"in {token_ttl_s} s `steering rotate retire` takes the previous one out of {paths.public}"
        )
    if step == "retire":
        gone = retire(paths, time.time(), token_ttl_s)
        return {"retired": gone}, f"{len(gone)} keys retired" + (
            f"; copy {paths.public} to appliances without auth.roots_file"
            if gone
            else ": none has ended, or its tokens live on"
        )
    if step == "root":
        return (
            {},
            "the next sets are signed by the new root key, and by root-previous.jwk beside it while that is kept",
        )
    return {}, f"{paths.public}: signed as it is"
