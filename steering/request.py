"""What a caller sent, taken in within bounds of size and time, or refused with a named problem."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from aiohttp import ClientPayloadError, web

from contracts.problem import Problem

BODY_S: Final = 5.0
"""A heartbeat of 1.4 MB takes 2 s at 6 Mb/s, and it is sent every 2 s."""

_at = re.compile(r" - at `\$\.([a-z_]+)[^`]*`\Z").search
_named = re.compile(r"Object (?:missing required|contains unknown) field `([^`]*)`\Z").match
_own = re.compile(r"([a-z_]+): ").match


class Refused(Exception):
    """Ends a request with ``problem``."""

    def __init__(
        self, problem: Problem, detail: str | None = None, *, field: str | None = None, retry_s: float = 0
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.field = field
        self.retry_s = retry_s


def bearer(request: web.Request) -> str | None:
    """The credentials of ``Authorization: Bearer`` (RFC 6750), or None."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None


async def read_body(request: web.Request, limit_bytes: int) -> bytes:
    """The whole body; raises `Refused` when it is too long, takes too long, or breaks off."""
    too_large = Refused(Problem.TOO_LARGE, f"the body may have {limit_bytes} bytes")
    if (request.content_length or 0) > limit_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit_bytes:
                    raise too_large
    except TimeoutError:
        raise Refused(Problem.REQUEST_TIMEOUT, f"the body did not arrive within {BODY_S:.0f} s") from None
    except (ClientPayloadError, web.RequestPayloadError, ConnectionError):
        raise Refused(Problem.BAD_REQUEST, "the body broke off") from None
    return bytes(body)


def bad_field(why: str) -> Refused:
    """422 with the field that msgspec (``... - at `$.client_ip` ``) or a struct's own check names.

    What the caller wrote stands in ``why`` too: only the places where msgspec names a field count.
    """
    found = _at(why) or _named(why) or _own(why)
    return Refused(Problem.BAD_FIELD, why, field=found[1] if found else None)
