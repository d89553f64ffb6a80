"""Who may ask now: by what is shown, within scopes, ends and budgets."""

from __future__ import annotations

import time

import pytest

from contracts.problem import Problem
from contracts.steer import SteerRequest
from daemon.s3 import S3Config
from steering.admission import Admission
from steering.apikeys import ApiKey, Scope, hash_api_key
from steering.config import ClientNetworks, Config
from steering.credentials import Certified, Credentials
from steering.metrics import Metrics
from steering.request import Refused
from steering.sessions import Session, Sessions

NAME = "DNS:studio.example.net"
STUDIO = ApiKey("studio", None, (Scope.STEER,), None, NAME)
LAB = ApiKey("lab", hash_api_key("secret"))
LATER = time.time() + 1000


def made(sessions: Sessions | None = None, **changes: object) -> Admission:
    config = Config("-", S3Config("bucket"), "http://127.0.0.1:7080", **changes)  # type: ignore[arg-type]
    admission = Admission(config, sessions or Sessions(), Metrics())
    admission.replace([STUDIO, LAB])
    return admission


def refusal(admission: Admission, credentials: Credentials, scope: Scope = Scope.STEER) -> Problem | None:
    try:
        admission.admit(credentials, scope)
    except Refused as refused:
        return refused.problem
    return None


@pytest.mark.parametrize(
    ("credentials", "scope", "outcome"),
    [
        ("secret", Scope.REVOKE, None),
        ("wrong", Scope.STEER, Problem.UNAUTHORISED),
        ("", Scope.STEER, Problem.UNAUTHORISED),
        (None, Scope.STEER, Problem.UNAUTHORISED),
        (NAME, Scope.STEER, Problem.UNAUTHORISED),  # a certificate's name is no key
        (Certified((NAME,), LATER), Scope.STEER, None),
        (Certified(("URI:x", NAME), LATER), Scope.STEER, None),
        (Certified((NAME,), LATER), Scope.READ, Problem.SCOPE),
        (
            Certified((NAME,), time.time() - 1),
            Scope.STEER,
            Problem.UNAUTHORISED,
        ),  # it ended on an open connection
        (Certified((), LATER), Scope.STEER, Problem.UNAUTHORISED),
        (Certified(("secret",), LATER), Scope.STEER, Problem.UNAUTHORISED),
    ],
)
def test_who_may_ask(credentials: Credentials, scope: Scope, outcome: Problem | None) -> None:
    assert refusal(made(), credentials, scope) is outcome


def test_who_stays_keeps_what_is_left_and_who_goes_is_refused_at_once() -> None:
    admission = made(requests_per_s=0.001)
    assert refusal(admission, "secret") is None
    admission.replace([LAB])
    assert refusal(admission, "secret") is Problem.RATE
    assert refusal(admission, Certified((NAME,), LATER)) is Problem.UNAUTHORISED


def test_a_session_that_plays_its_title_costs_its_network_nothing() -> None:
    sessions = Sessions()
    sessions.put("session-1", Session("198.51.100.7", "tt1", LATER), time.time())
    bound = ClientNetworks(titles_per_s=0.01, starts_per_s=0.01, burst_s=100)
    admission = made(sessions, client_networks=bound)

    def start(title: str, session: str | None) -> bool:
        asked = SteerRequest("198.51.100.7", title, session)
        try:
            admission.admit_client(asked, 100.0, time.time())
        except Refused as refused:
            return refused.problem is not Problem.RATE
        return True

    assert all(start("tt1", "session-1") for _ in range(10))
    assert start("tt2", "session-1")  # the one start that there is room for
    assert not start("tt2", "session-1")
    assert not start("tt1", None)
    assert start("tt1", "session-1")
    without = made(sessions, client_networks=None)
    without.admit_client(SteerRequest("198.51.100.7", "tt9"), 100.0, time.time())
