"""The states of a client's connection; `oca.edge.connection` has the table of what each waits for."""

from __future__ import annotations

import enum


class State(enum.Enum):
    IDLE = enum.auto()
    LOCATING = enum.auto()
    WAITING = enum.auto()
    WARMING = enum.auto()
    SENDING = enum.auto()
    LINGERING = enum.auto()
    CLOSED = enum.auto()
