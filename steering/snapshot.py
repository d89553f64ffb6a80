"""The fleet as one decision sees it. Immutable: a decision never sees half of a change."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.fleet import Tier
from steering.health import State
from steering.prefixes import PrefixTable


@dataclass(frozen=True, slots=True)
class Box:
    """One appliance."""

    id: str
    site: str
    tier: Tier
    url: str
    state: State
    throughput_bps: int
    tx_bps: int
    holds: bool
    """Whether all of the title in question is on its disks."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    boxes: tuple[Box, ...]
    sites: PrefixTable[str]
    """Site ids by the client prefixes they announce."""
