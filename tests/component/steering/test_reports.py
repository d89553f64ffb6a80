"""What steering tells beside candidates: manifests to players, explanations and health to operators."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from contracts.problem import Problem
from steering.openapi import openapi
from tests.component.steering.service import VIEWER, Service, is_problem


@pytest.mark.parametrize("form", ["hls", "dash"])
def test_a_player_gets_a_steering_manifest_of_its_session(shared: Service, form: str) -> None:
    """HLS: draft-pantos-hls-rfc8216bis section 7.2. DASH: ETSI TS 103 998. Both add queries of their own."""
    shared.beat()
    answered = shared.steer(session=f"manifest-{form}").json
    path = f"/v1/steer/manifest-{form}/{form}"
    for query in ("", '?_HLS_pathway="isp-a1"&_HLS_throughput=5000000', "?_DASH_pathway=isp-a1"):
        manifest = shared.ask(path + query)
        assert manifest.status == 200
        assert manifest.headers["content-type"] == "application/json"
        assert manifest.headers["access-control-allow-origin"] == "*"
        assert manifest.headers["cache-control"] == "no-store"
        assert manifest.json == {
            "VERSION": 1,
            "TTL": answered["ttl_s"],
            "RELOAD-URI": f"http://127.0.0.1:{shared.port}{path}",
            "PATHWAY-PRIORITY": [item["appliance"] for item in answered["candidates"]],
        }


def test_a_session_stays_with_a_full_appliance_and_new_ones_avoid_it(shared: Service) -> None:
    shared.beat()
    answered = [item["appliance"] for item in shared.steer(session="stays-there").json["candidates"]]
    first = answered[0]
    shared.beat(first, tx_bps=999_000_000)
    assert shared.ask("/v1/steer/stays-there/hls").json["PATHWAY-PRIORITY"][0] == first
    new = [item["appliance"] for item in shared.steer(session="new-one-1").json["candidates"]]
    assert set(new) == set(answered) - {first}
    assert new[-1] == "ixp-b1"
    known = shared.get(f"/v1/explain?client_ip={VIEWER}&title=tt1").json["considered"]
    (full,) = [item["reason"] for item in known if item["place"] is None]
    assert full.startswith("full: ")


def test_a_player_of_an_unknown_session_can_read_that_it_is_unknown(shared: Service) -> None:
    answer = shared.ask("/v1/steer/never-seen/hls")
    is_problem(answer, Problem.UNKNOWN_SESSION)
    assert answer.headers["access-control-allow-origin"] == "*"


def test_an_explanation_says_what_would_be_answered(shared: Service) -> None:
    shared.beat()
    shared.beat("isp-a2", draining=True)
    answered = [item["appliance"] for item in shared.steer(session="explained").json["candidates"]]
    found = shared.get(f"/v1/explain?client_ip={VIEWER}&title=tt1&session=explained").json
    assert (found["outcome"], found["known_title"]) == ("answered", True)
    assert [item["appliance"] for item in found["considered"] if item["answered"]] == answered
    (drained,) = [item for item in found["considered"] if item["appliance"] == "isp-a2"]
    assert (drained["place"], drained["state"], drained["reason"]) == (None, "draining", "draining")


@pytest.mark.parametrize(
    ("query", "outcome"),
    [
        ("client_ip=203.0.113.1&title=tt1", "unavailable"),
        ("client_ip=198.51.100.1&title=tt2", "unknown_title"),
        ("client_ip=198.51.100.1&title=tt-de", "not_licensed"),
        ("client_ip=198.51.100.1&title=tt-de&country=DE&count=1", "answered"),
    ],
)
def test_an_explanation_names_the_refusal_that_would_be_answered(
    shared: Service, query: str, outcome: str
) -> None:
    shared.beat()
    found = shared.get(f"/v1/explain?{query}").json
    assert found["outcome"] == outcome
    assert len(found["considered"]) == 3
    assert any(item["answered"] for item in found["considered"]) == (outcome == "answered")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "client_ip"),
        ("title=tt1", "client_ip"),
        ("client_ip=10.0.0.1", "title"),
        ("client_ip=x&title=tt1", "client_ip"),
        ("client_ip=10.0.0.1&title=../x", "title"),
        ("client_ip=10.0.0.1&title=tt1&count=99", "count"),
        ("client_ip=10.0.0.1&title=tt1&colour=red", "colour"),
    ],
)
def test_an_explanation_of_nonsense_names_the_field(shared: Service, query: str, field: str) -> None:
    is_problem(shared.get(f"/v1/explain?{query}"), Problem.BAD_FIELD, field, field)


def test_the_fleet_is_told_with_its_health(shared: Service) -> None:
    shared.beat("isp-a1", tx_bps=123, connections=4)
    found = shared.get("/v1/fleet").json
    assert [item["id"] for item in found["appliances"]] == ["isp-a1", "isp-a2", "ixp-b1"]
    row = found["appliances"][0]
    assert (row["state"], row["tx_bps"], row["connections"], row["tier"]) == ("serving", 123, 4, "isp")
    assert row["plan"]["version"] == found["plan"]
    assert found["content_error"] is None
    assert found["refused_documents"] == {}


def test_health_readiness_and_metrics_need_no_key_and_say_nothing_secret(shared: Service) -> None:
    shared.steer(title="tt2")
    assert shared.ask("/healthz").body == b"alive\n"
    assert shared.ask("/readyz").body.startswith(b"ready\ncatalog 2026")
    page = shared.ask("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    text = page.body.decode()
    assert 'steering_answers_total{outcome="unknown_title"}' in text
    assert 'steering_appliances{state="down"}' in text
    for secret in (shared.key, shared.bucket.config.bucket):
        assert secret not in text + shared.ask("/readyz").body.decode()


def test_the_document_of_the_service_is_served(shared: Service) -> None:
    answer = shared.ask("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == json.loads(json.dumps(openapi()))


def test_every_metric_is_in_the_documentation(shared: Service) -> None:
    page = shared.ask("/metrics").body.decode()
    names = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE ")}
    names = {name for name in names if not name.endswith("_created")}
    text = (Path(__file__).parents[3] / "docs" / "steering.md").read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []
    documented = set(re.findall(r"^\| `(steering_[a-z_]+)`", text, re.MULTILINE))
    assert documented <= names
