"""A scan finds what is there, whether it goes alone or shares the disk out to readers."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

from contracts.catalog import CatalogObject
from oca.objectfile import complete_path
from oca.store import scan
from tests.appliance import published
from tests.processes import below, gone
from tests.unit.oca.test_store import lay

DATA = b"twelve bytes"
KEYS = [f"tt{number}/video.mp4" for number in range(300)]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Objects in more folders than there are readers."""
    (tmp_path / "quarantine").mkdir()
    for key in KEYS:
        lay(complete_path(tmp_path, key), item(key), DATA)
    return tmp_path


def item(key: str) -> CatalogObject:
    return published(key, DATA)


@pytest.mark.parametrize("alone_s", [0, 3600])
def test_every_object_is_found_once(disk: Path, alone_s: float) -> None:
    found = list(scan.complete_objects(disk, alone_s))
    assert sorted(one.key for one in found) == sorted(KEYS)
    assert {(one.size, one.etag) for one in found} == {(len(DATA), item(KEYS[0]).etag)}
    assert gone(below(os.getpid(), reads))


@pytest.mark.parametrize("alone_s", [0, 3600])
def test_what_cannot_be_believed_is_put_away(disk: Path, alone_s: float) -> None:
    bad = complete_path(disk, KEYS[7])
    bad.write_bytes(b"no footer")
    assert len(list(scan.complete_objects(disk, alone_s))) == len(KEYS) - 1
    assert [file.name for file in (disk / "quarantine").iterdir()] == [bad.name]


@pytest.mark.parametrize("alone_s", [0, 3600])
def test_what_the_disk_refuses_is_raised_with_its_reason(disk: Path, alone_s: float) -> None:
    (disk / "objects" / "00" / "zz").parent.mkdir(exist_ok=True)
    (disk / "objects" / "00" / "zz").write_text("where a folder should be")
    with pytest.raises(NotADirectoryError) as raised:
        list(scan.complete_objects(disk, alone_s))
    assert str(raised.value.filename).endswith("objects/00/zz")


def test_a_reader_that_is_killed_ends_the_scan(disk: Path) -> None:
    found, readers = hanging(disk)
    for reader in readers:
        reader.send_signal(signal.SIGKILL)
    with pytest.raises(OSError, match="a reader ended with -9"):
        list(found)
    assert gone(readers)


def test_readers_end_with_a_scan_that_is_given_up(disk: Path) -> None:
    found, readers = hanging(disk)
    found.close()
    assert gone(readers)


def hanging(disk: Path) -> tuple[Generator[scan.Found, None, None], list[psutil.Process]]:
    """A scan of which one reader waits for a file that never opens, and the readers that there are."""
    folder = disk / "objects" / "00" / "00"
    folder.mkdir(parents=True, exist_ok=True)
    os.mkfifo(folder / "hangs")
    found = scan.complete_objects(disk, 0)
    while not (readers := below(os.getpid(), reads)):
        next(found)
    return found, readers


def reads(process: psutil.Process) -> bool:
    return "oca.store.reader" in process.cmdline()
