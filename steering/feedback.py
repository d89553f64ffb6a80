"""How much of its share an appliance is given of one network's sessions, from what players there went through.

Appliances tell, of each client network (/24, /48), how many sessions they had and how many of these starved
(`contracts.players.Players`): a state, not a change, so that every replica that hears the last heartbeats has the same.
`weights` is pure: an appliance that starves a network more than its equals do, and more than it starves its other
networks, gets a weight below 1, and of the sessions that it would be given of that network that share alone; the
others go to its equals. Which sessions these are follows from their names: none goes to and fro while the weight stays.

What is compared, and why:
    with its equals           a network whose players starve everywhere says nothing about this appliance
    with its other networks   an appliance that starves everybody is overloaded or broken, and to send its load to others
                              on the word of players would break them too: that is for `steering.load` and health
    what is sure, not what is seen   the lower end of Wilson's interval: three of four is little, 300 of 400 is not

What it cannot do, whoever lies: leave an appliance out of the answers, change the order of preference (BGP's is the
operators' word, and goes before), speak for another network, or move more than the liars' own share allows: with k of
n sessions no weight falls below 1 - GAIN x (k/n - TOLERANCE), nor below `FLOOR`. `FLOOR` is also how recovery is seen:
that share of sessions still goes there.

Source: Wilson, Probable Inference (1927), the score interval.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from contracts.players import Players
from steering.prefixes import Address

FLOOR: Final = 0.1
"""bench/steering/lossy.py: with 0.5 half of the stalls stay; with less than 0.1 it takes long to see that it is mended."""
TOLERANCE: Final = 0.05
"""Of sessions, that may starve more than elsewhere: networks differ in more than their paths."""
GAIN: Final = 3.0
"""The weight is at `FLOOR` where it is sure that 35 % starve more."""
FEW: Final = 2.0
ENOUGH: Final = 10.0
"""Sessions of a network in an interval, whose word counts whole; that of `FEW` is an anecdote. Between them it counts ever
more, without a step: at one, the weight would jump to and fro as its own effect takes sessions away."""
_DEVIATIONS: Final = 1.96
_DOUBT: Final = 2.0
"""Sessions that did not starve, which are added to what an appliance is compared with: one session there must not hide
what many say here."""
MAX_PAIRS: Final = 500_000
"""Of appliance and network: some 100 MB. A fleet in trouble tells a hundredth of it."""

Network = int
_NOTHING: Final[Mapping[str, Told]] = {}


class Told(msgspec.Struct, frozen=True, gc=False):
    """What one appliance said of one network."""

    network: str
    sessions: float
    starved: float
    elsewhere: float = 0.0
    """The share of the appliance's other sessions that starved."""

    @property
    def share(self) -> float:
        """As others are compared with it."""
        return self.starved / (self.sessions + _DOUBT)


class Lowered(msgspec.Struct, frozen=True, gc=False):
    """A weight below 1, and why. ``set_back``: this session is among those that go to its equals first."""

    weight: float
    told: Told
    set_back: bool

    def __str__(self) -> str:
        told = self.told
        words = f"weight {self.weight:.2f} for {told.network}: {told.starved:.0f} of {told.sessions:.0f} sessions starved"
        return f"{words}, so this one goes to its equals first" if self.set_back else words


def weights(told: Mapping[str, Told], equals: Iterable[str]) -> dict[str, float]:
    """The weights below 1 of appliances that nothing else tells apart; ``told`` is of the client's network."""
    shares = {name: told[name].share if name in told else 0.0 for name in equals}
    lowered: dict[str, float] = {}
    if len(shares) < 2:
        return lowered  # nobody else to go to
    best = min(
        shares.values()
    )  # its own, for the best one: what is sure of it is less, and it is not lowered
    for name in shares:
        if name in told:
            weight = weight_of(told[name], best)
            if weight < 1.0:
                lowered[name] = weight
    return lowered


def weight_of(told: Told, best: float) -> float:
    """Where at the best of its equals the share ``best`` of this network's sessions starves."""
    more = at_least(told.starved, told.sessions) - max(best, told.elsewhere) - TOLERANCE
    heed = min(1.0, (told.sessions - FEW) / (ENOUGH - FEW))
    return 1.0 if more <= 0.0 or heed <= 0.0 else max(FLOOR, 1.0 - GAIN * more * heed)


def at_least(starved: float, sessions: float) -> float:
    """The share that starves, as far as so few can tell: the lower end of Wilson's interval."""
    if not starved > 0.0:
        return 0.0
    share, square = min(1.0, starved / sessions), _DEVIATIONS**2
    middle = share + square / (2 * sessions)
    spread = _DEVIATIONS * math.sqrt(share * (1 - share) / sessions + square / (4 * sessions**2))
    return max(0.0, (middle - spread) / (1 + square / sessions))


def is_set_back(session: str, seed: int, weight: float) -> bool:
    """Whether this session is one of those that an appliance of this seed does not get at ``weight``.

    As the weight falls ever more sessions are, and none that was comes back before it rises.
    """
    return xxh3_64_intdigest(b"feedback " + session.encode(), seed) >= weight * 2**64


class Feedback:
    """What the appliances told last."""

    def __init__(self) -> None:
        self._players: dict[str, Players] = {}
        self._networks: dict[Network, dict[str, Told]] = {}
        self._pairs = 0

    def hear(self, appliance: str, players: Players | None) -> None:
        """From a heartbeat; in place of what the appliance told before."""
        known = self._players.get(appliance)
        if players == known:
            return
        if known is not None:
            self._forget(appliance, known)
        if players is not None:
            self._players[appliance] = players
            for name, told in told_by(players).items():
                if self._pairs < MAX_PAIRS:
                    # A new one each time: decisions hold the old one.
                    self._networks[name] = {**self._networks.get(name, {}), appliance: told}
                    self._pairs += 1

    def forget(self, appliance: str) -> None:
        self.hear(appliance, None)

    def of(self, address: Address) -> Mapping[str, Told]:
        """What is told of the network of a client, by appliance; nothing of those where nobody starved."""
        return self._networks.get(_network_of(address), _NOTHING) if self._networks else _NOTHING

    def lowered(self) -> int:
        """Pairs of appliance and network whose weight is below 1 where an equal does well."""
        return sum(weight_of(told, 0.0) < 1.0 for boxes in self._networks.values() for told in boxes.values())

    def __len__(self) -> int:
        """Pairs of which something is told."""
        return self._pairs

    def _forget(self, appliance: str, players: Players) -> None:
        del self._players[appliance]
        for name in told_by(players):
            rest = {box: told for box, told in self._networks.get(name, {}).items() if box != appliance}
            self._pairs -= len(self._networks.get(name, {})) - len(rest)
            if rest:
                self._networks[name] = rest
            else:
                self._networks.pop(name, None)


def told_by(players: Players) -> dict[Network, Told]:
    """Each network once; what is no network is passed over, for an appliance of another version may mean more by it."""
    found: dict[Network, Told] = {}
    for item in players.networks:
        try:
            network = ipaddress.ip_network(item.network)
        except ValueError:
            continue
        starved = min(item.starved, item.sessions)
        others = max(0.0, players.sessions - item.sessions)
        elsewhere = min(others, max(0.0, players.starved - starved)) / (others + _DOUBT)
        told = Told(item.network, item.sessions, starved, elsewhere)
        found[_network_of(network.network_address)] = told
    return found


def _network_of(address: Address) -> Network:
    """The /24 or /48: a number of its own for each; IPv4 in IPv6 is IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is None:
            return int(address) >> 80 | 1 << 48
        address = mapped
    return int(address) >> 8
