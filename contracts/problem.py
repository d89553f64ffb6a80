"""Errors as every program's HTTP side says them: RFC 9457 problem details, internals stripped."""

from __future__ import annotations

import enum

import msgspec

MEDIA_TYPE = "application/problem+json"


class Problem(enum.Enum):
    """(status, title). The name is the ``type`` of the document, lower case, dashes for underscores."""

    BAD_REQUEST = (400, "The request is not valid HTTP")
    BAD_KEY = (400, "The path does not name an object")
    UNAUTHORISED = (401, "A valid API key is required")
    IDENTITY_MISSING = (401, "An appliance's identity token is required")
    BEAT_SESSION = (401, "No such session of heartbeats: the next one must be signed")
    SCOPE = (403, "The API key does not permit this")
    TOKEN_MISSING = (403, "A signed URL is required")
    TOKEN_REFUSED = (403, "The token of this URL was refused")
    NOT_LICENSED = (403, "The title is not available in this country")
    NOT_RELEASED = (403, "The title is not out yet")
    IDENTITY_REFUSED = (403, "The appliance's identity was refused")
    CROSS_SITE = (403, "Requests from web pages are refused here")
    NOT_FOUND = (404, "No such object")
    UNKNOWN_TITLE = (404, "No such title")
    UNKNOWN_SESSION = (404, "No such session")
    METHOD = (405, "The method is not allowed here")
    REQUEST_TIMEOUT = (408, "The request did not arrive in time")
    CONFLICT = (409, "This cannot be done now")
    PRECONDITION = (412, "A precondition of the request does not hold")
    TOO_LARGE = (413, "The request is too large")
    URI_TOO_LONG = (414, "The request target is too long")
    RANGE = (416, "The range lies outside the object")
    BAD_FIELD = (422, "A field of the request is wrong")
    RATE = (429, "Too many requests")
    HEADERS_TOO_LARGE = (431, "The request's header fields are too large")
    INTERNAL = (500, "The server failed; the cause is in its log")
    UPSTREAM = (502, "The object could not be fetched from upstream")
    UNAVAILABLE = (503, "Not able to serve now")
    BUSY = (503, "Too much is waiting here already")
    NOT_STORED = (504, "Not stored here, and only what is stored was asked for")
    LOOP = (508, "The request has been here before")
    UPSTREAM_SLOW = (504, "Upstream did not answer in time")

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def title(self) -> str:
        return self.value[1]


class Document(msgspec.Struct, omit_defaults=True):
    type: str
    title: str
    status: int
    detail: str | None = None
    field: str | None = None


def words_of(raw: bytes) -> str | None:
    """What an answer with a problem says to a person; None when it is no such document."""
    try:
        problem = msgspec.json.decode(raw, type=Document)
    except msgspec.MsgspecError:
        return None
    return problem.detail or problem.title


def render(problem: Problem, detail: str | None = None, *, field: str | None = None) -> bytes:
    """The body (JSON) of an answer with `MEDIA_TYPE`. ``detail`` is for the caller: no paths, no traces."""
    name = problem.name.lower().replace("_", "-")
    return msgspec.json.encode(
        Document(f"urn:nearcast:problem:{name}", problem.title, problem.status, detail, field)
    )
