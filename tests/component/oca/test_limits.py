"""What one client, and one network, may take: each limit reached over a real socket."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance import Appliance, running
from tests.component.oca.test_serving import Answer, ask
from tests.waiting import PATIENCE_S, until

KEY = "tt0011/720p/video.mp4"
SIZE = 8 << 20


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    limits = {
        "header_timeout_s": 1,
        "idle_timeout_s": 2,
        "send_timeout_s": 2,
        "min_rate_bps": 64_000_000,
        "connections_per_network": 30,
        "requests_per_network": 40,
        "requests_per_connection": 5,
    }
    with running(tmp_path_factory.mktemp("limits"), limits=limits) as made:
        made.put(KEY, random.Random(11).randbytes(SIZE))
        yield made


def ended(sock: socket.socket, within_s: float = PATIENCE_S) -> bytes:
    """What still comes until the server ends the connection; fails when it does not."""
    sock.settimeout(within_s)
    got = b""
    try:
        while data := sock.recv(1 << 20):
            got += data[:1000]
    except ConnectionResetError:
        pass
    return got


def counter(appliance: Appliance, name: str) -> float:
    with socket.create_connection(("127.0.0.1", appliance.admin), timeout=PATIENCE_S) as sock:
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        with sock.makefile("rb") as file:
            text = file.read().decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def test_a_head_that_comes_byte_by_byte_does_not_hold_the_connection(appliance: Appliance) -> None:
    with appliance.connect() as sock:
        sock.sendall(b"GET /")
        sent = 0
        with contextlib.suppress(ConnectionError):
            for _ in range(600):
                sock.sendall(b"a")
                sent += 1
                time.sleep(0.1)  # the client's own slowness is what is tested
        assert sent < 600


def test_a_connection_that_asks_nothing_is_closed(appliance: Appliance) -> None:
    with appliance.connect() as sock:
        assert ended(sock) == b""


def test_a_client_that_takes_nothing_is_cut(appliance: Appliance) -> None:
    before = counter(appliance, "oca_edge_aborted_total")
    with appliance.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(f"GET /{KEY} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        until(lambda: counter(appliance, "oca_edge_aborted_total") > before)


def test_a_client_that_takes_too_little_is_cut_though_it_always_takes_something(appliance: Appliance) -> None:
    with appliance.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(f"GET /{KEY} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        got = 0
        with contextlib.suppress(ConnectionResetError):
            for _ in range(SIZE // 20_000):
                got += len(sock.recv(20_000))
                time.sleep(0.05)  # 3 Mb/s where 64 are asked for
        assert got < SIZE - 1_000_000


def test_the_last_request_of_a_connection_is_answered_and_said_to_be(appliance: Appliance) -> None:
    with appliance.connect() as sock, sock.makefile("rb") as file:
        kept = []
        for _ in range(5):
            sock.sendall(f"GET /{KEY} HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n".encode())
            answer = Answer(file)
            assert answer.status == 206
            kept.append(answer.headers["connection"])
        assert kept == ["keep-alive"] * 4 + ["close"]
        assert file.read() == b""


def test_a_network_that_asks_too_often_is_told_to_wait(appliance: Appliance) -> None:
    request = f"GET /{KEY} HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n".encode()
    statuses = []
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(appliance.connect()) for _ in range(24)]
        for sock in socks:  # all at once, as nobody knows how fast this machine would ask one by one
            sock.sendall(request * 5)
        for sock in socks:
            file = stack.enter_context(sock.makefile("rb"))
            for _ in range(5):
                answer = Answer(file)
                statuses.append(answer.status)
                if answer.status == 429:
                    assert answer.headers["retry-after"]
                if answer.headers["connection"] == "close":
                    break
    assert 429 in statuses
    until(lambda: ask(appliance, target=f"/{KEY}", headers="Range: bytes=0-9\r\n").status == 206)


def test_a_network_with_too_many_connections_gets_no_more_until_one_goes(appliance: Appliance) -> None:
    # Again if it took so long to open them that the first were closed as idle.
    until(lambda: _one_too_many_is_refused(appliance))
    until(lambda: _answered(appliance))


def _one_too_many_is_refused(appliance: Appliance) -> bool:
    before = counter(appliance, "oca_edge_refused_total")
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(appliance.connect())
        with appliance.connect() as extra:
            assert ended(extra) == b""
    with contextlib.suppress(AssertionError):
        until(lambda: counter(appliance, "oca_edge_refused_total") > before, within_s=5)
        return True
    return False


def _answered(appliance: Appliance) -> bool:
    try:
        return ask(appliance, target=f"/{KEY}", headers="Range: bytes=0-9\r\n").status == 206
    except ConnectionError:
        return False


def test_a_flood_of_bad_tokens_stops_costing_signatures(tmp_path: Path) -> None:
    """And whoever has a token that was good goes on, from the same network."""
    from steering.keys import Paths, Signer, make

    paths = Paths(tmp_path / "steering")
    make(paths, new_api_key=False)
    signer = Signer.load(paths)
    auth = {"required": True, "keys_file": str(paths.public)}
    (tmp_path / "oca").mkdir()
    with running(tmp_path / "oca", auth=auth, limits={"refusals_per_network": 10}) as appliance:
        appliance.put(KEY, b"x" * 1000)
        good, _ = signer.sign("tt0011", "s", time.time(), 3600)
        assert ask(appliance, target=f"/URISigningPackage={good}/{KEY}").status == 200
        with appliance.connect() as sock, sock.makefile("rb") as file:
            tokens = [good[:-8] + f"{number:08d}" for number in range(60)]
            asked = [f"GET /URISigningPackage={token}/{KEY} HTTP/1.1\r\nHost: a\r\n\r\n" for token in tokens]
            sock.sendall("".join(asked).encode())
            statuses = [Answer(file).status for _ in asked]
        assert statuses[0] == 403
        assert 429 in statuses
        assert ask(appliance, target=f"/URISigningPackage={good}/{KEY}").status == 200
