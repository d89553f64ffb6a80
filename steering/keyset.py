"""The signed set of our public keys, which appliances take from the answers to their heartbeats.

The root key signs it, and nothing else: `steering rotate` needs it, the running service does not, so it may lie on
another machine or a stick in a safe (`--root`). Whoever takes the service's machine can sign viewers' tokens until
its key is retired, and can bring no key of his own to an appliance.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from joserfc import jws
from joserfc.jwk import OKPKey

from contracts.documents import BadDocument
from contracts.keyset import (
    ALGORITHM,
    KeySet,
    Signature,
    SignedKeySet,
    open_keyset,
    protected_header,
    root_ring,
    root_ring_of,
)
from daemon import keyfiles
from daemon.config import ConfigError
from daemon.keyfiles import load_published, replace_json
from steering.keys import Paths, published

_NEXT: Final = "root-next.jwk"
_PREVIOUS: Final = "root-previous.jwk"


class NoRoot(Exception):
    """There is no root key in the named file."""


@dataclass(frozen=True, slots=True)
class Published:
    """A key set as appliances get it."""

    version: int
    signed: SignedKeySet


def make_root(paths: Paths) -> None:
    """The first root key, where there never was one: what was taken elsewhere is not made anew. Raises OSError."""
    if not paths.root.exists() and not paths.roots.exists():
        root = _new_root(paths.root)
        replace_json(paths.roots, {"keys": [_public(root)]}, mode=0o644)


def replace_root(file: Path) -> OKPKey:
    """Another root key in ``file``; the one before stays beside it and signs too, for who knows no other yet.

    It counts from the next `sign` on. Raises `NoRoot`, `ConfigError`, OSError.
    """
    old = load_root(file)
    following = file.with_name(_NEXT)
    new = _new_root(following)
    replace_json(file.with_name(_PREVIOUS), old.as_dict(private=True), mode=0o600)
    os.replace(following, file)
    return new


def load_roots(file: Path) -> list[OKPKey]:
    """The root key in force, and the one before while it is kept. Raises `NoRoot`, `ConfigError`."""
    previous = file.with_name(_PREVIOUS)
    return [load_root(file), *([load_root(previous)] if previous.exists() else [])]


def load_root(file: Path) -> OKPKey:
    """Raises `NoRoot`, `ConfigError`."""
    if not file.exists():
        raise NoRoot(str(file))
    return keyfiles.load_private(file, OKPKey, "Ed25519", called="an Ed25519", made_by="steering init")


def sign(paths: Paths, roots: Sequence[OKPKey], now: float) -> int:
    """Signs what is published now as the next version, which it gives; the first of ``roots`` is believed from then on.

    Raises `ConfigError`, OSError.
    """
    believed = {key.get("kid") for key in load_published(paths.roots)}
    if believed.isdisjoint(root.thumbprint() for root in roots):
        raise ConfigError(
            f"{paths.roots}: has no root key that this could be signed with: is it another fleet's?"
        )
    before = load_keyset(paths)
    # By the clock, so that it rises where what was signed before is lost.
    version = max(int(now * 1000), 0 if before is None else before.version + 1)
    made = KeySet(version, tuple(published(paths)), (_public(roots[0]),))
    raw = msgspec.json.encode(made)
    payload = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    signed = SignedKeySet(payload, tuple(_signature(raw, root) for root in roots))
    try:
        # With the eyes of an appliance: what it would refuse is never handed out.
        open_keyset(signed, root_ring(made.roots))
    except BadDocument as error:
        raise ConfigError(f"{paths.public}: {error}") from None
    replace_json(paths.keyset, msgspec.to_builtins(signed), mode=0o644)
    replace_json(paths.roots, {"keys": list(made.roots)}, mode=0o644)
    return version


def load_keyset(paths: Paths) -> Published | None:
    """What was signed last; None where nothing ever was. Raises `ConfigError`."""
    try:
        signed = msgspec.json.decode(paths.keyset.read_bytes(), type=SignedKeySet)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{paths.keyset}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{paths.keyset}: not what `steering rotate` writes: {error}") from None
    return Published(_opened(signed, paths, str(paths.keyset)).version, signed)


def public_roots(paths: Paths) -> dict[str, Any] | None:
    """The JWK Set of root keys, for appliances that enrol; None where there are none. Raises `ConfigError`."""
    keys = load_published(paths.roots)
    return {"keys": keys} if keys else None


def unsigned(paths: Paths) -> list[str]:
    """The kid of each published key that the signed set has not, or has though it is published no more.

    Raises `ConfigError`.
    """
    now = load_keyset(paths)
    if now is None:
        return []
    signed = {str(key.get("kid")) for key in _opened(now.signed, paths, str(paths.keyset)).keys}
    return sorted(signed ^ {str(key.get("kid")) for key in published(paths)})


def _opened(signed: SignedKeySet, paths: Paths, name: str) -> KeySet:
    try:
        return open_keyset(signed, root_ring_of(paths.roots.read_bytes()))
    except OSError as error:
        raise ConfigError(f"{paths.roots}: {error.strerror}") from None
    except (BadDocument, ValueError) as error:
        raise ConfigError(f"{name}: {error}: `steering rotate sign` makes it anew") from None


def _signature(payload: bytes, root: OKPKey) -> Signature:
    header = protected_header(root.thumbprint())
    compact = jws.serialize_compact(header, payload, root, algorithms=[ALGORITHM])
    protected, _, signature = compact.split(".")
    return Signature(protected, signature)


def _public(root: OKPKey) -> dict[str, Any]:
    return {**root.as_dict(private=False), "kid": root.thumbprint(), "use": "sig"}


def _new_root(file: Path) -> OKPKey:
    root = OKPKey.generate_key("Ed25519")
    replace_json(file, root.as_dict(private=True), mode=0o600)
    return root
