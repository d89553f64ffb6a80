"""What one steering knows of our routes, and the next part of what it does not. Pure.

A serial is drawn at random at each start, and rises: another life of ours is never taken for this one. A part
that was not answered is sent again as it was, for it may have arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from contracts.route import Announcement, Attributes, RouteChanges

MAX_PREFIXES: Final = 5_000
"""In one heartbeat: steering takes them in some milliseconds, in which it answers nobody."""
MAX_BYTES: Final = 400_000
"""Of a heartbeat's 2 MiB; the rest may be needed for what is missing of the plan."""
_PREFIX_BYTES: Final = 46
"""The longest, with quotes and comma."""
_ATTRIBUTES_BYTES: Final = 80
_AS_BYTES: Final = 11


class RouteJournal:
    """``start``: a number of 32 bits or so, drawn by the caller."""

    def __init__(self, routes: Mapping[str, Attributes], start: int) -> None:
        self._routes = routes
        self._next = max(1, start)
        self._known: dict[str, Attributes] = {}
        self._dirty: dict[str, None] = dict.fromkeys(routes)
        self._serial = 0
        """Where steering stands, as far as we know; 0: it must forget what it has."""
        self._sent: RouteChanges | None = None
        self._from_nothing = True

    @property
    def behind(self) -> bool:
        """Whether there is more to tell at once."""
        return bool(self._dirty) or self._sent is not None

    def changed(self, routes: Mapping[str, Attributes], prefixes: set[str]) -> None:
        """``routes`` are now in force, and differ in ``prefixes`` from what was."""
        self._routes = routes
        self._dirty.update(dict.fromkeys(prefixes))

    def part(self) -> RouteChanges:
        """What the next heartbeat says. The same until `answered` was called."""
        if self._sent is None:
            self._sent = self._make()
        return self._sent

    def answered(self, serial: int) -> None:
        """Steering stands at ``serial``, having read the last `part` or not."""
        sent, self._sent = self._sent, None
        if sent is not None and serial == sent.serial:
            self._serial, self._from_nothing = serial, self._from_nothing and sent.more
            return
        # It restarted, or another one answers at this address: everything again.
        self._serial, self._from_nothing = 0, True
        self._known = {}
        self._dirty = dict.fromkeys(self._routes)

    def _make(self) -> RouteChanges:
        announced: dict[Attributes, list[str]] = {}
        withdrawn: list[str] = []
        size = count = 0
        while self._dirty and count < MAX_PREFIXES and size < MAX_BYTES:
            prefix = next(iter(self._dirty))
            del self._dirty[prefix]
            attributes = self._routes.get(prefix)
            if attributes == self._known.get(prefix):
                continue
            count, size = count + 1, size + _PREFIX_BYTES
            if attributes is None:
                withdrawn.append(prefix)
                del self._known[prefix]
                continue
            if attributes not in announced:
                size += _ATTRIBUTES_BYTES + _AS_BYTES * len(attributes.as_path)
            announced.setdefault(attributes, []).append(prefix)
            self._known[prefix] = attributes
        if count or self._serial == 0:
            self._next += 1
        return RouteChanges(
            self._serial,
            self._next if count or self._serial == 0 else self._serial,
            tuple(Announcement(attributes, tuple(prefixes)) for attributes, prefixes in announced.items()),
            tuple(withdrawn),
            more=bool(self._dirty) and self._from_nothing,
        )


class RouteJournals:
    """One for each steering. ``draw`` gives the number that its serials begin at."""

    def __init__(self, draw: Callable[[], int]) -> None:
        self._draw = draw
        self._routes: Mapping[str, Attributes] | None = None
        self._journals: dict[str, RouteJournal] = {}

    def changed(self, routes: Mapping[str, Attributes], prefixes: set[str]) -> None:
        self._routes = routes
        for journal in self._journals.values():
            journal.changed(routes, prefixes)

    def part(self, url: str) -> RouteChanges | None:
        """None as long as our routes are not known: steering keeps those that it has."""
        if self._routes is None:
            return None
        journal = self._journals.get(url)
        if journal is None:
            journal = self._journals[url] = RouteJournal(self._routes, self._draw())
        return journal.part()

    def answered(self, url: str, serial: int) -> bool:
        """Takes what the steering at ``url`` answered; whether there is more to tell it at once."""
        journal = self._journals.get(url)
        if journal is None:
            return False
        journal.answered(serial)
        return journal.behind
