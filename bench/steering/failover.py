"""How soon a dead appliance is out of the answers: a real steering, real appliances, and a real end of one of them.

Round for round one of two appliances is killed (kill -9 of its whole process tree: its port refuses) or frozen (SIGSTOP
of the same: its port accepts nothing and is silent, as when a machine vanishes), at a moment drawn within its heartbeats'
interval, and steering is asked until it answers the other alone. Then the appliance comes back, until both are answered.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from bench.steering.planet import Size
from daemon.s3 import open_client
from demo.origin import OriginServer
from tests import appliance
from tests.component.steering.service import Bucket, Service, fleet
from tests.ports import free_port
from tests.processes import below
from tests.waiting import until

ROUNDS: Final = 20
INTERVAL_S: Final = 2.0
_ASK_S: Final = 0.02
_ROUNDS_EACH: Final = 3
"""Of one steering, which then forgets: who goes more often is held back as flapping."""


@dataclass(frozen=True)
class Fall:
    how: str
    took_s: float


def run(size: Size, console: Console, plots: Path | None = None) -> None:
    rounds = ROUNDS if size.appliances == Size().appliances else 3
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as (service, roots):
        falls = [
            *measured(service, roots, "kill -9", rounds, _kill),
            *measured(service, roots, "SIGSTOP", rounds, _freeze),
        ]
    table = Table(title="Out of the answers, seconds after the end of an appliance")
    for column in ("how", "rounds", "least", "median", "most"):
        table.add_column(column)
    for how in ("kill -9", "SIGSTOP"):
        took = sorted(fall.took_s for fall in falls if fall.how == how)
        told = (f"{took[at]:.2f}" for at in (0, len(took) // 2, -1))
        table.add_row(how, str(len(took)), *told)
    console.print(table)
    if plots is not None:
        from bench.steering.plots import draw_failover

        draw_failover(falls, plots / "failover.svg")


@contextmanager
def site(folder: Path) -> Iterator[tuple[Service, dict[str, Path]]]:
    """A steering that knows two appliances of one ISP, and the appliances' folders; none is started."""
    with OriginServer(folder / "origin", free_port()) as origin, ExitStack() as stack:
        client = open_client(origin.config)
        bucket = Bucket(client, origin.config)
        version = bucket.publish({"tt1": None})
        bucket.plan({"isp-a1": ("tt1",), "isp-a2": ("tt1",)}, version)
        (root := folder / "steering").mkdir()
        service = Service(root, bucket)
        service.write()
        service.init()
        document = fleet("ixp-b1")
        del document["sites"][1]
        roots = {}
        for box in document["sites"][0]["appliances"]:
            (at := folder / box["id"]).mkdir()
            config = {"urls": [service.url], "heartbeat_interval_s": INTERVAL_S}
            made = stack.enter_context(
                appliance.running(at, start=False, appliance=box["id"], steering=config)
            )
            identity = json.loads((at / "state" / "identity.jwk").read_text())
            box |= {
                "url": f"http://127.0.0.1:{made.port}",
                "public_key": {name: identity[name] for name in ("kty", "crv", "x")},
            }
            roots[box["id"]] = at
        service.fleet_file.write_text(yaml.safe_dump(document))
        yield service, roots


def answered(service: Service) -> set[str]:
    answer = service.steer()
    return {item["appliance"] for item in answer.json["candidates"]} if answer.status == 200 else set()


def measured(
    service: Service,
    roots: dict[str, Path],
    how: str,
    rounds: int,
    end: Callable[[appliance.Appliance], Callable[[], None]],
) -> Iterator[Fall]:
    """``end`` ends the appliance and gives what brings its processes to where they can be stopped."""
    chance = random.Random(3)
    victim, stays = sorted(roots)
    with appliance.restarted(roots[stays]):
        for first in range(0, rounds, _ROUNDS_EACH):
            for file in (service.root / "state").glob("steering.sqlite*"):
                file.unlink()
            with service.running():
                service.wait_ready()
                for _ in range(min(_ROUNDS_EACH, rounds - first)):
                    yield Fall(how, _took_s(service, roots[victim], {victim, stays}, end, chance))


def _took_s(
    service: Service,
    root: Path,
    both: set[str],
    end: Callable[[appliance.Appliance], Callable[[], None]],
    chance: random.Random,
) -> float:
    with appliance.restarted(root) as victim:
        until(lambda: answered(service) == both)
        time.sleep(chance.uniform(INTERVAL_S, 2 * INTERVAL_S))
        began = time.monotonic()
        undo = end(victim)
        try:
            while answered(service) == both:
                time.sleep(_ASK_S)
            return time.monotonic() - began
        finally:
            undo()


def _tree(victim: appliance.Appliance) -> list[psutil.Process]:
    return [psutil.Process(victim.process.pid), *below(victim.process.pid)]


def _kill(victim: appliance.Appliance) -> Callable[[], None]:
    for process in _tree(victim):
        process.kill()
    return lambda: None


def _freeze(victim: appliance.Appliance) -> Callable[[], None]:
    frozen = _tree(victim)
    for process in frozen:
        os.kill(process.pid, signal.SIGSTOP)

    def thaw() -> None:
        for process in frozen:
            os.kill(process.pid, signal.SIGCONT)

    return thaw
