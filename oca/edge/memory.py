"""A bounded memory that forgets what was not asked for lately, in two dictionaries."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """The last ``least`` entries asked for, and at most as many again.

    When the young half is full it becomes the old one, and what was old is forgotten.

    A get is one look-up, two for what is old. An order of use would cost more on each request than it
    saves; and forgetting all at once, at one viewer more than there is room for, would have every viewer's
    signature checked again and again.
    """

    def __init__(self, least: int) -> None:
        self._half = least
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def clear(self) -> None:
        self._young, self._old = {}, {}

    def __len__(self) -> int:
        """Entries, of which some may be counted twice; at most twice the least."""
        return len(self._young) + len(self._old)
