"""The list of revoked sessions: bounded, kept over restarts, the same at every replica, and told once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from contracts.heartbeat import MAX_REVOKED, Revocations
from daemon.config import ConfigError
from steering.revocations import RevocationList, TooMany, adopt_old_file
from steering.store import Entry, Kind, Store
from steering.store.local import LocalStore

NOW = 1_800_000_000.0
LATER = NOW + 1000
"""What ended long before is over by now, whatever the clocks say."""

T = TypeVar("T")


def kept(folder: Path, work: Callable[[Store], Awaitable[T]]) -> T:
    """What ``work`` gives with the store of ``folder``."""

    async def run() -> T:
        store = LocalStore(folder / "store")
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def revoked(folder: Path, *sessions: tuple[str, float, float]) -> RevocationList:
    """The list after each (session, until, now) was put on it."""

    async def work(store: Store) -> RevocationList:
        made = RevocationList()
        made.load(await store.load(Kind.REVOKED))
        for session, until, now in sessions:
            await made.revoke(store, session, until, now)
        return made

    return kept(folder, work)


def names(made: RevocationList) -> tuple[str, ...]:
    news = made.news("of before")
    assert news is not None
    return news.sessions


def test_an_appliance_is_told_the_list_once(tmp_path: Path) -> None:
    assert RevocationList().news("") is None
    made = revoked(tmp_path, ("session-b", NOW + 100, NOW), ("session-a", NOW + 100, NOW))
    news = made.news("")
    assert news is not None
    assert news.sessions == ("session-a", "session-b")
    assert made.news(news.version) is None
    assert made.news("of another list") == news


def test_a_restart_forgets_nothing_and_another_replica_tells_the_same(tmp_path: Path) -> None:
    first = revoked(tmp_path, ("session-a", NOW + 100, NOW))
    assert revoked(tmp_path).news("") == first.news("")


def test_a_replica_hears_what_another_one_revokes_and_what_is_over(tmp_path: Path) -> None:
    here = RevocationList()

    async def work(store: Store) -> None:
        store.watch(Kind.REVOKED, here.changed)
        hearing = asyncio.create_task(store.run())
        other = LocalStore(tmp_path / "store")
        there = RevocationList()
        for session, now in (("session-a", NOW), ("session-b", LATER)):
            await there.revoke(other, session, now + 100, now)
            async with asyncio.timeout(30):
                while not here.is_revoked(session):
                    await asyncio.sleep(0.01)
        assert here.news("") == there.news("")
        hearing.cancel()
        await other.close()

    kept(tmp_path, work)
    assert names(here) == ("session-b",)


def test_what_has_expired_drops_off_with_the_next_change(tmp_path: Path) -> None:
    made = revoked(tmp_path, ("session-a", NOW + 100, NOW), ("session-b", LATER + 100, LATER))
    assert names(made) == ("session-b",)
    assert names(revoked(tmp_path)) == ("session-b",)


def test_a_session_that_is_revoked_twice_stays_for_the_longer_time(tmp_path: Path) -> None:
    made = revoked(
        tmp_path,
        ("session-a", LATER + 300, NOW),
        ("session-a", NOW + 100, NOW),
        ("session-b", LATER + 400, LATER),
    )
    assert names(made) == ("session-a", "session-b")


def test_a_full_list_takes_no_more_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steering.revocations.MAX_REVOKED", 3)
    assert MAX_REVOKED >= 3
    full = [(f"session-{number}", NOW + 100, NOW) for number in range(3)]
    revoked(tmp_path, *full)
    with pytest.raises(TooMany):
        revoked(tmp_path, ("session-x", NOW + 100, NOW))
    assert names(revoked(tmp_path, ("session-1", NOW + 200, NOW))) == ("session-0", "session-1", "session-2")


def test_two_replicas_at_once_cannot_make_the_list_too_long_for_an_appliance() -> None:
    made = RevocationList()
    for number in range(MAX_REVOKED + 1):
        made.changed(f"session-{number}", Entry(msgspec.json.encode({"until": NOW + number}), 1))
    news = made.news("")
    assert news is not None
    msgspec.convert(msgspec.to_builtins(news), Revocations)
    assert "session-0" not in news.sessions


def test_a_record_of_another_version_revokes_all_the_same(tmp_path: Path) -> None:
    made = RevocationList()
    made.changed("session-a", Entry(b'{"for_ever": true, "version": 2}', 1))
    assert names(made) == ("session-a",)
    made.changed("session-a", None)
    assert not made.is_revoked("session-a")


def test_the_file_of_an_older_steering_is_taken_over_once(tmp_path: Path) -> None:
    file = tmp_path / "revocations.json"
    file.write_text('{"version": "v1", "until": {"session-a": 1800000100.0}}')
    kept(tmp_path, lambda store: adopt_old_file(store, file))
    kept(tmp_path, lambda store: adopt_old_file(store, file))
    assert not file.exists()
    assert names(revoked(tmp_path)) == ("session-a",)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": "1"}', '{"version": "v", "until": {"a": "soon"}}', "\0"]
)
def test_a_broken_file_is_named_and_not_taken_for_an_empty_one(tmp_path: Path, text: str) -> None:
    file = tmp_path / "revocations.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"revocations\.json"):
        kept(tmp_path, lambda store: adopt_old_file(store, file))
    assert file.exists()
