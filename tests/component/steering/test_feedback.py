"""Players that starve at a real appliance are heard by a real steering, which sends their network's next ones elsewhere."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from tests import appliance
from tests.component.steering.service import Service, fleet, wait_until
from tests.waiting import PATIENCE_S

KEY = "tt1/master.m3u8"
VIEWERS, OTHERS = "127.0.5.7", "127.0.6.7"
NETWORK = "127.0.5.0/24"


@contextmanager
def site(service: Service, root: Path) -> Iterator[dict[str, appliance.Appliance]]:
    """Two appliances of one ISP that serves this machine, with tokens required."""
    document = fleet("ixp-b1")
    del document["sites"][1]
    document["sites"][0]["prefixes"] = ["127.0.0.0/8"]
    config = {
        "steering": {"urls": [service.url], "heartbeat_interval_s": 0.2, "votes_interval_s": 1},
        "auth": {"required": True, "keys_file": str(service.root / "state" / "signing.jwks")},
    }
    with ExitStack() as stack:
        boxes = document["sites"][0]["appliances"]
        for box in boxes:
            (folder := root / box["id"]).mkdir()
            made = stack.enter_context(appliance.running(folder, start=False, appliance=box["id"], **config))
            identity = json.loads((folder / "state" / "identity.jwk").read_text())
            box |= {
                "url": f"http://127.0.0.1:{made.port}",
                "throughput_bps": 10**12,  # so much that a test's load moves nobody
                "public_key": {name: identity[name] for name in ("kty", "crv", "x")},
            }
        service.fleet_file.write_text(yaml.safe_dump(document))
        stack.enter_context(service.running())
        service.wait_ready()
        running = {box["id"]: stack.enter_context(appliance.restarted(root / box["id"])) for box in boxes}
        for one in running.values():
            one.put(KEY, b"#EXTM3U\n")
        wait_until("both are answered", lambda: len(service.steer(client_ip=VIEWERS).json["candidates"]) == 2)
        yield running


class Player:
    """One session, on one connection from its own address."""

    def __init__(self, at: appliance.Appliance, address: str, token: str) -> None:
        self._sock = socket.create_connection(
            ("127.0.0.1", at.port), timeout=PATIENCE_S, source_address=(address, 0)
        )
        self._token = token

    def plays(self, cmcd: str) -> None:
        target = f"/URISigningPackage={self._token}/{KEY}?CMCD={cmcd}"
        self._sock.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"#EXTM3U\n"):
            got = self._sock.recv(65536)
            assert got, answer
            answer += got
        assert answer.startswith(b"HTTP/1.1 200 "), answer

    def close(self) -> None:
        self._sock.close()


@contextmanager
def starving(players: list[Player], loud: Player) -> Iterator[None]:
    """They play and starve inside, and one of another network says it twenty times as often."""
    ended = threading.Event()

    def play() -> None:
        while not ended.wait(0.2):
            for player in players:
                player.plays("bs,bl%3D0,br%3D3000")
            for _ in range(20):
                loud.plays("bs")

    playing = threading.Thread(target=play)
    playing.start()
    try:
        yield
    finally:
        ended.set()
        playing.join(PATIENCE_S)


def first(service: Service, session: str, client_ip: str = VIEWERS) -> str:
    return str(service.steer(client_ip=client_ip, session=session).json["candidates"][0]["appliance"])


def told(service: Service, name: str) -> str:
    """What steering explains of an appliance to a viewer of the network."""
    answer = service.get(f"/v1/explain?client_ip={VIEWERS}&title=tt1").json
    return next(str(item["reason"]) for item in answer["considered"] if item["appliance"] == name)


def test_the_next_sessions_of_a_network_that_starves_go_elsewhere(stopped: Service, tmp_path: Path) -> None:
    with site(stopped, tmp_path) as boxes, ExitStack() as stack:
        answers = [stopped.steer(client_ip=VIEWERS, session=f"session-{n}").json for n in range(12)]
        (lossy,) = {answer["candidates"][0]["appliance"] for answer in answers}  # one title: one appliance
        (good,) = set(boxes) - {lossy}
        players = [Player(boxes[lossy], VIEWERS, answer["token"]) for answer in answers]
        loud = Player(boxes[lossy], OTHERS, stopped.steer(client_ip=OTHERS, session="loud-one").json["token"])
        for player in (*players, loud):
            stack.callback(player.close)

        assert "weight" not in told(stopped, lossy)
        stack.enter_context(starving(players, loud))
        wait_until("its weight is at the floor", lambda: "weight 0.1" in told(stopped, lossy))
        words = told(stopped, lossy)
        assert f"for {NETWORK}: " in words
        assert "weight" not in told(stopped, good)

        went = Counter(first(stopped, f"new-session-{n}") for n in range(40))
        assert went[good] > 25
        # Another network goes where it went, though one session there said it loudest of all.
        assert {first(stopped, f"other-session-{n}", OTHERS) for n in range(20)} == {lossy}
        # Those who play move with their next manifest, and stay where they went.
        paths = [f"/v1/steer/session-{n}/hls" for n in range(12)]
        moved = [stopped.ask(path).json["PATHWAY-PRIORITY"][0] for path in paths]
        assert moved.count(good) > 5
        assert {first(stopped, f"session-{n}") for n in range(12) if moved[n] == good} == {good}

        row = next(item for item in stopped.get("/v1/fleet").json["appliances"] if item["id"] == lossy)
        assert row["players"]["networks"][0][0] == NETWORK
        assert f"players of {NETWORK} starve" in stopped.run("fleet", "--key", stopped.key).stdout
        assert re.search(
            r"^steering_starved_networks [1-9]", stopped.ask("/metrics").body.decode(), re.MULTILINE
        )
