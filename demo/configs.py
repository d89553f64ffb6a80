"""Writes every program's configuration: what an operator would write, for a fleet on one machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from contracts.fleet import PublicKey
from demo.layout import BUCKET, HOST, Box, Layout

_DISK_BYTES: Final = 20_000_000_000
"""Of each of an appliance's two disks: a bound, not a reservation."""

# Every viewer of the demo is on this machine: the ISP's own network. An exchange reaches everybody.
_PREFIXES: Final = {"isp-a": ["127.0.0.0/8", "::1/128"], "ixp-b": ["0.0.0.0/0", "::/0"]}


class Origin(msgspec.Struct, frozen=True):
    """The S3 server that was started, and the key to it."""

    endpoint_url: str
    bucket: str
    access_key: str
    secret_key: str


def s3_section(layout: Layout, origin: Origin) -> dict[str, Any]:
    return {
        "bucket": BUCKET,
        "endpoint_url": origin.endpoint_url,
        "credentials_file": str(layout.credentials),
    }


def write_credentials(layout: Layout, origin: Origin) -> None:
    """The S3 key in the format of ~/.aws/credentials, as the programs read it."""
    write_secret(
        layout.credentials,
        f"[default]\naws_access_key_id = {origin.access_key}\naws_secret_access_key = {origin.secret_key}\n",
    )


def write_secret(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


_LADDER: Final = [
    {"name": "360p", "height": 360, "bitrate_bps": 560_000},
    {"name": "480p", "height": 480, "bitrate_bps": 1_000_000},
    {"name": "720p", "height": 720, "bitrate_bps": 3_000_000},
]


def write_steering(layout: Layout, origin: Origin) -> None:
    layout.jwks.parent.mkdir(exist_ok=True)
    _write(
        layout.config("steering"),
        {
            "listen": f"{HOST}:{layout.steering_port}",
            "public_url": layout.steering,
            # Seconds instead of half a minute, so that one sees a player move.
            "manifest_ttl_s": 3,
            "fleet": str(layout.config("fleet")),
            "state_dir": str(layout.jwks.parent),
            "plan_key": str(layout.plan_keys),
            "catalog_key": str(layout.catalog_keys),
            "origin": s3_section(layout, origin),
        },
    )


def write_appliance(layout: Layout, origin: Origin, box: Box) -> None:
    """``oca-ID.yaml`` and ``fill-ID.yaml``, with the folders they name."""
    disks = [layout.root / box.id / name for name in ("disk1", "disk2")]
    for folder in (*disks, layout.root / box.id / "state", layout.run_dir(box)):
        folder.mkdir(parents=True, exist_ok=True)
    # The tier below pulls through its parent, and the appliances of a site fill from one another.
    auth = {
        "keys_file": str(layout.jwks),
        # With them `steering rotate` needs no restart here: later keys come with heartbeats, signed.
        "roots_file": str(layout.jwks.with_name("root.jwks")),
        "peers_file": str(layout.root / "peers.jwks"),
    }
    parents = [other for other in layout.boxes if other.id == box.parent]
    _write(
        layout.config(f"oca-{box.id}"),
        {
            "appliance": box.id,
            "listen": f"{HOST}:{box.data_port}",
            "admin": f"{HOST}:{box.admin_port}",
            "workers": 1,
            "disks": [{"path": str(disk), "capacity_bytes": _DISK_BYTES} for disk in disks],
            "origin": s3_section(layout, origin),
            "catalog_key": str(layout.catalog_keys),
            "auth": auth,
            # Whichever page one tries it with; an operator would name the pages of his playback services.
            "cors_origins": ["*"],
            "parents": [{"id": parent.id, "url": parent.url} for parent in parents],
            "steering": {"urls": [layout.steering]},
            # Seconds instead of half a minute, so that what is published while one watches is there.
            # And who is slow is only busy, where all of them share one machine: no second upstream is asked.
            "pull": {"catalog_refresh_s": 3, "hedge_s": 10},
            # The players of one machine. For 25,000, the default, many a login may not open files enough.
            "limits": {"connections": 4000},
            "state_dir": str(layout.root / box.id / "state"),
            "run_dir": str(layout.run_dir(box)),
        },
    )
    _write(
        layout.config(f"fill-{box.id}"),
        {
            "origin": s3_section(layout, origin),
            "catalog_key": str(layout.catalog_keys),
            "agent": {
                "appliance": box.id,
                "ingest_socket": str(layout.run_dir(box) / "ingest.sock"),
                "plan_key": str(layout.plan_keys),
            },
            # A line per object, three times over, would hide the demo's own: the summary is enough.
            "log_level": "warning",
        },
    )


def write_planner(layout: Layout, origin: Origin) -> None:
    """``fill.yaml``: what publishes and plans, beside steering."""
    _write(
        layout.config("fill"),
        {
            "origin": s3_section(layout, origin),
            "planner": {"fleet": str(layout.config("fleet")), "signing_key": str(layout.plan_signing_key)},
            # Somebody sits there and waits: bits are cheap here, and seconds are not.
            # Three rungs and no trial encodes: one waits for them.
            "publish": {
                "signing_key": str(layout.catalog_signing_key),
                "preset": "ultrafast",
                "per_title": False,
                "ladder": _LADDER,
            },
        },
    )


def write_fleet(layout: Layout, keys: Mapping[str, PublicKey]) -> None:
    """``fleet.yaml``, and ``peers.jwks`` with the keys of those that may pull or fill from another."""
    sites: dict[str, dict[str, Any]] = {}
    for box in layout.boxes:
        site = sites.setdefault(
            box.site,
            {"id": box.site, "tier": box.tier, "prefixes": _PREFIXES[box.site], "appliances": []},
        )
        site["appliances"].append(
            {
                "id": box.id,
                "url": box.url,
                "capacity_bytes": 2 * _DISK_BYTES,
                "throughput_bps": 1_000_000_000,
                # A rack of its own: when it fails, its neighbour is still the nearest.
                "failure_domain": f"rack-{len(site['appliances']) + 1}",
                "public_key": msgspec.to_builtins(keys[box.id]),
            }
        )
    _write(layout.config("fleet"), {"sites": list(sites.values())})
    peers = [{**msgspec.to_builtins(keys[box.id]), "kid": box.id} for box in layout.boxes]
    (layout.root / "peers.jwks").write_bytes(msgspec.json.encode({"keys": peers}))


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(
        "# Written by make demo; written anew at its next start.\n"
        + yaml.safe_dump(document, sort_keys=False)
    )
