"""Where missing bytes come from: a parent appliance over its data port, or the S3 origin.

Each gives the bytes of a part of an object, or one `UpstreamError` with a named reason. An upstream
that lies (another status, another range, too few or too many bytes) is found out here; one that
sends wrong bytes is found out by their digest, in `oca.store.pull`.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import aiohttp
import yarl
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, NoCredentialsError

from contracts.catalog import CatalogObject, media_key
from daemon.s3 import S3Config, S3Error, session
from daemon.unreachable import why_unreachable
from oca.config import Parent, Pull
from oca.identity import Identity


class Fault(enum.Enum):
    """What went wrong upstream, and whether asking elsewhere makes sense (always: another may do)."""

    UNREACHABLE = "unreachable"  # no connection
    SLOW = "slow"  # no byte for too long
    REFUSED = "refused"  # 401, 403: our credentials or identity
    MISSING = "missing"  # 404: it lives, and does not have it
    CHANGED = "changed"  # 412: it has another version
    STATUS = "status"  # any other answer than the bytes asked for
    LIED = "lied"  # a range or a length that is not the one asked for
    CUT = "cut"  # ended in the middle
    MUTE = "mute"  # took the request, and closed the connection without an answer


class UpstreamError(Exception):
    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


class Upstream(Protocol):
    name: str

    def fetch(self, item: CatalogObject, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` to ``end`` (exclusive), in pieces; raises `UpstreamError`."""
        ...


def client_session(pull: Pull) -> aiohttp.ClientSession:
    """The one HTTP client of the storekeeper. Keeps connections to each upstream open."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=pull.concurrent * 2, limit_per_host=pull.concurrent),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=pull.connect_timeout_s, sock_read=pull.stall_timeout_s
        ),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class ParentUpstream:
    """An appliance of the parent tier. It is asked as a player would, with our identity for a token."""

    def __init__(self, parent: Parent, identity: Identity, http: aiohttp.ClientSession) -> None:
        self.name = parent.id
        self._url = parent.url
        self._identity = identity
        self._http = http
        self._token = ""
        self._token_until = 0.0

    async def fetch(self, item: CatalogObject, start: int, end: int) -> AsyncIterator[bytes]:
        now = time.time()
        if now >= self._token_until:
            self._token = self._identity.token(self.name, now)
            self._token_until = now + 30
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Range": f"bytes={start}-{end - 1}",
            # Another version of the object under the same key is of no use to us.
            "If-Match": item.etag,
        }
        url = yarl.URL(f"{self._url}/{item.key}", encoded=True)
        async for piece in _ranged(self._http, url, headers, start, end, item.size, self.name):
            yield piece


class OriginUpstream:
    """The S3 bucket, requests signed with SigV4 by botocore and sent by aiohttp."""

    def __init__(self, config: S3Config, http: aiohttp.ClientSession) -> None:
        self.name = "origin"
        self._config = config
        self._http = http
        self._base = config.endpoint_url or f"https://s3.{config.region}.amazonaws.com"
        self._session: Any = None

    async def fetch(self, item: CatalogObject, start: int, end: int) -> AsyncIterator[bytes]:
        url, headers = self._signed(media_key(item.key), {"Range": f"bytes={start}-{end - 1}"})
        async for piece in _ranged(self._http, url, headers, start, end, item.size, self.name):
            yield piece

    async def get(self, key: str, limit_bytes: int) -> bytes:
        """The whole (small) object under an S3 key; raises `UpstreamError`, also when it is over the limit."""
        url, headers = self._signed(key, {})
        chunks = bytearray()
        async with _answer(self._http, url, headers, self.name) as answer:
            _check_status(answer.status, self.name, key, expected=200)
            async for piece in _pieces(answer, self.name):
                chunks += piece
                if len(chunks) > limit_bytes:
                    raise UpstreamError(Fault.LIED, f"{key}: more than {limit_bytes} bytes")
        return bytes(chunks)

    def _signed(self, key: str, headers: dict[str, str]) -> tuple[yarl.URL, dict[str, str]]:
        url = f"{self._base.rstrip('/')}/{self._config.bucket}/{key}"
        try:
            if self._session is None:
                self._session = session(self._config)
            # Asked each time: credentials from a role are renewed behind this call.
            credentials = self._session.get_credentials()
            request = AWSRequest(method="GET", url=url, headers=headers)
            request.context["payload_signing_enabled"] = False
            S3SigV4Auth(credentials, "s3", self._config.region).add_auth(request)
        except NoCredentialsError:
            raise UpstreamError(
                Fault.REFUSED, "no S3 credentials: name a credentials_file under origin"
            ) from None
        except (BotoCoreError, S3Error) as error:
            raise UpstreamError(Fault.REFUSED, str(error)) from None
        return yarl.URL(url, encoded=True), dict(request.headers.items())


class NoBucket:
    """In place of the bucket on an appliance that has none: nothing is in it."""

    async def get(self, key: str, limit_bytes: int) -> bytes:
        raise UpstreamError(Fault.MISSING, "no bucket is configured under origin")


async def _ranged(
    http: aiohttp.ClientSession,
    url: yarl.URL,
    headers: dict[str, str],
    start: int,
    end: int,
    size: int,
    name: str,
) -> AsyncIterator[bytes]:
    """The answer to a range request, held to exactly what was asked (RFC 9110 section 15.3.7)."""
    expected = f"bytes {start}-{end - 1}/{size}"
    async with _answer(http, url, headers, name) as answer:
        whole = start == 0 and end == size and answer.status == 200
        if not whole:
            _check_status(answer.status, name, url.raw_path, expected=206)
            if answer.headers.get("Content-Range") != expected:
                got = answer.headers.get("Content-Range")
                raise UpstreamError(Fault.LIED, f"{name} answered range {got!r}, and {expected!r} was asked")
        left = end - start
        async for piece in _pieces(answer, name):
            left -= len(piece)
            if left < 0:
                raise UpstreamError(Fault.LIED, f"{name} sent more than {expected!r}")
            yield piece
        if left:
            raise UpstreamError(Fault.CUT, f"{name} ended {left} bytes short of {expected!r}")


class _answer:  # noqa: N801 - used as a function
    """An open answer; what aiohttp raises on the way becomes an `UpstreamError`."""

    def __init__(
        self, http: aiohttp.ClientSession, url: yarl.URL, headers: dict[str, str], name: str
    ) -> None:
        headers["Accept-Encoding"] = "identity"
        self._context = http.get(url, headers=headers, allow_redirects=False)
        self._name = name

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            return await self._context.__aenter__()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _translated(error, self._name) from None

    async def __aexit__(self, *exc: Any) -> None:
        await self._context.__aexit__(*exc)


async def _pieces(answer: aiohttp.ClientResponse, name: str) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.content.iter_any():
            yield piece
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _translated(error, name) from None


def _translated(error: Exception, name: str) -> UpstreamError:
    if isinstance(error, asyncio.TimeoutError | TimeoutError):
        return UpstreamError(Fault.SLOW, f"{name} did not answer in time")
    if isinstance(error, aiohttp.ClientPayloadError):
        return UpstreamError(Fault.CUT, f"{name} ended in the middle of an answer")
    return UpstreamError(Fault.UNREACHABLE, f"{name}: {why_unreachable(error)}")


def _check_status(status: int, name: str, what: str, *, expected: int) -> None:
    if status == expected:
        return
    if status in {401, 403}:
        raise UpstreamError(Fault.REFUSED, f"{name} refused our credentials for {what} ({status})")
    if status == 412:
        raise UpstreamError(Fault.CHANGED, f"{name} has another version of {what}")
    if status == 404:
        raise UpstreamError(Fault.MISSING, f"{name} has no {what}")
    raise UpstreamError(Fault.STATUS, f"{name} answered {status} for {what}, and {expected} was expected")
