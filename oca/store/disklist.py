"""Which disks there are: those of the configuration file, and what `oca disks` changed since.

The file is the operator's, and no program writes it. What the commands changed stands in
``state_dir/disks.json`` and is laid over it at each start: disks added, disks removed, disks that drain. What
the file says meanwhile itself is dropped from there: a disk that was added and is now in the file is as the
file has it, and one that was removed and is no longer in the file is forgotten. So once the operator has edited
the file, nothing is laid over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from daemon.config import ConfigError
from daemon.durable import replace_file
from oca import config
from oca.store.disks import Disk

FILE_NAME = "disks.json"


class Changes(msgspec.Struct, frozen=True):
    added: tuple[config.Disk, ...] = ()
    removed: tuple[str, ...] = ()
    draining: tuple[str, ...] = ()


class DiskList:
    """``configured`` is what the file says. Every change is on the disk when its method returns."""

    def __init__(self, state_dir: Path, configured: Sequence[config.Disk]) -> None:
        self._file = state_dir / FILE_NAME
        self._configured = {disk.path: disk for disk in configured}
        self.changes = Changes()

    def load(self) -> list[config.Disk]:
        """The disks there are; raises `ConfigError` when what was changed cannot be read."""
        try:
            said = msgspec.json.decode(self._file.read_bytes(), type=Changes)
        except FileNotFoundError:
            said = Changes()
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(
                f"{self._file}: {error}: mend it, or remove it and have all disks in the configuration"
            ) from None
        self.changes = Changes(
            tuple(disk for disk in said.added if disk.path not in self._configured),
            tuple(path for path in said.removed if path in self._configured),
            said.draining,
        )
        listed = [disk for path, disk in self._configured.items() if path not in self.changes.removed]
        return [*listed, *self.changes.added]

    def add(self, disk: config.Disk) -> None:
        """Raises OSError."""
        added = tuple(item for item in self.changes.added if item.path != disk.path)
        if disk.path not in self._configured:
            added = (*added, disk)
        removed = tuple(path for path in self.changes.removed if path != disk.path)
        self._keep(msgspec.structs.replace(self.changes, added=added, removed=removed))

    def remove(self, path: str) -> None:
        """Raises OSError."""
        removed = self.changes.removed
        if path in self._configured and path not in removed:
            removed = (*removed, path)
        self._keep(
            Changes(
                tuple(disk for disk in self.changes.added if disk.path != path),
                removed,
                tuple(other for other in self.changes.draining if other != path),
            )
        )

    def drain(self, path: str, on: bool) -> None:
        """Raises OSError."""
        draining = tuple(other for other in self.changes.draining if other != path)
        self._keep(msgspec.structs.replace(self.changes, draining=(*draining, path) if on else draining))

    def _keep(self, changes: Changes) -> None:
        replace_file(self._file, msgspec.json.format(msgspec.json.encode(changes), indent=2), mode=0o644)
        self.changes = changes


def disk_of(said: config.Disk, patience_s: float) -> Disk:
    """The disk that the configuration describes."""
    return Disk(Path(said.path), said.capacity_bytes, share=said.share, tier=said.tier, patience_s=patience_s)
