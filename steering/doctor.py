"""What is wrong with a steering, found before its callers find it. Each check says how to mend it."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from contracts.catalog import MAX_LATEST_BYTES
from contracts.inforce import CATALOGS, PLANS, Subject, gone, to_obey
from contracts.problem import words_of
from contracts.signature import SignatureKeys
from contracts.token import CLOCK_SKEW_S
from daemon.config import ConfigError
from daemon.s3 import S3Error, get_if_there, open_client
from daemon.unreachable import why_unreachable
from steering import keptcontent
from steering.apikeys import load_api_keys
from steering.certified import server_context
from steering.config import Config, Tls
from steering.content import load_keys
from steering.geo import GeoIp
from steering.keys import Paths, Signer, load_private, load_public
from steering.keyset import load_keyset, unsigned
from steering.roster import Roster
from steering.store import StoreError
from steering.store.local import FILE_NAME
from steering.store.opening import open_store

_DAY_S: Final = 86_400
_SOON_DAYS: Final = 14
"""What ends within these is said, and mended while there is time."""
_TIMEOUT_S: Final = 5


class Finding(msgspec.Struct, frozen=True):
    check: str
    ok: bool
    detail: str


class Wrong(Exception):
    """In words that say what to do."""


def examine(config: Config, ca: str | None = None) -> list[Finding]:
    """Every check, in the order in which one would mend things; ``ca`` signed the certificate of public_url."""
    paths = Paths(Path(config.state_dir))
    checks: list[tuple[str, Callable[[], str]]] = [
        ("fleet file", lambda: _fleet(config)),
        ("signing key", lambda: _signing(config, paths)),
        ("keys for appliances", lambda: _keyset(paths)),
        ("API keys", lambda: _api_keys(config, paths)),
        ("tls", lambda: check_tls(config)),
        ("store", lambda: _store(config)),
        ("origin", lambda: _origin(config)),
        ("planner's key", lambda: _plans(config)),
        ("publisher's key", lambda: _catalogs(config)),
        ("geoip", lambda: _geoip(config)),
        ("proxy", lambda: _proxy(config)),
        (f"service {config.public_url}", lambda: _service(config.public_url, ca)),
    ]
    findings = []
    for name, check in checks:
        try:
            findings.append(Finding(name, True, check()))
        except (Wrong, ConfigError, StoreError, S3Error, OSError, ValueError) as error:
            findings.append(Finding(name, False, str(error)))
    return findings


def _fleet(config: Config) -> str:
    roster = Roster.read(Path(config.fleet))
    boxes = roster.appliances.values()
    if not boxes:
        raise Wrong(f"{config.fleet}: no appliance in it: nobody can be answered")
    prefixes = sum(len(site.prefixes) for site in roster.sites.values())
    keyless = sum(box.public_key is None for box in boxes)
    said = f"{len(roster.sites)} sites, {len(roster.appliances)} appliances, {prefixes} prefixes"
    return said + (f"; {keyless} have no key in it, and enrol (`steering enrol`)" if keyless else "")


def _signing(config: Config, paths: Paths) -> str:
    Signer.load(paths, bind_networks=config.bind_networks)
    kid = load_private(paths.private).thumbprint()
    if load_public(paths).get(kid) is None:
        raise Wrong(f"{paths.public}: lacks the key that signs: run `steering init`")
    for path in (paths.private, paths.following, paths.network, paths.root, paths.api_keys):
        if path.exists() and path.stat().st_mode & 0o077:
            raise Wrong(f"{path} has mode {path.stat().st_mode & 0o777:o}: others may read it; chmod 600")
    waits = (
        "; a next one is published: `steering rotate finish` lets it sign" if paths.following.exists() else ""
    )
    return f"{kid[:8]} signs{waits}"


def _keyset(paths: Paths) -> str:
    found = load_keyset(paths)
    if found is None:
        return "no root key: appliances need a copied file (auth.keys_file) at each change; `steering init` makes one"
    if unsigned(paths):
        raise Wrong(f"{paths.public} was changed since the root key signed it: run `steering rotate sign`")
    where = (
        "; the root key lies here: in a safe it could not be stolen from here" if paths.root.exists() else ""
    )
    return f"version {found.version}, signed{where}"


def _api_keys(config: Config, paths: Paths) -> str:
    keys = load_api_keys(paths.api_keys)
    now = time.time()
    ended = [key.name for key in keys if key.expires_at is not None and key.expires_at <= now]
    soon = [
        key.name
        for key in keys
        if key.expires_at is not None and 0 < key.expires_at - now < _SOON_DAYS * _DAY_S
    ]
    if len(ended) == len(keys):
        raise Wrong("none is good: every caller is refused; `steering keys add NAME`")
    if ended:
        raise Wrong(f"{', '.join(ended)}: ended, and its callers are refused; `steering keys remove NAME`")
    shown = [key.name for key in keys if key.certificate is not None]
    if shown and (config.tls is None or config.tls.client_ca_file is None):
        raise Wrong(
            f"{', '.join(shown)}: a client certificate, and tls.client_ca_file is not set: nobody can show it"
        )
    said = f"{len(keys)}, of which {len(shown)} client certificates" if shown else f"{len(keys)}"
    return said + (f"; within {_SOON_DAYS} days ends {', '.join(soon)}" if soon else "")


def check_tls(config: Config) -> str:
    """Raises `Wrong`, `ConfigError`, OSError, ValueError."""
    secure = config.public_url.startswith("https://")
    if config.tls is None:
        if not secure and not _loopback(config):
            raise Wrong("neither tls here nor https in public_url: API keys travel in the clear")
        return "none here: a proxy has the certificate" if secure else "none: on this machine alone"
    if not secure:
        raise Wrong(f"public_url {config.public_url}: https:// is expected, for the port speaks TLS alone")
    server_context(config.tls)
    return _certificate(config.tls, urllib.parse.urlsplit(config.public_url).hostname or "")


def _certificate(tls: Tls, host: str) -> str:
    certificate = x509.load_pem_x509_certificate(Path(tls.certificate_file).read_bytes())
    days = (certificate.not_valid_after_utc.timestamp() - time.time()) / _DAY_S
    if days <= 0:
        raise Wrong(f"{tls.certificate_file}: ended {-days:.0f} days ago: renew it, then systemctl reload")
    if days < _SOON_DAYS:
        raise Wrong(f"{tls.certificate_file}: ends in {days:.0f} days: renew it, then systemctl reload")
    names = _names(certificate)
    wild = f"*.{host.partition('.')[2]}"
    if host not in names and wild not in names:
        raise Wrong(
            f"{tls.certificate_file}: is for {', '.join(names) or 'nobody'}, and public_url names {host}"
        )
    callers = "; callers may show one too" if tls.client_ca_file is not None else ""
    return f"for {host}, {days:.0f} days left{callers}"


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return []
    assert isinstance(found, x509.SubjectAlternativeName)
    addresses = [str(item) for item in found.get_values_for_type(x509.IPAddress)]
    return [*found.get_values_for_type(x509.DNSName), *addresses]


def _loopback(config: Config) -> bool:
    return config.address[0] in {"127.0.0.1", "::1"} and "//127." in config.public_url


def _store(config: Config) -> str:
    if config.store.engine == "local":
        file = Path(config.state_dir) / FILE_NAME
        if not file.exists():
            if not os.access(config.state_dir, os.W_OK):
                raise Wrong(f"{config.state_dir}: not writable for this user")
            return f"{file}: made at the first start"
        if not os.access(file, os.R_OK | os.W_OK):
            raise Wrong(f"{file}: not writable for this user: run this as the service's")

    async def look() -> None:
        store, _ = await open_store(config)
        await store.close()

    asyncio.run(look())
    if config.store.engine == "local":
        return f"{config.state_dir}/{FILE_NAME}"
    return f"NATS answers: {len(config.store.servers)} servers named"


def _origin(config: Config) -> str:
    """Whether the bucket answers and has a catalog; what is in it the next two say."""
    key, bucket = CATALOGS.latest_key, config.origin.bucket
    if get_if_there(open_client(config.origin), bucket, key, limit_bytes=MAX_LATEST_BYTES) is None:
        raise Wrong(f"s3://{bucket}: nothing is published yet: fill publish")
    return f"s3://{config.origin.bucket}: the catalog can be read"


def _plans(config: Config) -> str:
    if config.plan_key is None:
        return "plan_key is not set: whoever may write to the bucket says what appliances hold"
    return _signed(config, PLANS, config.plan_key, load_keys("plan_key", config.plan_key))


def _catalogs(config: Config) -> str:
    if config.catalog_key is None:
        return "catalog_key is not set: whoever may write to the bucket says what is licensed, and where"
    return _signed(config, CATALOGS, config.catalog_key, load_keys("catalog_key", config.catalog_key))


def _signed(config: Config, subject: Subject, path: str, keys: SignatureKeys | None) -> str:
    """Whether what is in force is said by one of ``keys``, and is not older than what this steering obeys."""
    before = keptcontent.obeyed(
        Path(config.state_dir) / keptcontent.FILE_NAME, keptcontent.source_for(config), subject
    )
    client, bucket = open_client(config.origin), config.origin.bucket
    raw = get_if_there(client, bucket, subject.latest_key, limit_bytes=MAX_LATEST_BYTES)
    if raw is None and before is not None:
        raise gone(subject, before)
    if raw is None:
        return f"{path}; no {subject.what} is in force yet"
    found = to_obey(subject, raw, keys, before)
    age = timedelta(seconds=round(time.time()) - found.issued_at)
    return f"{path}; {subject.what} {found.version} was put in force {age} ago"


def _geoip(config: Config) -> str:
    if config.geoip is None:
        return "none: clients whom no site announces are refused"
    GeoIp(Path(config.geoip))
    return config.geoip


def _proxy(config: Config) -> str:
    if config.tls is None and config.address[0] in {"127.0.0.1", "::1"} and not config.trusted_proxies:
        return "trusted_proxies is empty: behind a proxy all who enrol share one budget of tries"
    return (
        f"{len(config.trusted_proxies)} networks of proxies are believed"
        if config.trusted_proxies
        else "none"
    )


def _service(url: str, ca: str | None) -> str:
    """Whether it answers as the world sees it, and whether its clock and ours agree."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if url.startswith("https://"):
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)))
    try:
        with urllib.request.build_opener(*handlers).open(f"{url}/readyz", timeout=_TIMEOUT_S) as answer:
            date, said = (
                answer.headers.get("Date"),
                answer.read(4096).decode(errors="replace").partition("\n")[0],
            )
    except urllib.error.HTTPError as error:
        raise Wrong(
            f"answers {error.code}: {words_of(error.read(4096)) or 'not steering'}; journalctl -u steering"
        ) from None
    except urllib.error.URLError as error:
        raise Wrong(f"does not answer: {why_unreachable(error)}") from None
    if date:
        apart = abs(parsedate_to_datetime(date).timestamp() - time.time())
        if apart > CLOCK_SKEW_S:
            raise Wrong(f"its clock and ours are {apart:.0f} s apart: tokens will be refused; check NTP")
    return str(said)
