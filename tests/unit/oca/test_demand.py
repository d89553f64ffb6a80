"""The demand cache's books beside a simple model, and what it keeps of the patterns it is made for."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oca.store.demand import Demand


class Object:
    def __init__(self, key: str, disk_bytes: int) -> None:
        self.key = key
        self.disk_bytes = disk_bytes
        self.before: Any = None
        self.after: Any = None
        self.heard = 0
        self.queue = 0


class Cache:
    """A disk of so many bytes, as the store uses it."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.demand = Demand[Object]()
        self.held: dict[str, Object] = {}
        self.evicted: list[str] = []

    def ask(self, key: str, disk_bytes: int = 1) -> bool:
        """Whether it was there; it is from now on."""
        held = self.held.get(key)
        if held is not None:
            self.demand.touch((held,))
            return True
        victims = self.demand.victims(self.demand.bytes + disk_bytes - self.capacity_bytes)
        assert victims is not None
        for victim in victims:
            self.demand.remove(victim)
            del self.held[victim.key]
            self.evicted.append(victim.key)
        self.held[key] = Object(key, disk_bytes)
        self.demand.add(self.held[key])
        return False


class Books(RuleBasedStateMachine):
    """Whatever is done, it holds what was put there and not removed, and counts its bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.demand = Demand[Object]()
        self.model: dict[str, Object] = {}
        self.made = 0

    @rule(disk_bytes=st.integers(1, 1000))
    def add(self, disk_bytes: int) -> None:
        self.made += 1
        item = self.model[str(self.made)] = Object(str(self.made), disk_bytes)
        self.demand.add(item)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        self.demand.touch(data.draw(st.lists(st.sampled_from(list(self.model.values())), unique=True)))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def comes_back(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(list(self.model.values())))
        self.demand.remove(item)
        assert item not in self.demand
        self.demand.add(item)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), heard=st.lists(st.booleans(), max_size=4))
    def is_pinned_for_a_while(self, data: st.DataObject, heard: list[bool]) -> None:
        items = data.draw(st.lists(st.sampled_from(list(self.model.values())), unique=True))
        for item in items:
            self.demand.remove(item)
            for gap in heard:
                self.demand.note(item, gap=gap)
        self.demand.restore(items)

    @rule(need_bytes=st.integers(1, 5000), most=st.integers(0, 5))
    def spare(self, need_bytes: int, most: int) -> None:
        """Every second one is spared, whatever is needed."""
        free = [item for item in self.model.values() if int(item.key) % 2]
        found = self.demand.least(need_bytes, most, lambda item: not int(item.key) % 2)
        assert {item.key for item in found} <= {item.key for item in free}
        victims = self.demand.victims(need_bytes, lambda item: not int(item.key) % 2)
        assert (victims is None) == (sum(item.disk_bytes for item in free) < need_bytes)
        if victims is not None:
            assert found == victims[:most]

    @rule(need_bytes=st.integers(-10, 5000), most=st.integers(0, 5))
    def evict(self, need_bytes: int, most: int) -> None:
        few = self.demand.least(need_bytes, most)
        victims = self.demand.victims(need_bytes)
        total = sum(item.disk_bytes for item in self.model.values())
        if victims is None:
            assert need_bytes > total
            return
        assert need_bytes <= total
        assert few == victims[:most]
        assert len({item.key for item in victims}) == len(victims)
        assert sum(item.disk_bytes for item in victims) >= need_bytes
        if victims:
            assert sum(item.disk_bytes for item in victims[:-1]) < need_bytes
        for item in victims:
            self.demand.remove(self.model.pop(item.key))

    @rule()
    def minute(self) -> None:
        self.demand.minute()

    @invariant()
    def counted(self) -> None:
        assert len(self.demand) == len(self.model)
        assert self.demand.bytes == sum(item.disk_bytes for item in self.model.values())
        assert all(item in self.demand for item in self.model.values())
        assert sorted(item.key for item in self.demand) == sorted(self.model)


TestBooks = Books.TestCase


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40)), max_size=300))
def test_the_same_requests_evict_the_same_objects_and_never_exceed_the_disk(
    requests: list[tuple[int, int]],
) -> None:
    caches = Cache(100), Cache(100)
    for number, disk_bytes in requests:
        for cache in caches:
            cache.ask(f"tt{number}/video.mp4", disk_bytes)
            assert cache.demand.bytes <= 100
    assert caches[0].evicted == caches[1].evicted


def hits(cache: Cache, keys: list[str]) -> int:
    return sum(cache.ask(key) for key in keys)


def test_a_scan_does_not_drive_out_what_is_asked_for_again_and_again() -> None:
    cache, chance = Cache(100), random.Random(1)
    hits(cache, [f"hot{chance.randrange(80)}" for _ in range(5000)])
    for number in range(2000):
        cache.ask(f"scan{number}")
        cache.ask(f"hot{chance.randrange(80)}")
    assert sum(f"hot{number}" in cache.held for number in range(80)) >= 75


def test_of_a_loop_longer_than_the_disk_a_part_stays() -> None:
    """Least recently used would never hit."""
    cache = Cache(100)
    loop = [f"tt{number}" for number in range(400)]
    for _ in range(20):
        hits(cache, loop)
    assert hits(cache, loop) >= 80


def test_what_was_popular_makes_way_for_what_is() -> None:
    cache, chance = Cache(100), random.Random(1)
    hits(cache, [f"old{chance.randrange(90)}" for _ in range(20_000)])
    hits(cache, [f"new{chance.randrange(90)}" for _ in range(3000)])
    assert hits(cache, [f"new{chance.randrange(90)}" for _ in range(1000)]) >= 950


def test_before_anything_is_learned_the_oldest_goes_first() -> None:
    cache = Cache(4)
    hits(cache, ["a", "b", "c", "d", "e", "f"])
    assert cache.evicted == ["a", "b"]


def test_a_viewer_who_is_still_watching_is_no_further_request() -> None:
    """Both were asked for twelve times: one by a viewer at a stretch, the other every few minutes."""
    demand = Demand[Object]()
    watched, wanted = Object("watched", 1), Object("wanted", 1)
    others = [Object(str(number), 1) for number in range(50)]
    for item in (watched, wanted, *others):
        demand.add(item)
    demand.minute()
    for minute in range(60):
        demand.touch(others)
        if minute < 12:
            demand.touch((watched,))
        if minute % 5 == 0:
            demand.touch((wanted,))
        demand.minute()
    assert watched.queue == 0
    assert wanted.queue != 0
