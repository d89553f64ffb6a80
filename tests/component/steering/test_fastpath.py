"""Starts and heartbeats are answered alike whether the framework sees them or not, on one connection and in any form."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections import Counter
from contextlib import ExitStack

import pytest

from contracts.documents import encode
from contracts.heartbeat import AUDIENCE
from tests.component.steering.service import BOXES, IDENTITIES, VIEWER, Service

QUESTION = json.dumps({"client_ip": VIEWER, "title": "tt1", "session": "one-session"}).encode()


def request(service: Service, body: bytes = QUESTION, more: str = "", length: bool = True) -> bytes:
    head = f"POST /v1/steer HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {service.key}\r\n{more}"
    return (head + (f"Content-Length: {len(body)}\r\n" if length else "") + "\r\n").encode() + body


class Reader:
    """Answers of one connection, one after the other."""

    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rb")

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip().decode():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, self._file.read(int(headers.get("content-length", 0)))


def ask(service: Service, *sent: bytes, answers: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
    with service.connect() as sock:
        reader = Reader(sock)
        for part in sent:
            sock.sendall(part)
        return [reader.answer() for _ in range(answers)]


def test_many_on_one_connection_are_answered_in_order(shared: Service) -> None:
    shared.beat()
    sessions = [f"session-{number}" for number in range(30)]
    bodies = [
        json.dumps({"client_ip": VIEWER, "title": "tt1", "session": name}).encode() for name in sessions
    ]
    found = ask(shared, b"".join(request(shared, body) for body in bodies), answers=len(bodies))
    assert [status for status, _, _ in found] == [200] * len(bodies)
    assert [json.loads(body)["session"] for _, _, body in found] == sessions


def test_a_request_is_the_same_wherever_it_is_cut(shared: Service) -> None:
    shared.beat()
    whole = request(shared)
    for at in range(1, len(whole), 9):
        with shared.connect() as sock:
            sock.sendall(whole[:at])
            shared.ask("/healthz")  # the first piece has been read by then
            sock.sendall(whole[at:] + whole)
            reader = Reader(sock)
            assert [reader.answer()[0] for _ in range(2)] == [200, 200], at


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize(
    ("more", "body", "status"),
    [
        ("Transfer-Encoding: chunked\r\n", chunked(QUESTION), 200),
        ("Connection: keep-alive\r\n", None, 200),
        ("Connection: close\r\n", None, 200),
        ("X-Anything: at all\r\n", None, 200),
        ("X-Empty:\r\n", None, 200),
        ("Content-Length: 3\r\n", None, 400),
        ("Bad Name: x\r\n", None, 400),
        ("X: a\r\n folded\r\n", None, 400),
        ("X: \x01\r\n", None, 400),
    ],
)
def test_what_is_not_plain_is_left_to_the_framework(
    shared: Service, more: str, body: bytes | None, status: int
) -> None:
    shared.beat()
    sent = (
        request(shared, length=True, more=more) if body is None else request(shared, body, more, length=False)
    )
    ((got, _, _),) = ask(shared, sent)
    assert got == status


def test_a_connection_serves_both_kinds_of_routes(shared: Service) -> None:
    shared.beat()
    health = b"GET /healthz HTTP/1.1\r\nHost: s\r\n\r\n"
    found = ask(shared, request(shared), health, request(shared), answers=3)
    assert [status for status, _, _ in found] == [200, 200, 200]
    assert found[1][2] == b"alive\n"


def test_both_ways_answer_the_same_words(shared: Service) -> None:
    shared.beat()
    wrong = request(shared).replace(b"Bearer nc_", b"Bearer no_")
    for raw in (request(shared), request(shared, b"{"), request(shared, b'{"title": "x"}'), wrong):
        ((fast, fast_headers, fast_body),) = ask(shared, raw)
        ((slow, slow_headers, slow_body),) = ask(
            shared, raw.replace(b"Host: s\r\n", b"Host: s\r\nTE: trailers\r\n")
        )
        assert (fast, fast_headers["content-type"].split(";")[0]) == (
            slow,
            slow_headers["content-type"].split(";")[0],
        )
        assert fast_headers.get("www-authenticate") == slow_headers.get("www-authenticate")
        assert "date" in fast_headers
        if fast == 200:
            assert json.loads(fast_body).keys() == json.loads(slow_body).keys()
        else:
            assert fast_body == slow_body


def test_when_too_much_comes_at_once_the_rest_is_told_so_and_heartbeats_are_taken(service: Service) -> None:
    """2,000 starts that were all there when it could read: some hundreds are answered within a tenth of a second."""
    service.beat()
    asked = request(service)
    with ExitStack() as stack:
        socks = [stack.enter_context(service.connect()) for _ in range(2000)]
        for sock in socks[::100]:  # each is accepted
            sock.sendall(asked)
            assert Reader(sock).answer()[0] == 200
        beats = [encode(service.message(name)) for name in BOXES]
        assert service.process is not None
        service.process.send_signal(signal.SIGSTOP)
        try:
            for sock in socks:
                sock.sendall(asked)
        finally:
            service.process.send_signal(signal.SIGCONT)
        for name, body in zip(BOXES, beats, strict=True):
            assert service.send(body, by=name).status == 200
        found = [Reader(sock).answer() for sock in socks]
    statuses = Counter(status for status, _, _ in found)
    assert {200, 503} <= statuses.keys() <= {200, 429, 503}, statuses
    document, retry = next(
        (json.loads(body), headers["retry-after"]) for status, headers, body in found if status == 503
    )
    assert (document["type"], document["status"]) == ("urn:nearcast:problem:busy", 503)
    assert 2 <= int(retry) <= 8
    page = service.ask("/metrics").body.decode()
    assert f'steering_answers_total{{outcome="busy"}} {statuses[503]}.0' in page


def test_who_says_nothing_more_is_still_answered(shared: Service) -> None:
    with shared.connect() as sock:
        sock.sendall(request(shared))
        sock.shutdown(socket.SHUT_WR)
        assert Reader(sock).answer()[0] in {200, 503}
        assert sock.recv(1) == b""


def test_who_sends_far_ahead_is_read_as_it_is_answered(shared: Service) -> None:
    shared.beat()
    count = 3000
    with shared.connect() as sock:
        sender = threading.Thread(target=sock.sendall, args=(request(shared) * count,))
        sender.start()
        reader = Reader(sock)
        assert {reader.answer()[0] for _ in range(count)} <= {200, 429, 503}
        sender.join()


def test_a_heartbeat_of_either_length_is_taken(shared: Service) -> None:
    import time

    for padding in (0, 100_000):
        body = encode(shared.message()) + b" " * padding
        token = IDENTITIES["isp-a1"].token(AUDIENCE, time.time(), body)
        head = f"POST /v1/heartbeat HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        ((status, _, answer),) = ask(shared, head.encode() + body)
        assert (status, json.loads(answer)["state"]) == (200, "serving")
