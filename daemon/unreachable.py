"""Why nobody answered, in an operator's words: the kernel's or the resolver's reason, and nothing of Python's."""

from __future__ import annotations

import os
import socket
import ssl


def why_unreachable(error: BaseException) -> str:
    """Such as "connection refused", for what a connection or a request raised.

    urllib and aiohttp wrap what the socket raised, and asyncio puts the address into its text: who reads
    "<urlopen error [Errno 111] ...>" or "... ssl:default [Connect call failed ...]" has to know Python.
    """
    for wrapped in (getattr(error, "reason", None), getattr(error, "os_error", None)):
        if isinstance(wrapped, OSError) and wrapped is not error:
            return why_unreachable(wrapped)
    if isinstance(error, OSError) and isinstance(getattr(error, "reason", None), str) and not error.errno:
        return str(error.reason)  # type: ignore[attr-defined]  # urllib's own
    if isinstance(error, TimeoutError) and not error.errno:
        return "did not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return f"its name is not known: {error.strerror}"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        reason = os.strerror(error.errno)
        return reason[:1].lower() + reason[1:]
    return str(error) or type(error).__name__
