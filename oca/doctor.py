"""What is wrong with an appliance, found before its customers find it. Each check says how to mend it."""

from __future__ import annotations

import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import msgspec

from contracts.catalog import LATEST_KEY, MAX_LATEST_BYTES
from contracts.inforce import CATALOGS, gone, to_obey
from contracts.token import CLOCK_SKEW_S, KeyRing
from daemon.cli import CommandError, human_bytes
from daemon.config import ConfigError
from daemon.s3 import S3Error, get_if_there, open_client
from daemon.unreachable import why_unreachable
from oca.adminclient import ask
from oca.bgp import doctor as bgp
from oca.config import Config, Steering, split_address
from oca.config import Disk as ConfiguredDisk
from oca.identity import Identity
from oca.status import Status
from oca.steeringtls import trust
from oca.store.disklist import DiskList
from oca.store.disks import Disk, DiskError
from oca.store.diskstate import State as DiskState
from oca.store.obeyed import Obeyed
from oca.tier import Tier, tier_of
from oca.trustedkeys import TrustedKeys


class Finding(msgspec.Struct, frozen=True):
    check: str
    ok: bool
    detail: str


def examine(config: Config) -> list[Finding]:
    """Every check, in the order in which one would mend things."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("identity", lambda: _identity(config)),
        *((f"disk {disk.path}", lambda disk=disk: _disk(config, disk)) for disk in config.disks),
        ("disk changes", lambda: _changes(config)),
        ("token keys", lambda: _keys(config)),
        ("origin", lambda: _origin(config)),
        *(
            (f"http origin {item.prefix}", lambda item=item: _reachable(item.url, item.prefix))
            for item in config.http_origins
        ),
        *(
            (f"steering {url}", lambda url=url: _reachable(url, "/healthz", config.steering))
            for url in config.steering.urls
        ),
        *((f"parent {item.id}", lambda item=item: _reachable(item.url, "/")) for item in config.parents),
        *(bgp.checks(config.bgp, Path(config.run_dir)) if config.bgp is not None else ()),
        ("open files", lambda: _open_files(config)),
        ("service", lambda: _service(config)),
    ]
    findings = []
    for name, check in checks:
        try:
            findings.append(Finding(name, True, check()))
        except (
            _Wrong,
            bgp.Wrong,
            CommandError,
            ConfigError,
            DiskError,
            S3Error,
            OSError,
            ValueError,
        ) as error:
            findings.append(Finding(name, False, str(error)))
    return findings


class _Wrong(Exception):
    pass


def _identity(config: Config) -> str:
    Identity.load(config.appliance, config.identity_file)
    mode = config.identity_file.stat().st_mode & 0o777
    if mode & 0o077:
        raise _Wrong(f"{config.identity_file} has mode {mode:o}: others may read the key; chmod 600")
    return str(config.identity_file)


def _disk(config: Config, configured: ConfiguredDisk) -> str:
    path = Path(configured.path)
    disk = Disk(path, configured.capacity_bytes, share=configured.share, tier=configured.tier)
    disk.open(config.appliance)
    if not os.access(path, os.W_OK):
        raise _Wrong("not writable for this user")
    room = os.statvfs(path)
    total = room.f_blocks * room.f_frsize
    if disk.capacity_bytes > total:
        raise _Wrong(f"capacity_bytes is {human_bytes(disk.capacity_bytes)}, the disk {human_bytes(total)}")
    device = tier_of(path)
    if configured.tier is Tier.FLASH and device is Tier.BULK:
        raise _Wrong("class is flash, and the kernel says that the device rotates: say bulk")
    if path.stat().st_dev == path.parent.stat().st_dev and not os.path.ismount(path):
        where = "not a mount of its own: it shares a file system with " + str(path.parent)
    else:
        where = "a mount of its own"
    said = (
        "" if configured.tier is not None else " (by its device)" if device is not None else " (by default)"
    )
    return (
        f"{disk.tier.value}{said}, {human_bytes(disk.capacity_bytes)} usable, "
        f"{human_bytes(room.f_bavail * room.f_frsize)} free, {where}"
    )


def _changes(config: Config) -> str:
    """What `oca disks` changed and the configuration file does not say yet."""
    listed = DiskList(Path(config.state_dir), config.disks)
    listed.load()
    said = [f"{disk.path} was added: put it into the file" for disk in listed.changes.added]
    said += [f"{path} was removed: take it out of the file" for path in listed.changes.removed]
    said += [f"{path} drains" for path in listed.changes.draining]
    return "; ".join(said) or "none beside the configuration file"


def _keys(config: Config) -> str:
    if not config.auth.required:
        return "auth.required is false: anyone is served. For a lab only"
    keys = TrustedKeys(config)
    count = len(keys.ring)
    if config.auth.peers_file is not None:
        count += len(KeyRing.from_jwks(Path(config.auth.peers_file).read_bytes()))
    if not count and keys.version is not None and config.steering.urls:
        return "none yet: the first answer of steering to a heartbeat brings them"
    if not count:
        raise _Wrong("no key: every player would be refused")
    return f"{count} public keys" + (f", signed set {keys.version}" if keys.version else "")


def _origin(config: Config) -> str:
    if config.origin is None:
        return "no bucket: HTTP origins alone"
    client = open_client(config.origin)
    raw = get_if_there(client, config.origin.bucket, LATEST_KEY, limit_bytes=MAX_LATEST_BYTES)
    obeyed = Obeyed.of(config)
    if raw is None and obeyed.word is not None:
        raise gone(CATALOGS, obeyed.word)
    if raw is None:
        raise _Wrong(f"s3://{config.origin.bucket}: nothing is published yet: fill publish")
    word = to_obey(CATALOGS, raw, obeyed.keys, obeyed.word)
    if obeyed.keys is None:
        return (
            f"s3://{config.origin.bucket}: the catalog can be read, and anybody's is believed: for a lab only"
        )
    age = timedelta(seconds=round(time.time()) - word.issued_at)
    return f"s3://{config.origin.bucket}: catalog {word.version} was signed {age} ago"


def _reachable(url: str, path: str, steering: Steering | None = None) -> str:
    """Whether something answers HTTP there, and whether its clock and ours agree."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if steering is not None and url.startswith("https://"):
        handlers.append(urllib.request.HTTPSHandler(context=trust(steering)))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(url + path, timeout=5) as answer:
            date = answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        date = error.headers.get("Date")
    except OSError as error:
        raise _Wrong(f"does not answer: {why_unreachable(error)}") from None
    if date:
        apart = abs(parsedate_to_datetime(date).timestamp() - time.time())
        if apart > CLOCK_SKEW_S:
            raise _Wrong(f"its clock and ours are {apart:.0f} s apart: tokens will be refused; check NTP")
    return "answers, clocks agree"


def _open_files(config: Config) -> str:
    import resource

    # `oca serve` takes as many as it may have, whatever the shell or unit that starts it has set out with.
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = config.limits.connections // config.worker_count + 4096 + 256
    if 0 <= allowed < need:
        raise _Wrong(f"{allowed} allowed per process, {need} may be needed: raise LimitNOFILE (ulimit -Hn)")
    return "any number allowed per process" if allowed < 0 else f"{allowed} allowed per process"


def _service(config: Config) -> str:
    """What the appliance that runs on this configuration says of itself; that none runs is no fault."""
    with socket.socket(socket.AF_INET6 if ":" in split_address(config.admin)[0] else socket.AF_INET) as probe:
        probe.settimeout(5)
        try:
            probe.connect(split_address(config.admin))
        except ConnectionRefusedError:
            return f"does not run: nobody listens at {config.admin}"
    try:
        status = msgspec.json.decode(ask(config, "GET", "/v1/status"), type=Status)
    except msgspec.MsgspecError:
        raise _Wrong(f"what answers at {config.admin} is no appliance, or one of another version") from None
    if status.id != config.appliance:
        raise _Wrong(f"what answers at {config.admin} is {status.id}: two appliances share an address")
    out = [disk for disk in status.disks if disk.state == DiskState.FAILED.value]
    if out:
        raise _Wrong("out of service: " + "; ".join(f"{disk.path} ({disk.why})" for disk in out))
    for url in status.steering:
        if url.error:
            raise _Wrong(f"its heartbeats do not reach {url.url}: {url.error}")
    return f"runs, {status.state}"
