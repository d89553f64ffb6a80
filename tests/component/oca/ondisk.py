"""What the files on the disks of an appliance say, beside what it says itself."""

from __future__ import annotations

from pathlib import Path

from oca.objectfile import BadObjectFile, disk_bytes, read_description
from tests.appliance import Appliance
from tests.component.oca.metrics import status
from tests.waiting import settled


def held(disk: Path) -> tuple[int, list[Path], list[Path]]:
    """What the files on a disk cost by their descriptions, and which are complete and incomplete."""
    assert list((disk / "quarantine").iterdir()) == []
    complete = [file for file in (disk / "objects").rglob("*") if file.is_file()]
    incomplete = list((disk / "incomplete").iterdir())
    used = 0
    for file in complete + incomplete:
        with file.open("rb") as opened:
            try:
                item = read_description(opened.fileno())
            except BadObjectFile as error:
                raise AssertionError(f"{file}: {error}") from None
        assert file.stat().st_size == disk_bytes(item)
        used += disk_bytes(item)
    return used, complete, incomplete


def check_counted(appliance: Appliance, *disks: Path) -> None:
    """Returns once the files of each disk, or of all, are what status counts.

    The last answer may be out before the object it was of is complete.
    """

    def counted() -> None:
        said = {
            Path(disk["path"]): (disk["used_bytes"], disk["objects"]) for disk in status(appliance)["disks"]
        }
        for path in disks or said:
            used, complete, _ = held(path)
            assert said[path] == (used, len(complete)), path

    settled(counted)
