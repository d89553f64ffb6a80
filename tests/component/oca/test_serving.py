"""An appliance's data port as a player meets it: real sockets, real files."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts import ingest
from tests.appliance import ETAG, MODIFIED, Appliance, published, restarted, running
from tests.processes import below, gone, with_role
from tests.waiting import until

KEY = "tt0001/720p/video.mp4"
SIZE = 3 * (1 << 20) + 12345


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(1).randbytes(SIZE)


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> Iterator[Appliance]:
    with running(tmp_path_factory.mktemp("oca")) as made:
        made.put(KEY, data)
        yield made


class Answer:
    def __init__(self, file: object, method: str = "GET") -> None:
        lines = []
        while (line := file.readline()) != b"\r\n":  # type: ignore[attr-defined]
            if not line.endswith(b"\n"):
                raise ConnectionResetError(
                    f"the connection ended in the head of the answer: {lines} {line!r}"
                )
            lines.append(line.decode("latin-1").rstrip("\r\n"))
        self.status = int(lines[0].split(" ")[1])
        self.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
        }
        length = int(self.headers.get("content-length", 0))
        self.body = b"" if method == "HEAD" else file.read(length)  # type: ignore[attr-defined]


def ask(appliance: Appliance, headers: str = "", method: str = "GET", target: str = f"/{KEY}") -> Answer:
    with appliance.connect() as sock, sock.makefile("rb") as file:
        sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode("latin-1"))
        return Answer(file, method)


def test_the_whole_object(appliance: Appliance, data: bytes) -> None:
    answer = ask(appliance)
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["etag"] == ETAG
    assert answer.headers["cache-status"] == "test-1; hit"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == "video/mp4"


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-1048700", 100, 1048701),
        ("bytes=1048576-", 1048576, SIZE),
        ("bytes=-500", SIZE - 500, SIZE),
        (f"bytes=10-{SIZE + 5}", 10, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
        ("bytes=0-9,5-20", 0, 21),
    ],
)
def test_a_range(appliance: Appliance, data: bytes, header: str, start: int, end: int) -> None:
    answer = ask(appliance, f"Range: {header}\r\n")
    assert answer.status == 206
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.body == data[start:end]


def test_several_ranges_come_as_multipart(appliance: Appliance, data: bytes) -> None:
    answer = ask(appliance, "Range: bytes=0-4,1048570-1048580\r\n")
    assert answer.status == 206
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    parts = answer.body.split(b"--" + boundary)
    assert parts[1].endswith(b"\r\n\r\n" + data[:5] + b"\r\n")
    assert parts[2].endswith(b"\r\n\r\n" + data[1048570:1048581] + b"\r\n")
    assert parts[3] == b"--\r\n"


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", "bytes=-0"])
def test_a_range_outside_is_416(appliance: Appliance, header: str) -> None:
    answer = ask(appliance, f"Range: {header}\r\n")
    assert answer.status == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "header", ["bytes=5-1", "bytes=x-1", "lines=0-1", "bytes=", "bytes=" + ",".join(["0-0"] * 17)]
)
def test_a_range_that_means_nothing_is_ignored(appliance: Appliance, header: str) -> None:
    assert ask(appliance, f"Range: {header}\r\n").status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (f"If-None-Match: {ETAG}\r\n", 304),
        (f'If-None-Match: "other", W/{ETAG}\r\n', 304),
        ("If-None-Match: *\r\n", 304),
        ('If-None-Match: "other"\r\n', 200),
        (f"If-Modified-Since: {MODIFIED}\r\n", 304),
        (f'If-None-Match: "other"\r\nIf-Modified-Since: {MODIFIED}\r\n', 200),
        ('If-Match: "other"\r\n', 412),
        (f"If-Match: W/{ETAG}\r\n", 412),
        (f"If-Match: {ETAG}\r\n", 200),
        (f"Range: bytes=0-1\r\nIf-Range: {ETAG}\r\n", 206),
        (f"Range: bytes=0-1\r\nIf-Range: W/{ETAG}\r\n", 200),
        ('Range: bytes=0-1\r\nIf-Range: "other"\r\n', 200),
        (f"Range: bytes=0-1\r\nIf-Range: {MODIFIED}\r\n", 200),
    ],
)
def test_conditions(appliance: Appliance, headers: str, status: int) -> None:
    assert ask(appliance, headers).status == status


def test_head_has_the_length_and_no_body(appliance: Appliance) -> None:
    with appliance.connect() as sock, sock.makefile("rb") as file:
        sock.sendall(f"HEAD /{KEY} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = Answer(file, "HEAD")
        assert (answer.status, answer.headers["content-length"]) == (200, str(SIZE))
        assert file.read() == b""


def test_pipelined_requests_are_answered_in_order_on_one_connection(
    appliance: Appliance, data: bytes
) -> None:
    spans = [(0, 9), (1 << 20, (1 << 20) + 99), (5, 5), (SIZE - 10, SIZE - 1)]
    with appliance.connect() as sock, sock.makefile("rb") as file:
        sock.sendall(
            b"".join(
                f"GET /{KEY} HTTP/1.1\r\nHost: a\r\nRange: bytes={a}-{b}\r\n\r\n".encode() for a, b in spans
            )
        )
        for first, last in spans:
            assert Answer(file).body == data[first : last + 1]


def test_a_request_split_at_every_byte(appliance: Appliance, data: bytes) -> None:
    request = f"GET /{KEY} HTTP/1.1\r\nHost: a\r\nRange: bytes=7-19\r\n\r\n".encode()
    with appliance.connect() as sock, sock.makefile("rb") as file:
        for cut in range(1, len(request)):
            sock.sendall(request[:cut])
            sock.sendall(request[cut:])
            assert Answer(file).body == data[7:20], cut
        for byte in request:
            sock.sendall(bytes([byte]))
        assert Answer(file).body == data[7:20]


def test_a_client_that_leaves_in_the_middle_harms_nobody(appliance: Appliance, data: bytes) -> None:
    for _ in range(20):
        with appliance.connect() as sock:
            sock.sendall(f"GET /{KEY} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            sock.recv(1000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert ask(appliance).body == data


def test_a_client_that_only_stops_sending_still_gets_its_answer(appliance: Appliance, data: bytes) -> None:
    with appliance.connect() as sock, sock.makefile("rb") as file:
        sock.sendall(f"GET /{KEY} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        sock.shutdown(socket.SHUT_WR)
        assert Answer(file).body == data


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /tt0001/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /tt0001/%2e%2e/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /tt0001%2f720p/video.mp4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /tt0001/a HTTP/1.1\r\n\r\n", 400),
        (b"GET /tt0001/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /tt0001/a HTTP/1.1\nHost: a\n\n", 400),
        (
            b"GET /tt0001/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /tt0001/a HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 60000 + b"\r\n\r\n", 431),
        (b"PUT /tt0001/a HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ],
)
def test_what_is_refused(appliance: Appliance, raw: bytes, status: int) -> None:
    with appliance.connect() as sock, sock.makefile("rb") as file:
        sock.sendall(raw)
        answer = Answer(file)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_whole_request_before_a_bad_one_is_answered_first(appliance: Appliance, data: bytes) -> None:
    with appliance.connect() as sock, sock.makefile("rb") as file:
        sock.sendall(f"GET /{KEY} HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\nnonsense\r\n\r\n".encode())
        first, second = Answer(file), Answer(file)
        assert (first.status, first.body) == (206, data[:10])
        assert (second.status, second.headers["connection"]) == (400, "close")
        assert file.read() == b""


def test_a_preflight_of_a_browser_is_granted(appliance: Appliance) -> None:
    answer = ask(appliance, "Origin: http://p\r\nAccess-Control-Request-Headers: range\r\n", method="OPTIONS")
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Range" in answer.headers["access-control-allow-headers"]


def test_an_object_that_is_not_here_is_503_while_the_catalog_was_never_read(appliance: Appliance) -> None:
    answer = ask(appliance, target="/tt0002/x.mp4")
    assert answer.status in {502, 503}
    assert "cache-status" not in answer.headers


def test_altered_bytes_are_not_committed_and_never_served(appliance: Appliance, data: bytes) -> None:
    item = published("tt0003/video.mp4", data)
    reply = appliance.ingest(ingest.Reserve(item))
    assert isinstance(reply, ingest.Reserved)
    with open(reply.path, "r+b") as file:
        file.write(data[:-1] + bytes([data[-1] ^ 1]))
    refused = appliance.ingest(ingest.Commit(item.key))
    assert isinstance(refused, ingest.Refused)
    assert (refused.why, refused.slices) == (ingest.Refusal.CORRUPT, (3,))
    # The three slices that are right may be sent; the wrong one is fetched from upstream, or refused.
    assert ask(appliance, "Range: bytes=-10\r\n", target="/tt0003/video.mp4").status in {502, 503}


def test_an_object_larger_than_the_disks_is_refused(appliance: Appliance) -> None:
    item = published("tt0004/video.mp4", bytes(101_000_000))
    refused = appliance.ingest(ingest.Reserve(item))
    assert isinstance(refused, ingest.Refused)
    assert refused.why is ingest.Refusal.NO_ROOM


def test_a_worker_that_is_killed_is_replaced_and_the_port_stays(appliance: Appliance, data: bytes) -> None:
    (worker,) = below(appliance.process.pid, with_role("edge"))
    worker.kill()
    until(lambda: gone([worker]))  # until then it may accept
    assert ask(appliance).body == data


def test_what_is_on_the_disks_is_served_after_kill_9(tmp_path: Path, data: bytes) -> None:
    with running(tmp_path) as first:
        first.put(KEY, data)
        first.kill()
    # The same folders again, as a restarted appliance finds them.
    with restarted(tmp_path) as second:
        assert ask(second).body == data
