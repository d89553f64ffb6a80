"""The plan that was adopted last, in a file: what it wants stays wanted over a restart."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from contracts import ingest
from daemon.durable import replace_file, sync_folder
from daemon.log import event

log = logging.getLogger("oca.store")


class PlanFile:
    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "plan.msgpack"

    def remember(self, plan: ingest.Adopt) -> None:
        """Blocking: for a thread. Raises OSError."""
        replace_file(self._path, ingest.encode(plan), mode=0o640)
        sync_folder(self._path.parent)

    def recall(self) -> ingest.Adopt | None:
        """None when there is none, or it cannot be read: the agent sends it again at its next run."""
        try:
            plan = ingest.decode_request(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            event(log, "plan not recalled", logging.WARNING, why=str(error))
            return None
        return plan if isinstance(plan, ingest.Adopt) else None
