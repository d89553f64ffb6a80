"""Which players starve, by network: what a worker sees of it between two reports.

A vote belongs to a session that a token names, and steering has signed: who asks a thousand times has said it once,
and a session of the player's own invention (CMCD sid, an address) says nothing. `oca.store.votes` counts.

Bounded: networks at a time (beyond, nobody's votes are taken), and sessions by the requests of one second.
"""

from __future__ import annotations

from typing import Final

from oca import ipc
from oca.edge.networks import name_of, network_of

MAX_NETWORKS: Final = 8192


class Ballot:
    """Of one network."""

    __slots__ = ("connections", "name", "seen", "slowed", "starved")

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections = 0
        self.seen: set[int] = set()
        self.starved: set[int] = set()
        self.slowed: set[int] = set()

    def clear(self) -> None:
        self.seen.clear()
        self.starved.clear()
        self.slowed.clear()


class Votes:
    """Of one worker."""

    def __init__(self) -> None:
        self._ballots: dict[bytes, Ballot] = {}
        self._nowhere = Ballot("")

    def open(self, address: str) -> Ballot:
        """Of a new connection from ``address``, as the kernel writes it; `Ballot.connections` is the caller's to count."""
        network = network_of(address)
        ballot = self._ballots.get(network)
        if ballot is None:
            if len(self._ballots) >= MAX_NETWORKS:
                return self._nowhere
            ballot = self._ballots[network] = Ballot(name_of(network))
        return ballot

    def take(self) -> tuple[ipc.Votes, ...]:
        """Everything since the last time."""
        taken = tuple(
            ipc.Votes(ballot.name, tuple(ballot.seen), tuple(ballot.starved), tuple(ballot.slowed))
            for ballot in self._ballots.values()
            if ballot.seen
        )
        self.drop()
        return taken

    def drop(self) -> None:
        """Forgets what was seen, and networks without a connection."""
        self._nowhere.clear()
        for network, ballot in tuple(self._ballots.items()):
            if ballot.seen:
                ballot.clear()
            if not ballot.connections:
                del self._ballots[network]
