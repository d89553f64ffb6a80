"""``endpoints.json``: where everything is, for tests and other programs; written when all of it works."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from demo.configs import Origin, write_secret


class ApplianceEndpoint(msgspec.Struct, frozen=True):
    id: str
    site: str
    tier: str
    url: str
    admin: str
    pid: int


class Endpoints(msgspec.Struct, frozen=True):
    """``hls`` and ``dash`` are paths below an appliance's URL (or a candidate's base_url)."""

    steering: str
    steering_key: str
    origin: Origin
    appliances: Sequence[ApplianceEndpoint]
    title: str
    player: str
    hls: str
    dash: str


def write_endpoints(path: Path, endpoints: Endpoints) -> None:
    """Whole or not at all: who waits for the file may read it as soon as it is there."""
    unfinished = path.with_suffix(".tmp")
    write_secret(unfinished, msgspec.json.format(msgspec.json.encode(endpoints), indent=2).decode() + "\n")
    os.replace(unfinished, path)
