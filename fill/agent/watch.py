"""Looks at the appliance's own metrics while it is filled, and slows the fill down for those who are served."""

from __future__ import annotations

import http.client
import logging
import threading
import urllib.request
from typing import Final

from daemon.log import event
from fill.agent.budget import SharedBudget
from fill.agent.governor import Governor, Rules, Seen, parse

log = logging.getLogger("fill.agent")

_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 16 << 20
_UNCAPPED_BPS: Final = 100_000_000_000
"""What a share is of where there is no cap."""


class Watch:
    """`learn` for a moment before the fill, then `run` in a thread of its own until ``stopped``."""

    def __init__(self, rules: Rules, budget: SharedBudget, stopped: threading.Event) -> None:
        self._rules = rules
        self._budget = budget
        self._stopped = stopped
        self._governor = Governor(rules)
        self._last: Seen | None = None
        self._blind = False

    def learn(self) -> None:
        """What serving is like without a fill: what is answered within two looks."""
        if self._rules.metrics_url is None:
            return
        self._last = self._seen()
        self._stopped.wait(2 * self._rules.look_s)
        now = self._seen()
        if now is not None and self._last is not None:
            self._governor.learn(now.since(self._last))
        self._last = now

    def run(self) -> None:
        while self._rules.metrics_url is not None and not self._stopped.wait(self._rules.look_s):
            now = self._seen()
            if now is not None and self._last is not None:
                before = self._governor.share
                share = self._governor.look(now.since(self._last))
                self._budget.limit(0 if share >= 1 else int(share * (self._budget.cap_bps or _UNCAPPED_BPS)))
                if share < before and share == self._rules.least_share:
                    event(log, "fill gives way", share=round(share, 3))
            self._last = now

    def _seen(self) -> Seen | None:
        assert self._rules.metrics_url is not None
        try:
            with urllib.request.urlopen(self._rules.metrics_url, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                self._blind = False
                return parse(answer.read(_MOST_BYTES).decode(errors="replace"))
        except (OSError, http.client.HTTPException) as error:
            if not self._blind:
                self._blind = True
                event(log, "appliance's metrics not read", logging.WARNING, why=str(error))
            return None
