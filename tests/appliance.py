"""A real appliance in its own folder: supervisor, one edge worker, storekeeper, real sockets and disks."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil
import yaml

from contracts import ingest
from contracts.catalog import CatalogObject
from contracts.framing import HEADER_BYTES, pack, payload_length
from contracts.objectkey import SLICE_BYTES, digest
from tests import commands
from tests.ports import free_port as free_port
from tests.processes import below, gone, stopped
from tests.waiting import PATIENCE_S, until

ETAG = '"published-1"'
MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"


@dataclass
class Appliance:
    port: int
    admin: int
    root: Path
    _process: subprocess.Popen[bytes] | None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was not started"
        return self._process

    @process.setter
    def process(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def ingest(self, message: ingest.Request) -> ingest.Reply:
        """The storekeeper's reply; raises ConnectionError when it ends before that."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.root / "run" / ingest.SOCKET_NAME))
            sock.sendall(pack(ingest.encode(message)))
            with sock.makefile("rb") as file:
                header = _exactly(file, HEADER_BYTES)
                reply: ingest.Reply = ingest.decode_reply(_exactly(file, payload_length(header)))
                return reply

    def put(self, key: str, data: bytes) -> None:
        reply = self.ingest(ingest.Reserve(published(key, data)))
        assert isinstance(reply, ingest.Reserved), reply
        with open(reply.path, "r+b") as file:
            file.write(data)
        committed = self.ingest(ingest.Commit(key))
        assert isinstance(committed, ingest.Committed), committed

    def wait_ready(self) -> None:
        """Returns once it may take traffic; fails when it ends instead."""
        until(self._ready, lambda: "ready: " + self._log())

    def _ready(self) -> bool:
        assert self.process.poll() is None, self._log()
        try:
            with socket.create_connection(("127.0.0.1", self.admin), timeout=2) as sock:
                sock.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                return b" 200 " in sock.recv(100)
        except OSError:
            return False

    def wait_workers(self) -> None:
        """Returns once each of its edge workers is known to the storekeeper: one is enough to be ready."""
        count = yaml.safe_load((self.root / "oca.yaml").read_text())["workers"]
        until(lambda: self._workers() == count, lambda: f"{count} workers: " + self._log())

    def _workers(self) -> int:
        url = f"http://127.0.0.1:{self.admin}/v1/status"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return int(json.load(answer)["workers"])

    def kill(self) -> None:
        """Ends the supervisor and all below it, at once; returns when they are gone, and their ports are free."""
        # Stopped first: it could start a child that we have not seen, which has its sockets open for as long as a
        # busy machine takes to come to the line where it sees that its parent has gone.
        self.process.send_signal(signal.SIGSTOP)
        until(lambda: stopped(psutil.Process(self.process.pid)))
        children = below(self.process.pid)
        self.process.kill()
        self.process.wait(PATIENCE_S)
        # Each dies with its parent, and is nobody's child then that we could wait for.
        until(lambda: gone(children), lambda: children)

    def stop(self) -> None:
        """Ends it as systemd does; one that was ended already stays so."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _log(self) -> str:
        return (self.root / "log").read_text()


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ConnectionResetError(f"the storekeeper ended after {len(data)} bytes of {count}")
    return data


def published(key: str, data: bytes) -> CatalogObject:
    digests = b"".join(digest(data[at : at + SLICE_BYTES]) for at in range(0, len(data), SLICE_BYTES))
    return CatalogObject(key, len(data), "video/mp4", ETAG, 1_700_000_000, digests)


@contextmanager
def running(root: Path, *, start: bool = True, **changes: object) -> Iterator[Appliance]:
    """An appliance in ``root``, with ``changes`` to its configuration; only initialised unless ``start``."""
    port, admin = free_port(), free_port()
    for name in ("disk1", "disk2"):
        (root / name).mkdir()
    config = {
        "appliance": "test-1",
        "listen": f"127.0.0.1:{port}",
        "admin": f"127.0.0.1:{admin}",
        "workers": 1,
        "state_dir": str(root / "state"),
        "run_dir": str(root / "run"),
        "disks": [{"path": str(root / name), "capacity_bytes": 100_000_000} for name in ("disk1", "disk2")],
        # Nothing listens there: an appliance must serve what it has without its origin.
        "origin": {"bucket": "nowhere", "endpoint_url": "http://127.0.0.1:9"},
        # What becomes of catalogs where signatures count: tests/component/oca/test_signed_catalog.py.
        "require_signed_catalog": "catalog_key" in changes,
        "auth": {"required": False},
        "disk_retry_s": 3600,
        "cors_origins": ["*"],
        **changes,
    }
    file = root / "oca.yaml"
    file.write_text(yaml.safe_dump(config))
    done = commands.run("oca", "init", "--config", file)
    assert done.returncode == 0, done.stderr
    if not start:
        yield Appliance(port, admin, root, None)
        return
    with restarted(root) as appliance:
        yield appliance


@contextmanager
def restarted(root: Path) -> Iterator[Appliance]:
    """Starts the appliance whose configuration and disks are in ``root``."""
    file = root / "oca.yaml"
    config = yaml.safe_load(file.read_text())
    port, admin = (int(config[name].rpartition(":")[2]) for name in ("listen", "admin"))
    with (root / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "oca", "serve", "--config", str(file)], stdout=log, stderr=log
        )
    appliance = Appliance(port, admin, root, process)
    try:
        appliance.wait_ready()
        appliance.wait_workers()
        yield appliance
    finally:
        appliance.stop()
