"""Conversations of a playback service, a player and an operator with steering, over real sockets."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from contracts.problem import Problem
from contracts.steer import MAX_REQUEST_BYTES
from contracts.token import KeyRing, verify_viewer
from tests.component.steering.service import VIEWER, Answer, Service, is_problem

QUESTION = json.dumps({"client_ip": VIEWER, "title": "tt1"}).encode()


def test_a_playback_service_gets_ordered_signed_candidates(shared: Service) -> None:
    shared.beat()
    answer = shared.steer()
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    found = answer.json
    assert [item["tier"] for item in found["candidates"]] == ["isp", "ixp", "isp"]
    keys = KeyRing.from_jwks((shared.root / "state" / "signing.jwks").read_bytes())
    grant = verify_viewer(found["token"], keys, found["expires_at"] - 1)
    assert (grant.title, grant.session, grant.expires_at) == ("tt1", found["session"], found["expires_at"])
    for item in found["candidates"]:
        base = f"http://{item['appliance']}.example:8080/URISigningPackage={found['token']}/"
        assert (item["base_url"], item["hls"], item["dash"]) == (
            base,
            f"{base}tt1/master.m3u8",
            f"{base}tt1/manifest.mpd",
        )
        assert "holds the title" in item["reason"]


def test_the_same_session_gets_the_same_order_and_sessions_spread(shared: Service) -> None:
    first = set()
    for number in range(16):
        shared.beat()  # who is silent for a few seconds is offered last
        orders = [
            tuple(item["appliance"] for item in shared.steer(session=f"session-{number}").json["candidates"])
            for _ in range(2)
        ]
        assert orders[0] == orders[1]
        first.add(orders[0][0])
    assert first == {"isp-a1", "isp-a2"}


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_as_many_candidates_as_asked_and_as_there_are(shared: Service, count: int) -> None:
    shared.beat()
    candidates = shared.steer(count=count).json["candidates"]
    assert len(candidates) == min(count, 3)
    assert len({item["site"] for item in candidates}) == min(count, 2)


@pytest.mark.parametrize(
    ("client_ip", "appliances"),
    [
        ("198.51.100.1", {"isp-a1", "isp-a2", "ixp-b1"}),
        ("::ffff:198.51.100.1", {"isp-a1", "isp-a2", "ixp-b1"}),
        ("2001:db8:a::1", {"isp-a1", "isp-a2"}),
        ("10.0.0.1", {"ixp-b1"}),
    ],
)
def test_a_viewer_gets_those_who_announce_its_network(
    shared: Service, client_ip: str, appliances: set[str]
) -> None:
    shared.beat()
    candidates = shared.steer(client_ip=client_ip, count=10).json["candidates"]
    assert {item["appliance"] for item in candidates} == appliances


@pytest.mark.parametrize("client_ip", ["203.0.113.1", "2001:db8:b::1"])
def test_a_viewer_whom_nobody_announces_gets_503_and_when_to_come_back(
    shared: Service, client_ip: str
) -> None:
    answer = shared.steer(client_ip=client_ip)
    is_problem(answer, Problem.UNAVAILABLE, "no appliance can serve this client now")
    assert 2 <= int(answer.headers["retry-after"]) <= 8


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer {key} {key}",
        "Bearer \xff\xfe",
        "Bearer " + "k" * 8000,
    ],
)
@pytest.mark.parametrize("path", ["/v1/steer", "/v1/fleet", "/v1/explain?client_ip=10.0.0.1&title=tt1"])
def test_without_the_key_nothing_is_told(shared: Service, authorization: str | None, path: str) -> None:
    text = authorization.replace("{key}", shared.key) if authorization is not None else None
    answer = shared.ask(path, QUESTION if path == "/v1/steer" else None, authorization=text)
    is_problem(answer, Problem.UNAUTHORISED)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_not_case_sensitive(shared: Service, scheme: str) -> None:
    """RFC 9110 section 11.1."""
    assert shared.ask("/v1/fleet", authorization=f"{scheme}   {shared.key} ").status == 200


@pytest.mark.parametrize(
    ("question", "problem", "says"),
    [
        ({"title": "tt-de"}, Problem.NOT_LICENSED, "names no country"),
        ({"title": "tt-de", "country": "FR"}, Problem.NOT_LICENSED, "FR"),
        ({"title": "tt-soon"}, Problem.NOT_RELEASED, "549755813888"),
        ({"title": "tt2"}, Problem.UNKNOWN_TITLE, ""),
        ({"title": "tt1."}, Problem.UNKNOWN_TITLE, ""),
    ],
)
def test_what_a_viewer_may_not_have_is_refused(
    shared: Service, question: dict[str, Any], problem: Problem, says: str
) -> None:
    is_problem(shared.steer(**question), problem, says)


def test_appliances_that_just_failed_the_player_are_left_out(shared: Service) -> None:
    shared.beat()
    left = shared.steer(session="failed-me", exclude=["isp-a1", "ixp-b1"]).json["candidates"]
    assert [item["appliance"] for item in left] == ["isp-a2"]
    everybody = {"exclude": ["isp-a1", "isp-a2", "ixp-b1"]}
    is_problem(shared.steer(**everybody), Problem.UNAVAILABLE)
    is_problem(shared.steer(exclude=["../x"]), Problem.BAD_FIELD, "exclude", "exclude")


def test_a_session_stays_until_its_appliance_fails_it_and_then_with_the_next(shared: Service) -> None:
    shared.beat()
    first = [shared.steer(session="stays-put").json["candidates"][0]["appliance"] for _ in range(3)]
    assert len(set(first)) == 1
    moved = shared.steer(session="stays-put", exclude=first[:1]).json["candidates"][0]["appliance"]
    assert moved not in first
    assert shared.steer(session="stays-put").json["candidates"][0]["appliance"] == moved


def test_a_title_is_answered_from_its_date_on(shared: Service) -> None:
    shared.beat()
    assert shared.steer(title="tt-out").status == 200


def test_a_licensed_country_is_answered(shared: Service) -> None:
    shared.beat()
    assert shared.steer(title="tt-de", country="AT").status == 200


def test_only_appliances_that_may_hold_the_title_are_answered(shared: Service) -> None:
    """The ISP's stand in DE: a viewer from AT in its network is served from AT, and pulls nothing into DE."""
    shared.beat()
    answer = shared.steer(title="tt-at", country="AT").json
    assert [item["appliance"] for item in answer["candidates"]] == ["ixp-b1"]
    known = shared.get("/v1/explain?client_ip=198.51.100.1&title=tt-at&country=AT").json["considered"]
    assert {item["appliance"]: item["reason"] for item in known if item["place"] is None} == dict.fromkeys(
        ("isp-a1", "isp-a2"), "the title is not licensed where site isp-a stands"
    )


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"client_ip": "300.1.1.1"}, "client_ip"),
        ({"client_ip": 7}, "client_ip"),
        ({"title": "../etc/passwd"}, "title"),
        ({"session": "x"}, "session"),
        ({"country": "Germany"}, "country"),
        ({"count": 0}, "count"),
        ({"county": "DE"}, "county"),
    ],
)
def test_a_wrong_field_is_named(shared: Service, question: dict[str, Any], field: str) -> None:
    is_problem(shared.steer(**question), Problem.BAD_FIELD, field, field)


def post(service: Service, body: bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.ask("/v1/steer", body, authorization=f"Bearer {service.key}", headers=named)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"client_ip=10.0.0.1&title=tt1", b"[]", b"\xff\xfe", b"\0" * 100]
)
def test_what_is_not_json_is_said_to_be_so(shared: Service, body: bytes) -> None:
    is_problem(post(shared, body), Problem.BAD_FIELD)


@pytest.mark.parametrize(
    "nested", [b"[" * 4000, b'{"title":' + b"[" * 4000, b'{"a":' * 600 + b"1" + b"}" * 600]
)
def test_deep_nesting_is_refused(shared: Service, nested: bytes) -> None:
    assert post(shared, nested).status == Problem.BAD_FIELD.status


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"]
)
def test_json_is_json_whatever_it_is_called(shared: Service, kind: str) -> None:
    """curl -d calls it a form. No browser can send it across sites: it has not the key."""
    shared.beat()
    assert post(shared, QUESTION, Content_Type=kind).status == 200


def test_a_compressed_body_is_not_inflated(shared: Service) -> None:
    import gzip

    body = gzip.compress(b" " * 4000 + QUESTION)
    is_problem(post(shared, body, Content_Encoding="gzip"), Problem.BAD_FIELD)


@pytest.mark.parametrize("size", [MAX_REQUEST_BYTES + 1, 1_000_000])
def test_a_body_that_is_too_large_is_refused_by_its_announced_length(shared: Service, size: int) -> None:
    with shared.connect() as sock:
        head = f"POST /v1/steer HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {shared.key}\r\n"
        sock.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
        assert b" 413 " in sock.recv(4096).partition(b"\r\n")[0]


def test_a_body_that_is_too_large_is_refused_when_it_does_not_say_so(shared: Service) -> None:
    with shared.connect() as sock:
        head = f"POST /v1/steer HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {shared.key}\r\n"
        sock.sendall(
            f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
            + b"1000\r\n"
            + b" " * 4096
            + b"\r\n1\r\n \r\n"
        )
        assert b" 413 " in sock.recv(4096).partition(b"\r\n")[0]


def test_a_body_of_exactly_the_bound_is_read(shared: Service) -> None:
    shared.beat()
    assert post(shared, QUESTION.ljust(MAX_REQUEST_BYTES)).status == 200


def request_of(service: Service, body: bytes) -> bytes:
    head = (
        f"POST /v1/steer HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {service.key}\r\nConnection: close\r\n"
    )
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def read_all(sock: socket.socket) -> bytes:
    read = b""
    while data := sock.recv(65536):
        read += data
    return read


def test_a_request_that_arrives_in_pieces_is_one_request(shared: Service) -> None:
    raw = request_of(shared, QUESTION)
    for at in range(1, len(raw), 7):
        shared.beat()  # who is silent for a few seconds is offered no more
        with shared.connect() as sock:
            sock.sendall(raw[:at])
            shared.ask("/healthz")  # the first piece has been read by then
            sock.sendall(raw[at:])
            assert read_all(sock).startswith(b"HTTP/1.1 200 "), at


def test_a_body_that_never_ends_is_given_up(shared: Service) -> None:
    with shared.connect() as sock:
        sock.sendall(request_of(shared, QUESTION)[:-1])
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 5 s" in answer
    assert b"connection: close" in answer.lower()


def test_a_client_that_leaves_in_the_middle_is_no_error_of_ours(shared: Service) -> None:
    for cut in (10, 60, -1):
        with shared.connect() as sock:
            sock.sendall(request_of(shared, QUESTION)[:cut])
    with shared.connect() as sock:
        sock.sendall(
            b"POST /v1/steer HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer %s\r\n" % shared.key.encode()
        )
        sock.sendall(b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n")
        assert b" 400 " in read_all(sock)[:40]
    assert shared.ask("/healthz").status == 200
    assert "Traceback" not in shared.log


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /v1/steer HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_broken_http_is_refused_and_does_not_fill_the_log(shared: Service, raw: bytes) -> None:
    before = shared.log
    with shared.connect() as sock:
        sock.sendall(raw)
        assert b" 400 " in read_all(sock)[:40]
    assert shared.log == before


@pytest.mark.parametrize(
    ("method", "path", "problem"),
    [
        ("GET", "/v1/steer", Problem.METHOD),
        ("DELETE", "/v1/fleet", Problem.METHOD),
        ("GET", "/v1/heartbeat", Problem.METHOD),
        ("GET", "/", Problem.NOT_FOUND),
        ("GET", "/v1/steer/", Problem.NOT_FOUND),
        ("GET", "/v1/steer/a/b/hls", Problem.NOT_FOUND),
        ("GET", "/../../etc/passwd", Problem.NOT_FOUND),
    ],
)
def test_what_does_not_exist_is_a_problem_too(
    shared: Service, method: str, path: str, problem: Problem
) -> None:
    answer = shared.ask(path, method=method)
    is_problem(answer, problem)
    assert ("allow" in answer.headers) == (problem is Problem.METHOD)


def test_neither_key_nor_token_ever_stands_in_the_log(shared: Service) -> None:
    shared.beat()
    token = shared.steer().json["token"]
    assert shared.key not in shared.log
    assert token not in shared.log


def test_a_caller_beyond_its_rate_is_told_when_to_come_back(tmp_path: Path, shared: Service) -> None:
    slow = Service(tmp_path, shared.bucket)
    slow.write(requests_per_s=0.01, reads_per_s=0.01)
    slow.init()
    with slow.running():
        assert slow.get("/v1/fleet").status == 200
        assert slow.steer().status != Problem.RATE.status
        for answer in (slow.steer(), slow.get("/v1/fleet")):
            is_problem(answer, Problem.RATE)
            assert 90 <= int(answer.headers["retry-after"]) <= 100
        assert b'steering_answers_total{outcome="rate"} 1.0' in slow.ask("/metrics").body
