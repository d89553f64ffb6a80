"""Whether a caller may ask now: who it is, what it may do, and at which rate."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from contracts.problem import Problem
from contracts.steer import SteerRequest
from steering.apikeys import ApiKey, Callers, Scope
from steering.budget import Budget
from steering.clientbudgets import ClientBudgets
from steering.config import Config
from steering.credentials import Certified, Credentials
from steering.metrics import Limit, Metrics
from steering.request import Refused
from steering.sessions import Sessions

_READS_AT_ONCE_S: Final = 4.0
"""A person looks at the fleet, and at five explanations, and then reads."""


class Admission:
    """Budgets of callers that stay are kept when others come."""

    def __init__(self, config: Config, sessions: Sessions, metrics: Metrics) -> None:
        self._config = config
        self._sessions = sessions
        self._metrics = metrics
        self._callers = Callers(())
        self._budgets: dict[tuple[ApiKey, bool], Budget] = {}
        asked = config.client_networks
        self._clients = (
            None
            if asked is None
            else ClientBudgets(asked.titles_per_s, asked.starts_per_s, asked.burst_s, asked.networks)
        )

    def replace(self, callers: Iterable[ApiKey]) -> None:
        """Others are in force; those who stay keep what they have left to ask."""
        entries = tuple(callers)
        rates = {
            False: (self._config.requests_per_s, self._config.requests_per_s),
            True: (self._config.reads_per_s, self._config.reads_per_s * _READS_AT_ONCE_S),
        }
        self._callers = Callers(entries)
        self._budgets = {
            (entry, reads): self._budgets.get((entry, reads)) or Budget(*rates[reads])
            for entry in entries
            for reads in rates
        }

    def admit(self, credentials: Credentials, scope: Scope) -> None:
        """Lets a caller whose credentials permit it pass, at its rate; raises `Refused`."""
        known = self._known(credentials)
        if known is None:
            raise Refused(Problem.UNAUTHORISED)
        if scope not in known.scopes:
            raise Refused(Problem.SCOPE, f"the key {known.name} does not have the scope {scope.value}")
        # An explanation looks at every appliance of the fleet: of those a start is worth thousands.
        reads = scope is Scope.READ
        wait_s = self._budgets[known, reads].take(time.monotonic())
        if wait_s:
            self._metrics.limited(Limit.READS if reads else Limit.KEY)
            raise Refused(Problem.RATE, f"of the key {known.name}", retry_s=wait_s)

    def admit_client(self, asked: SteerRequest, now: float, wall: float) -> None:
        """Lets a start pass at the rate of the viewer's network; raises `Refused`."""
        if self._clients is None:
            return
        if asked.session is not None:
            known = self._sessions.get(asked.session, wall)
            if known is not None and known.title == asked.title:
                return
        wait_s = self._clients.take(asked.client_ip, asked.title, now)
        if wait_s:
            self._metrics.limited(Limit.CLIENT_NETWORK)
            raise Refused(
                Problem.RATE,
                "too many different titles, or starts, for the network of client_ip",
                retry_s=wait_s,
            )

    def _known(self, credentials: Credentials) -> ApiKey | None:
        now = time.time()
        if isinstance(credentials, Certified):
            return (
                self._callers.of_certificate(credentials.names, now) if now < credentials.expires_at else None
            )
        return None if credentials is None else self._callers.of_key(credentials, now)
