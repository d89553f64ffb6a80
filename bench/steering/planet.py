"""A fleet of the size that the system is designed for: 17,000 appliances, 1,000 sites, a whole Internet's prefixes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from contracts.fleet import Appliance, Fleet, Location, PublicKey, Site, Tier
from contracts.route import Attributes
from steering.content import Content
from steering.fleet import FleetView
from steering.holdings import Title
from steering.roster import Roster
from steering.routes import Prefix

CATALOG: Final = "20261121T060000Z-0a1b2c"
PLAN: Final = "20261121T070000Z-0a1b2c"
BEAT_EVERY_S: Final = 5.0
RUNGS: Final = ((240, 235_000), (480, 1_000_000), (720, 3_000_000), (1080, 5_000_000), (2160, 15_000_000))


@dataclass(frozen=True)
class Size:
    sites: int = 1000
    appliances: int = 17_000
    v4: int = 1_000_000
    v6: int = 200_000
    titles: int = 18_000
    encodes: int = 30


def fleet_of(size: Size, keys: list[str]) -> Fleet:
    """Nine sites in ten are in ISPs, the rest at exchanges and in regions; ``keys`` are public, one each or one for all."""
    chance = random.Random(1)
    each, more = divmod(size.appliances, size.sites)
    sites = []
    number = 0
    for index in range(size.sites):
        tier = Tier.ISP if index % 10 else (Tier.REGIONAL if index % 50 == 0 else Tier.IXP)
        boxes: list[Appliance] = []
        for _ in range(each + (index < more)):
            boxes.append(
                Appliance(
                    f"a{number}",
                    f"http://127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:9",
                    240 * 10**12,
                    100 * 10**9,
                    PublicKey("OKP", "Ed25519", keys[number % len(keys)]),
                    f"rack-{len(boxes) % 4}",
                )
            )
            number += 1
        where = Location(chance.uniform(-60, 70), chance.uniform(-180, 180))
        # What everybody falls back to.
        prefixes = () if tier is Tier.ISP else ("0.0.0.0/0", "::/0") if index % 100 == 0 else ()
        sites.append(Site(f"s{index}", tier, prefixes, tuple(boxes), location=where))
    return Fleet(tuple(sites))


def prefixes_of(size: Size) -> Iterator[tuple[str, list[Prefix]]]:
    """Each site's, of the lengths that the Internet's table has: most are /24 and /48."""
    chance = random.Random(2)
    v4, v6 = set[Prefix](), set[Prefix]()
    while len(v4) < size.v4:
        length = chance.choices((24, 23, 22, 21, 20, 19, 18, 16), (60, 9, 12, 5, 5, 3, 3, 3))[0]
        v4.add(Prefix(4, chance.randrange(1 << 24, 224 << 24) >> (32 - length) << (32 - length), length))
    while len(v6) < size.v6:
        length = chance.choices((48, 44, 40, 36, 32, 29), (48, 15, 10, 5, 17, 5))[0]
        v6.add(
            Prefix(6, (0x2000 << 112 | chance.getrandbits(112)) >> (128 - length) << (128 - length), length)
        )
    everything = [*sorted(v4), *sorted(v6)]
    chance.shuffle(everything)
    isps = [index for index in range(size.sites) if index % 10]
    for place, index in enumerate(isps):
        yield f"s{index}", everything[place :: len(isps)]


def routes_of(fleet: Fleet, size: Size) -> Iterator[tuple[str, dict[Prefix, Attributes]]]:
    """By appliance. Three of each site announce, the same, with one of a few sets of attributes."""
    members = {site.id: [box.id for box in site.appliances] for site in fleet.sites}
    for site, prefixes in prefixes_of(size):
        sets = [Attributes(as_path=tuple(range(64500, 64500 + hops))) for hops in (1, 2, 3)]
        routes = {prefix: sets[place % 3] for place, prefix in enumerate(prefixes)}
        for name in members[site][:3]:
            yield name, routes


def content_of(fleet: Fleet, size: Size) -> Content:
    """ISPs' appliances hold two thirds of the titles, the others all."""
    chance = random.Random(3)
    titles = {
        f"tt{number}": Title(
            f"tt{number}/master.m3u8",
            f"tt{number}/manifest.mpd",
            None,
            number,
            size.encodes,
            frozenset(),
            RUNGS,
        )
        for number in range(size.titles)
    }
    length = (2 * size.titles + 7) // 8
    every = b"\xff" * length
    planned = {}
    for site in fleet.sites:
        for box in site.appliances:
            held = every
            if site.tier is Tier.ISP:
                pairs = [0b11 if chance.random() < 0.67 else 0 for _ in range(4 * 97)]
                some = bytes(
                    pairs[i] | pairs[i + 1] << 2 | pairs[i + 2] << 4 | pairs[i + 3] << 6
                    for i in range(0, len(pairs), 4)
                )
                held = (some * (length // len(some) + 1))[:length]
            planned[PLAN, box.id] = held
    numbers = {name: title.number for name, title in titles.items()}
    return Content(CATALOG, PLAN, titles, {}, planned, {}, numbers)


def view_of(size: Size, keys: list[str]) -> FleetView:
    """A view with all routes, nobody heard yet."""
    fleet = fleet_of(size, keys)
    view = FleetView(Roster.of(fleet), content_of(fleet, size), beat_s=BEAT_EVERY_S)
    for name, routes in routes_of(fleet, size):
        view.routes.restore(name, 1, routes)
        for _ in view.announced.catch_up():
            pass
    return view
