"""`oca init --enrol`: brings our public key to steering with a one-time code, and takes home what we need of it."""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts import clientnetwork
from contracts.documents import BadDocument, decode, encode
from contracts.enrol import AUDIENCE, MAX_REPLY_BYTES, PATH, EnrolReply, EnrolRequest, tidy_code
from contracts.fleet import PublicKey
from contracts.keyset import root_ring_of
from contracts.problem import words_of
from contracts.token import KeyRing
from daemon.cli import CommandError, Exit
from daemon.durable import replace_file
from daemon.unreachable import why_unreachable
from oca.config import Config
from oca.identity import Identity
from oca.steeringtls import trust
from oca.trustedkeys import TrustedKeys

_TIMEOUT_S: Final = 20


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The code is for the named server alone."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def enrol(config: Config, identity: Identity, code: str, url: str | None) -> list[str]:
    """What was written, as lines for the operator; raises `CommandError`.

    Every file is known to be writable before the code is used: it works once.
    """
    base = _base(config, url)
    try:
        key = msgspec.convert(identity.public_key(), PublicKey)
        request = msgspec.convert(
            {"appliance": config.appliance, "public_key": msgspec.to_builtins(key), "code": tidy_code(code)},
            EnrolRequest,
        )
    except msgspec.ValidationError:
        raise CommandError(
            "--enrol: not a code: 26 letters and digits are expected, as `steering enrol` prints them",
            Exit.USAGE,
        ) from None
    auth = config.auth
    files = [
        Path(name) for name in (auth.keys_file, auth.network_key_file, auth.roots_file) if name is not None
    ]
    for path in files:
        _check_writable(path)
    reply = _ask(base, encode(request), identity, trust(config.steering))
    said = [f"{base}: {config.appliance} is enrolled"]
    if config.auth.keys_file is not None:
        _write(Path(config.auth.keys_file), reply.jwks, 0o644)
        said.append(f"{config.auth.keys_file}: steering's public keys")
    if auth.roots_file is not None:
        said.append(_keep_roots(config, Path(auth.roots_file), reply))
    if reply.network_key is not None:
        if config.auth.network_key_file is None:
            said.append("steering binds tokens to networks: set auth.network_key_file, and enrol again")
        else:
            _write(Path(config.auth.network_key_file), reply.network_key, 0o640)
            said.append(f"{config.auth.network_key_file}: steering's network key")
    return said


def _keep_roots(config: Config, file: Path, reply: EnrolReply) -> str:
    """What signs steering's keys from here on, and those in force."""
    if reply.roots is None:
        return "steering has no root key: make one there (`steering init`), and enrol again; or set no auth.roots_file"
    _write(file, reply.roots, 0o644)
    if reply.keyset is not None:
        try:
            TrustedKeys(config).take(reply.keyset)
        except (BadDocument, OSError) as error:
            raise CommandError(f"steering's key set is of no use: {error}") from None
    return f"{file}: the root keys; steering's own come with heartbeats"


def _base(config: Config, url: str | None) -> str:
    """Steering's URL. Without TLS the code could be read on the way, and used before us."""
    if url is None:
        if not config.steering.urls:
            raise CommandError("--steering is missing, and steering.urls is empty", Exit.USAGE)
        url = config.steering.urls[0]
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CommandError(f"--steering {url}: https://HOST:PORT is expected", Exit.USAGE)
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise CommandError(f"--steering {url}: the code must not travel in the clear: use https", Exit.USAGE)
    return url.rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ask(base: str, body: bytes, identity: Identity, tls: ssl.SSLContext) -> EnrolReply:
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        base + PATH,
        body,
        {
            "Authorization": f"Bearer {identity.token(AUDIENCE, time.time(), body)}",
            "Content-Type": "application/json",
        },
    )
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls), _NoRedirect
    )
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            raw = answer.read(MAX_REPLY_BYTES + 1)
        reply = decode(raw, EnrolReply, name=base, limit_bytes=MAX_REPLY_BYTES)
        KeyRing.from_jwks(json.dumps(reply.jwks).encode())
        if reply.network_key is not None:
            clientnetwork.import_key(json.dumps(reply.network_key).encode())
        if reply.roots is not None:
            root_ring_of(json.dumps(reply.roots).encode())
    except urllib.error.HTTPError as error:
        why = words_of(error.read(4096)) or "no reason was given"
        raise CommandError(f"{base} answered {error.code}: {why}") from None
    except (OSError, urllib.error.URLError) as error:
        raise CommandError(f"steering does not answer at {base}: {why_unreachable(error)}") from None
    except (BadDocument, ValueError) as error:
        raise CommandError(f"{base}: its answer is of no use: {error}") from None
    return reply


def _check_writable(path: Path) -> None:
    try:
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        os.unlink(draft)
    except OSError as error:
        raise CommandError(
            f"{path}: cannot be written here: {error.strerror}; the code was not used", Exit.USAGE
        ) from None


def _write(path: Path, value: dict[str, Any], mode: int) -> None:
    replace_file(path, json.dumps(value).encode() + b"\n", mode=mode)
