"""Which sites announce a client, and how well: the fleet file and BGP, in one table that changes in place. Pure.

Every appliance of a site should announce the same. Where they do not, the site has what any of them
announces, with the best attributes that any of them has for it, and the difference is told (`differences`):
a router that forgot one of them must not take its viewers from the rest.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from contracts.fleet import Fleet, Site, Tier
from contracts.route import Attributes
from steering.nearness import Ways, ways
from steering.preference import Route, order_of, written_attributes
from steering.prefixes import Address, PrefixTable
from steering.routes import Change, Prefix, Routes, Table, parse_prefix

STEP: Final = 300
"""Prefixes that are looked at anew in one go: a millisecond or two, in which nobody is answered."""


@dataclass(slots=True)
class _Site:
    name: str
    tier: Tier = Tier.ISP
    written: Attributes = field(default_factory=Attributes)
    prefixes: frozenset[Prefix] = frozenset()
    """Of the fleet file."""
    appliances: tuple[str, ...] = ()
    allowed: frozenset[Prefix] | None = None
    """What is believed over BGP, with all that is longer; None: anything."""
    cover: PrefixTable[bool] = field(default_factory=PrefixTable)
    """The same, to look up in."""
    refused: set[Prefix] = field(default_factory=set)
    """What its appliances announce and may not."""
    routes: dict[Attributes, Route] = field(default_factory=dict)

    def route(self, attributes: Attributes) -> Route:
        found = self.routes.get(attributes)
        if found is None:
            found = self.routes[attributes] = Route(self.name, attributes, order_of(self.tier, attributes))
        return found

    def may_announce(self, prefix: Prefix) -> bool:
        return self.allowed is None or self.cover.covers(prefix)


class Announced:
    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._table: PrefixTable[Ways] = PrefixTable()
        self._sites: dict[str, _Site] = {}
        self._site_of: dict[str, str] = {}
        self._ways: dict[tuple[Route, ...], Ways] = {}
        """Of each set of routes that some prefix has or had: there are few, and a million prefixes."""
        self._behind: deque[tuple[str, Iterator[Prefix]]] = deque()
        """Prefixes by site that changed and were not looked at yet."""
        routes.listeners.append(self._changed)

    def __len__(self) -> int:
        """How many prefixes are announced by anybody."""
        return len(self._table)

    def matches(self, address: Address) -> list[tuple[int, Ways]]:
        """(prefix length, the ways to it) of each prefix that holds the address, the longest first."""
        return self._table.matches(address)

    @property
    def behind(self) -> bool:
        """Whether something changed that was not looked at yet."""
        return bool(self._behind)

    def step(self) -> bool:
        """Looks at no more than `STEP` of the prefixes that changed; whether there are more."""
        if self._behind:
            site, prefixes = self._behind[0]
            some = list(itertools.islice(prefixes, STEP))
            if len(some) < STEP:
                self._behind.popleft()
            self._revisit(site, some)
        return bool(self._behind)

    def catch_up(self) -> Iterator[None]:
        """Takes every step; who drives it lets others have their turn in between."""
        while self.step():
            yield

    def read(self, fleet: Fleet) -> None:
        """Another fleet file is in force. All that differs is looked at, however long it takes."""
        left = [
            Site(name, Tier.ISP, (), ()) for name in self._sites.keys() - {site.id for site in fleet.sites}
        ]
        touched = {site.id: self._differs(site) for site in (*fleet.sites, *left)}
        self._site_of = {box.id: site.id for site in fleet.sites for box in site.appliances}
        for name, prefixes in touched.items():
            self._revisit(name, prefixes)
        for gone in left:
            del self._sites[gone.id]

    def _differs(self, site: Site) -> set[Prefix]:
        """Takes what the fleet file says of ``site``; the prefixes to which that makes a difference."""
        mine = self._sites.setdefault(site.id, _Site(site.id))
        before = mine.tier, mine.written, mine.prefixes, mine.appliances
        allowed = None if site.may_announce is None else frozenset(map(_written, site.may_announce))
        others, mine.allowed, mine.cover = allowed != mine.allowed, allowed, PrefixTable()
        for prefix in allowed or ():
            mine.cover.put(prefix, True)
        mine.tier, mine.written = site.tier, written_attributes(site.tier, site.peering)
        mine.prefixes = frozenset(map(_written, site.prefixes))
        mine.appliances = tuple(box.id for box in site.appliances)
        if before[:2] == (mine.tier, mine.written):
            prefixes = set(before[2] ^ mine.prefixes)
            speakers = set(before[3]) ^ set(mine.appliances)
            if others:
                speakers = {*before[3], *mine.appliances}
        else:
            mine.routes.clear()
            prefixes = set(before[2] | mine.prefixes)
            speakers = {*before[3], *mine.appliances}
        for name in speakers:
            prefixes.update(self._routes.table(name))
        return prefixes

    def count(self, appliance: str) -> int:
        """How many prefixes it announces over BGP."""
        return len(self._routes.table(appliance))

    def refused(self, site: str) -> int:
        """How many prefixes its appliances announce over BGP and may not."""
        return len(self._sites[site].refused)

    def differences(self, site: str) -> dict[str, int]:
        """By appliance that speaks BGP: prefixes that another of the site announces, and it does not or worse."""
        mine = self._sites[site]
        tables = {name: table for name in mine.appliances if (table := self._routes.table(name))}
        if len({id(table) for table in tables.values()}) < 2:
            return {}
        found = dict.fromkeys(tables, 0)
        for prefix in frozenset().union(*tables.values()):
            heard = {
                name: order_of(mine.tier, table[prefix]) for name, table in tables.items() if prefix in table
            }
            best = min(heard.values())
            for name in tables:
                found[name] += heard.get(name) != best
        return {name: count for name, count in found.items() if count}

    def _changed(self, change: Change) -> None:
        site = self._site_of.get(change.appliance)
        if site is None:
            return
        others = {
            id(self._routes.table(name)) for name in self._sites[site].appliances if name != change.appliance
        }
        if id(change.after) in others and (not change.before or id(change.before) in others):
            return  # the site's appliances have the same tables between them as before
        self._behind.append((site, itertools.chain(change.announced, change.withdrawn)))
        if len(self._behind) == 1:
            self.step()

    def _revisit(self, site: str, prefixes: Iterable[Prefix]) -> None:
        """Works out anew what the site has each of ``prefixes`` by."""
        mine = self._sites.get(site)
        if mine is None:
            return
        tables: list[Table] = list({id(t): t for t in map(self._routes.table, mine.appliances) if t}.values())
        known: dict[int, Route] = {}
        written = mine.route(mine.written)
        for prefix in prefixes:
            best = written if prefix in mine.prefixes else None
            believed = mine.may_announce(prefix)
            mine.refused.discard(prefix)
            if not believed and any(prefix in table for table in tables):
                mine.refused.add(prefix)
            for table in tables if believed else ():
                attributes = table.get(prefix)
                if attributes is None:
                    continue
                route = known.get(id(attributes))
                if route is None:
                    route = known[id(attributes)] = mine.route(attributes)
                if best is None or route.order < best.order:
                    best = route
            self._put(site, prefix, best)

    def _put(self, site: str, prefix: Prefix, route: Route | None) -> None:
        before = [known for way in self._table.get(prefix) or () for known in way]
        routes = tuple([known for known in before if known.site != site])
        if route is not None:
            if route in before:
                return
            routes = (*routes, route)
        if not routes:
            self._table.drop(prefix)
            return
        found = self._ways.get(routes)
        if found is None:
            found = self._ways[routes] = ways(routes)
        self._table.put(prefix, found)


def _written(text: str) -> Prefix:
    """As the operator wrote it, which `contracts.fleet` has looked at: an address and a mask may stand there."""
    try:
        return parse_prefix(text)
    except ValueError:
        return parse_prefix(str(ipaddress.ip_network(text)))
