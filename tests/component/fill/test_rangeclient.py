"""Bodies over real sockets: whole slices past Python's buffers, kept connections, answers that end early or hang."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from fill.agent.rangeclient import NoAnswer, RangeClient
from tests.waiting import PATIENCE_S

DATA = random.Random(1).randbytes((3 << 20) + 77)


class Server:
    """Answers each request on a connection by ``answer(socket)``; counts both."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self.connections = self.requests = 0
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/x"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with closing(connection):
            head = b""
            while got := connection.recv(65536):
                head += got
                while b"\r\n\r\n" in head:
                    _, _, head = head.partition(b"\r\n\r\n")
                    self.requests += 1
                    try:
                        self._answer(connection)
                    except OSError:
                        return

    def close(self) -> None:
        self._listening.close()


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[Server]:
    made = Server(answer)
    try:
        yield made
    finally:
        made.close()


def _whole(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n\r\n" % len(DATA) + DATA)


def _in_pieces(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n\r\n" % len(DATA) + DATA[:13])
    for at in range(13, len(DATA), 300_001):
        connection.sendall(DATA[at : at + 300_001])


def _chunked(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n\r\n")
    for at in range(0, len(DATA), 1_000_003):
        piece = DATA[at : at + 1_000_003]
        connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    connection.sendall(b"0\r\n\r\n")


def _until_closed(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 206 Partial Content\r\nConnection: close\r\n\r\n" + DATA)
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("answer", "connections"), [(_whole, 1), (_in_pieces, 1), (_chunked, 1), (_until_closed, 3)]
)
@pytest.mark.parametrize("piece_bytes", [1 << 20, 5000, 100])
def test_a_body_is_whole_however_it_comes_and_the_connection_is_kept(
    answer: Callable[[socket.socket], None], connections: int, piece_bytes: int
) -> None:
    client = RangeClient(PATIENCE_S, PATIENCE_S)
    with server(answer) as made:
        for _ in range(3):
            got = bytearray(len(DATA))
            with client.ask("GET", made.url, {}) as found:
                assert found.status == 206
                at = 0
                while at < len(got):
                    # The small ones lie in what came with the head; then all the rest.
                    wanted = piece_bytes if piece_bytes > 100 or at < 20_000 else len(got)
                    count = found.into(memoryview(got)[at : at + wanted])
                    assert count == min(wanted, len(got) - at)
                    at += count
                assert found.into(memoryview(bytearray(10))) == 0, "nothing is behind its end"
            assert got == DATA
        assert (made.connections, made.requests) == (connections, 3)
    client.end()


def test_an_answer_that_ends_early_is_shorter_and_its_connection_is_not_kept() -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5000\r\n\r\n" + DATA[:3000])
        connection.shutdown(socket.SHUT_RDWR)

    client = RangeClient(PATIENCE_S, PATIENCE_S)
    with server(cut) as made:
        for count in (1, 2):
            with client.ask("GET", made.url, {}) as found:
                assert found.into(memoryview(bytearray(5000))) == 3000
            assert made.connections == count


@pytest.mark.parametrize("after", [b"", b"x" * 3000])
def test_a_body_that_stops_is_given_up_after_the_read_timeout(after: bytes) -> None:
    stop = threading.Event()

    def hang(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 9000\r\n\r\n" + after)
        stop.wait(PATIENCE_S)

    with server(hang) as made:
        with (
            pytest.raises(NoAnswer, match="broke off: timed out"),
            RangeClient(PATIENCE_S, 0.2).ask("GET", made.url, {}) as found,
        ):
            found.into(memoryview(bytearray(9000)))
        stop.set()


def test_who_waits_for_bytes_hears_at_once_that_the_run_ends() -> None:
    waiting, client = threading.Event(), RangeClient(PATIENCE_S, 10 * PATIENCE_S)

    def hang(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 9000\r\n\r\n" + DATA[:100])
        waiting.set()

    got: list[int] = []

    def read(url: str) -> None:
        with client.ask("GET", url, {}) as found:
            got.append(found.into(memoryview(bytearray(9000))))

    with server(hang) as made:
        reader = threading.Thread(target=read, args=(made.url,))
        reader.start()
        assert waiting.wait(PATIENCE_S)
        client.end()
        reader.join(PATIENCE_S)
        assert got == [100]


def test_the_kernel_is_told_what_it_may_hold_by_the_round_trip() -> None:
    told: list[float] = []

    def receive_bytes(round_trip_s: float) -> int:
        told.append(round_trip_s)
        return 64 << 10

    client = RangeClient(PATIENCE_S, PATIENCE_S, receive_bytes)
    with server(_whole) as made, client.ask("GET", made.url, {}) as found:
        assert found.into(memoryview(bytearray(len(DATA)))) == len(DATA)
    client.end()
    assert len(told) == 1
    assert 0 <= told[0] < PATIENCE_S
