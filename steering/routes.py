"""What the appliances' routers announce, as heartbeats tell it: a table and a serial per appliance. Pure.

A table never changes: a heartbeat that brings changes leads to another one. Appliances that announce the
same share one, as all of a site should: 17,000 appliances cost what 1,000 sites do. Whoever keeps a lookup
over all of them adds itself to `Routes.listeners` and hears of differences alone.

What a heartbeat brings is taken at once, and put in force in steps of a millisecond or two: a router that withdraws
10,000 prefixes holds up nobody's answer. The serial that is answered means "taken"; the one that is kept for a restart
is that of the table.
"""

from __future__ import annotations

import secrets
import socket
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
import xxhash

from contracts.route import Attributes, RouteChanges

MAX_ROUTES: Final = 1_000_000
"""Of one appliance, about all of the internet's; what is beyond is refused."""
STEP: Final = 500
"""Prefixes that are read or compared in one go: a millisecond, in which nobody is answered."""
_COPIED: Final = 2_000
"""Entries that are put into a table in one go, which takes as long."""
MAX_BEHIND: Final = 2_000_000
"""Prefixes that may wait to be put in force, some 130 MB; what comes then is not taken, and comes again."""

_encode = msgspec.msgpack.Encoder().encode
_END: Final = object()
_BITS: Final = {4: 32, 6: 128}


class Prefix(NamedTuple):
    """A network: ``network`` is its address as a number, host bits zero."""

    version: int
    network: int
    length: int

    def __str__(self) -> str:
        packed = self.network.to_bytes(_BITS[self.version] // 8, "big")
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        return f"{socket.inet_ntop(family, packed)}/{self.length}"


def parse_prefix(text: str) -> Prefix:
    """Raises ValueError. Eight times as fast as `ipaddress`: there are thousands in a heartbeat."""
    address, slash, length_text = text.partition("/")
    version = 6 if ":" in address else 4
    if not slash or not length_text.isascii() or not length_text.isdigit():
        raise ValueError(f"{text!r} is not ADDRESS/LENGTH")
    try:
        packed = socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, address)
    except (OSError, ValueError):
        raise ValueError(f"{text!r} has no address") from None
    network, length = int.from_bytes(packed, "big"), int(length_text)
    host_bits = _BITS[version] - length
    if host_bits < 0 or network & ((1 << host_bits) - 1):
        raise ValueError(f"{text!r} is longer than its address, or has host bits")
    return Prefix(version, network, length)


class Table(Mapping[Prefix, Attributes]):
    """Routes that are announced together; equal ones are one object as long as somebody has it."""

    __slots__ = ("__weakref__", "_routes", "digest")

    def __init__(self, routes: dict[Prefix, Attributes], digest: int) -> None:
        self._routes = routes
        self.digest = digest

    def __getitem__(self, prefix: Prefix) -> Attributes:
        return self._routes[prefix]

    def __iter__(self) -> Iterator[Prefix]:
        return iter(self._routes)

    def __len__(self) -> int:
        return len(self._routes)

    def get(self, prefix: Prefix, default: Any = None) -> Any:
        """The inherited one takes five times as long, and a look-up table asks it for every prefix."""
        return self._routes.get(prefix, default)

    # Equal tables are one object, and what stands for a table is found by it.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def copied(self) -> dict[Prefix, Attributes]:
        return self._routes.copy()


@dataclass(frozen=True, slots=True)
class Change:
    """What became different for one appliance. A prefix with other attributes is among the announced."""

    appliance: str
    before: Table
    after: Table
    announced: Mapping[Prefix, Attributes]
    withdrawn: Set[Prefix]


@dataclass(slots=True)
class _Standing:
    table: Table
    serial: int = 0
    """Up to where changes were taken."""
    settled: int = 0
    """Up to where they are in force."""
    gathered: dict[Prefix, Attributes] | None = None
    """The parts so far of a table that comes whole."""
    refused: int = 0


@dataclass(slots=True)
class Routes:
    """``listeners`` are told after each change, in the order in which heartbeats came."""

    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    _standings: dict[str, _Standing] = field(default_factory=dict)
    _tables: weakref.WeakValueDictionary[int, Table] = field(default_factory=weakref.WeakValueDictionary)
    _taken: deque[tuple[str, _Standing, RouteChanges]] = field(default_factory=deque)
    """The first is under way, by `_steps`, when that is something."""
    _steps: Iterator[None] | None = None
    _behind: int = 0
    """Prefixes in `_taken`."""
    _seed: int = field(default_factory=lambda: secrets.randbits(64))
    """Nobody can make up routes that are taken for somebody else's."""
    _empty: Table = field(default_factory=lambda: Table({}, 0))

    def serial(self, appliance: str) -> int:
        """Up to where its routes were taken, for the answer to its heartbeat; 0 for none."""
        standing = self._standings.get(appliance)
        return 0 if standing is None else standing.serial

    def settled(self, appliance: str) -> int:
        """The serial that `table` is of; 0 while a whole one is on its way."""
        standing = self._standings.get(appliance)
        return 0 if standing is None or standing.gathered is not None else standing.settled

    def table(self, appliance: str) -> Table:
        standing = self._standings.get(appliance)
        return self._empty if standing is None else standing.table

    def refused(self, appliance: str) -> int:
        """How many routes were no prefixes, or beyond `MAX_ROUTES`, since its table came whole."""
        standing = self._standings.get(appliance)
        return 0 if standing is None else standing.refused

    def hear(self, appliance: str, changes: RouteChanges) -> int:
        """Takes what a heartbeat says, as far as it follows on what is known; the serial to answer with.

        The caller owes it `step` while there is something `behind`. A few changes are in force when this returns.
        Never raises: an appliance with one bad route must not be taken for dead.
        """
        standing = self._standings.get(appliance)
        if standing is None:
            standing = self._standings[appliance] = _Standing(self._empty)
        if changes.since not in {0, standing.serial} or self._behind > MAX_BEHIND:
            return standing.serial
        standing.serial = changes.serial
        self._taken.append((appliance, standing, changes))
        self._behind += _size(changes)
        if len(self._taken) == 1:
            self.step()
        return standing.serial

    @property
    def behind(self) -> bool:
        """Whether something was taken that is not in force yet."""
        return bool(self._taken)

    def step(self) -> bool:
        """Goes on with what was taken, for about `STEP` prefixes; whether there is more."""
        if self._taken:
            appliance, standing, changes = self._taken[0]
            if self._steps is None:
                self._steps = self._apply(appliance, standing, changes)
            # Of one that has left the fleet since, or is restored, nothing more is put in force.
            if self._standings.get(appliance) is not standing or next(self._steps, _END) is _END:
                self._taken.popleft()
                self._steps = None
                self._behind -= _size(changes)
        return bool(self._taken)

    def restore(self, appliance: str, serial: int, routes: Mapping[Prefix, Attributes]) -> Table:
        """What was known before a restart; of a `Table` that it gave before nothing is worked out anew."""
        standing = self._standings[appliance] = _Standing(self._empty, serial, serial)
        if isinstance(routes, Table):
            standing.table = routes
            self._tell(Change(appliance, self._empty, routes, routes, frozenset()))
        else:
            for _ in self._change(appliance, standing, routes, ()):
                pass
        return standing.table

    def forget(self, appliance: str) -> None:
        """It left the fleet: nothing is announced there any more."""
        standing = self._standings.pop(appliance, None)
        if standing is not None and standing.table:
            self._tell(Change(appliance, standing.table, self._empty, {}, frozenset(standing.table)))

    def known(self) -> Iterable[str]:
        """The appliances that ever told of routes."""
        return tuple(self._standings)

    def _apply(self, appliance: str, standing: _Standing, changes: RouteChanges) -> Iterator[None]:
        """Puts it in force, in steps."""
        if changes.since == 0:
            standing.gathered, standing.refused = {}, 0
        announced: dict[Prefix, Attributes] = {}
        withdrawn: set[Prefix] = set()
        yield from _read(changes, standing, announced, withdrawn)
        if standing.gathered is None:
            if announced or withdrawn:
                yield from self._change(appliance, standing, announced, withdrawn)
        else:
            standing.gathered.update(announced)
            _cut(standing.gathered, standing)
            for prefix in withdrawn:
                standing.gathered.pop(prefix, None)
            if not changes.more:
                whole, standing.gathered = standing.gathered, None
                gone = (prefix for prefix in standing.table if prefix not in whole)
                yield from self._change(appliance, standing, whole, gone)
        standing.settled = changes.serial

    def _change(
        self,
        appliance: str,
        standing: _Standing,
        announced: Mapping[Prefix, Attributes],
        withdrawn: Iterable[Prefix],
    ) -> Iterator[None]:
        """Gives it another table, and tells. What is announced too is not withdrawn."""
        before = standing.table
        digest = before.digest
        hashed = self._hashed()
        gone: set[Prefix] = set()
        for number, prefix in enumerate(withdrawn, start=1):
            old = before.get(prefix)
            if old is not None and prefix not in announced:
                gone.add(prefix)
                digest -= hashed(prefix, old)
            if number % STEP == 0:
                yield
        room = MAX_ROUTES - len(before) + len(gone)
        new: dict[Prefix, Attributes] = {}
        for number, (prefix, attributes) in enumerate(announced.items(), start=1):
            old = before.get(prefix)
            if old is None and room <= 0:
                standing.refused += 1
            elif old != attributes:
                new[prefix] = attributes
                digest += hashed(prefix, attributes)
                if old is None:
                    room -= 1
                else:
                    digest -= hashed(prefix, old)
            if number % STEP == 0:
                yield
        if new or gone:
            after = yield from self._shared(digest % (1 << 128), before, new, gone)
            standing.table = after
            self._tell(Change(appliance, before, after, new, gone))

    def _shared(
        self, digest: int, before: Table, new: dict[Prefix, Attributes], gone: set[Prefix]
    ) -> Generator[None, None, Table]:
        """The table that somebody else has already, or a new one."""
        found = self._tables.get(digest)
        if found is None and not before:
            found = self._tables[digest] = Table(new, digest)
        elif found is None:
            routes = before.copied()
            for number, (prefix, attributes) in enumerate(new.items(), start=1):
                routes[prefix] = attributes
                if number % _COPIED == 0:
                    yield
            for number, prefix in enumerate(gone, start=1):
                del routes[prefix]
                if number % _COPIED == 0:
                    yield
            found = self._tables[digest] = Table(routes, digest)
        return found

    def _hashed(self) -> Callable[[Prefix, Attributes], int]:
        """A number for a route; the sum of a table's is the same in whatever order they came."""
        texts: dict[int, bytes] = {}

        def hashed(prefix: Prefix, attributes: Attributes) -> int:
            text = texts.get(id(attributes))
            if text is None:
                text = texts[id(attributes)] = _encode(attributes)
            return xxhash.xxh3_128_intdigest(b"%d %x %d " % prefix + text, self._seed)

        return hashed

    def _tell(self, change: Change) -> None:
        for listener in self.listeners:
            listener(change)


def _read(
    changes: RouteChanges,
    standing: _Standing,
    announced: dict[Prefix, Attributes],
    withdrawn: set[Prefix],
) -> Iterator[None]:
    """Fills the last two, in steps; what is no prefix is counted as refused."""
    number = 0
    for announcement in changes.announced:
        attributes = announcement.attributes
        for text in announcement.prefixes:
            try:
                announced[parse_prefix(text)] = attributes
            except ValueError:
                standing.refused += 1
            number += 1
            if number % STEP == 0:
                yield
    for text in changes.withdrawn:
        try:
            withdrawn.add(parse_prefix(text))
        except ValueError:
            standing.refused += 1
        number += 1
        if number % STEP == 0:
            yield


def _size(changes: RouteChanges) -> int:
    return len(changes.withdrawn) + sum(len(item.prefixes) for item in changes.announced)


def _cut(gathered: dict[Prefix, Attributes], standing: _Standing) -> None:
    while len(gathered) > MAX_ROUTES:
        gathered.popitem()
        standing.refused += 1
