"""What an appliance is taken for: one table of transitions, driven by heartbeats, probes and silence. Pure.

Two rules on what may happen here. A state changes only as `TRANSITIONS` says; what is not in the table
leaves it as it is. One sign of trouble is none: an appliance leaves the answers when two heartbeats are
missed, or when one is and its data port does not answer either.

A killed appliance was last heard at most 2 s before: its port refuses half a second after the first
heartbeat is missed, and without any probe it is SUSPECT 4 s after the last one.

Who comes and goes is damped, as routes are (RFC 2439): each loss costs a penalty that halves in time, and
above a limit heartbeats lead back to SUSPECT, which is answered when nobody else is left, not to SERVING.

When almost everybody falls silent at once it is we who are cut off: nobody changes state by silence until
we hear others again, and `isolated` says since when. And while we did not listen ourselves, because too much was to
do or the machine stood still, nobody was silent: that time (`tick`) counts for nothing.
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

BEAT_S: Final = 2.0
"""How often an appliance speaks; the three below are for that, and grow with it (`Health.beat_s`)."""
LATE_S: Final = 2.5
"""One heartbeat was missed: its data port is probed."""
SUSPECT_S: Final = 4.0
"""Two heartbeats."""
DOWN_S: Final = 30.0
PROBE_AGAIN_S: Final = 1.0
SWEEP_S: Final = 0.1
"""How often silence is looked at, however often somebody asks."""

PENALTY: Final = 1000.0
"""Of one loss, as in RFC 2439."""
SUPPRESS_PENALTY: Final = 3000.0
"""Reached by the fourth loss in a minute."""
REUSE_PENALTY: Final = 1500.0
MAX_PENALTY: Final = 8000.0
"""So that whoever is stable again is back within two and a half minutes."""
HALF_LIFE_S: Final = 60.0

TICK_S: Final = 0.1
HELD_UP_S: Final = 0.5
"""Between two ticks: what came meanwhile was not read."""

ISOLATED_FLEET: Final = 5
"""Of fewer, all may well fail at once."""
ISOLATED_SHARE: Final = 0.1
"""Of those we heard, how many still speak when the others' silence is our own doing."""


class State(enum.Enum):
    JOINING = "joining"  # in the fleet file, never heard: not answered
    SERVING = "serving"  # answered
    DRAINING = "draining"  # not answered; sessions under way go on
    SUSPECT = "suspect"  # answered only when nobody else is left
    DOWN = "down"  # silent for long, or revoked: not answered


class Event(enum.Enum):
    """What happens to an appliance, in the words of the reason that an operator reads."""

    BEAT = "heartbeats arrive"
    DRAINS = "it says that it drains"
    FLAPS = "heartbeats arrive, but it came and went too often"
    DEAF = "a heartbeat was missed and its data port does not answer"
    MISSED = "two heartbeats were missed"
    ANSWERS = "no heartbeat yet, but its data port answers"
    SILENT = "no heartbeat for 30 s"
    REVOKED = "its key was revoked"
    ENROLLED = "it has a new key"


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.JOINING, Event.BEAT): State.SERVING,
    (State.JOINING, Event.DRAINS): State.DRAINING,
    (State.JOINING, Event.FLAPS): State.SUSPECT,
    (State.JOINING, Event.ANSWERS): State.SUSPECT,
    (State.SERVING, Event.DRAINS): State.DRAINING,
    (State.SERVING, Event.DEAF): State.SUSPECT,
    (State.SERVING, Event.MISSED): State.SUSPECT,
    (State.DRAINING, Event.BEAT): State.SERVING,
    (State.DRAINING, Event.FLAPS): State.SUSPECT,
    # It was switched off: it never becomes SUSPECT, which may be answered.
    (State.DRAINING, Event.SILENT): State.DOWN,
    (State.SUSPECT, Event.FLAPS): State.SUSPECT,
    (State.SUSPECT, Event.BEAT): State.SERVING,
    (State.SUSPECT, Event.DRAINS): State.DRAINING,
    (State.SUSPECT, Event.SILENT): State.DOWN,
    (State.DOWN, Event.BEAT): State.SERVING,
    (State.DOWN, Event.DRAINS): State.DRAINING,
    (State.DOWN, Event.FLAPS): State.SUSPECT,
    (State.DOWN, Event.ENROLLED): State.JOINING,
    **{(state, Event.REVOKED): State.DOWN for state in State},
}

_LOSSES: Final = {Event.DEAF, Event.MISSED}
_WATCHED: Final = {State.SERVING, State.DRAINING, State.SUSPECT}
_UNHEARD: Final = "no heartbeat yet"


@dataclass(slots=True)
class Standing:
    """One appliance. Times are of the clock that `Health` is told."""

    state: State = State.JOINING
    reason: str = _UNHEARD
    since: float = 0.0
    """When it got into this state."""
    heard_at: float | None = None
    penalty: float = 0.0
    penalty_at: float = 0.0
    suppressed: bool = False
    probed_at: float = float("-inf")

    def penalty_now(self, now: float) -> float:
        return self.penalty * math.exp2(-max(0.0, now - self.penalty_at) / HALF_LIFE_S)


@dataclass
class Health:
    """All appliances. ``now`` never goes back."""

    beat_s: float = BEAT_S
    """How often they speak: being late, suspect and down are counted in heartbeats."""

    standings: dict[str, Standing] = field(default_factory=dict)
    isolated_since: float | None = None
    changed: list[str] = field(default_factory=list)
    """Whose state is another since somebody emptied this; in order."""
    _watched: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Those whose silence counts, the longest silent first."""
    _swept_at: float = float("-inf")
    _looked_at: float = float("-inf")
    _is_cut_off: bool = False
    _heard_from: float = float("-inf")
    """Before this we listened to nobody: silence counts from here."""
    held_up_s: float = 0.0
    """For how long, in all, we did not listen."""
    _ticked_at: float | None = None
    _held_up: deque[tuple[float, float]] = field(default_factory=deque)
    """When each time that counts for nothing ended, and how long it was; of the last `DOWN_S`."""

    @property
    def _scaled(self) -> float:
        return self.beat_s / BEAT_S

    def of(self, appliance: str) -> Standing:
        found = self.standings.get(appliance)
        if found is None:
            found = self.standings[appliance] = Standing()
        return found

    def hear(self, appliance: str, *, draining: bool, now: float) -> State:
        """A heartbeat arrived."""
        self.sweep(now)
        standing = self.of(appliance)
        standing.heard_at = now
        if standing.suppressed and standing.penalty_now(now) < REUSE_PENALTY:
            standing.suppressed = False
        if draining:
            event = Event.DRAINS
        else:
            event = Event.FLAPS if standing.suppressed else Event.BEAT
        self._happens(appliance, event, now)
        self._watched[appliance] = None
        self._watched.move_to_end(appliance)
        return standing.state

    def tick(self, now: float) -> None:
        """Called each `TICK_S` by the loop that reads heartbeats. Who never calls it is taken to listen always."""
        self._listened(now)
        self._ticked_at = now

    def _listened(self, now: float) -> None:
        """Notices when we did not. From a sweep too: what is read after a standstill comes before the next tick."""
        if self._ticked_at is not None and now - self._ticked_at > HELD_UP_S:
            self._held_up.append((now, now - self._ticked_at))
            self.held_up_s += now - self._ticked_at
            self._ticked_at = now
        while self._held_up and now - self._held_up[0][0] > self._scaled * DOWN_S:
            self._held_up.popleft()

    def sweep(self, now: float) -> None:
        """Lets silence have its effect; whoever asks for a state calls it first."""
        if now - self._swept_at < SWEEP_S:
            return
        self._swept_at = now
        self._listened(now)
        suspect_s, down_s = self._scaled * SUSPECT_S, self._scaled * DOWN_S
        longest = next(iter(self._watched), None)
        somebody = longest is not None and self._age_s(longest, now) >= suspect_s
        # Before anybody is looked at: while we are cut off that is the whole fleet, ten times a second.
        if somebody and self._cut_off(now):
            if self.isolated_since is None:
                self.isolated_since = now
            return
        if self.isolated_since is not None:
            # Whom we have not heard yet gets as long as anybody else from here on.
            self.isolated_since, self._heard_from = None, now
            return
        silent = takewhile(lambda name: self._age_s(name, now) >= suspect_s, self._watched)
        for name in list(silent):
            self._happens(name, Event.MISSED, now)
            if self._age_s(name, now) >= down_s:
                self._happens(name, Event.SILENT, now)
                del self._watched[name]

    def due(self, now: float, limit: int) -> list[str]:
        """Up to ``limit`` appliances whose data port should be probed now; they count as being probed."""
        found: list[str] = []
        if self.isolated_since is not None:
            return found  # what came of it would not be believed
        for name in self._watched:
            if self._age_s(name, now) < self._scaled * LATE_S or len(found) == limit:
                break
            standing = self.standings[name]
            if standing.state is State.SERVING and now - standing.probed_at >= PROBE_AGAIN_S:
                standing.probed_at = now
                found.append(name)
        return found

    def probed(self, appliance: str, *, answered: bool, asked_at: float, now: float) -> None:
        """What came of a probe that began at ``asked_at``; a heartbeat since then is worth more."""
        standing = self.standings.get(appliance)
        if standing is None or self.isolated_since is not None:
            return
        if answered:
            self._happens(appliance, Event.ANSWERS, now)
            if standing.state is State.SUSPECT and standing.heard_at is None:
                self._watched[appliance] = None
        elif (standing.heard_at is None or standing.heard_at <= asked_at) and not self._cut_off(now):
            self._happens(appliance, Event.DEAF, now)

    def revoked(self, appliance: str, now: float) -> None:
        self._watched.pop(appliance, None)
        self._happens(appliance, Event.REVOKED, now)

    def enrolled(self, appliance: str, now: float) -> None:
        self._happens(appliance, Event.ENROLLED, now)

    def forget(self, appliance: str) -> None:
        self.standings.pop(appliance, None)
        self._watched.pop(appliance, None)

    def restore(self, standings: dict[str, Standing], now: float) -> None:
        """What was known before a restart. While we were away nobody could be heard: silence begins now."""
        self.standings.update(standings)
        self._heard_from = now
        for name in sorted(standings, key=lambda name: standings[name].heard_at or 0.0):
            if standings[name].state in _WATCHED:
                self._watched[name] = None

    def _happens(self, appliance: str, event: Event, now: float) -> None:
        standing = self.of(appliance)
        to = TRANSITIONS.get((standing.state, event))
        if to is None:
            return
        standing.reason = event.value
        if to is standing.state:
            return
        if event in _LOSSES:
            standing.penalty = min(MAX_PENALTY, standing.penalty_now(now) + PENALTY)
            standing.penalty_at = now
            standing.suppressed = standing.suppressed or standing.penalty > SUPPRESS_PENALTY
        standing.state, standing.since = to, now
        self.changed.append(appliance)

    def _age_s(self, appliance: str, now: float) -> float:
        standing = self.standings[appliance]
        began = max(self._heard_from, standing.since if standing.heard_at is None else standing.heard_at)
        age_s = now - began
        for ended_at, seconds in self._held_up:
            if ended_at > began:
                age_s -= min(seconds, ended_at - began)
        return age_s

    def _cut_off(self, now: float) -> bool:
        """Whether so few of many still speak that the fault is ours; looked at anew after `SWEEP_S`.

        A look goes through a share of the fleet, and each probe that fails asks for one.
        """
        if now - self._looked_at >= SWEEP_S:
            self._looked_at, self._is_cut_off = now, self._few_speak(now)
        return self._is_cut_off

    def _few_speak(self, now: float) -> bool:
        if len(self._watched) < ISOLATED_FLEET:
            return False
        enough = ISOLATED_SHARE * len(self._watched)
        for speaking, name in enumerate(reversed(self._watched), start=1):
            if self.standings[name].heard_at is None or self._age_s(name, now) >= self._scaled * LATE_S:
                return True
            if speaking >= enough:
                break
        return False
