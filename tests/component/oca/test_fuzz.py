"""Requests that nobody would write, at a real appliance: it answers or closes, and serves on.

Each case is a valid conversation with something done to it: bytes flipped, dropped, doubled, cut and
sent in pieces. What must hold is little and absolute: every answer is well-formed HTTP, the bytes of an
object are its bytes, the connection comes to an end, and afterwards no descriptor is left open, nothing
unexpected was logged, and the next player is served.
"""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Iterator

import pytest

from tests import waiting
from tests.appliance import Appliance, running
from tests.component.oca.test_serving import ask
from tests.processes import below, with_role
from tests.waiting import PATIENCE_S

KEY = "tt0013/720p/video.mp4"
DATA = random.Random(13).randbytes((1 << 20) + 5000)

SEEDS = [
    f"GET /{KEY} HTTP/1.1\r\nHost: a\r\nRange: bytes=0-99\r\n\r\n".encode(),
    f"GET /{KEY} HTTP/1.1\r\nHost: a\r\nRange: bytes=10-19,5000-5099,-7\r\n\r\n".encode(),
    f"HEAD /{KEY} HTTP/1.1\r\nHost: [::1]:80\r\nConnection: keep-alive\r\n\r\n".encode(),
    f'GET /{KEY}?CMCD=bl%3D2000%2Cbs%2Csid%3D%22x%22 HTTP/1.1\r\nHost: a\r\nIf-None-Match: "a", W/"b"\r\n\r\n'.encode(),
    f"GET http://edge.example/{KEY} HTTP/1.1\r\nHost: a\r\nIf-Range: \"x\"\r\nRange: bytes=5-\r\n\r\n".encode(),
    f"GET /{KEY} HTTP/1.0\r\nConnection: keep-alive\r\nCMCD-Request: bl=100,bs,mtp=5000\r\n\r\n".encode(),
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nOrigin: http://x\r\n\r\n",
    b"POST /x/y HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT /x/y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /x/y HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
]  # fmt: skip
TOKENS = [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b"-", b"%", b"%2f", b"..", b"/", b"HTTP/1.1", b"Host: b\r\n",
          b"Range: bytes=0-", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"9" * 40, b"\xff", b"A" * 9000]  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    data = bytearray(b"".join(chance.choices(SEEDS, k=chance.choice((1, 1, 2, 4)))))
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            data[at:at] = chance.choice(TOKENS)
        elif kind == 1 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind == 2:
            del data[at : at + chance.randrange(1, 30)]
        elif kind == 3:
            data[at:at] = data[at : at + chance.randrange(1, 60)]
        else:
            del data[at:]
    return bytes(data)


def conversation(appliance: Appliance, data: bytes, chance: random.Random) -> bytes:
    """Everything that the appliance says to ``data``, however it arrives."""
    with appliance.connect() as sock:
        sock.settimeout(PATIENCE_S)
        try:
            at = 0
            while at < len(data):
                size = chance.choice((1, 7, 100, len(data)))
                sock.sendall(data[at : at + size])
                at += size
            if chance.random() < 0.1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return b""
            sock.shutdown(socket.SHUT_WR)
            said = b""
            while part := sock.recv(1 << 20):
                said += part
        except (ConnectionResetError, BrokenPipeError):
            return b""
        return said


def check(said: bytes, sent: bytes) -> None:
    """Fails unless ``said`` is a row of well-formed answers, and any 206 of one span holds the object's bytes."""
    while said:
        head, blank, rest = said.partition(b"\r\n\r\n")
        assert blank, (sent, head[:200])
        lines = head.split(b"\r\n")
        assert re.fullmatch(rb"HTTP/1\.1 [2-5]\d\d [A-Za-z ]+", lines[0]), (sent, lines[0])
        fields = {}
        for line in lines[1:]:
            name, colon, value = line.partition(b": ")
            assert colon, (sent, line)
            fields[name.lower()] = value
        length = int(fields.get(b"content-length", b"0"))
        status = int(lines[0][9:12])
        assert status != 500, (sent, head)
        # HEAD's answer has a length and no body: what follows is the next answer, or nothing.
        if b"HEAD" in sent and (not rest or rest.startswith(b"HTTP/1.1 ")) and length:
            length = 0
        body, said = rest[:length], rest[length:]
        span = re.fullmatch(rb"bytes (\d+)-(\d+)/\d+", fields.get(b"content-range", b""))
        if status == 206 and span and body:
            assert body == DATA[int(span[1]) : int(span[2]) + 1], sent


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    limits = {"requests_per_network": 10_000_000, "header_timeout_s": 2, "idle_timeout_s": 5}
    with running(tmp_path_factory.mktemp("fuzz"), limits=limits, cors_origins=["http://x"]) as made:
        made.put(KEY, DATA)
        yield made


def fuzz(appliance: Appliance, seed: int, *, cases: int = 0, seconds: float = 0) -> None:
    (worker,) = below(appliance.process.pid, with_role("edge"))
    before = worker.num_fds()
    chance = random.Random(seed)
    until = time.monotonic() + seconds
    done = 0
    while done < cases or time.monotonic() < until:
        data = mutated(chance)
        check(conversation(appliance, data, chance), data)
        done += 1
    assert worker.is_running()
    assert ask(appliance, "Range: bytes=0-9\r\n", target=f"/{KEY}").body == DATA[:10]
    # One file stays open for the object; connections that linger end within their second.
    waiting.until(lambda: worker.num_fds() <= before + 1, worker.net_connections)
    log = (appliance.root / "log").read_text()
    assert "unexpected" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_is_sent_harms_the_appliance(appliance: Appliance, seed: int) -> None:
    fuzz(appliance, seed, cases=250)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_nothing_that_is_sent_for_ten_minutes_harms_the_appliance(appliance: Appliance) -> None:
    fuzz(appliance, int(time.time()), seconds=600)
