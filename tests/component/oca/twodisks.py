"""Two disks and an appliance on them: mounts that are really made, and what must hold while one of them fails."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from contracts.catalog import CatalogObject, Kind, TitleEntry, media_key
from demo.origin import OriginServer
from fill.publish.index import write_catalog
from fill.version import version_name
from oca.objectfile import complete_path, disk_rank
from tests import commands
from tests.appliance import Appliance, published, running
from tests.component.oca.metrics import samples, status
from tests.component.oca.ondisk import check_counted, held
from tests.component.oca.test_serving import ask
from tests.waiting import settled, until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1 << 20
SIZE = 2 * MIB + 500

Object = tuple[str, bytes]


def run(*command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        said = f"{command[0]}: {done.stderr.strip()}"
        # A container may have no loop device; a machine that is there to check us has.
        if command[0] == "mount" and not os.environ.get("CI"):
            pytest.skip(said)
        raise AssertionError(said)


def read_only(folder: Path) -> None:
    """Remounts it so: the kernel refuses while a file that was written or removed is still being let go."""

    def remounted() -> bool:
        done = subprocess.run(
            ["mount", "-o", "remount,ro", folder], capture_output=True, text=True, timeout=60
        )
        assert not done.returncode or "busy" in done.stderr, done.stderr
        return not done.returncode

    until(remounted)


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        run("umount", "-l", folder)


@contextmanager
def ext4(folder: Path) -> Iterator[Path]:
    """A file system of 64 MiB in ``folder``, in the file beside it."""
    image = folder.with_suffix(".img")
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    run("mkfs.ext4", "-q", "-b", "4096", image)
    run("mount", "-o", "loop", image, folder)
    try:
        yield folder
    finally:
        run("umount", "-l", folder)


@dataclass
class World:
    """``bad`` and ``good`` are disks; of each, objects that belong there: held already, and upstream only."""

    tmp: Path
    bad: Path
    good: Path
    s3: S3Client
    origin: OriginServer
    appliance: Appliance | None = None

    @property
    def running(self) -> Appliance:
        assert self.appliance is not None
        return self.appliance

    def publish(self, disk: Path, size: int = SIZE) -> Object:
        """An object at the origin that the appliance would put on ``disk``."""
        other = self.good if disk is self.bad else self.bad
        while True:
            title = f"tt{secrets.token_hex(6)}"
            key = f"{title}/video.mp4"
            if disk_rank(str(disk), key) < disk_rank(str(other), key):
                break
        data = secrets.token_bytes(size)
        bucket = self.origin.config.bucket
        self.s3.put_object(Bucket=bucket, Key=media_key(key), Body=data)
        manifests = [
            CatalogObject(f"{title}/{name}", 0, "text/plain", '"m"', 0, b"", Kind.MANIFEST)
            for name in ("m.m3u8", "m.mpd")
        ]
        entry = TitleEntry(
            title, 0, 60.0, (published(key, data), *manifests), manifests[0].key, manifests[1].key
        )
        write_catalog(self.s3, bucket, version_name(time.time(), secrets.token_bytes(3)), entry)
        return key, data

    @contextmanager
    def start(self, *prefix: str, **changes: Any) -> Iterator[Appliance]:
        """The appliance on both disks; ``prefix`` goes before its command line."""
        root = self.tmp / "appliance"
        origin = {
            "bucket": self.origin.config.bucket,
            "endpoint_url": self.origin.config.endpoint_url,
            "credentials_file": str(self.origin.credentials_file),
        }
        if self.appliance is None:
            root.mkdir()
            disks = [{"path": str(disk), "capacity_bytes": 100_000_000} for disk in (self.bad, self.good)]
            with running(root, start=False, disks=disks, origin=origin, **changes) as made:
                self.appliance = made
        appliance = self.appliance
        with (root / "log").open("ab") as log:
            appliance.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "oca", "serve", "--config", str(root / "oca.yaml")],
                stdout=log,
                stderr=log,
            )
        try:
            appliance.wait_ready()
            appliance.wait_workers()
            yield appliance
        finally:
            appliance.stop()

    def disk(self, path: Path) -> Any:
        return next(disk for disk in status(self.running)["disks"] if disk["path"] == str(path))

    def check_counted(self, *disks: Path) -> None:
        check_counted(self.running, *disks)

    def get(self, item: Object) -> int | None:
        """The status of one answer; None when it was cut short. Fails when it is wrong, or never comes."""
        key, data = item
        try:
            answer = ask(self.running, target=f"/{key}")
        except ConnectionError:
            return None  # cut before its head, or with a reset
        if answer.status == 200:
            assert data.startswith(answer.body), f"{key}: wrong bytes"
            return 200 if len(answer.body) == len(data) else None
        return answer.status

    def serves(self, *items: Object) -> list[int | None]:
        """Asks until each of ``items`` was answered whole; the failures on the way, all of a kind."""
        failed: list[int | None] = []

        def served(item: Object) -> bool:
            if (got := self.get(item)) != 200:
                failed.append(got)
                assert got in {None, 502, 503, 504}
            return got == 200

        for item in items:
            until(lambda item=item: served(item), lambda: failed)  # type: ignore[misc]
        return failed

    def lands_on_good(self, item: Object) -> None:
        """Returns once the object is complete on the good disk: the last answer may be out before that."""
        until(complete_path(self.good, item[0]).exists, lambda: held(self.good))

    def purge(self, **which: str) -> Any:
        """What the admin port says of a purge."""
        url = f"http://127.0.0.1:{self.running.admin}/v1/purge"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(which).encode())) as answer:
            return json.load(answer)

    def is_hit(self, item: Object) -> None:
        answer = ask(self.running, target=f"/{item[0]}")
        assert (answer.status, answer.body == item[1]) == (200, True)
        assert answer.headers["cache-status"] == "test-1; hit"

    def check_failed(self, why: str) -> None:
        """The bad disk is out of service, and says why wherever an operator looks; the good one is not.

        For the moment in which it is looked at again it is joining, and says nothing.
        """
        settled(lambda: self._check_failed(why))

    def _check_failed(self, why: str) -> None:
        assert self.disk(self.bad)["state"] == "failed", self.disk(self.bad)
        assert self.disk(self.good)["state"] == "serving"
        assert why in self.disk(self.bad)["why"]
        assert samples(self.running)["oca_disk_serving", str(self.bad)] == 0
        assert samples(self.running)["oca_disk_serving", str(self.good)] == 1
        shown = commands.run("oca", "status", "--config", self.running.root / "oca.yaml")
        assert "failed" in shown.stdout, shown
