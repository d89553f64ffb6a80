"""What becomes of a disk: states, events, and the table that joins them. Pure; time is passed in.

    state      event     becomes    what it means for the disk
    FAILED     LOOK      JOINING    a probe begins: identity, mount, a small file written, synced, read
    JOINING    JOINED    SERVING    the probe went well, and what is on the disk has been counted
    JOINING    FAULT     FAILED     it did not; the next look comes later than this one did
    SERVING    FAULT     FAILED     an error of the device, or a call that does not return
    SERVING    DRAIN     DRAINING   an operator wants it empty
    DRAINING   EMPTIED   DRAINED    what had to move has moved
    DRAINING   UNDRAIN   SERVING
    DRAINED    UNDRAIN   SERVING
    DRAINING   FAULT     FAILED     when it is back, it drains on
    DRAINED    FAULT     FAILED
    (any)      REMOVE    OUT        for good: it may be pulled out

A disk that is SERVING, DRAINING or DRAINED is in service: what is on it is counted, and workers look there.
New objects go to SERVING ones only.
"""

from __future__ import annotations

import enum
from typing import Final

FIRST_LOOK_S: Final = 5.0
LAST_LOOK_S: Final = 300.0
PROVEN_S: Final = 600.0
"""A disk that stayed in service for so long is trusted again: its next failure is its first."""


class State(enum.Enum):
    JOINING = "joining"  # being probed and counted: not looked at by anybody else
    SERVING = "serving"  # read and written
    DRAINING = "draining"  # read; what is on it moves to other disks
    DRAINED = "drained"  # read; nothing is left on it that was to move
    FAILED = "failed"  # nothing on it is counted, served or written until a probe goes well
    OUT = "out"  # taken out by an operator


class Event(enum.Enum):
    LOOK = "look"
    JOINED = "joined"
    FAULT = "fault"
    DRAIN = "drain"
    EMPTIED = "emptied"
    UNDRAIN = "undrain"
    REMOVE = "remove"


IN_SERVICE: Final = frozenset({State.SERVING, State.DRAINING, State.DRAINED})

_TABLE: Final[dict[tuple[State, Event], State]] = {
    (State.FAILED, Event.LOOK): State.JOINING,
    (State.JOINING, Event.JOINED): State.SERVING,
    (State.JOINING, Event.FAULT): State.FAILED,
    (State.SERVING, Event.FAULT): State.FAILED,
    (State.SERVING, Event.DRAIN): State.DRAINING,
    (State.DRAINING, Event.EMPTIED): State.DRAINED,
    (State.DRAINING, Event.UNDRAIN): State.SERVING,
    (State.DRAINED, Event.UNDRAIN): State.SERVING,
    (State.DRAINING, Event.FAULT): State.FAILED,
    (State.DRAINED, Event.FAULT): State.FAILED,
    **{(state, Event.REMOVE): State.OUT for state in State if state is not State.OUT},
}


class NotNow(Exception):
    """The disk is in a state in which this cannot happen to it."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a disk that is {state.value} cannot {event.value}")


def after(state: State, event: Event) -> State:
    """The state after ``event``; raises `NotNow`."""
    try:
        return _TABLE[state, event]
    except KeyError:
        raise NotNow(state, event) from None


class Patience:
    """When a failed disk is looked at again: twice as late each time, until it has proved itself."""

    def __init__(self, first_s: float = FIRST_LOOK_S) -> None:
        self._first_s = first_s
        self._next_s = first_s
        self._joined_at = 0.0

    def joined(self, now: float) -> None:
        """The disk is in service since ``now`` (monotonic seconds)."""
        self._joined_at = now

    def failed(self, now: float) -> float:
        """The disk failed, or its probe did; seconds until the next look."""
        if self._joined_at and now - self._joined_at >= PROVEN_S:
            self._next_s = self._first_s
        self._joined_at = 0.0
        wait_s, self._next_s = self._next_s, min(self._next_s * 2, max(LAST_LOOK_S, self._first_s))
        return wait_s
