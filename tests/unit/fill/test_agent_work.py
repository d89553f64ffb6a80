"""The plan as the newest catalog has it."""

from __future__ import annotations

from contracts.catalog import CatalogIndex, CatalogObject, Kind, TitleEntry, TitleRef
from contracts.ingest import Wanted
from contracts.objectkey import slice_count
from contracts.plan import Plan, PlannedObject
from fill.agent.work import resolve, suspects

OLD, NEW = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"


def _entry(title: str, video: int, *more: str) -> TitleEntry:
    sizes = {f"{title}/video.mp4": video, f"{title}/m.m3u8": 1, f"{title}/m.mpd": 1}
    sizes |= {f"{title}/{name}": 5 for name in more}
    objects = tuple(
        CatalogObject(
            key,
            size,
            "video/mp4",
            '"x"',
            0,
            b"d" * 16 * slice_count(size),
            Kind.MEDIA if key.endswith("4") else Kind.MANIFEST,
        )
        for key, size in sizes.items()
    )
    return TitleEntry(title, 0, 1.0, objects, f"{title}/m.m3u8", f"{title}/m.mpd")


def _index(version: str, *entries: tuple[str, TitleEntry]) -> CatalogIndex:
    refs = tuple(
        TitleRef(
            entry.title,
            f"catalog/{written}/titles/{entry.title}.json",
            sum(item.size for item in entry.objects),
            0,
        )
        for written, entry in entries
    )
    return CatalogIndex(version, refs)


def _plan(*planned: tuple[str, int]) -> Plan:
    objects = tuple(PlannedObject(key, size, "why") for key, size in planned)
    return Plan(OLD, "isp-a1", "isp-a", OLD, objects)


A, B = _entry("a", 10), _entry("b", 20)
WHOLE = (("a/m.m3u8", 1), ("a/m.mpd", 1), ("a/video.mp4", 10), ("b/m.m3u8", 1), ("b/m.mpd", 1))
WHOLE = (*WHOLE, ("b/video.mp4", 20))
BEFORE = _index(OLD, (OLD, A), (OLD, B))


def test_an_unchanged_catalog_leaves_the_plan_as_it_is_and_reads_no_entry() -> None:
    plan = _plan(*WHOLE)
    assert suspects(plan, BEFORE, BEFORE) == []
    work = resolve(plan, BEFORE, BEFORE, {})
    assert work.wanted == tuple(Wanted(key, size) for key, size in WHOLE)
    assert (work.published_again, work.gone) == (frozenset(), ())


def test_a_title_published_again_is_taken_whole_in_its_own_place_and_manifests_first() -> None:
    plan = _plan(*WHOLE)
    newer = _entry("a", 11, "audio.mp4")
    index = _index(NEW, (NEW, newer), (OLD, B))
    assert [ref.title for ref in suspects(plan, index, BEFORE)] == ["a"]
    work = resolve(plan, index, BEFORE, {"a": newer})
    assert [item.key for item in work.wanted[:4]] == ["a/m.m3u8", "a/m.mpd", "a/video.mp4", "a/audio.mp4"]
    assert work.wanted[4:] == tuple(Wanted(key, size) for key, size in WHOLE[3:])
    assert work.published_again == {"a"}
    assert work.size == 11 + 5 + 1 + 1 + 22


def test_one_that_has_the_same_sizes_counts_as_published_again_too() -> None:
    index = _index(NEW, (NEW, A), (OLD, B))
    work = resolve(_plan(*WHOLE), index, BEFORE, {"a": A})
    assert work.published_again == {"a"}
    assert work.changed_since(resolve(_plan(*WHOLE), BEFORE, BEFORE, {})) == {"a"}


def test_a_plan_of_part_of_a_title_stays_one() -> None:
    plan = _plan(("a/video.mp4", 10))
    assert [ref.title for ref in suspects(plan, BEFORE, BEFORE)] == ["a"]
    work = resolve(plan, BEFORE, BEFORE, {"a": A})
    assert work.wanted == (Wanted("a/video.mp4", 10),)
    assert work.published_again == frozenset()


def test_without_the_plans_own_catalog_sizes_tell() -> None:
    plan = _plan(*WHOLE)
    newer = _entry("a", 11)
    index = _index(NEW, (NEW, newer), (NEW, B))
    assert [ref.title for ref in suspects(plan, index, None)] == ["a"]
    assert resolve(plan, index, None, {"a": newer}).published_again == {"a"}


def test_a_title_that_is_gone_is_not_wanted() -> None:
    work = resolve(_plan(*WHOLE), _index(NEW, (OLD, B)), BEFORE, {})
    assert work.gone == ("a/m.m3u8", "a/m.mpd", "a/video.mp4")
    assert {item.key for item in work.wanted} == {"b/m.m3u8", "b/m.mpd", "b/video.mp4"}
