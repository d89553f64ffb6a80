"""The fleet as one decision sees it. Immutable: a decision never sees half of a change."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.fleet import Tier
from steering.health import State


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
    licensed: bool = True
    """Whether the title may lie on a disk there: one that may not would pull it through, and so hold it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    boxes: tuple[Box, ...]
    """Of the sites that announce the client, at least."""
    lengths: dict[str, int]
    """Length of the longest prefix that holds the client, by the id of the site that announces it."""
