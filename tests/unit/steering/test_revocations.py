"""The list of revoked sessions: bounded, kept over restarts, and told once."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from contracts.heartbeat import MAX_REVOKED
from daemon.config import ConfigError
from steering.revocations import RevocationList, TooMany

NOW = 1_800_000_000.0


def made(file: Path, first: int = 0) -> RevocationList:
    numbers = itertools.count(first)
    return RevocationList(file, lambda: f"v{next(numbers)}")


def test_an_appliance_is_told_the_list_once(tmp_path: Path) -> None:
    revoked = made(tmp_path / "list.json")
    assert revoked.news("") is None
    revoked.revoke("session-b", NOW + 100, NOW)
    revoked.revoke("session-a", NOW + 100, NOW)
    news = revoked.news("")
    assert news is not None
    assert news.sessions == ("session-a", "session-b")
    assert revoked.news(news.version) is None
    assert revoked.news("of before a restart") == news


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    first = made(tmp_path / "list.json")
    first.revoke("session-a", NOW + 100, NOW)
    again = made(tmp_path / "list.json", 100)
    assert again.news("") == first.news("")


def test_what_has_expired_drops_off_with_the_next_change(tmp_path: Path) -> None:
    revoked = made(tmp_path / "list.json")
    revoked.revoke("session-a", NOW + 100, NOW)
    revoked.revoke("session-b", NOW + 300, NOW + 200)
    news = revoked.news("")
    assert news is not None
    assert news.sessions == ("session-b",)


def test_a_session_that_is_revoked_twice_stays_for_the_longer_time(tmp_path: Path) -> None:
    revoked = made(tmp_path / "list.json")
    revoked.revoke("session-a", NOW + 300, NOW)
    revoked.revoke("session-a", NOW + 100, NOW)
    revoked.revoke("session-b", NOW + 400, NOW + 200)
    news = revoked.news("")
    assert news is not None
    assert news.sessions == ("session-a", "session-b")


def test_a_full_list_takes_no_more_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steering.revocations.MAX_REVOKED", 3)
    assert MAX_REVOKED >= 3
    revoked = made(tmp_path / "list.json")
    for number in range(3):
        revoked.revoke(f"session-{number}", NOW + 100, NOW)
    before = revoked.news("")
    with pytest.raises(TooMany):
        revoked.revoke("session-x", NOW + 100, NOW)
    assert revoked.news("") == before
    revoked.revoke("session-1", NOW + 200, NOW)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 1}', '{"version": "v", "until": {"a": "soon"}}', "\0"]
)
def test_a_broken_file_is_named_and_not_taken_for_an_empty_one(tmp_path: Path, text: str) -> None:
    file = tmp_path / "list.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"list\.json"):
        made(file)
