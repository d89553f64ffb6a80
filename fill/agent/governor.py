"""How fast a fill may be while players are served: pure, one step for each look at the appliance.

The signal is the time from a request to its first byte, for players alone, as the appliance's own histogram has
it: it rises when the disk, the link or the processor is short, and needs no knowledge of any of them. While it
is above `Rules.above` times what it is without us, the rate is halved; while it is not, it grows by a tenth.
What it is without us is learnt before the fill begins, and again whenever the rate is at its lowest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta

_LEAST_ANSWERS: Final = 20
"""Fewer within one look say nothing: then the rate grows."""
_GROWTH: Final = 1.1
_CALM_WEIGHT: Final = 0.3


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``metrics_url`` is the appliance's own; without it the fill does not give way."""

    metrics_url: (
        Annotated[str, Meta(pattern=r"^https?://", description="such as http://127.0.0.1:9080/metrics")]
        | None
    ) = None
    above: Annotated[float, Meta(ge=1, le=100, description="times the p99 without a fill")] = 1.2
    floor_s: Annotated[float, Meta(ge=0, le=60, description="a p99 below this never slows a fill")] = 0.002
    least_share: Annotated[float, Meta(gt=0, le=1, description="of the cap: what a fill always gets")] = 0.05
    look_s: Annotated[float, Meta(gt=0, le=60)] = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """Answers so far by upper bound of their time to the first byte, cumulative: as Prometheus has it."""

    buckets: Mapping[float, float]

    def since(self, before: Seen) -> Seen:
        return Seen({bound: count - before.buckets.get(bound, 0.0) for bound, count in self.buckets.items()})

    @property
    def answers(self) -> float:
        return max(self.buckets.values(), default=0.0)

    def p99_s(self) -> float:
        """Between two bounds as a straight line; the highest bound that is one, beyond."""
        wanted, low, below = 0.99 * self.answers, 0.0, 0.0
        for bound, count in sorted(self.buckets.items()):
            if count >= wanted:
                if bound == float("inf"):
                    return low
                return low + (bound - low) * ((wanted - below) / (count - below) if count > below else 1.0)
            low, below = bound, count
        return low


class Governor:
    """``share`` of the cap may be used now."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._calm_s: float | None = None
        self.share = 1.0

    def learn(self, seen: Seen) -> None:
        """``seen`` while nothing is filled."""
        if seen.answers >= _LEAST_ANSWERS:
            known = self._calm_s
            p99_s = seen.p99_s()
            self._calm_s = p99_s if known is None else known + _CALM_WEIGHT * (p99_s - known)

    def look(self, seen: Seen) -> float:
        """The share, after what was ``seen`` since the last look."""
        lowest = self.share <= self._rules.least_share
        if seen.answers < _LEAST_ANSWERS:
            slow = False
        else:
            calm_s = self._calm_s if self._calm_s is not None else 0.0
            slow = seen.p99_s() > max(self._rules.floor_s, self._rules.above * calm_s)
            if lowest:
                # We hardly weigh: what it takes now it takes without us.
                self.learn(seen)
        self.share = self.share / 2 if slow else self.share * _GROWTH
        self.share = min(1.0, max(self._rules.least_share, self.share))
        return self.share


def limit_bps(share: float, cap_bps: int, fastest_bps: float) -> int:
    """What a fill may take with ``share`` of its cap; without a cap, of the fastest that it has been. 0 is no limit."""
    if share >= 1 or not (cap_bps or fastest_bps):
        return 0
    return max(1, int(share * (cap_bps or fastest_bps)))


def parse(text: str, name: str = "oca_edge_first_byte_seconds") -> Seen:
    """The histogram ``name`` of a Prometheus exposition, its labels added up; nothing where it has none."""
    buckets: dict[float, float] = {}
    for line in text.splitlines():
        if line.startswith(f"{name}_bucket{{"):
            labels, _, value = line[len(name) + 8 :].rpartition("} ")
            bound = next((part for part in labels.split(",") if part.startswith('le="')), "")
            try:
                at = float(bound[4:-1].replace("+Inf", "inf"))
                buckets[at] = buckets.get(at, 0.0) + float(value.split(" ")[0])
            except ValueError:
                continue
    return Seen(buckets)
