"""What an operator reads when nobody answers, from the errors that our clients really raise."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import urllib.error
import urllib.request

import aiohttp
import pytest

from daemon.unreachable import why_unreachable
from tests.ports import free_port

REFUSED = "connection refused"


def raised_by_urllib(url: str) -> Exception:
    with pytest.raises(urllib.error.URLError) as caught:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=15)
    return caught.value


def test_a_closed_port_is_refused_whichever_client_asked() -> None:
    port = free_port()
    with pytest.raises(OSError) as plain:
        http.client.HTTPConnection("127.0.0.1", port).request("GET", "/")

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get(f"http://127.0.0.1:{port}/")

    with pytest.raises(aiohttp.ClientError) as wrapped:
        asyncio.run(ask())
    assert why_unreachable(plain.value) == REFUSED
    assert why_unreachable(raised_by_urllib(f"http://127.0.0.1:{port}/")) == REFUSED
    assert why_unreachable(wrapped.value) == REFUSED


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("timed out"), "did not answer in time"),
        (urllib.error.URLError(TimeoutError("timed out")), "did not answer in time"),
        (TimeoutError(110, "Connection timed out"), "connection timed out"),
        (
            urllib.error.URLError(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
            "its name is not known: Name or service not known",
        ),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "wrong version number"),
        (http.client.BadStatusLine("SSH-2.0"), "SSH-2.0"),
        (
            http.client.RemoteDisconnected("Remote end closed connection without response"),
            "Remote end closed",
        ),
        (urllib.error.URLError("unknown url type: ftp"), "unknown url type: ftp"),
        (http.client.HTTPException(), "HTTPException"),
    ],
)
def test_the_reason_is_said_and_not_how_python_wraps_it(error: Exception, said: str) -> None:
    text = why_unreachable(error)
    assert said in text
    assert "errno" not in text.lower()
    assert "urlopen" not in text


def test_a_certificate_that_nobody_signed_is_named() -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    error.verify_message = "self-signed certificate"
    assert why_unreachable(urllib.error.URLError(error)) == (
        "its certificate is not believed: self-signed certificate"
    )
