"""The configuration of all four commands: one file, of which each command needs its own section."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from contracts.plan import Name, TimeZone
from daemon.config import ConfigError, load
from daemon.s3 import S3Config
from fill.agent.backoff import Retry
from fill.agent.governor import Rules as GiveWay
from fill.agent.order import Escalation
from fill.agent.window import Window
from fill.planning.rules import Rules
from fill.publish.ladder import DEFAULT, Rung, check_ladder

DEFAULT_SOCKET: Final = "/run/nearcast/ingest.sock"


class Publish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signing_key: (
        Annotated[
            str, Meta(pattern="^/", description="the publisher's private key: `fill init-key` makes it")
        ]
        | None
    ) = None
    require_signature: bool = True
    """Without it, and without a key, catalogs are published unsigned: for a lab."""
    ladder: Annotated[tuple[Rung, ...], Meta(min_length=1, max_length=16)] = DEFAULT
    audio_bitrate_bps: Annotated[int, Meta(ge=16_000, le=512_000)] = 128_000
    segment_s: Annotated[int, Meta(ge=1, le=20)] = 4
    per_title: Annotated[
        bool,
        Meta(
            description="encode a title at a constant quality where samples of it need fewer bits than the "
            "ladder gives; without it every rung gets the ladder's bits"
        ),
    ] = True
    quality: Annotated[
        int, Meta(ge=10, le=40, description="of `per_title`, as a CRF of x264: lower is better, and larger")
    ] = 21
    parallel: Annotated[int, Meta(ge=0, le=128, description="encoders at once; 0 is one for each core")] = 0
    thumbnail_s: Annotated[
        int, Meta(ge=0, le=600, description="from one to the next, in whole segments; 0 is none")
    ] = 10
    kept_days: Annotated[
        int,
        Meta(ge=0, le=3650, description="of media in S3 that no catalog names any more: see `fill sweep`"),
    ] = 7
    preset: Literal["ultrafast", "veryfast", "faster", "fast", "medium", "slow", "slower"] = "veryfast"
    encoder_threads: Annotated[
        int,
        Meta(
            ge=0,
            le=128,
            description="of each video encode. 1 gives the same bytes each time, so "
            "that a film that is published again unchanged is neither uploaded nor filled again; x264 with "
            "more threads and a bounded rate does not. 0 is as many as x264 thinks right",
        ),
    ] = 1

    def __post_init__(self) -> None:
        check_ladder(self.ladder)


class Planner(Rules, frozen=True, forbid_unknown_fields=True, kw_only=True):
    fleet: Annotated[str, Meta(description="path of fleet.yaml")]
    signing_key: (
        Annotated[str, Meta(pattern="^/", description="the planner's private key: `fill init-key` makes it")]
        | None
    ) = None
    require_signature: bool = True
    """Without it, and without the keys, plans are published unsigned, and of unsigned catalogs: for a lab."""

    def rules(self) -> Rules:
        return Rules(**{name: getattr(self, name) for name in Rules.__struct_fields__})


class Popularity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How `fill popularity` counts and forecasts. Its fleet is the planner's."""

    half_life_days: Annotated[
        float, Meta(ge=0.25, le=90, description="after which a day counts for half")
    ] = 4.0
    history_days: Annotated[int, Meta(ge=2, le=365, description="that are looked at")] = 42
    horizon_days: Annotated[int, Meta(ge=1, le=28, description="of which the forecast is the mean")] = 1
    late_days: Annotated[
        int, Meta(ge=1, le=365, description="that are looked at again for parts that arrived late")
    ] = 3
    large_site_bytes_per_day: Annotated[
        float, Meta(ge=0, description="from which on a site has a forecast of its own")
    ] = 5e12
    prior_hours: Annotated[
        float,
        Meta(
            gt=0,
            le=1e9,
            description="of play of an object, from which on a large site's own figure counts for more "
            "than its share of its region's",
        ),
    ] = 20.0
    reserve_days: Annotated[
        int, Meta(ge=0, le=90, description="before its date for which room is kept for a release")
    ] = 7
    first_days: Annotated[
        int, Meta(ge=1, le=28, description="of comparable titles, of which a release's demand is the mean")
    ] = 3
    engine: Literal["duckdb", "spark"] = "duckdb"
    spark_master: Annotated[str, Meta(pattern=r"^(local|spark|k8s|yarn)", max_length=256)] = "local[*]"
    spark_settings: dict[str, str] = {}
    memory_bytes: Annotated[
        int, Meta(ge=256_000_000, description="that DuckDB may hold; beyond, it spills to work_dir")
    ] = 2_000_000_000
    threads: Annotated[int, Meta(ge=0, le=256, description="of DuckDB; 0 is one for each core")] = 0
    work_dir: Annotated[str, Meta(pattern="^/")] = "/var/lib/nearcast/popularity"
    spool_bytes: Annotated[
        int, Meta(ge=1_000_000, description="of unpacked log below work_dir at a time")
    ] = 4_000_000_000
    downloads: Annotated[int, Meta(ge=1, le=64, description="at a time")] = 8


class Agent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    appliance: Name
    ingest_socket: Annotated[str, Meta(pattern="^/")] = DEFAULT_SOCKET
    plan_key: (
        Annotated[str, Meta(pattern="^/", description="JWK Set with the planner's public key")] | None
    ) = None
    require_signature: bool = True
    """Without it, and without the keys, plans and catalogs are believed unsigned: for a lab."""
    retry: Retry = Retry()
    windows: Annotated[tuple[Window, ...], Meta(max_length=64)] = ()
    """When to fill, by the site's clock; none is at any time. The example configuration has 03:00 to 07:00."""
    timezone: TimeZone | None = None
    """Of the site; as the plan says when left out."""
    jitter_s: Annotated[
        float, Meta(ge=0, le=7200, description="sites start up to so many seconds late, each always the same")
    ] = 900
    rate_bps: Annotated[
        int,
        Meta(
            ge=0, le=10**12, description="at most so many bits per second, all requests together; 0 is no cap"
        ),
    ] = 1_200_000_000
    metrics_file: (
        Annotated[str, Meta(pattern=r"^/.*\.prom\Z", description="for node_exporter's textfile collector")]
        | None
    ) = None
    give_way: GiveWay = GiveWay()
    escalation: Escalation = Escalation()
    requests: Annotated[int, Meta(ge=1, le=64, description="at once, of 8 to 128 MiB")] = 8
    objects: Annotated[int, Meta(ge=1, le=64, description="at once")] = 4


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    origin: S3Config
    catalog_key: (
        Annotated[str, Meta(pattern="^/", description="JWK Set with the publisher's public key")] | None
    ) = None
    """Left out, the public half of `publish.signing_key` where there is one."""
    agent: Agent | None = None
    planner: Planner | None = None
    popularity: Popularity = Popularity()
    publish: Publish = Publish()
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def need_agent(self, path: Path) -> Agent:
        """The section; raises `ConfigError` where it is missing."""
        if self.agent is None:
            raise ConfigError(f"{path}: agent: missing; this command needs agent.appliance")
        return self.agent

    def need_planner(self, path: Path) -> Planner:
        """The section; raises `ConfigError` where it is missing."""
        if self.planner is None:
            raise ConfigError(f"{path}: planner: missing; this command needs planner.fleet")
        return self.planner


def load_config(path: Path) -> Config:
    return load(path, Config)
