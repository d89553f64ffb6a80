"""What the appliances' routers announce, as heartbeats tell it: a table and a serial per appliance. Pure.

A table never changes: a heartbeat that brings changes leads to another one. Appliances that announce the
same share one, as all of a site should: 17,000 appliances cost what 1,000 sites do. Whoever keeps a lookup
over all of them adds itself to `Routes.listeners` and hears of differences alone.
"""

from __future__ import annotations

import secrets
import socket
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
import xxhash

from contracts.route import Attributes, RouteChanges

MAX_ROUTES: Final = 1_000_000
"""Of one appliance, about all of the internet's; what is beyond is refused."""

_encode = msgspec.msgpack.Encoder().encode
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
    announced: dict[Prefix, Attributes]
    withdrawn: frozenset[Prefix]


@dataclass(slots=True)
class _Standing:
    table: Table
    serial: int = 0
    gathered: dict[Prefix, Attributes] | None = None
    """The parts so far of a table that comes whole."""
    refused: int = 0


@dataclass(slots=True)
class Routes:
    """``listeners`` are told after each change, in the order in which heartbeats came."""

    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    _standings: dict[str, _Standing] = field(default_factory=dict)
    _tables: weakref.WeakValueDictionary[int, Table] = field(default_factory=weakref.WeakValueDictionary)
    _seed: int = field(default_factory=lambda: secrets.randbits(64))
    """Nobody can make up routes that are taken for somebody else's."""
    _empty: Table = field(default_factory=lambda: Table({}, 0))

    def serial(self, appliance: str) -> int:
        """Up to where its routes are known, for the answer to its heartbeat; 0 for none."""
        standing = self._standings.get(appliance)
        return 0 if standing is None else standing.serial

    def settled(self, appliance: str) -> int:
        """The serial that `table` is of; 0 while a whole one is on its way."""
        standing = self._standings.get(appliance)
        return 0 if standing is None or standing.gathered is not None else standing.serial

    def table(self, appliance: str) -> Table:
        standing = self._standings.get(appliance)
        return self._empty if standing is None else standing.table

    def refused(self, appliance: str) -> int:
        """How many routes were no prefixes, or beyond `MAX_ROUTES`, since its table came whole."""
        standing = self._standings.get(appliance)
        return 0 if standing is None else standing.refused

    def hear(self, appliance: str, changes: RouteChanges) -> int:
        """Takes what a heartbeat says, as far as it follows on what is known; the serial to answer with.

        Never raises: an appliance with one bad route must not be taken for dead.
        """
        standing = self._standings.get(appliance)
        if standing is None:
            standing = self._standings[appliance] = _Standing(self._empty)
        if changes.since == 0:
            standing.gathered, standing.refused = {}, 0
        elif changes.since != standing.serial:
            return standing.serial
        announced, withdrawn = _read(changes, standing)
        if standing.gathered is not None:
            standing.gathered.update(announced)
            _cut(standing.gathered, standing)
            for prefix in withdrawn:
                standing.gathered.pop(prefix, None)
            if not changes.more:
                self._replace(appliance, standing, standing.gathered)
                standing.gathered = None
        elif announced or withdrawn:
            self._change(appliance, standing, announced, withdrawn)
        standing.serial = changes.serial
        return standing.serial

    def restore(self, appliance: str, serial: int, routes: Mapping[Prefix, Attributes]) -> None:
        """What was known before a restart."""
        standing = self._standings[appliance] = _Standing(self._empty, serial)
        self._replace(appliance, standing, dict(routes))

    def forget(self, appliance: str) -> None:
        """It left the fleet: nothing is announced there any more."""
        standing = self._standings.pop(appliance, None)
        if standing is not None and standing.table:
            self._tell(Change(appliance, standing.table, self._empty, {}, frozenset(standing.table)))

    def known(self) -> Iterable[str]:
        """The appliances that ever told of routes."""
        return tuple(self._standings)

    def _replace(self, appliance: str, standing: _Standing, routes: dict[Prefix, Attributes]) -> None:
        before = standing.table
        announced = {prefix: kept for prefix, kept in routes.items() if before.get(prefix) != kept}
        withdrawn = {prefix for prefix in before if prefix not in routes}
        self._change(appliance, standing, announced, withdrawn)

    def _change(
        self,
        appliance: str,
        standing: _Standing,
        announced: dict[Prefix, Attributes],
        withdrawn: set[Prefix],
    ) -> None:
        before = standing.table
        gone = frozenset(prefix for prefix in withdrawn if prefix in before and prefix not in announced)
        new = {prefix: kept for prefix, kept in announced.items() if before.get(prefix) != kept}
        room = MAX_ROUTES - len(before) + len(gone)
        if len(new) > room:
            standing.refused += len(new) - room
            new = dict(list(new.items())[: max(0, room)])
        if not new and not gone:
            return
        digest = before.digest + self._sum(new)
        digest -= self._sum({prefix: before[prefix] for prefix in (*new, *gone) if prefix in before})
        standing.table = self._shared(digest % (1 << 128), before, new, gone)
        self._tell(Change(appliance, before, standing.table, new, gone))

    def _shared(
        self, digest: int, before: Table, new: dict[Prefix, Attributes], gone: frozenset[Prefix]
    ) -> Table:
        """The table that somebody else has already, or a new one."""
        found = self._tables.get(digest)
        if found is None:
            routes = before.copied()
            routes.update(new)
            for prefix in gone:
                del routes[prefix]
            found = self._tables[digest] = Table(routes, digest)
        return found

    def _sum(self, routes: Mapping[Prefix, Attributes]) -> int:
        """A number that is the same for the same routes, in whatever order they came."""
        total, texts = 0, dict[int, bytes]()
        for prefix, attributes in routes.items():
            text = texts.get(id(attributes))
            if text is None:
                text = texts[id(attributes)] = _encode(attributes)
            whole = b"%d %x %d " % prefix + text
            total += xxhash.xxh3_128_intdigest(whole, self._seed)
        return total

    def _tell(self, change: Change) -> None:
        for listener in self.listeners:
            listener(change)


def _read(changes: RouteChanges, standing: _Standing) -> tuple[dict[Prefix, Attributes], set[Prefix]]:
    announced: dict[Prefix, Attributes] = {}
    for announcement in changes.announced:
        attributes = announcement.attributes
        for text in announcement.prefixes:
            try:
                announced[parse_prefix(text)] = attributes
            except ValueError:
                standing.refused += 1
    withdrawn: set[Prefix] = set()
    for text in changes.withdrawn:
        try:
            withdrawn.add(parse_prefix(text))
        except ValueError:
            standing.refused += 1
    return announced, withdrawn


def _cut(gathered: dict[Prefix, Attributes], standing: _Standing) -> None:
    while len(gathered) > MAX_ROUTES:
        gathered.popitem()
        standing.refused += 1
