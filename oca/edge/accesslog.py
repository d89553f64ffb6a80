"""The optional access log: nginx's combined format, then Cache-Status and the seconds that the answer took.

    192.0.2.7 - - [21/Nov/2026:10:00:00 +0000] "GET /tt0001/720p/video.mp4 HTTP/1.1" 206 65536 "-" "curl/8" "isp-a1; hit" 0.000

Lines are gathered, and a thread writes them: no disk ever holds up a player. What the disk does not
take in time, or at all, is lost and counted. Tokens are not in it: who can read the log must not be
able to watch the title.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from contracts.urisigning import PARAMETER
from daemon.config import ConfigError
from daemon.log import event
from oca.edge.request import Request

log = logging.getLogger("oca.edge")

_WRITE_BYTES: Final = 64 << 10
_HELD_BYTES: Final = 1 << 20
"""While the disk is slow; some 5,000 lines."""

# By name, and by shape: the payload of every JWT begins with {" and that is eyJ.
_tokens = re.compile(PARAMETER + r"=[^/?&\s\"]*|eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*", re.IGNORECASE)
_unsafe = re.compile(r'[\x00-\x1f\x7f-\xff"\\]')


class AccessLog:
    """One worker's. Workers share the file: each writes whole lines at its end."""

    def __init__(self, path: str, appliance: str, write: Callable[[int, memoryview], int] = os.write) -> None:
        """Raises `ConfigError` when ``path`` cannot be written."""
        self._path = Path(path)
        self._appliance = appliance
        self._write = write
        self._lines: list[str] = []
        self._held_bytes = 0
        self._dropped = 0  # here
        self._unwritten = 0  # in the thread
        self._told = 0
        self._busy = False
        self._torn = False
        self._trouble: str | None = None
        self._time = ""
        try:
            self._fd = self._open()
        except OSError as error:
            raise ConfigError(f"access_log: {path}: {error.strerror}") from None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="access-log")

    def write(
        self, address: str, request: Request, status: int, body_bytes: int, took_s: float, fate: str
    ) -> None:
        """Adds a line; ``fate`` is hit, fwd=miss, or "-" for what is not of the cache."""
        if request.logged is None:
            headers = request.headers
            agent = f'"{_quoted(headers.get(b"referer", "-"))}" "{_quoted(headers.get(b"user-agent", "-"))}"'
            request.logged = _asked(request), agent
        asked, agent = request.logged
        cache = "-" if fate == "-" else f"{self._appliance}; {fate}"
        line = (
            f'{address} - - [{self._time}] "{asked}" {status} {body_bytes} {agent} "{cache}" {took_s:.3f}\n'
        )
        if self._held_bytes + len(line) > _HELD_BYTES:
            self._dropped += 1
            return
        self._lines.append(line)
        self._held_bytes += len(line)
        if self._held_bytes >= _WRITE_BYTES:
            self.flush()

    def tick(self, clock: float) -> None:
        """A second has passed; ``clock`` is the time of day."""
        self._time = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(clock))
        self.flush()

    def flush(self) -> None:
        """Hands what was gathered to the thread, unless it is still at the last lot."""
        if self._lines and not self._busy:
            self._busy = True
            data = "".join(self._lines).encode("latin-1", "replace")
            self._lines.clear()
            self._held_bytes = 0
            self._thread.submit(self._put, data)

    def reopen(self) -> None:
        """Goes on in a new file: the old one was renamed. When that fails, it goes on in the old one."""
        self._thread.submit(self._reopen)

    def take_lost(self) -> int:
        """Lines lost since the last time."""
        lost = self._dropped + self._unwritten
        told, self._told = self._told, lost
        return lost - told

    def close(self) -> None:
        """Writes what is left, and waits for it."""
        self._thread.submit(lambda: None).result()
        self.flush()
        self._thread.shutdown(wait=True)
        os.close(self._fd)

    # In the thread

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _put(self, data: bytes) -> None:
        rest = memoryview(b"\n" + data if self._torn else data)
        try:
            while rest:
                rest = rest[self._write(self._fd, rest) :]
            self._torn = False
            self._trouble = None
        except OSError as error:
            self._unwritten += bytes(rest).count(b"\n")
            # A full disk takes a part of a line; the next one must not be joined to it.
            self._torn = len(rest) < len(data)
            self._say(error.strerror or str(error))
        finally:
            self._busy = False

    def _reopen(self) -> None:
        try:
            opened = self._open()
        except OSError as error:
            self._say(error.strerror or str(error))
            return
        os.close(self._fd)
        self._fd, self._torn = opened, False

    def _say(self, why: str) -> None:
        if why != self._trouble:
            event(log, "access log not written", logging.ERROR, path=str(self._path), why=why)
        self._trouble = why


def _asked(request: Request) -> str:
    if not request.method:
        return "-"  # what came was no request
    return _quoted(f"{request.method.decode('latin-1')} {request.target.decode('latin-1')} {request.version}")


def _quoted(text: str) -> str:
    """``text`` without tokens, and without anything that could end the field or the line: as nginx escapes."""
    if "%" in text and _tokens.search(plain := unquote(text, "latin-1")):
        text = plain  # somebody wrote a token in another way
    return _unsafe.sub(lambda match: f"\\x{ord(match[0]):02X}", _tokens.sub("(token)", text))
