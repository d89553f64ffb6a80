"""Three replicas on one NATS server: the same answers from each, whichever an appliance speaks to, while one is up."""

from __future__ import annotations

import signal
from pathlib import Path

import yaml

from contracts.players import NetworkPlayers, Players
from tests.component.steering.replicas import Replicas
from tests.component.steering.service import BOXES, VIEWER, Bucket, Service, wait_until


def order(service: Service, session: str) -> list[str]:
    answer = service.steer(session=session)
    return [item["appliance"] for item in answer.json["candidates"]] if answer.status == 200 else []


def states(service: Service) -> dict[str, str]:
    return {box["id"]: box["state"] for box in service.get("/v1/fleet").json["appliances"]}


def why(service: Service, name: str) -> str:
    considered = service.get(f"/v1/explain?client_ip={VIEWER}&title=tt1").json["considered"]
    return next(str(item["reason"]) for item in considered if item["appliance"] == name)


def test_all_answer_alike_while_one_is_up(replicas: Replicas) -> None:
    one, two, three = (replicas.start(name) for name in ("one", "two", "three"))

    def heard_everywhere(*services: Service) -> bool:
        one.beat()  # to the first alone
        return all(set(states(service).values()) == {"serving"} for service in services)

    wait_until("all know the fleet", lambda: heard_everywhere(one, two, three))
    answers = [order(service, "same-session") for service in (one, two, three)]
    assert answers[0] == answers[1] == answers[2]
    assert set(answers[0]) == set(BOXES)

    # What players said to the appliance goes with its heartbeat.
    starved = Players(100, 60, (NetworkPlayers("198.51.100.0/24", 100, 60),))
    one.beat(answers[0][0], players=starved)
    wait_until(
        "all heed it", lambda: all("weight 0.1" in why(item, answers[0][0]) for item in (one, two, three))
    )
    one.beat(answers[0][0])

    path = "/v1/steer/only-at-one/hls"
    asked = order(one, "only-at-one")
    wait_until("the session is known to all", lambda: two.ask(path).status == 200)
    assert two.ask(path).json["PATHWAY-PRIORITY"][0] == asked[0]

    # One is killed, and what it was told is with the others.
    assert three.process is not None
    three.process.kill()
    one.beat(asked[0], draining=True)
    wait_until("two hears of it from one", lambda: states(two)[asked[0]] == "draining")
    assert asked[0] not in order(two, "another-one")

    # One is cut off and comes back; nobody's start fails at the other, and it learns what it missed.
    assert two.process is not None
    two.process.send_signal(signal.SIGSTOP)
    try:
        one.beat(*(set(BOXES) - {asked[0]}))
        one.beat(asked[0], draining=False)
        assert asked[0] in order(one, "meanwhile-1")
    finally:
        two.process.send_signal(signal.SIGCONT)
    wait_until("it has caught up", lambda: heard_everywhere(two))

    # A late joiner knows sessions at once, and the fleet with its next heartbeats.
    late = replicas.start("late")
    assert late.ask(path).status in {200, 503}
    wait_until("it knows the fleet", lambda: heard_everywhere(late))
    wait_until("it answers alike", lambda: order(late, "same-session") == order(one, "same-session"))


def test_a_heartbeat_to_every_replica_is_taken_by_every_replica(replicas: Replicas) -> None:
    """Each hears it from the appliance and from the other: neither calls it a replay."""
    one, two = replicas.start("one"), replicas.start("two")
    for _ in range(20):
        one.sequence = two.sequence = max(one.sequence, two.sequence)
        two.boot = one.boot
        one.beat()
        two.beat()


def test_without_nats_it_says_so_in_one_line(tmp_path: Path, bucket: Bucket) -> None:
    service = Service(tmp_path, bucket)
    service.write()
    service.init()
    service.write(store={"engine": "nats", "servers": ["nats://127.0.0.1:9"]})
    done = service.run("serve")
    assert done.returncode == 1
    assert "NATS: no answer within 5 s of nats://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    service.config.write_text(
        yaml.safe_dump(yaml.safe_load(service.config.read_text()) | {"store": {"engine": "nats"}})
    )
    done = service.run("serve")
    assert done.returncode == 2
    assert "servers: at least one is expected" in done.stderr
