"""What a decision takes by itself, and a look-up, a heartbeat, a flap: in one process, without HTTP."""

from __future__ import annotations

import gc
import ipaddress
import random
import resource
import time
from collections.abc import Callable

from rich.console import Console

from bench.steering.planet import PLAN, Size, prefixes_of, view_of
from contracts.heartbeat import Heartbeat, PlanProgress
from contracts.route import Announcement, RouteChanges
from steering.fleet import FleetView
from steering.rank import Question, decide

KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"


def beat(name: str, sequence: int, routes: RouteChanges | None = None) -> Heartbeat:
    load = random.Random(name).randrange(10**10, 6 * 10**10)
    return Heartbeat(
        name, "1" * 16, sequence, "0.1.0", False, 1000, load, 1, (), PlanProgress(PLAN, 1, 1), routes=routes
    )


def measured(what: str, calls: int, work: Callable[[int], object], console: Console) -> float:
    """The mean, in microseconds of this process's CPU: others of the machine do not count."""
    gc.collect()
    gc.freeze()
    took, worst = time.process_time(), 0.0
    for number in range(calls):
        began = time.perf_counter()
        work(number)
        worst = max(worst, time.perf_counter() - began)
    mean_us = (time.process_time() - took) / calls * 1e6
    console.print(f"{what:58s} {mean_us:9.1f} us   worst {worst * 1e3:7.2f} ms")
    return mean_us


def run(size: Size, console: Console) -> None:
    began = time.process_time()
    view = view_of(size, [KEY])
    names = list(view.roster.appliances)
    for name in names:
        view.hear(beat(name, 1), 0.0, 0.0)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = time.process_time() - began
    console.print(
        f"{len(names)} appliances, {len(view.announced)} prefixes: made in {took:.1f} s CPU, {memory:.0f} MiB"
    )
    chance = random.Random(4)
    clients = [
        ipaddress.ip_address(prefix.network + 1) for _, found in prefixes_of(size) for prefix in found[:20]
    ]
    chance.shuffle(clients)
    titles = [f"tt{chance.randrange(size.titles)}" for _ in range(4096)]

    def question(number: int) -> Question:
        title = view.content.titles[titles[number % len(titles)]]
        return Question(titles[number % len(titles)], f"session-{number}", title.bit(None), 5e6)

    questions = [question(number) for number in range(10_000)]
    n = 10_000
    measured(
        "look-up of a client's prefixes",
        n,
        lambda i: view.announced.matches(clients[i % len(clients)]),
        console,
    )
    shots = [view.snapshot(clients[i % len(clients)], 1.0) for i in range(n)]
    measured("decision (rank.decide), 3 candidates", n, lambda i: decide(questions[i], shots[i], 3), console)
    measured(
        "snapshot and decision",
        n,
        lambda i: decide(questions[i], view.snapshot(clients[i % len(clients)], 1.0), 3),
        console,
    )
    measured("a start counted", n, lambda i: view.give(names[i % len(names)], 5e6), console)
    measured(
        "a heartbeat taken (verified before)",
        n,
        lambda i: view.hear(beat(names[i % len(names)], 2 + i), 0.0, 1.0),
        console,
    )
    flap(view, console)


def flap(view: FleetView, console: Console) -> None:
    """10,000 prefixes withdrawn and announced again by every appliance of one site; in time of the processor."""
    site = next(site for site in view.roster.fleet.sites if site.id == "s1")
    prefixes = tuple(
        f"100.{64 + (number >> 14)}.{number >> 6 & 255}.{(number & 63) << 2}/30" for number in range(10_000)
    )
    attributes = next(iter(view.routes.table(site.appliances[0].id).values()))
    heard, steps = [], []
    for round_ in range(2):
        for box in site.appliances:
            serial = view.routes.serial(box.id)
            come = (Announcement(attributes, prefixes),) if round_ == 0 else ()
            gone = () if round_ == 0 else prefixes
            changes = RouteChanges(serial, serial + 1, come, gone)
            began = time.thread_time()
            view.hear(beat(box.id, 10**9 + round_, changes), 0.0, 2.0)
            heard.append(time.thread_time() - began)
            following = view.catch_up()
            more = True
            while more:
                began = time.thread_time()
                more = next(following, False) is None
                steps.append(time.thread_time() - began)
    console.print(
        f"flap of 10,000 prefixes by {len(site.appliances)} appliances: heartbeat taken in at most "
        f"{max(heard) * 1e3:.1f} ms, look-up followed in steps of at most {max(steps) * 1e3:.1f} ms"
    )
