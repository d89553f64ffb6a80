"""A bucket, a storekeeper and the commands of `fill`, all real."""

from __future__ import annotations

import asyncio
import inspect
import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from contracts.fleet import PublicKey
from contracts.inforce import InForce
from daemon.s3 import S3Config
from demo.origin import OriginServer
from fill.catalog import CatalogReader, Trust
from fill.publish.index import Signing, write_catalog
from fill.publish.upload import Finished, describe, upload_media
from fill.version import version_name
from oca.store.disks import Disk, mark
from oca.store.ingest import IngestServer
from oca.store.joining import Joining
from oca.store.store import Store
from tests import commands
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

from contracts.catalog import CatalogIndex, TitleEntry

APPLIANCE = "isp-a1"


class StorekeeperThread:
    """The appliance's real storekeeper side of ingest, in a thread of this process."""

    def __init__(self, folder: Path, capacity_bytes: int) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir(exist_ok=True)
        mark(self.disk, APPLIANCE)
        self.store = Store(APPLIANCE, [Disk(self.disk, capacity_bytes)])
        self.socket = folder / "ingest.sock"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        joining = Joining(self.store, time.monotonic, 3600)
        asyncio.run_coroutine_threadsafe(joining.open(), self._loop).result(PATIENCE_S)
        self.obeyed: InForce | None = None
        """Which catalog it obeys, as one that reads the bucket would say."""
        server = IngestServer(self.store, lambda _: None, obeyed=lambda: self.obeyed)
        self._server = asyncio.run_coroutine_threadsafe(server.listen(self.socket), self._loop).result(
            PATIENCE_S
        )

    def call(self, ask: Callable[[], Any]) -> Any:
        """``ask`` in the storekeeper's own thread; what it awaits is awaited."""

        async def asked() -> Any:
            found = ask()
            return await found if inspect.isawaitable(found) else found

        return asyncio.run_coroutine_threadsafe(asked(), self._loop).result(PATIENCE_S)

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()


@dataclass
class Setup:
    folder: Path
    config: S3Config
    client: S3Client
    origin: OriginServer
    signing: Signing | None = None
    """Of the catalog; tests forge catalogs, and without it they are believed."""

    def write_config(
        self,
        name: str = "fill",
        endpoint_url: str | None = None,
        ingest_socket: str | None = None,
        **changes: Any,
    ) -> Path:
        """Writes NAME.yaml; ``changes`` go into its section ``origin``."""
        origin = msgspec.to_builtins(self.config)
        origin["endpoint_url"] = endpoint_url or self.config.endpoint_url
        document = {
            "origin": origin | {"read_timeout_s": 5} | changes,
            "agent": {
                "appliance": APPLIANCE,
                "ingest_socket": ingest_socket or str(self.folder / "ingest.sock"),
                "retry": {"tries": 3, "first_s": 0.01, "longest_s": 0.1},
                # One thing after the other, so that a test can say what comes first.
                "requests": 1,
                "objects": 1,
                # Tests forge plans; what becomes of forged ones where signatures count: test_signed_plan.
                "require_signature": False,
            },
            "planner": {"fleet": str(self.folder / "fleet.yaml"), "require_signature": False},
            "publish": {"preset": "ultrafast", "require_signature": False},
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def write_fleet(self, capacity_bytes: int = 10**9, country: str | None = None) -> None:
        box = {
            "id": APPLIANCE,
            "url": "http://127.0.0.1:8080",
            "capacity_bytes": capacity_bytes,
            "throughput_bps": 10**9,
            "public_key": msgspec.to_builtins(PublicKey("OKP", "Ed25519", "A" * 43)),
        }
        site = {"id": "isp-a", "tier": "isp", "prefixes": [], "appliances": [box], "country": country}
        (self.folder / "fleet.yaml").write_text(yaml.safe_dump({"sites": [site]}))

    def publish_bytes(
        self, title: str, size: int, now: int = 1000, countries: tuple[str, ...] | None = None
    ) -> bytes:
        """Publishes a title whose one medium is ``size`` random bytes, without an encoder."""
        folder = self.folder / "made" / title
        folder.mkdir(parents=True, exist_ok=True)
        data = secrets.token_bytes(size)
        (folder / "video.mp4").write_bytes(data)
        (folder / "master.m3u8").write_text("#EXTM3U\n")
        (folder / "manifest.mpd").write_text("<MPD/>\n")
        files = [Finished(folder / name, name) for name in ("video.mp4", "master.m3u8", "manifest.mpd")]
        described = [(item, describe(title, item, now)) for item in files]
        upload_media(self.client, self.config.bucket, described, lambda _: None)
        objects = tuple(item for _, item in described)
        entry = TitleEntry(
            title, now, 1.0, objects, f"{title}/master.m3u8", f"{title}/manifest.mpd", countries
        )
        version = version_name(now, secrets.token_bytes(3))
        write_catalog(self.client, self.config.bucket, version, entry, self.signing)
        return data

    def plan(self, capacity_bytes: int = 10**9) -> dict[str, Any]:
        self.write_fleet(capacity_bytes)
        done = fill("plan", "--json", "--config", self.write_config())
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def read_index(client: S3Client, bucket: str, version: str) -> CatalogIndex:
    """As whoever has no key reads it."""
    return CatalogReader(client, bucket, Trust()).version(version)


def command(*arguments: str | Path) -> list[str]:
    """To be started as in the field: for what is stopped, killed, or held up in the middle."""
    return [sys.executable, "-m", "fill", *map(str, arguments)]


def fill(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return commands.run("fill", *arguments)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What the command said of its failure; a traceback is never right."""
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip().splitlines()[-1]


def make_setup(folder: Path, origin: OriginServer, s3: S3Client) -> Setup:
    """One with a bucket of its own."""
    bucket = f"test-{secrets.token_hex(6)}"
    s3.create_bucket(Bucket=bucket)
    return Setup(folder, msgspec.structs.replace(origin.config, bucket=bucket), s3, origin)


@pytest.fixture
def setup(tmp_path: Path, origin: OriginServer, s3: S3Client) -> Setup:
    return make_setup(tmp_path, origin, s3)


@pytest.fixture
def storekeeper(tmp_path: Path) -> Iterator[StorekeeperThread]:
    made = StorekeeperThread(tmp_path, 200 << 20)
    yield made
    made.close()
