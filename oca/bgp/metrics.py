"""Routes and sessions, as `/metrics` shows them."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from oca.bgp.feed import BgpStatus


def families(prefixes: int, known: bool, status: BgpStatus | None) -> list[Metric]:
    up = GaugeMetricFamily("oca_bgp_session_up", "1 while the session is up", labels=["neighbour"])
    age = GaugeMetricFamily("oca_bgp_session_state_seconds", "Age of its state", labels=["neighbour"])
    accepted = GaugeMetricFamily("oca_bgp_accepted_prefixes", "Accepted", labels=["neighbour"])
    limit = GaugeMetricFamily("oca_bgp_prefix_limit", "Beyond, the session is stopped", labels=["neighbour"])
    refused = GaugeMetricFamily("oca_bgp_refused_prefixes", "Refused, by why", labels=["neighbour", "reason"])
    flaps = CounterMetricFamily("oca_bgp_sessions_lost", "Sessions that ended", labels=["neighbour"])
    for item in status.neighbours if status is not None else ():
        up.add_metric([item.address], int(item.state == "up"))
        age.add_metric([item.address], item.age_s)
        accepted.add_metric([item.address], item.accepted)
        limit.add_metric([item.address], item.limit)
        flaps.add_metric([item.address], item.flaps)
        for reason, count in item.refused.items():
            refused.add_metric([item.address, reason], count)
    return [
        GaugeMetricFamily("oca_bgp_running", "1 while oca bgp speaks to us", int(status is not None)),
        GaugeMetricFamily("oca_route_prefixes", "Told to steering", prefixes),
        GaugeMetricFamily("oca_routes_known", "1 once a table was whole", int(known)),
        up,
        age,
        accepted,
        limit,
        refused,
        flaps,
    ]
