"""Sessions come back as they were kept last, and records go when they are of no use."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from steering import keptsessions as module
from steering.keptsessions import Records, read, read_all
from steering.sessions import Session
from steering.store import Entry, Kind, Write


def session(expires_at: float, appliance: str = "a1") -> Session:
    return Session("198.51.100.7", "tt1", expires_at, appliance)


class Kept:
    """A store, and the records in it."""

    def __init__(self) -> None:
        numbers = itertools.count()
        self.records = Records(lambda: f"batch-{next(numbers)}")
        self.entries: dict[str, Entry] = {}

    def write(self, *writes: Write) -> None:
        for write in writes:
            assert write.kind is Kind.SESSION
            self.entries.pop(write.name, None)
            if write.value is not None:
                self.entries[write.name] = Entry(write.value, len(self.entries) + 1)

    def ended(self, now: float) -> list[str]:
        gone = list(self.records.ended(now))
        self.write(*gone)
        return [write.name for write in gone]


def test_what_was_kept_last_counts() -> None:
    kept = Kept()
    kept.write(kept.records.made([("one", session(10)), ("two", session(5))]))
    kept.write(kept.records.made([("one", session(20, "a2"))]))
    found, unread = read_all(dict(reversed(kept.entries.items())))
    assert list(found.items()) == [("two", session(5)), ("one", session(20, "a2"))]
    assert unread == 0


def test_a_record_of_an_older_version_is_read_and_one_of_a_newer_is_counted() -> None:
    old = msgspec.msgpack.encode(session(10))
    assert read("its-own-name", old) == [("its-own-name", session(10))]
    entries = {"its-own-name": Entry(old, 1), "other": Entry(msgspec.msgpack.encode({"new": 1}), 2)}
    assert read_all(entries) == ({"its-own-name": session(10)}, 1)
    records = Records()
    records.adopt(entries)
    assert [write.name for write in records.ended(11)] == ["its-own-name"]


def test_a_record_goes_when_all_of_its_sessions_have() -> None:
    kept = Kept()
    kept.write(kept.records.made([("one", session(10)), ("two", session(15))]))
    kept.write(kept.records.made([("three", session(30))]))
    assert kept.ended(14.9) == []
    assert kept.ended(15) == ["batch-0"]
    assert kept.ended(29.9) == []
    assert kept.ended(30) == ["batch-1"]
    assert (kept.ended(99), kept.entries) == ([], {})


def test_what_was_there_at_the_start_goes_too() -> None:
    kept, after = Kept(), Kept()
    kept.write(kept.records.made([("one", session(10))]), kept.records.made([("two", session(20))]))
    after.entries = kept.entries
    after.records.adopt(kept.entries)
    assert after.ended(12) == ["batch-0"]


def test_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 3)
    kept = Kept()
    for number in range(3):
        kept.write(kept.records.made([(f"{number}-{n}", session(10)) for n in range(2)]))
    assert kept.ended(0) == ["batch-0", "batch-1"]
    assert list(kept.entries) == ["batch-2"]
