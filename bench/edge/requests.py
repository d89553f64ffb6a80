"""The first table: requests per CPU-second of every workload, server by server, in turns."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import sys
from pathlib import Path
from typing import Final

from rich.table import Table

from bench.edge.client import COUNTER, Result, Target, Task, WrongAnswer, answer_bytes, fetch
from bench.edge.content import SEGMENTS, WORKLOADS, Links, Wire, Workload, request, spans
from bench.edge.load import Options, run
from bench.edge.nginx import nginx, write_media
from bench.edge.servers import Server, appliance
from bench.edge.trafficserver import trafficserver
from bench.edge.varnish import varnish
from tests.ports import free_port

TITLE: Final = "requests"
_SESSIONS_PER_S: Final = 12_000
"""Links made before a round of new viewers: more than a server uses up."""

Rounds = dict[Server, list[Result]]


def measured(root: Path, options: Options) -> list[Table]:
    # The name of the table stands for all of its rows.
    chosen = [item for item in WORKLOADS if options.only == "requests" or item.name.startswith(options.only)]
    write_media(root / "media", SEGMENTS)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(appliance(root / "nearcast", SEGMENTS))
        origin_port = free_port()
        peers = [stack.enter_context(nginx(root / "nginx", root / "media", origin_port=origin_port))]
        for cache in (varnish, trafficserver):
            try:
                peers.append(stack.enter_context(cache(root / cache.__name__, origin_port, SEGMENTS)))
            except FileNotFoundError as missing:
                print(f"bench.edge: left out: {missing}", file=sys.stderr)
        for server in (ours, *peers):
            refuses_unsigned(server)
        rounds = {workload: _rounds(workload, [ours, *peers], options) for workload in chosen}
        print(file=sys.stderr)
        return [_table(ours, peers, rounds)]


def _rounds(workload: Workload, servers: list[Server], options: Options) -> Rounds:
    able = [
        server
        for server in servers
        if _port(server, workload) is not None and (server.any_query or workload.links is not Links.QUERY)
    ]
    found: Rounds = {server: [] for server in able}
    targets = {server: prepared(server, workload) for server in able}
    numbers = itertools.count(1_000_000, 10_000_000)
    for number in range(options.rounds):
        # Who goes first changes, so that a machine that warms up or tires favours nobody.
        for at in range(len(able)):
            server = able[(number + at) % len(able)]
            mine = targets[server]
            warm_s = 0.2 if options.quick else 0.5
            if workload.links is Links.SESSION:
                warm_s = 0.1
                mine = _signed_anew(server, workload, mine, int(_SESSIONS_PER_S * (options.seconds + warm_s)))
            task = Task(
                _port(server, workload) or 0, workload.wire, server.pids, mine,
                workload.connections, warm_s, options.seconds, next(numbers),
            )  # fmt: skip
            found[server].append(run("bench.edge.client", task, Result))
        print(".", end="", file=sys.stderr, flush=True)
    return found


def prepared(server: Server, workload: Workload) -> tuple[Target, ...]:
    """The workload's requests, each made once; raises `WrongAnswer` when one brings other bytes."""
    links = {file.key: server.link(file.key) for file in SEGMENTS}
    bodies = {file.key: file.body() for file in SEGMENTS}
    targets = []
    for file, start, end in spans(workload):
        link = links[file.key]
        if workload.links is Links.QUERY:
            link += ("&" if "?" in link else "?") + f"n={COUNTER.decode()}"
        asked = request(link, (start, end) if workload.range_bytes else None)
        port = _port(server, workload)
        assert port is not None
        targets.append(Target(asked, answer_bytes(port, workload.wire, asked, bodies[file.key][start:end])))
    return tuple(targets)


def refuses_unsigned(server: Server) -> None:
    """Raises RuntimeError when the server hands out a file without a signed link: then it does less."""
    file = SEGMENTS[0]
    with contextlib.suppress(WrongAnswer):
        fetch(server.port, request(f"/{file.key}", None), file.size)
        raise RuntimeError(f"{server.name} checks no signed link")


def _signed_anew(
    server: Server, workload: Workload, targets: tuple[Target, ...], count: int
) -> tuple[Target, ...]:
    """As many requests like ``targets``, each with a link that the server has never seen."""
    known = itertools.cycle(zip(spans(workload), targets, strict=True))
    return tuple(
        Target(request(server.link(file.key), (start, end)), target.answer_bytes)
        for (file, start, end), target in itertools.islice(known, count)
    )


def _port(server: Server, workload: Workload) -> int | None:
    return server.port if workload.wire in {Wire.PLAIN, Wire.PLAIN_NEW} else server.tls_port


def _table(ours: Server, peers: list[Server], rounds: dict[Workload, Rounds]) -> Table:
    notes = [f"{peer.note}." for peer in peers if peer.note]
    notes.append(", ".join(f"{item.name} {item.memory_bytes() / 2**20:.0f} MiB" for item in [ours, *peers]))
    table = Table(
        title="Requests per CPU-second of the whole server on one core (median of the rounds); ours / theirs",
        caption=" ".join(notes) + " resident (PSS).",
    )
    table.add_column("workload")
    for column in ("conns", ours.name):
        table.add_column(column, justify="right")
    for peer in peers:
        # The spread is shown for the peer that the targets name.
        for column in (peer.name, "ratio", "rounds") if peer is peers[0] else (peer.name, "ratio"):
            table.add_column(column, justify="right")
    for workload, found in rounds.items():
        cells = [workload.name, str(workload.connections), f"{statistics.median(_rates(found[ours])):,.0f}"]
        for peer in peers:
            cells += _against(found[ours], found.get(peer))[: 3 if peer is peers[0] else 2]
        table.add_row(*cells)
    return table


def _against(ours: list[Result], theirs: list[Result] | None) -> list[str]:
    if theirs is None:
        return ["-", "-", "-"]
    ratios = sorted(mine / other for mine, other in zip(_rates(ours), _rates(theirs), strict=True))
    return [
        f"{statistics.median(_rates(theirs)):,.0f}",
        f"{statistics.median(ratios):.2f}",
        f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
    ]


def _rates(results: list[Result]) -> list[float]:
    return [item.requests / item.cpu_s for item in results]
