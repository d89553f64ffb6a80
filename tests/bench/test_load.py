"""The load programs count right, and a wrong answer ends the run: a bench is worth what they are."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec
import pytest

from bench.edge import audience, beside, client
from bench.edge.client import COUNTER, Result, Target, Task, WrongAnswer, answer_bytes
from bench.edge.content import Wire, request
from tests.waiting import PATIENCE_S

BODY = bytes(range(256)) * 16
HEAD = b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n\r\n" % len(BODY)
ANSWER = HEAD + BODY


class Counting:
    """A server that gives one answer to whatever is asked, and keeps what was asked."""

    def __init__(self, answer: bytes) -> None:
        self.asked: list[bytes] = []
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listening.accept()
            if not self._threads:
                sock.close()
                return
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with closing(sock):
            head = b""
            try:
                while got := sock.recv(65536):
                    head += got
                    while b"\r\n\r\n" in head:
                        one, _, head = head.partition(b"\r\n\r\n")
                        self.asked.append(one)
                        sock.sendall(self._answer)
            except OSError:
                return  # the load has gone

    def close(self) -> None:
        threads, self._threads = self._threads, []
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in threads:
            thread.join(PATIENCE_S)
        self._listening.close()


@contextmanager
def server(answer: bytes) -> Iterator[Counting]:
    counting = Counting(answer)
    try:
        yield counting
    finally:
        counting.close()


def task(port: int, answer_bytes: int, asked: bytes = request("/a", None)) -> Task:
    return Task(port, Wire.PLAIN, (os.getpid(),), (Target(asked, answer_bytes),), 2, 0.1, 1.0)


def run(program: str, what: msgspec.Struct) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", program],
        input=msgspec.json.encode(what),
        capture_output=True,
        timeout=PATIENCE_S,
    )


def test_the_load_counts_what_the_server_answered() -> None:
    with server(ANSWER) as counting:
        done = run("bench.edge.client", task(counting.port, len(ANSWER)))
        result = msgspec.json.decode(done.stdout, type=Result)
        asked = len(counting.asked)
    assert 0 < result.requests <= asked
    assert result.bytes == result.requests * len(ANSWER)
    assert 0 < result.p50_s <= result.p99_s < result.elapsed_s


def test_a_numbered_request_is_never_the_same_twice() -> None:
    with server(ANSWER) as counting:
        done = run(
            "bench.edge.client", task(counting.port, len(ANSWER), request(f"/a?{COUNTER.decode()}", None))
        )
        asked = list(counting.asked)
    assert done.returncode == 0, done.stderr
    assert len(set(asked)) == len(asked) > 10


def test_an_answer_with_other_bytes_is_not_measured() -> None:
    other = HEAD + BODY[:-1] + b"?"
    with server(other) as counting, pytest.raises(WrongAnswer, match="not the bytes"):
        answer_bytes(counting.port, Wire.PLAIN, request("/a", None), BODY)


def test_an_error_is_not_measured() -> None:
    refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    with server(refused) as counting, pytest.raises(WrongAnswer, match="403"):
        answer_bytes(counting.port, Wire.PLAIN, request("/a", None), BODY)


def test_a_server_that_ends_the_connection_under_load_ends_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(2):
                sock, _peer = listening.accept()
                with closing(sock):
                    sock.recv(65536)
                    sock.sendall(ANSWER[:100])

        thread = threading.Thread(target=serve)
        thread.start()
        done = run("bench.edge.client", task(listening.getsockname()[1], len(ANSWER)))
        thread.join(PATIENCE_S)
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"bench.edge.client: " in done.stderr


def viewer(**changes: object) -> audience.Viewer:
    plain = audience.Viewer("/a", len(BODY), 2, 5, 3, "127.0.0.1", 0.0)
    return msgspec.structs.replace(plain, **changes)


def test_a_player_asks_for_one_segment_after_the_other_until_its_buffer_is_full() -> None:
    with server(ANSWER) as counting:
        what = audience.Task(counting.port, (os.getpid(),), (viewer(),), 0.0, 1.5)
        done = run("bench.edge.audience", what)
        asked = [head.partition(b"bytes=")[2].partition(b"\r\n")[0] for head in counting.asked]
    result = msgspec.json.decode(done.stdout, type=audience.Result)
    starts = [int(span.partition(b"-")[0]) // len(BODY) for span in asked]
    assert starts == [3, 4, 0, 1, 2]  # 5 segments of 2 s fill a buffer of 10 s
    assert (result.stalls, result.waiting, result.segments) == (0, 0, 5)


def test_a_player_that_is_not_served_in_time_stalls() -> None:
    """One byte of the second segment is missing for ever; a segment of 0 s is played at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            sock, _ = listening.accept()
            with closing(sock):
                sock.recv(65536)
                sock.sendall(ANSWER)
                sock.recv(65536)
                sock.sendall(ANSWER[:-1])
                sock.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        what = audience.Task(listening.getsockname()[1], (os.getpid(),), (viewer(segment_s=0),), 0.0, 1.0)
        done = run("bench.edge.audience", what)
        thread.join(PATIENCE_S)
    result = msgspec.json.decode(done.stdout, type=audience.Result)
    assert (result.segments, result.waiting) == (1, 1)


def test_a_player_that_gets_an_error_ends_the_run() -> None:
    with server(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n") as counting:
        done = run("bench.edge.audience", audience.Task(counting.port, (os.getpid(),), (viewer(),), 0.0, 0.5))
    assert done.returncode == 1
    assert b"429" in done.stderr


def test_cold_requests_are_made_once_each_and_the_hot_connection_goes_on_beside_them() -> None:
    hot = Target(request("/hot", None), len(ANSWER))
    cold = tuple(Target(request(f"/cold{number}", None), len(ANSWER)) for number in range(20))
    with server(ANSWER) as counting:
        done = run("bench.edge.beside", beside.Task(counting.port, (os.getpid(),), (hot,), cold, 4, 0.2, 5.0))
        asked = [head.split()[1] for head in counting.asked]
    result = msgspec.json.decode(done.stdout, type=beside.Result)
    assert sorted(path for path in asked if path != b"/hot") == sorted(
        target.request.split()[1] for target in cold
    )
    # The last few may be under way when there is nothing left to ask for.
    assert 16 * len(ANSWER) < result.cold_bytes <= 20 * len(ANSWER)
    assert result.calm.requests > 0
    assert result.beside.requests > 0
    assert result.cold_s < 5.0


def test_cpu_time_is_that_of_all_processes_named() -> None:
    mine = client.cpu_s((os.getpid(),))
    assert client.cpu_s((os.getpid(), os.getpid())) >= 2 * mine > 0
