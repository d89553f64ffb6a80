"""The configuration of all four commands: one file, of which each command needs its own section."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from contracts.plan import Name
from contracts.signature import SignatureKeys
from daemon.config import ConfigError, load
from daemon.s3 import S3Config
from fill.agent.backoff import Retry
from fill.planning.rules import Rules
from fill.publish.ladder import DEFAULT, Rung, check_ladder

DEFAULT_SOCKET: Final = "/run/nearcast/ingest.sock"


class Publish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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
    """Without it, and without a key, plans are published unsigned: for a lab."""

    def rules(self) -> Rules:
        return Rules(**{name: getattr(self, name) for name in Rules.__struct_fields__})


class Agent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    appliance: Name
    ingest_socket: Annotated[str, Meta(pattern="^/")] = DEFAULT_SOCKET
    plan_key: (
        Annotated[str, Meta(pattern="^/", description="JWK Set with the planner's public key")] | None
    ) = None
    require_signature: bool = True
    """Without it, and without a key, plans are believed unsigned: for a lab."""
    retry: Retry = Retry()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    origin: S3Config
    agent: Agent | None = None
    planner: Planner | None = None
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


def load_plan_keys(agent: Agent, path: Path) -> SignatureKeys | None:
    """Whose plans the agent believes; None is anybody's. Raises `ConfigError`."""
    if agent.plan_key is None:
        if agent.require_signature:
            raise ConfigError(
                f"{path}: agent.plan_key: missing: the planner's public key, which `fill init-key` shows; "
                "in a lab agent.require_signature: false believes unsigned plans"
            )
        return None
    try:
        return SignatureKeys.from_jwks(Path(agent.plan_key).read_bytes())
    except OSError as error:
        raise ConfigError(f"agent.plan_key: {agent.plan_key}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"agent.plan_key: {agent.plan_key}: {error}") from None
