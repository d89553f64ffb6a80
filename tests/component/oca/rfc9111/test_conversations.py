"""What an HTTP cache promises, as conversations of client, cache and origin. Source: RFC 9111, by section.

Time does not pass here: a response that says Age is as old as it says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import formatdate
from time import time

import pytest

from tests.component.oca.rfc9111.conftest import Cache
from tests.httporigin import Asked, Send, response
from tests.waiting import PATIENCE_S, until


def ago(seconds: float) -> str:
    return formatdate(time() - seconds, usegmt=True)


@dataclass(frozen=True)
class Step:
    """One request, and what the origin would say to it."""

    origin: tuple[str, ...] | None = ()
    """Fields of its answer; None: it closes the connection without a word."""
    ask: dict[str, str] = field(default_factory=dict)
    status: str = "200 OK"
    """Of its answer."""
    reused: bool = False
    """Whether the client gets what is stored, and the origin is not asked."""
    got: int = 200
    has: dict[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    asked: dict[str, str] = field(default_factory=dict)
    """Fields that the origin must see."""
    method: str = "GET"


FRESH = ("Cache-Control: max-age=600",)
STALE = ("Cache-Control: max-age=60", "Age: 70", 'ETag: "a"')

CONVERSATIONS: dict[str, list[Step]] = {
    "4: nothing said, nothing stored": [Step(), Step()],
    "4.2: fresh is reused": [Step(FRESH), Step(reused=True, has={"age": "0"})],
    "4.2: stale is validated": [
        Step(STALE),
        Step(("Cache-Control: max-age=600",), status="304 Not Modified", asked={"if-none-match": '"a"'}),
        Step(reused=True),
    ],
    "4.2: stale, and changed": [Step(STALE), Step(FRESH, asked={"if-none-match": '"a"'}), Step(reused=True)],
    "4.2.3: an age that came is added to": [
        Step((*FRESH, "Age: 100")),
        Step(reused=True, has={"age": "100"}),
    ],
    "4.2.2: a tenth of its age": [Step((f"Last-Modified: {ago(86400)}",)), Step(reused=True)],
    "3: no-store": [Step(("Cache-Control: no-store",)), Step()],
    "3: private": [Step(("Cache-Control: private, max-age=600",)), Step()],
    "3: 404 with a lifetime": [
        Step(FRESH, status="404 Not Found", got=404),
        Step(reused=True, got=404),
    ],
    "3: 503 without": [Step((), status="503 Service Unavailable", got=503), Step()],
    "3.1: what Connection names is not sent on": [
        Step((*FRESH, "Connection: x-a", "X-A: 1", "Keep-Alive: 5", "X-B: 2"), lacks=("x-a", "keep-alive")),
        Step(reused=True, has={"x-b": "2"}, lacks=("x-a",)),
    ],
    "3.5: authorised is not for all": [
        Step(FRESH, ask={"Authorization": "x"}, asked={"authorization": "x"}),
        Step(),
    ],
    "3.5: unless it says so": [
        Step(("Cache-Control: s-maxage=60",), ask={"Authorization": "x"}),
        Step(reused=True),
    ],
    "4.1: another variant": [
        Step((*FRESH, "Vary: Foo"), ask={"Foo": "1"}),
        Step((*FRESH, "Vary: Foo"), ask={"Foo": "2"}),
        Step(ask={"Foo": "1"}, reused=True),
        Step(ask={"Foo": "2"}, reused=True),
        Step(),
    ],
    "4.1: varies by anything": [Step((*FRESH, "Vary: *")), Step()],
    "4.3.2: the client has it": [
        Step((*FRESH, 'ETag: "a"')),
        Step(ask={"If-None-Match": '"b", W/"a"'}, reused=True, got=304, has={"etag": '"a"'}),
        Step(ask={"If-None-Match": '"b"'}, reused=True),
    ],
    "4.3.4: a 304 updates": [
        Step((*STALE, "X-A: 1", "X-B: 1")),
        Step(
            ("X-A: 2", "Cache-Control: max-age=600"), status="304 Not Modified", has={"x-a": "2", "x-b": "1"}
        ),
        Step(reused=True, has={"x-a": "2", "x-b": "1"}),
    ],
    "4.3.5: a HEAD updates": [
        Step(("Cache-Control: max-age=60", "Age: 70", "X-A: 1")),
        Step((*FRESH, "X-A: 2"), method="HEAD"),
        Step(reused=True, has={"x-a": "2"}),
    ],
    "4.3.5: a HEAD that speaks of another": [
        Step((*FRESH, 'ETag: "a"'), ask={}),
        Step((*FRESH, 'ETag: "b"'), method="HEAD", ask={"Cache-Control": "no-cache"}),
        Step(FRESH),
    ],
    "4: HEAD from a stored GET": [Step(FRESH), Step(method="HEAD", reused=True, has={"content-length": "5"})],
    "5.2.1: no-cache validates": [
        Step((*FRESH, 'ETag: "a"')),
        Step(ask={"Cache-Control": "no-cache"}, status="304 Not Modified", asked={"if-none-match": '"a"'}),
    ],
    "5.2.1: only-if-cached": [Step(ask={"Cache-Control": "only-if-cached"}, reused=True, got=504)],
    "5.2.1: max-stale": [
        Step(("Cache-Control: max-age=60", "Age: 70")),
        Step(ask={"Cache-Control": "max-stale=60"}, reused=True),
    ],
    "5.2.2: no-cache is stored and validated": [
        Step(("Cache-Control: no-cache", 'ETag: "a"')),
        Step(status="304 Not Modified", asked={"if-none-match": '"a"'}),
    ],
    "4.2.4: stale when the origin is silent": [Step(STALE), Step(None, got=200)],
    "4.2.4: stale when the origin fails": [Step(STALE), Step((), status="503 Service Unavailable", got=200)],
    "4.2.4: not what must be validated": [
        Step(("Cache-Control: max-age=60, must-revalidate", "Age: 70", 'ETag: "a"')),
        Step(None, got=502),
    ],
    "4.2.4: not for longer than it may": [
        Step(("Cache-Control: max-age=60, stale-if-error=5", "Age: 70", 'ETag: "a"')),
        Step(None, got=502),
    ],
    "RFC 5861: stale while it is validated": [
        Step(("Cache-Control: max-age=60, stale-while-revalidate=60", "Age: 70", 'ETag: "a"')),
        Step(FRESH, reused=True, has={"age": "70"}),
    ],
    "RFC 9213: the CDN's own": [
        Step(("Cache-Control: no-store", "CDN-Cache-Control: max-age=60")),
        Step(reused=True, has={"cdn-cache-control": "max-age=60"}),
    ],
    "RFC 9110 14.2: a range of what is stored": [
        Step(FRESH),
        Step(ask={"Range": "bytes=1-2"}, reused=True, got=206, has={"content-range": "bytes 1-2/5"}),
        Step(ask={"Range": "bytes=9-"}, reused=True, got=416),
        Step(ask={"Range": "bytes=1-2", "If-Range": '"x"'}, reused=True),
    ],
    "a date stays as it was": [Step((*FRESH,)), Step(reused=True, lacks=("warning",))],
    "a cookie is stored when all may have it": [Step((*FRESH, "Set-Cookie: a=b")), Step(reused=True)],
    "a cookie is not stored on a guess": [
        Step((f"Last-Modified: {ago(86400)}", "Set-Cookie: a=b")),
        Step((f"Last-Modified: {ago(86400)}",)),
    ],
}


def said(headers: dict[str, str], name: str, value: str) -> bool:
    """Whether the field is as it should be; an age grows while a busy machine comes to it."""
    if name == "age":
        return int(value) <= int(headers[name]) <= int(value) + PATIENCE_S
    return headers.get(name) == value


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_conversation(cache: Cache, name: str) -> None:
    for number, step in enumerate(CONVERSATIONS[name], 1):

        def answer(asked: Asked, send: Send, step: Step = step) -> None:
            if step.origin is None:
                raise ConnectionError
            body = b"" if step.status[:3] in {"304", "204"} or asked.method == "HEAD" else b"hello"
            send(response(*step.origin, status=step.status, body=body, length=bool(body)))

        before = cache.origin.count(cache.path)
        cache.origin.answer = answer
        got = cache.ask(step.method, **{name.replace("-", "_"): value for name, value in step.ask.items()})
        expected = 200 if step.status.startswith("304") and step.got == 200 else step.got
        assert got.status == expected, (number, got)
        if step.reused and "5861" not in name:
            assert cache.origin.count(cache.path) == before, (number, got)
        elif not step.reused:
            assert cache.origin.count(cache.path) > before, (number, got)
            seen = [asked for asked in cache.origin.asked if asked.target == cache.path][before].headers
            assert step.asked.items() <= seen.items(), (number, seen)
        if "5861" in name and step.reused:
            until(lambda before=before: cache.origin.count(cache.path) > before)  # type: ignore[misc]
        assert all(said(got.headers, *field) for field in step.has.items()), (number, got)
        assert not set(step.lacks) & got.headers.keys(), (number, got)
