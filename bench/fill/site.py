"""A bucket with one large film, its plan, and appliances of one site: all real, on this machine."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil
import yaml

from contracts.catalog import TitleEntry
from daemon.s3 import open_client
from demo.origin import OriginServer
from fill.publish.index import write_catalog
from fill.publish.upload import Finished, describe, upload_media
from fill.version import version_name

MIB = 1 << 20
TITLE = "tt1"
KEY = f"{TITLE}/video.mp4"
_READY_S = 30


def key_of(title: str) -> str:
    """Of the medium of a title that `publish` made."""
    return f"{title}/video.mp4"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def publish(origin: OriginServer, folder: Path, size: int, title: str = TITLE) -> Path:
    """Publishes ``title``, whose one medium has ``size`` random bytes; the medium."""
    folder.mkdir(parents=True, exist_ok=True)
    medium = folder / "video.mp4"
    with medium.open("wb") as out:
        for _ in range(size // MIB):
            out.write(os.urandom(MIB))
    (folder / "master.m3u8").write_text("#EXTM3U\n")
    (folder / "manifest.mpd").write_text("<MPD/>\n")
    client = open_client(origin.config)
    now = int(time.time())
    files = [Finished(folder / name, name) for name in ("video.mp4", "master.m3u8", "manifest.mpd")]
    described = [(item, describe(title, item, now)) for item in files]
    upload_media(client, origin.config.bucket, described, lambda _: None)
    objects = tuple(item for _, item in described)
    entry = TitleEntry(title, now, 1.0, objects, f"{title}/master.m3u8", f"{title}/manifest.mpd")
    write_catalog(client, origin.config.bucket, version_name(now, secrets.token_bytes(3)), entry)
    client.close()
    return medium


@dataclass
class Box:
    """One appliance: `oca serve` over one folder."""

    name: str
    root: Path
    port: int
    admin: int
    public_key: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(cls, name: str, root: Path, origin: OriginServer, capacity_bytes: int, **settings: Any) -> Box:
        root.mkdir(parents=True, exist_ok=True)
        (root / "disk").mkdir(exist_ok=True)
        port, admin = free_port(), free_port()
        document = {
            "appliance": name,
            "listen": f"127.0.0.1:{port}",
            "admin": f"127.0.0.1:{admin}",
            "workers": 1,
            "state_dir": str(root / "state"),
            "run_dir": str(root / "run"),
            "disks": [{"path": str(root / "disk"), "capacity_bytes": capacity_bytes}],
            "origin": msgspec.to_builtins(origin.config),
            "require_signed_catalog": False,
            "auth": {"required": False},
        } | settings
        (root / "oca.yaml").write_text(yaml.safe_dump(document))
        command = [sys.executable, "-m", "oca", "init", "--json", "--config", str(root / "oca.yaml")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return cls(name, root, port, admin, json.loads(done.stdout)["public_key"], settings=settings)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        log = (self.root / "log").open("ab")
        command = [sys.executable, "-m", "oca", "serve", "--config", str(self.root / "oca.yaml")]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + _READY_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=2):
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{self.name} is not ready; see {self.root}/log") from None
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/v1/status", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def purge(self, title: str = TITLE) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.admin}/v1/purge",
            data=json.dumps({"prefix": f"{title}/"}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60):
            pass

    def cpu_s(self) -> float:
        """Of all its processes, user and system."""
        assert self.process is not None
        above = psutil.Process(self.process.pid)
        times = [one.cpu_times() for one in (above, *above.children(recursive=True))]
        return sum(one.user + one.system for one in times)


def write_fleet(folder: Path, boxes: list[Box]) -> Path:
    """The fleet file with all boxes at one site; its path."""
    appliances = [
        {
            "id": box.name,
            "url": box.url,
            "capacity_bytes": 10**12,
            "throughput_bps": 10**10,
            "public_key": box.public_key,
        }
        for box in boxes
    ]
    path = folder / "fleet.yaml"
    sites = [{"id": "site-a", "tier": "isp", "prefixes": [], "appliances": appliances}]
    path.write_text(yaml.safe_dump({"sites": sites}))
    return path


def write_fill(
    folder: Path, origin: OriginServer, box: Box, *, endpoint_url: str | None = None, **agent: Any
) -> Path:
    """The configuration of `fill` for one box; its path."""
    document = {
        "origin": msgspec.to_builtins(origin.config) | {"endpoint_url": endpoint_url or origin.endpoint_url},
        "agent": {
            "appliance": box.name,
            "ingest_socket": str(box.root / "run" / "ingest.sock"),
            "require_signature": False,
        }
        | agent,
        "planner": {"fleet": str(folder / "fleet.yaml"), "require_signature": False},
    }
    path = box.root / "fill.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def fill(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "fill", *map(str, arguments)]
