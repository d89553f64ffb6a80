"""The admin port: health, metrics, status, drain, purge. For operators and machines, never for players.

Bound to loopback by default. A web page in an operator's browser could reach it there, so requests
that a page makes (they carry ``Origin``) may read nothing and change nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric

from contracts.objectkey import BadKey, parse_key, parse_title
from contracts.players import Players
from contracts.problem import MEDIA_TYPE, Problem, render
from oca.bgp import metrics as bgp_metrics
from oca.counters import BOUNDS, Histogram, Histograms, Traffic, descriptions
from oca.diskrequest import DiskRequest, Refused
from oca.status import DeliveryStatus, DiskStatus, ObjectStatus, Purged, ServedCount, Status

_MAX_BODY_BYTES: Final = 16384
_SERVING: Final = frozenset({"serving", "draining", "drained"})


class Purge(msgspec.Struct, forbid_unknown_fields=True):
    """Exactly one of the three."""

    key: str | None = None
    title: str | None = None
    prefix: Annotated[str, Meta(min_length=1)] | None = None

    def matcher(self) -> Callable[[str], bool]:
        """Whether an object key is meant; raises ValueError when it is not clear which are."""
        if [self.key, self.title, self.prefix].count(None) != 2:
            raise ValueError('exactly one of "key", "title" and "prefix" is expected')
        if self.key is not None:
            key = parse_key(self.key)
            return lambda candidate: candidate == key
        prefix = f"{parse_title(self.title)}/" if self.title is not None else self.prefix
        assert prefix is not None
        return lambda candidate: candidate.startswith(prefix)


class ScrubNow(msgspec.Struct, forbid_unknown_fields=True):
    """Which disk to read again now; all of them when none is named."""

    disk: str | None = None


class Admin:
    """The routes; what they show and do is passed in, so that this file knows no store."""

    def __init__(
        self,
        status: Callable[[], Status],
        traffic: Callable[[], Traffic],
        object_status: Callable[[str], ObjectStatus | None],
        not_ready: Callable[[], str | None],
        drain: Callable[[bool], None],
        purge: Callable[[Callable[[str], bool]], Awaitable[Purged]],
        disk_operation: Callable[[DiskRequest], Awaitable[None]],
        scrub: Callable[[str | None], Sequence[str]],
    ) -> None:
        self._status = status
        self._traffic = traffic
        self._object_status = object_status
        self._not_ready = not_ready
        self._drain = drain
        self._purge = purge
        self._disk_operation = disk_operation
        self._scrub = scrub
        self._registry = CollectorRegistry()
        self._registry.register(self)  # any object with collect()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[_refuse_pages])
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/v1/status", self._get_status),
                web.get("/v1/disks", self._get_disks),
                web.post("/v1/disks", self._post_disks),
                web.get("/v1/objects/{key:.+}", self._get_object),
                web.post("/v1/drain", self._post_drain),
                web.post("/v1/undrain", self._post_undrain),
                web.post("/v1/purge", self._post_purge),
                web.post("/v1/scrub", self._post_scrub),
            ]
        )
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        why = self._not_ready()
        return web.Response(text="ready\n") if why is None else problem(Problem.UNAVAILABLE, why)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _get_status(self, _: web.Request) -> web.Response:
        return _json(self._status())

    async def _get_disks(self, _: web.Request) -> web.Response:
        return _json(self._status().disks)

    async def _post_disks(self, request: web.Request) -> web.Response:
        try:
            await self._disk_operation(msgspec.json.decode(await request.read(), type=DiskRequest))
        except msgspec.DecodeError as error:
            return problem(Problem.BAD_FIELD, str(error))
        except Refused as error:
            return problem(Problem.CONFLICT, str(error))
        return _json(self._status().disks)

    async def _get_object(self, request: web.Request) -> web.Response:
        try:
            found = self._object_status(parse_key(request.match_info["key"]))
        except BadKey as error:
            return problem(Problem.BAD_KEY, str(error))
        return _json(found) if found is not None else problem(Problem.NOT_FOUND)

    async def _post_drain(self, _: web.Request) -> web.Response:
        self._drain(True)
        return _json({"state": self._status().state})

    async def _post_undrain(self, _: web.Request) -> web.Response:
        self._drain(False)
        return _json({"state": self._status().state})

    async def _post_purge(self, request: web.Request) -> web.Response:
        try:
            matches = msgspec.json.decode(await request.read(), type=Purge).matcher()
        except (msgspec.DecodeError, ValueError) as error:
            return problem(Problem.BAD_FIELD, str(error))
        return _json(await self._purge(matches))

    async def _post_scrub(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read() or b"{}", type=ScrubNow)
        except msgspec.DecodeError as error:
            return problem(Problem.BAD_FIELD, str(error))
        begun = self._scrub(asked.disk)
        if not begun:
            which = "no disk is" if asked.disk is None else f"{asked.disk} is not a disk that is"
            return problem(Problem.UNAVAILABLE, f"{which} scrubbed: it is out of service, or scrub is null")
        return _json({"reading": begun})

    def collect(self) -> list[Metric]:
        """Everything `/metrics` shows, made when it is asked for. Source: Prometheus naming practices."""
        status, traffic = self._status(), self._traffic()
        metrics: list[Metric] = [
            InfoMetricFamily("oca", "The appliance", {"id": status.id, "version": status.version}),
            GaugeMetricFamily("oca_ready", "1 when it may take traffic", int(self._not_ready() is None)),
            GaugeMetricFamily("oca_draining", "1 while draining", int(status.state == "draining")),
            GaugeMetricFamily("oca_workers", "Edge workers connected to the storekeeper", status.workers),
            GaugeMetricFamily("oca_connections", "Open client connections", status.connections),
            GaugeMetricFamily("oca_incomplete_objects", "Objects on their way in", status.incomplete),
        ]
        metrics += _counted(traffic)
        metrics += _measured(traffic)
        metrics += _disks(status.disks)
        metrics += _served("oca_hit", "Answered from our disks, by class", "class", status.hits)
        metrics += _served("oca_miss", "Fetched, by why it was not here", "cause", status.misses)
        metrics += [
            CounterMetricFamily("oca_moved_objects", "From disk to disk", status.moved_objects),
            CounterMetricFamily("oca_moved_bytes", "From disk to disk", status.moved_bytes),
        ]
        metrics += _scrubbed(status)
        received = CounterMetricFamily("oca_upstream_received_bytes", "Bytes pulled", labels=["upstream"])
        faults = CounterMetricFamily("oca_upstream_faults", "Failed pulls", labels=["upstream", "fault"])
        passed_over = GaugeMetricFamily(
            "oca_upstream_breaker_open", "1 while it keeps failing and is not asked", labels=["upstream"]
        )
        for upstream in status.upstreams:
            received.add_metric([upstream.name], upstream.bytes)
            passed_over.add_metric([upstream.name], int(upstream.breaker == "open"))
            for fault, count in upstream.faults.items():
                faults.add_metric([upstream.name, fault], count)
        metrics += [received, faults, passed_over]
        metrics += _catalog(status)
        if status.delivery is not None:
            metrics += _delivery_log(status.delivery)
        if status.routes is not None:
            metrics += bgp_metrics.families(status.routes.prefixes, status.routes.known, status.routes.bgp)
        metrics += _players(status.players)
        if status.plan is not None:
            metrics += [
                GaugeMetricFamily(
                    "oca_plan_share_done", "Share of the plan's bytes held", status.plan.share_done
                ),
                GaugeMetricFamily(
                    "oca_plan_issued_timestamp_seconds",
                    "When the planner put the plan in force; 0: it did not sign that",
                    status.plan.issued_at,
                ),
            ]
        return metrics


def _catalog(status: Status) -> list[Metric]:
    return [
        GaugeMetricFamily(
            "oca_catalog_stale",
            "1 while the newest catalog could not be read, or was not believed",
            int(status.catalog_error is not None),
        ),
        GaugeMetricFamily(
            "oca_catalog_refused_documents",
            "Indexes and entries of the catalog that are not believed: `oca status` names them",
            len(status.catalog_refused),
        ),
    ]


def _players(players: Players | None) -> list[Metric]:
    told = players or Players(0.0, 0.0)
    return [
        GaugeMetricFamily(
            "oca_players_sessions", "Distinct sessions in an interval of votes, mean", told.sessions
        ),
        GaugeMetricFamily("oca_players_starved", "Of them, those that starved, mean", told.starved),
        GaugeMetricFamily(
            "oca_players_starved_networks", "Client networks told to steering", len(told.networks)
        ),
    ]


def _disks(disks: tuple[DiskStatus, ...]) -> list[Metric]:
    families: list[tuple[type[Metric], str, str, Callable[[DiskStatus], float]]] = [
        (GaugeMetricFamily, "oca_disk_capacity_bytes", "Bytes we may use", lambda disk: disk.capacity_bytes),
        (GaugeMetricFamily, "oca_disk_used_bytes", "Bytes promised to objects", lambda disk: disk.used_bytes),
        (GaugeMetricFamily, "oca_disk_pinned_bytes", "Of the plan", lambda disk: disk.pinned_bytes),
        (GaugeMetricFamily, "oca_disk_serving", "1 when in service", lambda disk: disk.state in _SERVING),
        (CounterMetricFamily, "oca_disk_faults", "Times taken out of service", lambda disk: disk.faults),
        (GaugeMetricFamily, "oca_disk_heat", "Requests of late for what is on it", lambda disk: disk.heat),
    ]
    metrics = []
    for kind, name, sentence, value in families:
        family = kind(name, sentence, labels=["disk"])  # type: ignore[call-arg]
        for disk in disks:
            family.add_metric([disk.path], value(disk))  # type: ignore[attr-defined]
        metrics.append(family)
    return metrics


def _served(name: str, sentence: str, label: str, counts: dict[str, ServedCount]) -> list[Metric]:
    requests = CounterMetricFamily(f"{name}_requests", f"{sentence}: answers", labels=[label])
    sent = CounterMetricFamily(f"{name}_sent_bytes", f"{sentence}: body bytes", labels=[label])
    for value, count in counts.items():
        requests.add_metric([value], count.requests)
        sent.add_metric([value], count.bytes)
    return [requests, sent]


def _scrubbed(status: Status) -> list[Metric]:
    share = GaugeMetricFamily("oca_scrub_share_done", "Of the pass under way", labels=["disk"])
    checked = CounterMetricFamily("oca_scrub_checked_bytes", "Read again and right", labels=["disk"])
    bad = CounterMetricFamily("oca_scrub_bad_objects", "Found rotten, ever", labels=["disk"])
    ended = GaugeMetricFamily("oca_scrub_pass_ended_timestamp_seconds", "Last whole pass", labels=["disk"])
    files = GaugeMetricFamily("oca_disk_quarantined_files", "Put away", labels=["disk"])
    held = GaugeMetricFamily("oca_disk_quarantined_bytes", "Of files put away", labels=["disk"])
    for disk in status.disks:
        files.add_metric([disk.path], disk.quarantined_files)
        held.add_metric([disk.path], disk.quarantined_bytes)
        if disk.scrub is not None:
            share.add_metric([disk.path], disk.scrub.share_done)
            checked.add_metric([disk.path], disk.scrub.checked_bytes)
            bad.add_metric([disk.path], disk.scrub.bad_objects)
            ended.add_metric([disk.path], disk.scrub.ended_at)
    return [share, checked, bad, ended, files, held]


def _delivery_log(status: DeliveryStatus) -> list[Metric]:
    dropped = CounterMetricFamily(
        "oca_delivery_dropped", "Of the delivery log, lost: see docs/operations.md", labels=["what"]
    )
    dropped.add_metric(["parts"], status.dropped_parts)
    dropped.add_metric(["rows"], status.dropped_rows)
    dropped.add_metric(["requests"], status.dropped_requests)
    return [
        GaugeMetricFamily("oca_delivery_waiting_parts", "To be uploaded", status.waiting_parts),
        GaugeMetricFamily("oca_delivery_held_bytes", "Of the delivery log, on our disk", status.held_bytes),
        GaugeMetricFamily(
            "oca_delivery_failing", "1 while it is not written or uploaded", bool(status.error)
        ),
        CounterMetricFamily("oca_delivery_uploaded_parts", "Uploaded to S3", status.uploaded_parts),
        CounterMetricFamily("oca_delivery_failed_uploads", "Uploads that failed", status.failed_uploads),
        dropped,
    ]


def _counted(traffic: Traffic) -> list[Metric]:
    sentences = descriptions()
    responses = CounterMetricFamily(
        "oca_edge_responses", "Requests answered, by class of status", labels=["status"]
    )
    refusals = CounterMetricFamily(
        "oca_edge_tokens_refused", "Requests refused for their token, by reason", labels=["reason"]
    )
    metrics: list[Metric] = [responses, refusals]
    for row, sentence in sentences.items():
        count = getattr(traffic.counters, row)
        if row.startswith("status_"):
            responses.add_metric([row.removeprefix("status_")], count)
        elif row != "tokens_refused":
            metrics.append(CounterMetricFamily(f"oca_edge_{row}", sentence, count))
    for reason, count in sorted(traffic.refusals.items()):
        refusals.add_metric([reason], count)
    return metrics


def _measured(traffic: Traffic) -> list[Metric]:
    metrics: list[Metric] = []
    for row, sentence in descriptions(Histograms).items():
        # Units spelt out, as Prometheus wants them.
        name = row.removesuffix("_s") + "_seconds" if row.endswith("_s") else row
        name = name.removesuffix("_bps") + "_bits_per_second" if name.endswith("_bps") else name
        name = f"oca_{name}" if row.startswith("player_") else f"oca_edge_{name}"
        if row == "loop_lag_s":
            family = HistogramMetricFamily(name, sentence, labels=["worker"])
            for worker, histogram in sorted(traffic.loop_lag_s.items()):
                family.add_metric([str(worker)], _buckets(histogram, BOUNDS[row]), histogram.total)
        else:
            histogram = getattr(traffic.histograms, row)
            family = HistogramMetricFamily(
                name, sentence, buckets=_buckets(histogram, BOUNDS[row]), sum_value=histogram.total
            )
        metrics.append(family)
    return metrics


def _buckets(histogram: Histogram, bounds: tuple[float, ...]) -> list[tuple[str, float]]:
    """Cumulative, as the exposition format has them."""
    counts = histogram.counts or [0] * (len(bounds) + 1)
    uppers = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(uppers, accumulate(counts), strict=True))


def problem(kind: Problem, detail: str | None = None) -> web.Response:
    return web.Response(status=kind.status, body=render(kind, detail), content_type=MEDIA_TYPE)


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value) + b"\n", content_type="application/json")


@web.middleware
async def _refuse_pages(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if "Origin" in request.headers:
        return problem(Problem.CROSS_SITE)
    return await handler(request)
