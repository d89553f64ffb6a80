"""Fleets for the laws of decisions: written by a test, or drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

from contracts.fleet import Tier
from contracts.route import Attributes, Origin, Peering
from steering.feedback import Told
from steering.health import State
from steering.nearness import groups
from steering.preference import Route, order_of
from steering.rank import Question
from steering.snapshot import Box, Holdings, Reach, SiteView, Snapshot
from steering.spread import seed_of

HELD = 6
"""The bit of the title in question."""
ALL = b"\xff\xff"


@dataclass(frozen=True)
class Drawn:
    """An appliance before it stands in a site."""

    id: str
    rack: str
    state: State
    throughput_bps: int
    load_bps: float
    holds: bool


def box(
    name: str,
    *,
    rack: str = "",
    state: State = State.SERVING,
    throughput_bps: int = 1000,
    load_bps: float = 0.0,
    holds: bool = True,
) -> Drawn:
    return Drawn(name, rack, state, throughput_bps, load_bps, holds)


def site(name: str, *drawn: Drawn, country: str | None = None) -> SiteView:
    tier = Tier(name.split("-")[0])
    mine = tuple(
        Box(*(it.id, name, place, tier, f"http://{it.id}:8080", it.rack, it.throughput_bps, seed_of(it.id)))
        for place, it in enumerate(drawn)
    )
    return SiteView.of(name, tier, country, None, seed_of(name), mine).standing(
        [it.state for it in drawn],
        [it.load_bps for it in drawn],
        Holdings.of([ALL if it.holds else b"" for it in drawn]),
    )


def lost(at: SiteView, gone: str) -> SiteView:
    """The site when that appliance, if it is one of its, is silent."""
    for it in at.boxes:
        if it.id == gone:
            return at.with_state(it.place, State.DOWN)
    return at


def reach(
    at: SiteView, length: int = 24, attributes: Attributes | None = None, distance_km: float | None = None
) -> Reach:
    peering = Peering.EMBEDDED if at.tier is Tier.ISP else Peering.PUBLIC
    attributes = attributes or Attributes(peering=peering)
    return Reach(at, length, Route(at.id, attributes, order_of(at.tier, attributes)), distance_km)


def question(
    session: str = "session-1", title: str = "tt1", bitrate_bps: float = 1.0, **more: object
) -> Question:
    return Question(title, session, HELD, bitrate_bps, **more)  # type: ignore[arg-type]


attributes = st.builds(
    Attributes,
    st.integers(99, 101),
    st.lists(st.integers(1, 3), max_size=2).map(tuple),
    st.sampled_from(Origin),
    st.integers(0, 1),
    st.booleans(),
    st.sampled_from(Peering),
)
boxes = st.builds(
    box,
    st.integers(0, 999).map(lambda number: f"b{number}"),
    rack=st.sampled_from(["", "r1", "r2"]),
    state=st.sampled_from([*State, State.SERVING, State.SERVING]),
    throughput_bps=st.integers(1, 5).map(lambda times: 1000 * times),
    load_bps=st.integers(0, 1200).map(float),
    holds=st.booleans(),
)
tolds = st.tuples(
    st.sampled_from([3, 20, 500]), st.sampled_from([0.1, 0.5, 1.0]), st.sampled_from([0.0, 0.0, 0.3])
).map(lambda drawn: Told("192.0.2.0/24", float(drawn[0]), drawn[0] * drawn[1], drawn[2]))


def snapshot_of(reaches: Iterable[Reach], told: Mapping[str, Told] | None = None) -> Snapshot:
    return Snapshot(groups(reaches), told or {})


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    found = draw(st.lists(boxes, max_size=12, unique_by=lambda item: item.id))
    names = ["isp-a", "isp-b", "ixp-c", "ixp-d", "regional-e"]
    placed: dict[str, list[Drawn]] = {}
    for item in found:
        placed.setdefault(draw(st.sampled_from(names)), []).append(item)
    reaches = []
    for name, mine in placed.items():
        at = site(name, *mine, country=draw(st.sampled_from([None, "DE", "FR"])))
        distance_km = draw(st.none() | st.floats(0, 20_000))
        announced = reach(at, draw(st.sampled_from([0, 16, 24])), draw(attributes), distance_km)
        beyond = Reach(at, -1, None, distance_km)
        reaches.append(draw(st.sampled_from([announced, announced, beyond])))
    names_of = [item.id for item in found] or ["none"]
    told = draw(st.dictionaries(st.sampled_from(names_of), tolds, max_size=6))
    return snapshot_of(reaches, told)


@st.composite
def questions(draw: st.DrawFn, snapshot: Snapshot) -> Question:
    everybody = [item.id for at in snapshot.reaches for item in at.site.boxes] or ["none"]
    return question(
        draw(st.text("abc", max_size=2)),
        draw(st.text("abc", max_size=2)),
        float(draw(st.integers(1, 400))),
        countries=draw(st.none() | st.just(("DE",))),
        excluded=frozenset(draw(st.lists(st.sampled_from(everybody), max_size=2))),
        incumbent=draw(st.none() | st.sampled_from(everybody)),
    )


cases = snapshots().flatmap(lambda shot: st.tuples(st.just(shot), questions(shot)))
