"""What steering counts, for Prometheus."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from contracts.problem import Problem
from steering.health import State
from steering.request import Refused


class Limit(enum.Enum):
    """Which bound a question met; its caller is told 429."""

    KEY = "key"  # requests_per_s of an API key: raise it, or the caller repeats himself
    READS = "reads"  # reads_per_s of an API key: somebody polls the fleet or explanations
    CLIENT_NETWORK = (
        "client_network"  # client_networks: a walk through the catalog, or a NAT larger than expected
    )
    ENROLMENT = "enrolment"  # somebody guesses codes, or a rack enrols at once


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._answers = Counter(
            "steering_answers",
            "Questions of playback services, by the name of the problem or 'answered'",
            ["outcome"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "steering_decision_seconds",
            "From a whole question to its answer, its wait for a turn included",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
            registry=self._registry,
        )
        self._beats = Counter(
            "steering_heartbeats",
            "Heartbeats, by the name of the problem or 'taken'",
            ["outcome"],
            registry=self._registry,
        )
        limited = Counter(
            "steering_limited",
            "Questions refused for their number, by the bound",
            ["limit"],
            registry=self._registry,
        )
        self._limited = {limit: limited.labels(limit.value) for limit in Limit}
        self._answering = _Counted(self._answers, "answered")
        self._hearing = _Counted(self._beats, "taken")
        self._shed = self._answers.labels(Problem.BUSY.name.lower())
        self._appliances = Gauge(
            "steering_appliances", "Appliances of the fleet file", ["state"], registry=self._registry
        )
        self._content_age = Gauge(
            "steering_content_age_seconds",
            "Since S3 was last read without an error; NaN: never",
            registry=self._registry,
        )
        self._plan_issued = Gauge(
            "steering_plan_issued_timestamp_seconds",
            "When the planner put the plan in force; 0: there is none, or it did not sign that",
            registry=self._registry,
        )
        self._catalog_issued = Gauge(
            "steering_catalog_issued_timestamp_seconds",
            "When the publisher put the catalog in force; 0: there is none, or it did not sign that",
            registry=self._registry,
        )
        self._refused_documents = Gauge(
            "steering_refused_documents",
            "Documents of the catalog and of plans that are not believed: `steering fleet` names them",
            registry=self._registry,
        )
        self._isolated = Gauge(
            "steering_isolated_seconds",
            "For how long nobody of the fleet was heard, and nobody taken out for it; 0: not so",
            registry=self._registry,
        )
        self._starved = Gauge(
            "steering_starved_networks",
            "Pairs of appliance and client network whose weight is below 1 where an equal appliance does well",
            registry=self._registry,
        )
        self._sessions = Gauge("steering_sessions", "Sessions that are remembered", registry=self._registry)
        self._held_up = Counter(
            "steering_held_up_seconds",
            "In which heartbeats were not read, for more than half a second at a time; silence of then does not count",
            registry=self._registry,
        )
        self._held_up_told_s = 0.0
        self._beat_sessions = Gauge(
            "steering_heartbeat_sessions",
            "Appliances whose heartbeats a MAC vouches for; the others sign each",
            registry=self._registry,
        )

    def answering(self) -> _Counted:
        """Counts how the question inside ends."""
        return self._answering

    def answered(self, error: Exception | None) -> None:
        """Counts a question that ended so."""
        self._answering.ended(error)

    def hearing(self) -> _Counted:
        """Counts how the heartbeat inside ends."""
        return self._hearing

    def shed(self) -> None:
        """A question could not have its turn."""
        self._shed.inc()

    def limited(self, limit: Limit) -> None:
        self._limited[limit].inc()

    def decided(self, seconds: float) -> None:
        self._seconds.observe(seconds)

    def page(
        self,
        states: Iterable[State],
        content_age_s: float | None,
        sessions: int,
        isolated_s: float | None,
        beat_sessions: int,
        held_up_s: float,
        starved_networks: int,
        plan_issued_at: int,
        catalog_issued_at: int,
        refused_documents: int,
    ) -> tuple[bytes, str]:
        """The exposition and its media type."""
        counts = dict.fromkeys(State, 0)  # a state that nobody is in is 0, not absent
        for state in states:
            counts[state] += 1
        for state, count in counts.items():
            self._appliances.labels(state.value).set(count)
        self._content_age.set(float("nan") if content_age_s is None else content_age_s)
        self._sessions.set(sessions)
        self._isolated.set(isolated_s or 0)
        self._beat_sessions.set(beat_sessions)
        self._held_up.inc(held_up_s - self._held_up_told_s)
        self._held_up_told_s = held_up_s
        self._starved.set(starved_networks)
        self._plan_issued.set(plan_issued_at)
        self._catalog_issued.set(catalog_issued_at)
        self._refused_documents.set(refused_documents)
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _Counted:
    """A context that counts how what is inside ends. It has no state of its own: one serves all requests."""

    def __init__(self, counter: Counter, success: str) -> None:
        self._counter = counter
        self._success = counter.labels(success)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.ended(error)

    def ended(self, error: BaseException | None) -> None:
        if error is None:
            self._success.inc()
        elif isinstance(error, Refused):
            self._counter.labels(error.problem.name.lower()).inc()
