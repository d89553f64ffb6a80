"""Steering's configuration."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contracts.fleet import HttpUrl
from daemon.config import load
from daemon.s3 import S3Config


class Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the state lies: in a file of this process, or in NATS JetStream for several replicas."""

    engine: Literal["local", "nats"] = "local"
    servers: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^(nats|tls)://[^\s/@]{1,255}\Z")], ...], Meta(max_length=32)
    ] = ()
    credentials_file: Annotated[str, Meta(pattern="^/")] | None = None
    """Of a NATS user, as nsc writes it."""
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    """Of the bucket, in a NATS cluster; counts when it is made."""

    def __post_init__(self) -> None:
        if self.engine == "nats" and not self.servers:
            raise ValueError("store: servers: at least one is expected, such as nats://192.0.2.1:4222")
        if self.engine == "local" and self.servers:
            raise ValueError("store: servers: they are for engine: nats")


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The port over TLS; without it a proxy before us has the certificate. SIGHUP reads the files again."""

    certificate_file: Annotated[str, Meta(pattern="^/", description="PEM: the certificate, then its chain")]
    key_file: Annotated[str, Meta(pattern="^/", description="PEM: the certificate's private key")]
    client_ca_file: Annotated[str, Meta(pattern="^/")] | None = None
    """PEM: who signs callers' certificates (mTLS); `steering keys add NAME --certificate` says what each may do."""
    minimum: Literal["1.2", "1.3"] = "1.3"
    """1.2 only where players that ask for steering manifests are too old for 1.3."""
    handshake_timeout_s: Annotated[float, Meta(gt=0, le=60)] = 10


class ClientNetworks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What viewers of one IPv4 /24 or IPv6 /48 may start, whoever asks for them: against enumeration."""

    titles_per_s: Annotated[float, Meta(gt=0, le=1e6)] = 20.0
    """Starts of titles that the network has not asked for of late."""
    starts_per_s: Annotated[float, Meta(gt=0, le=1e6)] = 400.0
    """Starts of those that it has: all behind a carrier's NAT start one title at midnight."""
    burst_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """At once it may have what these seconds give: 600 titles, or 12,000 starts."""
    networks: Annotated[int, Meta(ge=1, le=10_000_000)] = 65_536
    """Remembered, at about 350 bytes; the longest silent is forgotten first."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fleet: Annotated[str, Meta(description="path of the fleet file")]
    origin: S3Config
    public_url: Annotated[HttpUrl, Meta(description="how players and appliances reach us")]
    listen: Annotated[str, Meta(pattern=r"^(\[[0-9A-Fa-f:]+\]|[0-9.]+):[0-9]{1,5}\Z")] = "127.0.0.1:7080"
    state_dir: Annotated[str, Meta(pattern="^/")] = "/var/lib/nearcast"
    token_ttl_s: Annotated[int, Meta(ge=60, le=7 * 86400)] = 14400
    """How long a signed URL works: longer than the longest title, and its pauses."""
    bind_networks: bool = False
    """Make each token out to the viewer's IPv4 /24 or IPv6 /48. Only where players and appliances see the same
    addresses that the playback service sees, and every appliance has our network.jwk."""
    start_bitrate_bps: Annotated[int, Meta(ge=10_000, le=10**9)] = 5_000_000
    """What a start is counted as, against an appliance that has not told its load since, where the catalog says no
    bitrate."""
    geoip: Annotated[str, Meta(pattern="^/")] | None = None
    """A MaxMind database with places, such as GeoLite2-City.mmdb: clients whom no site announces go to the nearest exchange
    with room, then to a regional site. Without it they are refused."""
    heartbeat_interval_s: Annotated[float, Meta(ge=0.5, le=60)] = 2.0
    """As appliances have it: late after one and a quarter of it, suspect after two, down after fifteen."""
    content_refresh_s: Annotated[float, Meta(gt=0, le=3600)] = 2.0
    """How often S3 is asked for a newer catalog or plan."""
    manifest_ttl_s: Annotated[int, Meta(ge=1, le=3600)] = 30
    """How soon a player that steers by itself asks again for the order of its appliances."""
    requests_per_s: Annotated[float, Meta(gt=0, le=1e6)] = 1000.0
    """Of one API key, or client certificate."""
    reads_per_s: Annotated[float, Meta(gt=0, le=1e6)] = 5.0
    """Of one key: /v1/fleet and /v1/explain, which look at every appliance. Four seconds' worth at once."""
    client_networks: ClientNetworks | None = ClientNetworks()
    """null sets no bound."""
    trusted_proxies: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    """Networks whose X-Forwarded-For is believed: who enrols is told apart by it. Our own address is not among them."""
    tls: Tls | None = None
    plan_key: (
        Annotated[str, Meta(pattern="^/", description="JWK Set with the planner's public key")] | None
    ) = None
    """Plans that are not signed with it are refused; without it they are believed as they are."""
    catalog_key: (
        Annotated[str, Meta(pattern="^/", description="JWK Set with the publisher's public key")] | None
    ) = None
    """Catalogs likewise: what is licensed where, and which objects a title has."""
    store: Store = Store()
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        host, port = self.address
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f"listen: {host!r} is not an IPv4 or IPv6 address") from None
        if not 1 <= port <= 65535:
            raise ValueError(f"listen: {port} is not a port: 1 to 65535")
        for network in self.trusted_proxies:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f"trusted_proxies: {network!r}: {error}") from None

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


def load_config(path: Path) -> Config:
    return load(path, Config)
