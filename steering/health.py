"""What an appliance is taken for: one table of transitions, driven by heartbeats and silence. Pure.

    from       event                        to
    JOINING    heartbeat                    SERVING or DRAINING
    SERVING    heartbeat that drains        DRAINING
    DRAINING   heartbeat that does not      SERVING
    SERVING    two heartbeats missed        SUSPECT
    SUSPECT    heartbeat                    SERVING or DRAINING
    SUSPECT    silence of DOWN_S            DOWN
    DRAINING   silence of DOWN_S            DOWN
    DOWN       heartbeat                    SERVING or DRAINING

A killed appliance was last heard at most 2 s before: it is SUSPECT, and out of the answers, within 5.
One that drained and then went silent was switched off: it never becomes SUSPECT, which may be answered.
"""

from __future__ import annotations

import enum
from typing import Final

SUSPECT_S: Final = 4.0
"""Two heartbeats of 2 s."""
DOWN_S: Final = 30.0


class State(enum.Enum):
    JOINING = "joining"  # in the fleet file, never heard since steering started: not answered
    SERVING = "serving"  # answered
    DRAINING = "draining"  # not answered; sessions under way go on
    SUSPECT = "suspect"  # silent: answered only when nobody else is left
    DOWN = "down"  # silent for long: not answered


def state_of(age_s: float | None, *, draining: bool) -> State:
    """The state of an appliance whose last heartbeat came ``age_s`` ago; None: never."""
    if age_s is None:
        return State.JOINING
    if age_s >= DOWN_S:
        return State.DOWN
    if draining:
        return State.DRAINING
    return State.SUSPECT if age_s >= SUSPECT_S else State.SERVING
