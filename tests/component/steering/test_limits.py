"""Who asks too much is told 429 and when to come back: a key, a network of viewers, who enrols through a proxy."""

from __future__ import annotations

import time

from contracts.documents import encode
from contracts.enrol import AUDIENCE, PATH, EnrolRequest
from contracts.fleet import PublicKey
from contracts.problem import Problem
from tests.component.steering.service import IDENTITIES, Answer, Service, is_problem
from tests.component.steering.test_enrolling import BOX

SLOW = {"titles_per_s": 0.01, "starts_per_s": 1000, "burst_s": 500}
"""Five different titles at once, and then one in 100 s."""


def limited(service: Service, limit: str) -> float:
    line = f'steering_limited_total{{limit="{limit}"}} '
    page = service.ask("/metrics").body.decode()
    return next(float(row.removeprefix(line)) for row in page.splitlines() if row.startswith(line))


def guess(service: Service, forwarded: str) -> Answer:
    public = IDENTITIES[BOX].public_key()
    asked = EnrolRequest(BOX, PublicKey(public["kty"], public["crv"], public["x"]), "A" * 26)
    body = encode(asked)
    return service.ask(
        PATH,
        body,
        authorization=f"Bearer {IDENTITIES[BOX].token(AUDIENCE, time.time(), body)}",
        headers={"X-Forwarded-For": forwarded},
    )


def test_a_network_of_viewers_and_who_enrols_have_bounds_of_their_own(stopped: Service) -> None:
    stopped.write(client_networks=SLOW, trusted_proxies=["127.0.0.0/8"])
    with stopped.running():
        stopped.wait_ready()
        stopped.beat()
        session = stopped.steer(session="session-of-tt1").json["session"]
        walked = [stopped.steer(title=f"guessed-{number}") for number in range(60)]
        refused = [answer for answer in walked if answer.status == 429]
        # tt1 was the first of five; a slow machine gets one more in 100 s.
        assert 50 <= len(refused) <= 56
        assert {answer.status for answer in walked} == {404, 429}
        is_problem(refused[-1], Problem.RATE, "the network of client_ip")
        assert 1 <= int(refused[-1].headers["retry-after"]) <= 100
        assert limited(stopped, "client_network") == len(refused)
        # Who plays plays on, and nobody else is meant.
        assert stopped.steer(session=session).status == 200
        assert stopped.steer(title="guessed-other", client_ip="203.0.113.7").status == 404

        # Who guesses codes: his own word, before what the proxy adds, makes him nobody else.
        statuses = [guess(stopped, f"192.0.2.{at}, 203.0.113.9").status for at in range(30)]
        assert statuses[0] == 403
        assert statuses.count(429) >= 10
        assert guess(stopped, "198.51.100.1").status == 403
        assert limited(stopped, "enrolment") == statuses.count(429)


def test_each_key_has_a_budget_of_its_own_and_reads_have_another(stopped: Service) -> None:
    # One at once, then one in 20 s, in 100 s; and no bound for networks.
    stopped.write(requests_per_s=0.05, reads_per_s=0.01, client_networks=None)
    other = stopped.keys("add", "other")["api_key"]
    with stopped.running():
        stopped.wait_ready()
        starts = [stopped.steer() for _ in range(5)]
        is_problem(
            next(answer for answer in starts if answer.status == 429), Problem.RATE, "of the key key-1"
        )
        # Starts have left reads alone, and the other key has everything.
        reads = [stopped.get("/v1/explain?client_ip=198.51.100.7&title=tt1") for _ in range(5)]
        assert reads[0].status == 200
        is_problem(reads[-1], Problem.RATE, "of the key key-1")
        assert int(reads[-1].headers["retry-after"]) >= 1
        stopped.key = other
        assert stopped.get("/v1/fleet").status == 200
        assert limited(stopped, "key") >= 1
        assert limited(stopped, "reads") >= 1
        # No proxy is trusted here, and what it says counts for nothing.
        assert [guess(stopped, f"192.0.2.{at}").status for at in range(30)].count(429) >= 10
