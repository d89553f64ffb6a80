"""Signing keys on the disk: a private JWK for who signs, and beside it the public JWK Set (RFC 7517) for the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from daemon.config import ConfigError
from daemon.durable import replace_file

K = TypeVar("K", ECKey, OKPKey)
T = TypeVar("T")


def replace_json(path: Path, value: object, *, mode: int) -> None:
    """Raises OSError."""
    replace_file(path, json.dumps(value).encode() + b"\n", mode=mode)


def load_private(path: Path, kind: type[K], curve: str, *, called: str, made_by: str) -> K:
    """A private key of ``kind`` on ``curve``; raises `ConfigError`. ``called`` has its article, for that error."""
    try:
        key = kind.import_key(json.loads(path.read_bytes()))
        if key.curve_name != curve or not key.is_private:
            raise ValueError(f"a {'private' if key.is_private else 'public'} key on {key.curve_name}")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no signing key there: run `{made_by}`") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path}: not {called} private key as JWK: {error}") from None
    return key


def load_public(path: Path, parse: Callable[[bytes], T], *, named: str = "") -> T:
    """What ``parse`` makes of a JWK Set; raises `ConfigError`.

    ``parse`` raises ValueError; ``named`` is the key of the configuration that names the file.
    """
    where = f"{named}: {path}" if named else str(path)
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def load_published(path: Path) -> list[dict[str, Any]]:
    """The keys of a JWK Set, none where there is no file; raises `ConfigError` when it holds something else."""
    try:
        keys = json.loads(path.read_bytes())["keys"]
        if isinstance(keys, list) and all(isinstance(item, dict) for item in keys):
            return keys
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError):
        pass
    raise ConfigError(f'{path}: not a JWK Set: {{"keys": [...]}} is expected')
