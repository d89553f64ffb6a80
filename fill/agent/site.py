"""The appliances that a plan names, as sources: who is asked for what, and under which name we ask."""

from __future__ import annotations

import threading
from collections.abc import Callable

from contracts.catalog import CatalogObject
from contracts.plan import Plan, PlannedObject
from fill.agent.order import Escalation, SiteOrder, Standings
from fill.agent.peersource import PeerSource
from fill.agent.rangeclient import RangeClient
from fill.agent.source import Kind, Source
from fill.agent.storekeeper import Refused, Storekeeper, StorekeeperGone
from fill.agent.transfer import OriginOnly, Router


class Tokens:
    """Asks the storekeeper for identity tokens, over a line of its own; safe in many threads."""

    def __init__(self, connect: Callable[[], Storekeeper]) -> None:
        self._connect = connect
        self._line: Storekeeper | None = None
        self._lock = threading.Lock()

    def token(self, audience: str) -> str | None:
        """A token made out to ``audience``; None where there is none to be had now."""
        with self._lock:
            try:
                if self._line is None:
                    self._line = self._connect()
                return self._line.token(audience)
            except Refused:
                return None
            except StorekeeperGone:
                self._line = None  # whoever fills meanwhile waits for it too
                return None


class Site:
    """Makes a router for each object of ``plan``; what is learnt of an appliance holds for all objects."""

    def __init__(
        self,
        plan: Plan,
        origin: Source,
        ranges: RangeClient,
        tokens: Tokens,
        escalation: Escalation,
        now: Callable[[], float],
    ) -> None:
        self.standings = Standings()
        self._plan = plan
        self._origin = origin
        self._escalation = escalation
        self._now = now
        self._planned = {item.key: item for item in plan.objects if item.holders}
        self._routers: dict[str, Router] = {}
        self._masters = {
            place: PeerSource(peer, Kind.MASTER, ranges, tokens.token, now)
            for place, peer in enumerate(plan.peers)
        }
        self._peers = {
            place: PeerSource(peer, Kind.PEER, ranges, tokens.token, now)
            for place, peer in enumerate(plan.peers)
        }
        self._parents = [PeerSource(peer, Kind.PARENT, ranges, tokens.token, now) for peer in plan.parents]
        self._here = next((at for at, peer in enumerate(plan.peers) if peer.id == plan.appliance), -1)

    def router(self, item: CatalogObject) -> Router:
        """The same one until `forget`: it knows how long the object has been waited for."""
        router = self._routers.get(item.key)
        if router is None:
            router = self._routers[item.key] = self._made(item)
        return router

    def forget(self, item: CatalogObject) -> None:
        self._routers.pop(item.key, None)

    def holders(self, key: str) -> tuple[list[str], int]:
        """Names of the others of the site that shall hold it, the master first, and how many stand before us."""
        places, before = self._places(self._planned.get(key))
        return [self._plan.peers[place].id for place in places], before

    def _places(self, planned: PlannedObject | None) -> tuple[list[int], int]:
        holders = planned.holders if planned is not None else ()
        before = holders.index(self._here) if self._here in holders else 0
        return [place for place in holders if place != self._here], before

    def _made(self, item: CatalogObject) -> Router:
        places, before = self._places(self._planned.get(item.key))
        if not places and not self._parents:
            return OriginOnly(self._origin)
        sources = [
            self._masters[place] if not number and before else self._peers[place]
            for number, place in enumerate(places)
        ]
        return SiteOrder(
            item,
            sources,
            before,
            self._parents,
            self._origin,
            self._escalation,
            self.standings,
            self._now,
        )
