"""A real NATS server with JetStream, in its own folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.waiting import PATIENCE_S, until

PROGRAM = "/usr/sbin/nats-server"


def require_nats() -> None:
    """Skips where there is no server, and fails where CI promises one."""
    if Path(PROGRAM).exists() or shutil.which("nats-server"):
        return
    if os.environ.get("CI"):
        pytest.fail(f"{PROGRAM} is missing, and CI is set")
    pytest.skip(f"{PROGRAM} is missing (Debian: apt-get install nats-server)")


class NatsServer:
    """Stays on its port and its folder, however often it is started."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = PROGRAM if Path(PROGRAM).exists() else str(shutil.which("nats-server"))
        self._folder.mkdir(exist_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-js", "-sd", str(self._folder), "-a", "127.0.0.1", "-p", str(self.port)],
                stdout=log,
                stderr=log,
            )
        until(self._answers, lambda: (self._folder / "log").read_text())

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with socket.socket() as probe:
            probe.settimeout(PATIENCE_S)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0 and probe.recv(1) == b"I"

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


@contextmanager
def nats_server(folder: Path) -> Iterator[NatsServer]:
    require_nats()
    server = NatsServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
