"""Where a run tells how far it is: on a terminal a screen (`fill.agent.screen`), else a line of the log for each thing
done and one every ten seconds in between; and in a file, for `fill status`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from daemon.log import event
from fill.agent.view import View

log = logging.getLogger("fill")

EVERY_S: Final = 10.0
STATE_NAME: Final = "fill-run.json"
"""Beside the ingest socket: gone with the machine, as is the run."""
_KEPT_EVERY_S: Final = 1.0
_FRESH_S: Final = 15.0
"""What is older was left by a run that was killed."""
_MODE: Final = 0o640


class Report(Protocol):
    def look(self, view: View) -> None:
        """So it is now; called several times a second."""
        ...

    def done(self, name: str, /, **fields: Any) -> None:
        """Something worth a line where nobody watches a screen."""
        ...


class _Silent:
    def look(self, view: View) -> None:
        pass

    def done(self, name: str, /, **fields: Any) -> None:
        pass


SILENT: Final[Report] = _Silent()


class Lines:
    """A line every `EVERY_S` at most: a log is read later, and by others. ``now`` is a monotonic clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._said_at = now()

    def look(self, view: View) -> None:
        now = self._now()
        if now - self._said_at < EVERY_S:
            return
        self._said_at = now
        fields: dict[str, Any] = {"done": view.done_bytes, "of": view.planned_bytes}
        fields["percent"] = (
            int(min(view.done_bytes / view.planned_bytes, 1.0) * 100) if view.planned_bytes else 100
        )
        fields["rate_bps"] = int(view.rate_bps)
        if view.ends_at is not None:
            fields["ends_in_s"] = int(view.ends_at - view.at)
        if view.late.objects:
            fields |= {"will_not_fit": view.late.objects, "will_not_fit_bytes": view.late.size}
        event(log, f"filling {view.appliance}", under_way=[one.key for one in view.under_way], **fields)

    def done(self, name: str, /, **fields: Any) -> None:
        event(log, name, **fields)


class Kept:
    """Writes what it looks like for `fill status`, once a second; a folder that takes no file costs a line in the log."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path = path
        self._now = now
        self._written_at: float | None = float("-inf")

    def look(self, view: View) -> None:
        now = self._now()
        if self._written_at is None or now - self._written_at < _KEPT_EVERY_S:
            return
        self._written_at = now
        draft = self._path.with_suffix(".new")
        try:
            # Not synced: it is of no use to anybody after a power cut.
            with open(
                os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE), "wb"
            ) as file:
                file.write(msgspec.json.encode(view))
            os.replace(draft, self._path)
        except OSError as error:
            self._written_at = None
            event(log, "state not written", logging.WARNING, why=f"{self._path}: {error.strerror}")

    def done(self, name: str, /, **fields: Any) -> None:
        pass

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class Several:
    """All of these."""

    def __init__(self, reports: Sequence[Report]) -> None:
        self._reports = reports

    def look(self, view: View) -> None:
        for report in self._reports:
            report.look(view)

    def done(self, name: str, /, **fields: Any) -> None:
        for report in self._reports:
            report.done(name, **fields)


def read_kept(path: Path, now: float) -> View | None:
    """What the run that is under way ``now`` (seconds since 1970) has said of itself last; None where there is none."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=View)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if now - found.at < _FRESH_S else None
