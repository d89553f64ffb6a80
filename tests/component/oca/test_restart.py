"""Ends and beginnings under load: drain, SIGTERM, SIGHUP, kill -9, and sockets that systemd keeps."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import yaml

from oca.edge.worker import GRACE_S
from tests import certificates
from tests.appliance import Appliance, running
from tests.component.oca.test_serving import Answer, ask
from tests.ports import free_port
from tests.processes import below, gone, with_role
from tests.waiting import PATIENCE_S, until

KEY = "tt0012/720p/video.mp4"
SIZE = 6 << 20
DATA = random.Random(12).randbytes(SIZE)
REQUEST = f"GET /{KEY} HTTP/1.1\r\nHost: a\r\nRange: bytes=%d-%d\r\n\r\n"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    with running(tmp_path, drain_timeout_s=60, limits={"requests_per_network": 1_000_000}) as made:
        made.put(KEY, DATA)
        yield made


def workers(appliance: Appliance) -> list[psutil.Process]:
    return below(appliance.process.pid, with_role("edge"))


def admin(appliance: Appliance, path: str, method: str = "GET") -> object:
    request = urllib.request.Request(f"http://127.0.0.1:{appliance.admin}{path}", method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


@contextmanager
def slow_download(appliance: Appliance) -> Iterator[threading.Event]:
    """A response in flight, read to its end and compared once the event is set."""
    begun, go, result = threading.Event(), threading.Event(), []

    def download() -> None:
        with appliance.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sock.settimeout(PATIENCE_S)
            with sock.makefile("rb") as file:
                sock.sendall(f"GET /{KEY} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                sock.recv(1, socket.MSG_PEEK)
                begun.set()
                go.wait(PATIENCE_S)
                result.append(Answer(file).body == DATA)

    thread = threading.Thread(target=download)
    thread.start()
    assert begun.wait(PATIENCE_S)
    yield go
    go.set()
    thread.join(2 * PATIENCE_S)
    assert result == [True]


def test_sigterm_lets_a_response_in_flight_finish(appliance: Appliance) -> None:
    with slow_download(appliance) as go:
        appliance.process.send_signal(signal.SIGTERM)
        until(lambda: '"stopping"' in (appliance.root / "log").read_text())
        go.set()
    assert appliance.process.wait(PATIENCE_S) == 0


def test_a_client_that_never_finishes_holds_the_end_up_no_longer_than_the_drain_time(tmp_path: Path) -> None:
    with running(tmp_path, drain_timeout_s=2) as appliance:
        appliance.put(KEY, DATA)
        with appliance.connect() as sock:
            sock.sendall(f"GET /{KEY} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            sock.recv(1000)
            appliance.process.send_signal(signal.SIGTERM)
            assert appliance.process.wait(PATIENCE_S) == 0


def test_drained_it_sends_new_connections_elsewhere_and_finishes_the_old(appliance: Appliance) -> None:
    with appliance.connect() as sock, sock.makefile("rb") as file:
        sock.sendall((REQUEST % (0, 9)).encode())
        assert Answer(file).headers["connection"] == "keep-alive"
        with slow_download(appliance):
            admin(appliance, "/v1/drain", "POST")
            until(lambda: ask(appliance, target=f"/{KEY}").status == 503)
            answer = ask(appliance, target=f"/{KEY}")
            assert answer.headers["retry-after"]
            assert answer.headers["connection"] == "close"
    admin(appliance, "/v1/undrain", "POST")
    until(lambda: ask(appliance, "Range: bytes=0-9\r\n", target=f"/{KEY}").status == 206)


def test_sighup_replaces_the_workers_and_drops_no_byte(appliance: Appliance) -> None:
    (before,) = workers(appliance)
    file = appliance.root / "oca.yaml"
    config = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**config, "cors_origins": ["https://new.example"]}))
    with slow_download(appliance) as go:
        appliance.process.send_signal(signal.SIGHUP)
        origin = "Origin: https://new.example\r\nRange: bytes=0-9\r\n"
        until(
            lambda: (
                ask(appliance, origin, target=f"/{KEY}").headers.get("access-control-allow-origin")
                == "https://new.example"
            )
        )
        assert before.is_running()
        go.set()
    until(lambda: gone([before]))
    assert len(workers(appliance)) == 1


@pytest.mark.parametrize("wrong", ["nonsense: true\n", "appliance: [", "limits: {idle_timeout_s: soon}\n"])
def test_a_wrong_file_changes_nothing(appliance: Appliance, wrong: str) -> None:
    (before,) = workers(appliance)
    file = appliance.root / "oca.yaml"
    file.write_text(file.read_text() + wrong)
    appliance.process.send_signal(signal.SIGHUP)
    until(lambda: "reload refused" in (appliance.root / "log").read_text())
    assert [worker.pid for worker in workers(appliance)] == [before.pid]
    assert ask(appliance, "Range: bytes=0-9\r\n", target=f"/{KEY}").body == DATA[:10]


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(tmp_path: Path) -> None:
    import ssl

    certificate, key = certificates.make(tmp_path, "tls")
    port = free_port()
    tls = {"certificate_file": str(certificate), "key_file": str(key), "listen": f"127.0.0.1:{port}"}

    def shown() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plain,
            context.wrap_socket(plain) as sock,
        ):
            return sock.getpeercert(binary_form=True) or b""

    with running(tmp_path, tls=tls) as appliance:
        first = shown()
        certificates.make(tmp_path, "tls")
        assert shown() == first
        appliance.process.send_signal(signal.SIGHUP)
        until(lambda: shown() != first)
        second = shown()
        certificate.write_text("not a certificate")
        appliance.process.send_signal(signal.SIGHUP)
        until(lambda: "reload failed" in (appliance.root / "log").read_text())
        assert shown() == second


class Load(threading.Thread):
    """A player that asks without pause, on connections that stay open, and checks every byte."""

    def __init__(self, port: int, *, forgiving: bool = False) -> None:
        super().__init__()
        self.port = port
        self.answered = 0
        self.wrong: list[str] = []
        self.lost = 0
        self.done = threading.Event()
        self._forgiving = forgiving
        self._paused_s = 0.0
        """How long we had asked nothing before this request. A server that drains may close what was idle for
        GRACE_S, as RFC 9112 section 9.3.1 has it, and on a busy machine a thread may pause so long."""

    def run(self) -> None:
        chance = random.Random(self.port)
        while not self.done.is_set():
            try:
                self._connection(chance)
            except OSError as error:
                self.lost += 1
                if not self._forgiving and self._paused_s < GRACE_S / 2:
                    self.wrong.append(repr(error))

    def _connection(self, chance: random.Random) -> None:
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as sock,
            sock.makefile("rb") as file,
        ):
            active = time.monotonic()
            while not self.done.is_set():
                start = chance.randrange(SIZE - 70_000)
                end = start + chance.randrange(1, 70_000)
                try:
                    sock.sendall((REQUEST % (start, end - 1)).encode())
                finally:
                    self._paused_s = time.monotonic() - active
                answer = Answer(file)
                active = time.monotonic()
                if answer.status != 206 or answer.body != DATA[start:end]:
                    if self._forgiving and answer.status == 206 and len(answer.body) < end - start:
                        raise ConnectionResetError  # cut short, and what came is compared here
                    self.wrong.append(f"{answer.status} of {start}-{end}")
                self.answered += 1
                if answer.headers["connection"] == "close":
                    return


@contextmanager
def load(port: int, count: int = 4, *, forgiving: bool = False) -> Iterator[list[Load]]:
    players = [Load(port, forgiving=forgiving) for _ in range(count)]
    for player in players:
        player.start()
    try:
        yield players
    finally:
        for player in players:
            player.done.set()
        for player in players:
            player.join(2 * PATIENCE_S)
            assert not player.is_alive()


def test_reloads_under_load_fail_no_request(appliance: Appliance) -> None:
    with load(appliance.port) as players:
        for _ in range(3):
            before = {worker.pid for worker in workers(appliance)}
            appliance.process.send_signal(signal.SIGHUP)
            until(lambda before=before: not before & {worker.pid for worker in workers(appliance)})
    assert [wrong for player in players for wrong in player.wrong] == []
    assert sum(player.answered for player in players) > 100


def test_an_upgrade_behind_a_socket_that_systemd_keeps_fails_no_request_in_10_000(tmp_path: Path) -> None:
    """As `oca.socket` does it: the socket outlives the appliance, which is ended and started again."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listening.getsockname()[1]
    with running(
        tmp_path, listen=f"127.0.0.1:{port}", start=False, limits={"requests_per_network": 1_000_000}
    ) as appliance:
        config = appliance.root / "oca.yaml"

        def start() -> subprocess.Popen[bytes]:
            # LISTEN_PID is the pid of the program that the shell becomes: sd_listen_fds(3).
            script = 'exec 3<&"$1"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$2" -m oca serve --config "$3"'
            with (appliance.root / "log").open("ab") as log:
                return subprocess.Popen(
                    ["bash", "-c", script, "bash", str(listening.fileno()), sys.executable, str(config)],
                    pass_fds=(listening.fileno(),),
                    stdout=log,
                    stderr=log,
                )

        process = start()
        try:
            appliance.process = process
            appliance.wait_ready()
            appliance.put(KEY, DATA)
            with load(port) as players:

                def answered() -> int:
                    return sum(player.answered for player in players)

                for goal in (4000, 8000):
                    until(lambda goal=goal: answered() > goal, within_s=120)
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(PATIENCE_S) == 0
                    process = start()
                until(lambda: answered() > 10_000, within_s=120)
            assert [wrong for player in players for wrong in player.wrong] == []
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            listening.close()


def kill_workers(appliance: Appliance, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    with load(appliance.port, forgiving=True) as players:
        for _ in range(kills):
            time.sleep(chance.uniform(0.05, 0.4))  # the moment is what is random
            with suppress(ProcessLookupError):  # the one of before had not ended yet
                os.kill(chance.choice(until(lambda: workers(appliance))).pid, signal.SIGKILL)
        last = sum(player.answered for player in players)
        until(lambda: sum(player.answered for player in players) > last + 100)
    assert [wrong for player in players for wrong in player.wrong] == []


def test_workers_killed_under_load_send_no_wrong_byte(tmp_path: Path) -> None:
    with running(tmp_path, workers=2, limits={"requests_per_network": 1_000_000}) as appliance:
        appliance.put(KEY, DATA)
        kill_workers(appliance, 8, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_hundred_workers_killed_under_load_send_no_wrong_byte(tmp_path: Path) -> None:
    with running(tmp_path, workers=2, limits={"requests_per_network": 1_000_000}) as appliance:
        appliance.put(KEY, DATA)
        kill_workers(appliance, 100, seed=2)
