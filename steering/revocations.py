"""Sessions whose tokens are worth nothing any more, though they have not expired.

A token is checked by appliances alone, with a public key and a clock. So that one can be taken back all
the same, every appliance is told the list with the answer to its heartbeat. It is kept in a file: a
steering that forgot it at a restart would give back what it had taken.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from contracts.heartbeat import MAX_REVOKED, Revocations
from daemon.config import ConfigError
from daemon.keyfiles import replace_json


class TooMany(Exception):
    """The list is full; what stands on it expires within the lifetime of a token."""


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    version: str
    until: dict[str, float]


class RevocationList:
    """``draw`` gives a version that was never used before."""

    def __init__(self, file: Path, draw: Callable[[], str]) -> None:
        self._file = file
        self._draw = draw
        self._stored = _read(file) or _Stored(draw(), {})

    def revoke(self, session: str, until: float, now: float) -> None:
        """Puts ``session`` on the list until ``until`` (seconds since 1970); raises `TooMany`, OSError."""
        kept = {name: end for name, end in self._stored.until.items() if end > now}
        if session not in kept and len(kept) >= MAX_REVOKED:
            raise TooMany(f"{MAX_REVOKED} sessions are revoked already")
        changed = _Stored(self._draw(), {**kept, session: max(until, kept.get(session, 0.0))})
        # The mode that the unit's UMask gives.
        replace_json(self._file, msgspec.to_builtins(changed), mode=0o640)
        self._stored = changed

    def is_revoked(self, session: str) -> bool:
        return session in self._stored.until

    def news(self, known: str) -> Revocations | None:
        """The list for an appliance that has the version ``known``; None when that is this one."""
        stored = self._stored
        if known == stored.version or (not known and not stored.until):
            return None
        return Revocations(stored.version, tuple(sorted(stored.until)))


def _read(file: Path) -> _Stored | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Stored)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{file}: {error}: mend it, or remove it to revoke nothing") from None
