"""Looks at the appliance's own metrics while it is filled, and slows the fill down for those who are served."""

from __future__ import annotations

import http.client
import logging
import threading
import urllib.request
from typing import Final

from daemon.log import event
from fill.agent.budget import SharedBudget
from fill.agent.governor import Governor, Rules, Seen, limit_bps, parse

log = logging.getLogger("fill.agent")

_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 16 << 20


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
        if self._last is None or self._stopped.wait(2 * self._rules.look_s):
            return
        now = self._seen()
        if now is not None:
            self._governor.learn(now.since(self._last))
        self._last = now

    def run(self) -> None:
        spent_bytes, fastest_bps = self._budget.spent_bytes, 0.0
        while self._rules.metrics_url is not None and not self._stopped.wait(self._rules.look_s):
            now = self._seen()
            spent_bytes, before_bytes = self._budget.spent_bytes, spent_bytes
            fastest_bps = max(fastest_bps, (spent_bytes - before_bytes) * 8 / self._rules.look_s)
            if now is not None and self._last is not None:
                before = self._governor.share
                share = self._governor.look(now.since(self._last))
                self._budget.limit(limit_bps(share, self._budget.cap_bps, fastest_bps))
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
