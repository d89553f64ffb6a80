"""The appliance's configuration: one typed tree, read once, handed to every process."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from contracts.delivery import PREFIX
from contracts.fleet import HttpUrl
from contracts.plan import Name
from daemon.config import ConfigError, load
from daemon.s3 import S3Config
from oca.bgp.config import Bgp
from oca.httpcache.target import suffix
from oca.tier import Tier

Seconds = Annotated[float, Meta(gt=0, le=86400)]
MISSING: Final = frozenset({404, 410})
MANIFESTS: Final = frozenset({".m3u8", ".mpd"})
SEGMENTS: Final = frozenset(
    {".ts", ".m4s", ".mp4", ".m4a", ".m4v", ".cmfv", ".cmfa", ".aac", ".vtt", ".webm"}
)
SEGMENT_FRESH_S: Final = 86_400.0
"""A segment's name is not used again; the DVR window decides when it goes."""


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``192.0.2.1:8080`` or ``[2001:db8::1]:8080``; raises ValueError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port)
        if not 0 <= number <= 65535:
            raise ValueError
    except ValueError:
        raise ValueError(f"{text!r} is not ADDRESS:PORT, such as 0.0.0.0:8080 or [::]:8080") from None
    return host, number


class Disk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(pattern=r"^/", description="folder on a file system of its own")]
    capacity_bytes: Annotated[int, Meta(ge=1)] | None = None
    """Bytes we may use; 95 % of the file system when left out."""
    share: Annotated[float, Meta(gt=0, le=1)] | None = None
    """Of the file system, what we may use, instead of capacity_bytes."""
    tier: Tier | None = msgspec.field(default=None, name="class")
    """flash or bulk; as the kernel says of the device when left out, and bulk where it says nothing."""

    def __post_init__(self) -> None:
        if self.capacity_bytes is not None and self.share is not None:
            raise ValueError("capacity_bytes and share exclude one another: name one of them")


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    required: bool = True
    """False serves to anyone: for a lab only."""
    keys_file: Annotated[str, Meta(description="JWK Set with steering's public keys")] | None = None
    roots_file: Annotated[str, Meta(description="JWK Set with the fleet's root keys")] | None = None
    """Steering's root.jwks: what it signs and heartbeats bring stands above keys_file."""
    peers_file: Annotated[str, Meta(description="JWK Set of appliances that may pull from here")] | None = (
        None
    )
    network_key_file: Annotated[str, Meta(description="steering's network.jwk")] | None = None
    """Opens the client network that a token is bound to; without it a bound token is refused."""


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificate_file: Annotated[str, Meta(description="PEM: the certificate, then its chain")]
    key_file: Annotated[str, Meta(description="PEM: the certificate's private key")]
    listen: str = "0.0.0.0:8443"
    minimum: Literal["1.2", "1.3"] = "1.3"
    """1.2 only where players are too old for 1.3: it costs a round trip and kTLS."""
    handshake_timeout_s: Seconds = 10
    kernel: bool = True
    """Let the kernel encrypt where it can (kTLS); without it OpenSSL does, as it would anyway."""


class Parent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Name
    url: HttpUrl


class Steering(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    urls: tuple[HttpUrl, ...]
    heartbeat_interval_s: Seconds = 2.0
    votes_interval_s: Annotated[float, Meta(ge=1, le=600)] = 30.0
    """A session of a player has one vote in it on whether it starved."""
    ca_file: Annotated[str, Meta(description="PEM: who signed the certificates of https:// urls")] | None = (
        None
    )
    """Nobody else is believed then; the system's authorities when left out."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 25_000
    """In all; each worker takes its share."""
    target_bytes: Annotated[int, Meta(ge=256, le=65536)] = 8192
    """Of the request target: 414 beyond. The same as nginx's large_client_header_buffers."""
    header_bytes: Annotated[int, Meta(ge=1024, le=1 << 20)] = 32768
    """Of all header fields: 431 beyond."""
    header_fields: Annotated[int, Meta(ge=16, le=10_000)] = 100
    """Of them: 431 beyond. The same as Apache's LimitRequestFields; players send about 15."""
    header_timeout_s: Seconds = 15
    """From a request's first byte to its last."""
    idle_timeout_s: Seconds = 60
    """Of a connection that asks nothing."""
    send_timeout_s: Seconds = 30
    """Of a client that takes nothing."""
    min_rate_bps: Annotated[int, Meta(ge=0, le=10**9)] = 16_000
    """Of a client that takes little, over a whole answer; 0 is any. The lowest encode has 235,000."""
    connections_per_network: Annotated[int, Meta(ge=1, le=1_000_000)] = 4096
    """From one IPv4 /24 or IPv6 /48: a carrier's NAT is in there."""
    requests_per_network: Annotated[int, Meta(ge=1, le=10_000_000)] = 20_000
    """In one second: 429 beyond. A player asks once in some seconds."""
    refusals_per_network: Annotated[int, Meta(ge=1, le=1_000_000)] = 50
    """Tokens refused in one second; beyond, 429 without checking a signature."""
    requests_per_connection: Annotated[int, Meta(ge=1, le=10**9)] = 100_000
    """Then the connection closes, so that load finds new workers."""
    unsent_bytes: Annotated[int, Meta(ge=0, le=1 << 30)] = 1 << 20
    """Of one connection, waiting in the kernel (TCP_NOTSENT_LOWAT): what a client that stalls costs; 0 is the
    kernel's own bound."""


class Pacing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sends a segment at a multiple of its bitrate instead of as a burst (SO_MAX_PACING_RATE)."""

    factor: Annotated[float, Meta(ge=1.2, le=100)] = 3.0
    """Times the encode's bitrate. Below what lifts a player to the next rung, it would never get there."""
    burst_s: Annotated[float, Meta(ge=0, le=600)] = 10.0
    """Seconds of video that a connection gets unpaced at first, for a fast start and after a seek."""


class Pull(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a miss is fetched from upstream."""

    connect_timeout_s: Seconds = 2
    stall_timeout_s: Seconds = 10
    """Without a byte from upstream."""
    wait_timeout_s: Seconds = 30
    """How long a player waits for its first byte before it is told 504."""
    hedge_s: Seconds = 1.0
    """Without a slice from one upstream, until the next is asked as well; the first to deliver wins."""
    concurrent: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Upstream requests at a time."""
    catalog_refresh_s: Seconds = 30


class Tiers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How objects move between disks while the appliance serves."""

    move_bps: Annotated[int, Meta(ge=1_000_000, le=100_000_000_000)] = 400_000_000
    """Bits per second that all moves together read."""
    hot_requests: Annotated[int, Meta(ge=1, le=60_000)] = 20
    """Of late, from which on an object of a bulk disk is moved to a flash disk."""
    half_life_s: Seconds = 3600
    """After this a request counts half."""


class Scrub(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast complete objects are read again, to find what has rotted."""

    days: Annotated[float, Meta(gt=0, le=3650)] = 30
    """For a pass over all that a disk holds."""
    rate_bytes_per_s: Annotated[int, Meta(ge=1 << 20, le=1 << 34)] = 32 << 20
    """Of one disk, at most."""


class HttpOrigin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An HTTP origin, for objects that may change; cached by its own headers (RFC 9111)."""

    url: HttpUrl
    prefix: Annotated[str, Meta(pattern=r"^/([A-Za-z0-9._~-]+/)*\Z", max_length=256)] = "/"
    """Paths that begin so are this origin's, and are asked of it as they are; the longest prefix counts."""
    host: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:\[\]-]+\Z", max_length=255)] | None = None
    """Host that it is asked for; that of the url when left out."""
    obey_clients: bool = True
    """Whether a client's Cache-Control may ask for newer than fresh. False where players send no-cache all the time."""
    strict: bool = False
    """Nothing but the RFC's own heuristic where the origin names no lifetime."""
    segment_s: Seconds = 4.0
    """Of the live streams: a manifest without a lifetime is fresh for half of it, a segment for a day."""
    fresh_s: dict[str, Annotated[float, Meta(ge=0, le=31_536_000)]] = {}
    """By extension, such as .m3u8, where the origin names no lifetime; stands above segment_s."""
    missing_s: Annotated[float, Meta(ge=0, le=60)] = 0.25
    """That there is no such manifest or segment, where the origin names no lifetime: hundreds who ask early ask once."""

    @property
    def name(self) -> str:
        """In logs and metrics."""
        return f"http:{self.prefix}"

    @property
    def identity(self) -> str:
        """What stored responses are tied to."""
        return f"{self.prefix} {self.url} {self.host or ''}"

    def guess_s(self, key: str, status: int) -> float | None:
        """How long a response to ``key`` is fresh where the origin says nothing; None: by the RFC's heuristic."""
        if self.strict:
            return None
        kind = suffix(key)
        if status in MISSING:
            return self.missing_s if kind in MANIFESTS or kind in SEGMENTS else None
        if kind in self.fresh_s:
            return self.fresh_s[kind]
        if kind in MANIFESTS:
            return self.segment_s / 2
        return SEGMENT_FRESH_S if kind in SEGMENTS else None


class HttpCache(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of HTTP origins' responses."""

    disk_share: Annotated[float, Meta(ge=0.001, le=0.99)] | None = None
    """Of each disk's capacity; the catalog's objects have the rest. 0.1, or 0.9 where there is no catalog."""
    object_bytes: Annotated[int, Meta(ge=1 << 16, le=1 << 40)] = 256 << 20
    """Of one response; what is larger is passed through."""
    whole_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 16 << 20
    """Up to here all of an object is fetched when a range of it is asked for."""
    responses: Annotated[int, Meta(ge=16, le=10_000_000)] = 200_000
    variants: Annotated[int, Meta(ge=1, le=1024)] = 16
    """Of one URL, by Vary, and parts of it."""
    body_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 16 << 20
    """Of a request's body, on its way to the origin: 413 beyond."""
    stale_if_error_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 60
    """How long past its freshness a response is sent when upstream fails, where the origin says nothing."""


class Demand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The demand cache: what a disk holds that is not planned."""

    high_watermark: Annotated[float, Meta(gt=0, le=1)] = 0.99
    """Share of a disk's capacity beyond which room is made in the background."""
    low_watermark: Annotated[float, Meta(gt=0, le=1)] = 0.98
    """Until it is no fuller than this."""
    floor_share: Annotated[float, Meta(ge=0, le=0.9)] = 0.01
    """Of each disk: what the plan leaves to the demand cache. The planner leaves its `headroom`, 0.02."""

    def __post_init__(self) -> None:
        if self.low_watermark > self.high_watermark:
            raise ValueError(
                f"low_watermark {self.low_watermark} is above high_watermark {self.high_watermark}: "
                "room is made from the high one down to the low one"
            )


class Delivery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The delivery log: to which bucket it goes. What is left out is as under origin."""

    bucket: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")] | None = None
    endpoint_url: Annotated[str, Meta(pattern=r"^https?://[^/\s]+/?\Z")] | None = None
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")] | None = None
    credentials_file: Annotated[str, Meta(description="a key that may write below prefix")] | None = None
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*\Z", max_length=128)] = PREFIX
    spool_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 256 << 20
    """Of state_dir, for what S3 has not taken yet; the oldest is dropped beyond."""

    def s3(self, origin: S3Config) -> S3Config:
        """The bucket that the log goes to."""
        given = {
            name: value
            for name in ("bucket", "endpoint_url", "region", "credentials_file")
            if (value := getattr(self, name)) is not None
        }
        return msgspec.structs.replace(origin, **given)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    appliance: Name
    disks: Annotated[tuple[Disk, ...], Meta(min_length=1, max_length=128)]
    origin: S3Config | None = None
    """The catalog's bucket; without it there are http_origins alone."""
    catalog_key: (
        Annotated[str, Meta(pattern="^/", description="JWK Set with the publisher's public key")] | None
    ) = None
    """Catalogs that are not signed with it are refused."""
    require_signed_catalog: bool = True
    """Without it, and without a catalog_key, unsigned catalogs are believed: for a lab."""
    http_origins: Annotated[tuple[HttpOrigin, ...], Meta(max_length=64)] = ()
    http_cache: HttpCache = HttpCache()
    listen: str = "0.0.0.0:8080"
    tls: Tls | None = None
    """Players over TLS; without it there is the plain port alone."""
    admin: str = "127.0.0.1:9080"
    disk_timeout_s: Annotated[float, Meta(ge=0.1, le=600)] = 15.0
    """A disk that does not finish an operation in this time is taken out of service."""
    disk_retry_s: Annotated[float, Meta(ge=0.1, le=86400)] = 5.0
    """After a disk failed, until it is looked at again; then twice as long each time, up to 5 minutes."""
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    """Edge workers; 0 is one per core."""
    state_dir: Annotated[str, Meta(pattern="^/")] = "/var/lib/nearcast"
    run_dir: Annotated[str, Meta(pattern="^/")] = "/run/nearcast"
    auth: Auth = Auth()
    cors_origins: tuple[str, ...] = ()
    """Web origins whose players may read the answers; "*" is any."""
    parents: tuple[Parent, ...] = ()
    """Asked in this order before the origin."""
    steering: Steering = Steering(urls=())
    bgp: Bgp | None = None
    """For `oca bgp`: clients by what the ISP's routers announce; without it, as the fleet file says."""
    limits: Limits = Limits()
    pacing: Pacing | None = None
    congestion_control: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,15}$")] | None = None
    """Of the connections to players, such as bbr; the kernel's default when left out."""
    drain_timeout_s: Seconds = 30
    """For responses in flight when the appliance, or a worker, ends."""
    pull: Pull = Pull()
    tiers: Tiers = Tiers()
    scrub: Scrub | None = Scrub()
    """null reads nothing again."""
    demand: Demand = Demand()
    delivery: Delivery | None = None
    """What was delivered, to S3 every hour, for popularity; not gathered without this section."""
    access_log: Annotated[str, Meta(pattern="^/", description="file for a line per request")] | None = None
    """In nginx's combined format, then Cache-Status and seconds; none is written when left out."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        for address in (self.listen, self.admin, *([self.tls.listen] if self.tls else [])):
            split_address(address)
        if self.origin is None and not self.http_origins:
            raise ValueError("origin is missing: name the S3 bucket, or http_origins, or both")
        if self.origin is not None and self.catalog_key is None and self.require_signed_catalog:
            raise ValueError(
                "catalog_key is missing: name the JWK Set with the publisher's public key, which `fill init-key` "
                "shows, or set require_signed_catalog to false in a lab"
            )
        if self.origin is None and self.delivery is not None:
            raise ValueError("delivery: there is no origin whose bucket the log could go to")
        prefixes = [origin.prefix for origin in self.http_origins]
        if len(set(prefixes)) < len(prefixes):
            raise ValueError("http_origins: two of them have the same prefix")
        if self.auth.required and self.auth.keys_file is None and self.auth.roots_file is None:
            raise ValueError(
                "auth.keys_file is missing: name the JWK Set that `steering init` wrote, or auth.roots_file, "
                "or set auth.required to false in a lab"
            )
        paths = [os.path.normpath(disk.path) for disk in self.disks]
        for first in paths:
            if paths.count(first) > 1:
                raise ValueError(f"disks: {first} is listed twice")
            if any(other != first and other.startswith(first + "/") for other in paths):
                raise ValueError(f"disks: {first} lies around another disk of the list")

    @property
    def http_share(self) -> float:
        """Of each disk, for HTTP responses; 0 without HTTP origins."""
        if not self.http_origins:
            return 0.0
        return self.http_cache.disk_share or (0.1 if self.origin is not None else 0.9)

    @property
    def worker_count(self) -> int:
        return self.workers or os.cpu_count() or 1

    @property
    def identity_file(self) -> Path:
        return Path(self.state_dir) / "identity.jwk"


def load_config(path: Path) -> Config:
    return load(path, Config)


__all__ = [
    "Auth",
    "Bgp",
    "Config",
    "ConfigError",
    "Delivery",
    "Demand",
    "Disk",
    "HttpCache",
    "HttpOrigin",
    "Limits",
    "Pacing",
    "Parent",
    "Pull",
    "Scrub",
    "Steering",
    "Tiers",
    "Tls",
    "load_config",
    "split_address",
]
