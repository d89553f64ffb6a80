"""Which web pages may read the answers: the CORS fields of the Fetch standard, for configured origins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_EXPOSED: Final = (
    b"Access-Control-Expose-Headers: Cache-Status, Content-Range, Content-Length, Date, ETag\r\n"
)
_ANYBODY: Final = b"Access-Control-Allow-Origin: *\r\nTiming-Allow-Origin: *\r\n" + _EXPOSED
_NOBODY: Final = b"Vary: Origin\r\n"


class Cors:
    """``origins`` as configured; none at all means no field at all, "*" is any."""

    def __init__(self, origins: Iterable[str]) -> None:
        named = frozenset(origins)
        self._fields = {
            origin: b"Vary: Origin\r\nAccess-Control-Allow-Origin: %b\r\nTiming-Allow-Origin: %b\r\n%b"
            % (origin.encode("latin-1"), origin.encode("latin-1"), _EXPOSED)
            for origin in named
        }
        self._others = _ANYBODY if "*" in named else _NOBODY if named else b""
        if "*" in named:
            self._fields.clear()

    def fields(self, origin: str | None) -> bytes:
        """For whoever names ``origin``: the same object each time, so that heads can be kept by it."""
        return self._fields.get(origin, self._others) if origin is not None else self._others
