"""``python -m bench.edge``: rounds of every workload against each server in turn, and the table."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.edge.client import Result, Target, Task, answer_bytes
from bench.edge.content import WORKLOADS, Wire, Workload, body, keys, spans
from bench.edge.servers import CLIENT_CORE, Server, appliance, nginx


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.edge", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of one round (3)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each workload and server (5)")
    parser.add_argument("--only", default="", help='workloads whose name begins so, such as "64 KiB"')
    parser.add_argument("--json", action="store_true", help="every round as JSON, instead of the table")
    options = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        print("bench.edge: two cores are needed, one for the server and one for the load", file=sys.stderr)
        return 1
    chosen = [workload for workload in WORKLOADS if workload.name.startswith(options.only)]
    with tempfile.TemporaryDirectory(prefix="bench-edge-") as folder:
        root = Path(folder)
        with appliance(root / "nearcast") as ours, nginx(root / "nginx") as peer:
            rounds = {}
            for workload in chosen:
                pairs = []
                targets = {server: prepared(server, workload) for server in (ours, peer)}
                for number in range(options.rounds):
                    # Who goes first changes, so that a machine that warms up or tires favours neither.
                    order = (ours, peer) if number % 2 == 0 else (peer, ours)
                    results = {
                        server: measure(server, workload, targets[server], options.seconds)
                        for server in order
                    }
                    pairs.append((results[ours], results[peer]))
                    print(".", end="", file=sys.stderr, flush=True)
                rounds[workload] = pairs
            print(file=sys.stderr)
            memory = {server.name: server.memory_bytes() for server in (ours, peer)}
    if options.json:
        document = [
            {"workload": workload, "rounds": [{"ours": ours, "nginx": theirs} for ours, theirs in pairs]}
            for workload, pairs in rounds.items()
        ]
        print(msgspec.json.encode(document).decode())
    else:
        show(rounds, memory)
    return 0


def prepared(server: Server, workload: Workload) -> tuple[Target, ...]:
    """The workload's requests, each made once; raises `WrongAnswer` when one brings other bytes."""
    bodies = {key: body(key) for key in keys()}
    targets = []
    for key, start, end in spans(workload):
        asked = request(server.links[key], start, end, workload)
        targets.append(
            Target(
                asked, answer_bytes(port_for(server, workload), workload.wire, asked, bodies[key][start:end])
            )
        )
    return tuple(targets)


def measure(server: Server, workload: Workload, targets: tuple[Target, ...], seconds: float) -> Result:
    """One round against one server; raises `subprocess.CalledProcessError` on a wrong answer."""
    task = Task(
        port_for(server, workload), workload.wire, server.pids, targets, workload.connections, 0.5, seconds
    )
    done = subprocess.run(
        ["taskset", "-c", str(CLIENT_CORE), sys.executable, "-m", "bench.edge.client"],
        input=msgspec.json.encode(task),
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Result)


def port_for(server: Server, workload: Workload) -> int:
    return server.port if workload.wire is Wire.PLAIN else server.tls_port


def request(target: str, start: int, end: int, workload: Workload) -> bytes:
    """What a browser's player sends."""
    span = f"Range: bytes={start}-{end - 1}\r\n" if workload.range_bytes else ""
    return (
        f"GET {target} HTTP/1.1\r\nHost: edge.example.net:8080\r\nConnection: keep-alive\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36\r\n"
        f"Accept: */*\r\n{span}Origin: https://play.example.net\r\nReferer: https://play.example.net/\r\n"
        "Accept-Encoding: identity\r\nAccept-Language: en-GB\r\n\r\n"
    ).encode()


def show(rounds: dict[Workload, list[tuple[Result, Result]]], memory: dict[str, int]) -> None:
    table = Table(title="One edge worker and nginx, requests per CPU-second (median of the rounds)")
    for title in ("workload", "conns", "nearcast", "nginx", "ratio", "ratio, rounds", "req/s", "nginx req/s"):
        table.add_column(title, justify="left" if title == "workload" else "right")
    for workload, pairs in rounds.items():
        ours = [result.requests / result.cpu_s for result, _ in pairs]
        theirs = [result.requests / result.cpu_s for _, result in pairs]
        ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
        table.add_row(
            workload.name,
            str(workload.connections),
            f"{statistics.median(ours):,.0f}",
            f"{statistics.median(theirs):,.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
            f"{statistics.median(result.requests / result.elapsed_s for result, _ in pairs):,.0f}",
            f"{statistics.median(result.requests / result.elapsed_s for _, result in pairs):,.0f}",
        )
    console = Console(width=110)
    console.print(table)
    console.print("  ".join(f"{name}: {size / 2**20:.0f} MiB resident" for name, size in memory.items()))


if __name__ == "__main__":
    sys.exit(main())
