"""A folder in the place of the bucket, so that the counting is measured and not an S3 server on the same cores."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from contracts.delivery import SUFFIX
from fill.popularity.days import Increment, LeftOut
from fill.popularity.spool import Part


class FolderLog:
    """Parts below ``root``, named as in S3."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def listed(self, day: str) -> list[Part]:
        folder = self._root / f"delivery/date={day}"
        return [
            Part(str(path), f"{path.parent.name[5:]}/{path.name.removesuffix(SUFFIX)}", path.stat().st_size)
            for path in sorted(folder.glob(f"hour=*/*{SUFFIX}"))
        ]

    def pieces(self, part: Part) -> Iterator[bytes]:
        with Path(part.key).open("rb") as file:
            while piece := file.read(1 << 20):
                yield piece


class FolderDays:
    """Counted days as files of ``root``, found again by the next process."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def increments(self, days: Iterable[str]) -> list[Increment]:
        found = [
            msgspec.json.decode(path.read_bytes(), type=Increment)
            for day in sorted(set(days))
            for path in sorted(self._root.glob(f"{day}.*.json"))
        ]
        return sorted(found, key=lambda increment: (increment.day, increment.version))

    def parts(self, increment: Increment) -> set[str]:
        return set(self.file(increment).with_suffix(".parts").read_text().splitlines())

    def add(
        self, increment: Increment, parquet: Path, parts: Sequence[str], left_out: Sequence[LeftOut]
    ) -> Increment:
        size = parquet.stat().st_size
        written = msgspec.structs.replace(
            increment, parts=len(parts), bad_parts=len(left_out), left_out=tuple(left_out), size=size
        )
        place = self.file(written)
        shutil.move(parquet, place)
        place.with_suffix(".parts").write_text("\n".join(parts))
        place.with_suffix(".json").write_bytes(msgspec.json.encode(written))
        return written

    def file(self, increment: Increment) -> Path:
        return self._root / f"{increment.day}.{increment.version}.parquet"
