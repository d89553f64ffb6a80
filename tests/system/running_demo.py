"""A demo that runs in processes of its own, started and asked as a user would."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import psutil

from daemon.cli import CommandError
from demo.layout import Layout
from demo.preflight import check_ports
from tests.processes import below
from tests.waiting import PATIENCE_S, until

CHECKOUT = Path(__file__).resolve().parents[2]
READY_S = 420
"""Two busy cores, the first npm install, and three encodes of a minute."""
STOP_S = 60


def wait_until(what: str, true: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Polls until ``true()`` is truthy, and gives that back; fails the test after ``timeout_s``."""
    return until(true, lambda: what, timeout_s)


def free_offset() -> int:
    """A --port-offset whose ports are all free now: away from the defaults, and from another test run."""
    for offset in range(20_000, 23_000, 100):
        try:
            check_ports(Layout(Path(), Path(), offset))
        except CommandError:
            continue
        return offset
    raise AssertionError("no free ports for a demo")


class Demo:
    """``make demo`` without make: the same command, on other ports and in another folder."""

    def __init__(self, folder: Path, source: Path | None = None) -> None:
        """Publishes ``source``, and the generated minute when there is none."""
        offset = free_offset()
        self.folder = folder
        self.offset = offset
        self.output = folder.with_suffix(".txt")
        self._extra: list[subprocess.Popen[bytes]] = []
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*self.command(folder, offset), *(["--source", str(source)] if source is not None else [])],
                cwd=CHECKOUT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @staticmethod
    def command(folder: Path, offset: int) -> list[str]:
        return [sys.executable, "-m", "demo", "--dir", str(folder), "--port-offset", str(offset)]

    @property
    def endpoints_file(self) -> Path:
        return self.folder / "endpoints.json"

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, f"the demo ended:\n{self.said()}"
            return self.endpoints_file.exists()

        try:
            wait_until("endpoints.json", ready, READY_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()}") from None

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def endpoints(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.endpoints_file.read_bytes())
        return found

    def appliance(self, name: str) -> dict[str, Any]:
        (found,) = [item for item in self.endpoints["appliances"] if item["id"] == name]
        return dict(found)

    def steer(self, **fields: Any) -> dict[str, Any]:
        """Steering's answer to a viewer on this machine; fails the test on an error."""
        status, _, body = self.request(
            f"{self.endpoints['steering']}/v1/steer",
            body={"client_ip": "127.0.0.1", "title": self.endpoints["title"]} | fields,
            headers={"Authorization": f"Bearer {self.endpoints['steering_key']}"},
        )
        assert status == 200, body
        answer: dict[str, Any] = json.loads(body)
        return answer

    def offered(self) -> dict[str, dict[str, Any]]:
        """Steering's candidates by appliance, in order."""
        return {candidate["appliance"]: candidate for candidate in self.steer()["candidates"]}

    def wait_offered(self, names: set[str]) -> dict[str, dict[str, Any]]:
        wait_until(f"steering offers {sorted(names)}", lambda: set(self.offered()) == names)
        return self.offered()

    @staticmethod
    def request(
        url: str, *, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of a GET, or of a POST of ``body`` as JSON."""
        request = urllib.request.Request(
            url,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"} | (headers or {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return (
                    answer.status,
                    {name.lower(): value for name, value in answer.headers.items()},
                    answer.read(),
                )
        except urllib.error.HTTPError as error:
            with error:
                return (
                    error.code,
                    {name.lower(): value for name, value in error.headers.items()},
                    error.read(),
                )

    def cmcd_requests(self, name: str) -> int:
        """How many requests players sent this appliance in which they spoke of themselves."""
        _, _, page = self.request(f"{self.appliance(name)['admin']}/metrics")
        found = re.search(rb"^oca_edge_cmcd_requests_total ([0-9.e+]+)$", page, re.MULTILINE)
        assert found is not None
        return int(float(found[1]))

    def kill(self, name: str) -> None:
        """``kill -9`` of an appliance, as a user does who has the pid from endpoints.json."""
        os.kill(self.pid(name), signal.SIGKILL)

    def pid(self, name: str) -> int:
        """Of the appliance's supervisor, restarted or not."""
        for process in self._extra:
            if process.args[-1] == self._config(name) and process.poll() is None:  # type: ignore[index]
                return process.pid
        return int(self.appliance(name)["pid"])

    def restart(self, name: str) -> None:
        """Starts a killed appliance again, and waits until it may take traffic."""
        with (self.folder / "logs" / f"{name}-again.log").open("ab") as log:
            self._extra.append(
                subprocess.Popen(
                    [sys.executable, "-m", "oca", "serve", "--config", self._config(name)],
                    cwd=CHECKOUT,
                    stdout=log,
                    stderr=log,
                )
            )
        url = f"{self.appliance(name)['admin']}/readyz"

        def ready() -> bool:
            try:
                return self.request(url)[0] == 200
            except OSError:
                return False

        wait_until(f"{name} is ready again", ready)

    def _config(self, name: str) -> str:
        return str(self.folder / f"oca-{name}.yaml")

    def descendants(self) -> list[psutil.Process]:
        return below(self.process.pid)

    def interrupt(self) -> int:
        """Ctrl-C, and the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_S)

    def close(self) -> None:
        for process in [*self._extra, self.process]:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def decoded_frames(url: str) -> list[int]:
    """Frames per stream of what ``url`` plays, all of it decoded by ffmpeg; fails on any error."""
    result = subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-xerror", "-i", url),
            *("-map", "0:v", "-map", "0:a", "-f", "framecrc", "-"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    rows = [line.split(",")[0] for line in result.stdout.splitlines() if not line.startswith("#")]
    return [rows.count(stream) for stream in sorted(set(rows), key=int)]
