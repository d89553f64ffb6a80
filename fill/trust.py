"""Whose plans and catalogs each command believes, and with which key it signs: from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contracts.inforce import InForce
from contracts.signature import SignatureKeys
from daemon.config import ConfigError
from daemon.keyfiles import load_public
from daemon.s3 import S3Config
from fill.catalog import KeptMemory, Memory, Trust
from fill.config import Agent, Config, Planner
from fill.publish.index import Signing
from fill.signing import Signer


def plan_keys(agent: Agent, path: Path) -> SignatureKeys | None:
    """Whose plans the agent believes; None is anybody's. Raises `ConfigError`."""
    if agent.plan_key is not None:
        return load_public(Path(agent.plan_key), SignatureKeys.from_jwks, named="agent.plan_key")
    if agent.require_signature:
        raise ConfigError(
            f"{path}: agent.plan_key: missing: the planner's public key, which `fill init-key` shows; "
            "in a lab agent.require_signature: false believes unsigned plans"
        )
    return None


def plan_signer(planner: Planner, path: Path) -> Signer | None:
    """Signs plans; None where they go unsigned. Raises `ConfigError`."""
    if planner.signing_key is not None:
        return Signer.load(Path(planner.signing_key))
    if planner.require_signature:
        raise ConfigError(
            f"{path}: planner.signing_key: missing: name a file, and `fill init-key` makes the key; "
            "in a lab planner.require_signature: false publishes unsigned plans"
        )
    return None


def agents_trust(config: Config, agent: Agent, path: Path) -> Callable[[InForce | None], Trust]:
    """Whose catalogs the agent believes, beside what its storekeeper obeys. Raises `ConfigError`."""
    keys = _catalog_keys(config, path, required="agent" if agent.require_signature else None)
    return lambda obeyed: Trust(keys, Memory(obeyed if keys is not None else None))


def planners_trust(config: Config, planner: Planner, path: Path) -> Trust:
    """Whose catalogs are planned from. Raises `ConfigError`, OSError."""
    keys = _catalog_keys(config, path, required="planner" if planner.require_signature else None)
    return _remembering(keys, planner.signing_key, config.origin)


def publishers_trust(config: Config, path: Path) -> Trust:
    """Whose catalogs are published into. Raises `ConfigError`, OSError."""
    keys = _catalog_keys(config, path, required="publish" if config.publish.require_signature else None)
    return _remembering(keys, config.publish.signing_key, config.origin)


def catalog_signing(config: Config, path: Path, now: float) -> Signing | None:
    """Signs catalogs; None where they go unsigned. Raises `ConfigError`, OSError."""
    publish = config.publish
    if publish.signing_key is not None:
        return Signing(Signer.load(Path(publish.signing_key)), publishers_trust(config, path), now)
    if publish.require_signature:
        raise ConfigError(
            f"{path}: publish.signing_key: missing: name a file, and `fill init-key` makes the key; "
            "in a lab publish.require_signature: false publishes unsigned catalogs"
        )
    return None


def _catalog_keys(config: Config, path: Path, required: str | None) -> SignatureKeys | None:
    if config.catalog_key is not None:
        return load_public(Path(config.catalog_key), SignatureKeys.from_jwks, named="catalog_key")
    if config.publish.signing_key is not None:
        return Signer.load(Path(config.publish.signing_key)).public()
    if required is not None:
        raise ConfigError(
            f"{path}: catalog_key: missing: the publisher's public key, which `fill init-key` shows; "
            f"in a lab {required}.require_signature: false believes unsigned catalogs"
        )
    return None


def _remembering(keys: SignatureKeys | None, own_key: str | None, origin: S3Config) -> Trust:
    """What is obeyed is remembered beside the key of whoever signs by it: there it can write, and others cannot."""
    if keys is None or own_key is None:
        return Trust(keys)
    where = f"{origin.endpoint_url or 'aws'}/{origin.bucket}"
    return Trust(keys, KeptMemory(Path(own_key).with_suffix(".obeyed"), where))
