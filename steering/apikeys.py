"""Who may ask steering for what: callers with a name, scopes and perhaps an end. Each shows an API key, of which the
hash is kept, or a client certificate (mTLS), of which a name is.

A key is changed without a pause: add another, let the caller move to it, remove the first. SIGHUP reads them.
"""

from __future__ import annotations

import enum
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from daemon.config import ConfigError
from daemon.durable import replace_file

MAX_KEYS: Final = 1000

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]


CertificateName = Annotated[
    str,
    Meta(
        pattern=r"^(DNS|URI|email|CN):[!-~]{1,255}\Z",
        description="a subject alternative name with its kind; CN where there is none",
    ),
]


class Scope(enum.Enum):
    """What a key permits. A playback service needs the first alone."""

    STEER = "steer"  # ask for candidates
    READ = "read"  # see the fleet, and why an answer is what it is
    REVOKE = "revoke"  # take back the tokens of a session


EVERY_SCOPE: Final = tuple(Scope)


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    name: Name
    hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="SHA-256 in hex")] | None = None
    """Of the key; None: a certificate stands for it."""
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=len(Scope))] = EVERY_SCOPE
    expires_at: Annotated[int, Meta(ge=0)] | None = None
    """Seconds since 1970; None: never."""
    certificate: CertificateName | None = None
    """A name in the client certificate that stands for the key."""

    def __post_init__(self) -> None:
        if (self.hash is None) is (self.certificate is None):
            raise ValueError(f"{self.name}: either hash or certificate is expected")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: Annotated[tuple[ApiKey, ...], Meta(max_length=MAX_KEYS)]


class KeyExists(Exception):
    """A key of this name is there already."""


class NoSuchKey(Exception):
    """No key has this name."""


def load_api_keys(file: Path) -> tuple[ApiKey, ...]:
    """Raises `ConfigError`."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=_File).keys
    except FileNotFoundError:
        raise ConfigError(f"{file}: no API keys there: run `steering init`") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not the API keys that `steering init` writes: {error}") from None


def add_api_key(
    file: Path, name: str | None, scopes: tuple[Scope, ...] = EVERY_SCOPE, expires_at: int | None = None
) -> str:
    """The new key, which is nowhere else: the file has its hash. Raises `KeyExists`, `ConfigError`, OSError.

    Without a ``name`` it gets one of its own.
    """
    # A word in front: `--key -xyz` would be taken for an option, and one key in 64 begins so.
    key = f"nc_{secrets.token_urlsafe(32)}"

    def added(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        taken = {known.name for known in keys}
        chosen = name or next(free for at in range(1, MAX_KEYS + 2) if (free := f"key-{at}") not in taken)
        return _with(keys, ApiKey(chosen, hash_api_key(key), scopes, expires_at))

    _change(file, added)
    return key


def add_certificate(
    file: Path, name: str, certificate: str, scopes: tuple[Scope, ...], expires_at: int | None
) -> None:
    """Whoever shows a client certificate with this name in it. Raises `KeyExists`, `ConfigError`, OSError."""
    _change(file, lambda keys: _with(keys, ApiKey(name, None, scopes, expires_at, certificate)))


def _with(keys: tuple[ApiKey, ...], new: ApiKey) -> tuple[ApiKey, ...]:
    """Raises `KeyExists`."""
    if any(known.name == new.name for known in keys):
        raise KeyExists(new.name)
    if any(known.certificate == new.certificate for known in keys if known.certificate is not None):
        raise KeyExists(str(new.certificate))
    return (*keys, new)


def remove_api_key(file: Path, name: str) -> None:
    """Raises `NoSuchKey`, `ConfigError`, OSError."""

    def without(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        left = tuple(known for known in keys if known.name != name)
        if len(left) == len(keys):
            raise NoSuchKey(name)
        return left

    _change(file, without)


def _change(file: Path, changed: Callable[[tuple[ApiKey, ...]], tuple[ApiKey, ...]]) -> None:
    with _alone(file.parent):
        keys = changed(load_api_keys(file) if file.exists() else ())
        if len(keys) > MAX_KEYS:
            raise ConfigError(f"{file}: at most {MAX_KEYS} API keys are kept: remove some")
        replace_file(file, msgspec.json.format(msgspec.json.encode(_File(keys))) + b"\n", mode=0o600)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two commands at once change the file one after the other."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def hash_api_key(key: str) -> str:
    """How a key is stored and compared. It has 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


class Callers:
    """All of them, found by what they show."""

    def __init__(self, known: Iterable[ApiKey]) -> None:
        entries = tuple(known)
        self._by_hash = {item.hash: item for item in entries if item.hash is not None}
        self._by_name = {item.certificate: item for item in entries if item.certificate is not None}

    def of_key(self, key: str, now: float) -> ApiKey | None:
        """Whose key it is, unless it has ended.

        How long the look-up takes says something of the digest, and nobody can choose a key by its digest.
        """
        return _unless_ended(self._by_hash.get(hash_api_key(key)), now)

    def of_certificate(self, names: Iterable[str], now: float) -> ApiKey | None:
        """Who is meant by the names in a client certificate; the first that is known."""
        found = next((self._by_name[name] for name in names if name in self._by_name), None)
        return _unless_ended(found, now)


def _unless_ended(found: ApiKey | None, now: float) -> ApiKey | None:
    return None if found is None or (found.expires_at is not None and now >= found.expires_at) else found
