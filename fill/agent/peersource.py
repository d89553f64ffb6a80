"""Another appliance as a source: over its data port, for what it has and nothing else (``only-if-cached``).

So a fill never makes an appliance fetch: it answers 504, and says which slices of an object are there already.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from contracts.catalog import CatalogObject
from contracts.objectkey import slice_count
from contracts.plan import Peer
from fill.agent.rangeclient import Answer, NoAnswer, RangeClient
from fill.agent.source import Absent, Kind, Unwilling, check_range

_TOKEN_S: Final = 30
"""Of a token's minute: the peer's clock may be ahead."""
_runs = re.compile(r"\d{1,7}-\d{1,7}(?:, ?\d{1,7}-\d{1,7}){0,63}\Z", re.ASCII).match


class PeerSource:
    """``token(audience)`` is asked of the storekeeper; None where it makes out none."""

    def __init__(
        self,
        peer: Peer,
        kind: Kind,
        ranges: RangeClient,
        token: Callable[[str], str | None],
        now: Callable[[], float],
    ) -> None:
        self.name = peer.id
        self.kind = kind
        self._url = peer.url
        self._ranges = ranges
        self._token = token
        self._now = now
        self._lock = threading.Lock()
        self._known: tuple[str | None, float] = (None, float("-inf"))

    def look(self, item: CatalogObject) -> list[range]:
        """The slices of ``item`` that are there, as runs. Raises `NoAnswer`, `Unwilling`."""
        with self._ranges.ask("HEAD", f"{self._url}/{item.key}", self._fields(item)) as answer:
            if answer.status == 200:
                return [range(slice_count(item.size))]
            if answer.status in {404, 412}:
                return []
            if answer.status == 504:
                return _held(answer.fields.get("nearcast-slices", ""), slice_count(item.size))
            raise self._refusal(answer.status)

    @contextmanager
    def open(self, item: CatalogObject, start: int, end: int) -> Iterator[Answer]:
        """As `Source.open`; raises `Absent`, `NoAnswer`, `Unwilling`, `BadSource`."""
        fields = self._fields(item) | {"Range": f"bytes={start}-{end - 1}"}
        with self._ranges.ask("GET", f"{self._url}/{item.key}", fields) as answer:
            if answer.status in {404, 412, 504}:
                raise Absent(f"{self.name} does not have all of it")
            if answer.status in {401, 403, 429} or answer.status >= 500:
                raise self._refusal(answer.status)
            check_range(item, answer, start, end, self.name)
            yield answer

    def _refusal(self, status: int) -> Exception:
        if status in {401, 403}:
            return Unwilling(f"{self.name} answered {status}: is our key in its auth.peers_file?")
        return NoAnswer(f"{self.name} answered {status}")

    def _fields(self, item: CatalogObject) -> dict[str, str]:
        fields = {"Cache-Control": "only-if-cached", "If-Match": item.etag}
        with self._lock:
            token, until = self._known
            if self._now() >= until:
                token = self._token(self.name)
                self._known = (token, self._now() + _TOKEN_S)
        if token is not None:
            fields["Authorization"] = f"Bearer {token}"
        return fields


def _held(text: str, slices: int) -> list[range]:
    """What a peer says that it has; nothing where it says what cannot be."""
    if _runs(text) is None:
        return []
    pairs = [part.strip().split("-") for part in text.split(",")]
    return [range(int(first), min(int(last) + 1, slices)) for first, last in pairs if int(first) <= int(last)]
