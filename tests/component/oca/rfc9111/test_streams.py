"""Bodies on their way: growing files, unknown lengths, many who wait for one, and what is not stored at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.component.oca.rfc9111.conftest import Cache
from tests.httporigin import Asked, Send, response
from tests.waiting import PATIENCE_S, until

FRESH = "Cache-Control: max-age=600"


def test_many_who_ask_at_once_are_one_request(cache: Cache) -> None:
    body = os.urandom(3 << 20)
    go_on = threading.Event()

    def answer(asked: Asked, send: Send) -> None:
        send(response(FRESH, f"Content-Length: {len(body)}", body=body[: 1 << 20], length=False))
        go_on.wait(PATIENCE_S)
        send(body[1 << 20 :])

    cache.origin.answer = answer
    with ThreadPoolExecutor(30) as pool:
        asking = [pool.submit(cache.ask) for _ in range(30)]
        until(lambda: cache.origin.count(cache.path))
        go_on.set()
        answers = [one.result() for one in asking]
    assert {hashlib.sha256(got.body).digest() for got in answers} == {hashlib.sha256(body).digest()}
    assert cache.origin.count(cache.path) == 1


@pytest.mark.parametrize(
    ("said", "asked"),
    [("max-age=5", 1), ("max-age=5, must-revalidate", 20), ("no-cache", 20), ("max-age=0", 20)],
)
def test_who_waited_shares_what_has_aged_on_its_way(cache: Cache, said: str, asked: int) -> None:
    """A live playlist through a tier: all of its freshness is spent when it comes, and it is still one request."""
    go_on = threading.Event()

    def answer(request: Asked, send: Send) -> None:
        if request.target == cache.path:
            go_on.wait(PATIENCE_S)
        send(response(f"Cache-Control: {said}", "Age: 5", 'ETag: "a"'))

    cache.origin.answer = answer
    players = opened(cache, 20)
    for player in players:
        player.request("GET", cache.path)
    for probe in ("-after1", "-after2"):  # the second is read when all of them have been
        assert cache.ask(path=cache.path + probe).status == 200
    go_on.set()
    for player in players:
        got = player.getresponse()
        assert (got.status, got.read()) == (200, b"hello")
        player.close()
    assert cache.origin.count(cache.path) == asked


def test_players_who_guess_a_segment_before_it_is_there_are_one_request_and_get_it_when_it_is(
    cache: Cache,
) -> None:
    go_on, there, path = threading.Event(), threading.Event(), f"{cache.path}.m4s"

    def answer(request: Asked, send: Send) -> None:
        if request.target == path and not there.is_set():
            go_on.wait(PATIENCE_S)
            send(response(status="404 Not Found", body=b"not yet"))
        else:
            send(response())

    cache.origin.answer = answer
    players = opened(cache, 20)
    for player in players:
        player.request("GET", path)
    for probe in ("-after1", "-after2"):
        assert cache.ask(path=cache.path + probe).status == 200
    go_on.set()
    for player in players:
        got = player.getresponse()
        assert (got.status, got.read()) == (404, b"not yet")
        player.close()
    assert cache.origin.count(path) == 1
    there.set()
    until(lambda: cache.ask(path=path).status == 200)


def opened(cache: Cache, count: int) -> list[http.client.HTTPConnection]:
    """Connections that have been served on already: what is asked on them next is read in turn."""
    players = [
        http.client.HTTPConnection("127.0.0.1", cache.appliance.port, timeout=PATIENCE_S)
        for _ in range(count)
    ]
    for player in players:
        player.request("GET", f"{cache.path}-before")
        assert player.getresponse().read() == b"hello"
    return players


def test_bytes_reach_the_client_as_they_come(cache: Cache) -> None:
    go_on = threading.Event()

    def answer(asked: Asked, send: Send) -> None:
        send(response(FRESH, "Content-Length: 10", body=b"01234", length=False))
        go_on.wait(PATIENCE_S)
        send(b"56789")

    cache.origin.answer = answer
    connection = http.client.HTTPConnection("127.0.0.1", cache.appliance.port, timeout=PATIENCE_S)
    connection.request("GET", cache.path)
    got = connection.getresponse()
    assert got.read(5) == b"01234"  # while the origin still holds the rest back
    late = http.client.HTTPConnection("127.0.0.1", cache.appliance.port, timeout=PATIENCE_S)
    late.request("GET", cache.path, headers={"Range": "bytes=2-7"})
    second = late.getresponse()
    assert (second.status, second.read(3)) == (206, b"234")
    go_on.set()
    assert got.read() == b"56789"
    assert second.read() == b"567"
    connection.close()
    late.close()
    assert cache.origin.count(cache.path) == 1


def test_a_body_of_unknown_length_is_chunked_then_known(cache: Cache) -> None:
    go_on = threading.Event()

    def answer(asked: Asked, send: Send) -> None:
        send(response(FRESH, "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n", length=False))
        go_on.wait(PATIENCE_S)
        send(b"6\r\n world\r\n0\r\n\r\n")

    cache.origin.answer = answer
    connection = http.client.HTTPConnection("127.0.0.1", cache.appliance.port, timeout=PATIENCE_S)
    connection.request("GET", cache.path)
    first = connection.getresponse()
    assert first.headers["transfer-encoding"] == "chunked"
    go_on.set()
    assert first.read() == b"hello world"
    connection.close()
    until(lambda: cache.ask().headers.get("content-length") == "11")
    assert cache.ask(Range="bytes=-5").body == b"world"
    assert cache.origin.count(cache.path) == 1


def test_a_client_of_http_1_0_gets_its_end_by_the_end_of_the_connection(cache: Cache) -> None:
    cache.origin.answer = lambda asked, send: send(
        response("Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n", length=False)
    )
    with cache.appliance.connect() as sock:
        sock.sendall(b"GET %b HTTP/1.0\r\n\r\n" % cache.path.encode())
        whole = b""
        while data := sock.recv(65536):
            whole += data
    head, _, body = whole.partition(b"\r\n\r\n")
    assert body == b"hello"
    assert b"chunked" not in head


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_what_breaks_off_is_cut_for_the_client_and_not_kept(cache: Cache, framing: str) -> None:
    def broken(asked: Asked, send: Send) -> None:
        if framing == "length":
            send(response(FRESH, "Content-Length: 10", body=b"01234", length=False))
        else:
            send(response(FRESH, "Transfer-Encoding: chunked", body=b"a\r\n01234", length=False))
        raise ConnectionError

    cache.origin.answer = broken
    with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
        assert cache.ask().status >= 500  # it broke off before a byte was out
    cache.origin.answer = lambda asked, send: send(response(FRESH))
    assert cache.ask().body == b"hello"


def test_what_may_not_be_shared_makes_nobody_wait_for_another(cache: Cache) -> None:
    """The first is held back for as long as it takes the second to be done."""
    second_done = threading.Event()
    started = threading.Event()

    def answer(asked: Asked, send: Send) -> None:
        if asked.headers.get("who") == "first":
            send(response("Cache-Control: no-store", "Content-Length: 5", body=b"fi", length=False))
            started.set()
            second_done.wait(PATIENCE_S)
            send(b"rst")
        else:
            send(response("Cache-Control: no-store", body=b"second"))

    cache.origin.answer = answer
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.ask, who="first")
        assert started.wait(PATIENCE_S)
        assert cache.ask(who="second").body == b"second"
        second_done.set()
        assert first.result().body == b"first"


def test_a_large_body_that_is_not_stored_passes_through_whole(cache: Cache) -> None:
    body = os.urandom(9 << 20)  # larger than object_bytes, and than what may be under way
    cache.origin.answer = lambda asked, send: send(response(FRESH, body=body))
    assert cache.ask().body == body
    assert not cache.ask().hit


def test_the_first_range_tells_how_large_and_the_next_fetches_all(cache: Cache) -> None:
    body = bytes(range(256)) * 4

    def answer(asked: Asked, send: Send) -> None:
        if asked.headers.get("range") == "bytes=0-9":
            send(
                response(
                    FRESH,
                    f"Content-Range: bytes 0-9/{len(body)}",
                    status="206 Partial Content",
                    body=body[:10],
                )
            )
        else:
            assert "range" not in asked.headers
            send(response(FRESH, body=body))

    cache.origin.answer = answer
    first = cache.ask(Range="bytes=0-9")
    assert (first.status, first.body) == (206, body[:10])
    again = cache.ask(Range="bytes=2-5")  # a part of the part
    assert (again.status, again.body, cache.origin.count(cache.path)) == (206, body[2:6], 1)
    other = cache.ask(Range="bytes=500-509")
    assert (other.status, other.body, cache.origin.count(cache.path)) == (206, body[500:510], 2)
    assert cache.ask().body == body
    assert cache.origin.count(cache.path) == 2


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_body_goes_up_and_what_it_changed_is_dropped(cache: Cache, chunked: bool) -> None:
    cache.origin.answer = lambda asked, send: send(response(FRESH, body=asked.body or b"old"))
    other = cache.path + "-other"
    assert (cache.ask().body, cache.ask(path=other).body) == (b"old", b"old")
    body = os.urandom(700_000)
    cache.origin.answer = lambda asked, send: send(
        response(f"Location: {other}", status="201 Created", body=b"done")
    )
    connection = http.client.HTTPConnection("127.0.0.1", cache.appliance.port, timeout=PATIENCE_S)
    connection.request("PUT", cache.path, iter([body[:1000], body[1000:]]) if chunked else body)
    got = connection.getresponse()
    assert (got.status, got.read()) == (201, b"done")
    assert cache.origin.asked[-1].body == body
    cache.origin.answer = lambda asked, send: send(response(FRESH, body=b"new"))
    connection.request("GET", cache.path)  # and the connection is good for more
    assert connection.getresponse().read() == b"new"
    connection.close()
    assert cache.ask(path=other).body == b"new"


def test_a_request_that_failed_changed_nothing(cache: Cache) -> None:
    cache.origin.answer = lambda asked, send: send(response(FRESH))
    cache.ask()
    cache.origin.answer = lambda asked, send: send(response(status="500 Internal Server Error"))
    assert cache.ask("POST", body=b"x").status == 500
    assert cache.ask().hit


def test_a_request_body_beyond_the_bound_is_refused(cache: Cache) -> None:
    with cache.appliance.connect() as sock:
        sock.sendall(b"PUT %b HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" % cache.path.encode())
        assert sock.recv(12) == b"HTTP/1.1 413"
    assert cache.origin.count(cache.path) == 0


def test_who_waits_to_be_asked_for_the_body_is_asked(cache: Cache) -> None:
    cache.origin.answer = lambda asked, send: send(response(body=asked.body))
    with cache.appliance.connect() as sock:
        sock.sendall(
            b"PUT %b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            % cache.path.encode()
        )
        assert _read(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"abc")
        assert _read(sock, b"abc").startswith(b"HTTP/1.1 200 ")
    assert "expect" not in cache.origin.asked[-1].headers


def test_interim_answers_come_before_the_answer(cache: Cache) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    cache.origin.answer = lambda asked, send: send(early + response(FRESH))
    with cache.appliance.connect() as sock:
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % cache.path.encode())
        whole = _read(sock, b"hello")
    assert whole.startswith(early)
    assert b"HTTP/1.1 200 OK" in whole
    assert cache.ask().hit


def test_a_request_that_comes_round_is_refused(cache: Cache) -> None:
    assert cache.ask(Via="1.1 test-1").status == 508
    assert cache.ask(CDN_Loop="test-1").status == 508
    assert cache.origin.count(cache.path) == 0


def _read(sock: socket.socket, end: bytes) -> bytes:
    sock.settimeout(PATIENCE_S)
    whole = b""
    while not whole.endswith(end):
        data = sock.recv(65536)
        assert data, whole
        whole += data
    return whole
