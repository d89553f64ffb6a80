"""The document says what the service does: every route of it, and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey

from contracts.fleet import Fleet
from contracts.problem import Problem
from contracts.token import KeyRing
from daemon.s3 import S3Config
from steering.api import Api
from steering.config import Config
from steering.fleet import FleetView, Roster
from steering.keys import Signer
from steering.manifests import Manifests
from steering.openapi import openapi

DOCUMENT = openapi()
METHODS = {"get", "post", "put", "delete", "patch", "head", "options"}


def test_the_documented_routes_are_the_real_ones(tmp_path: Path) -> None:
    config = Config(fleet="", origin=S3Config(bucket="bucket"), public_url="http://127.0.0.1:23000")
    view = FleetView(Roster.of(Fleet(())))

    async def nothing(_: str) -> bytes:
        return b""

    app = Api(
        config, view, Signer(ECKey.generate_key("P-256")), (), Manifests(nothing), KeyRing({})
    ).application()
    real = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    documented = {
        (method, path) for path, item in DOCUMENT["paths"].items() for method in METHODS & item.keys()
    }
    assert documented == real


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere() -> None:
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(references(DOCUMENT)) <= schemas
    assert json.loads(json.dumps(DOCUMENT)) == json.loads(json.dumps(openapi()))


def test_every_documented_refusal_is_a_problem_that_exists() -> None:
    statuses = {str(problem.status) for problem in Problem} | {"200"}
    for item in DOCUMENT["paths"].values():
        for method in METHODS & item.keys():
            assert set(item[method]["responses"]) <= statuses


def test_what_needs_a_key_says_so() -> None:
    needs = {
        path: item[method].get("security")
        for path, item in DOCUMENT["paths"].items()
        for method in METHODS & item.keys()
    }
    assert {path for path, security in needs.items() if security == [{"key": []}]} == {
        "/v1/steer",
        "/v1/fleet",
        "/v1/explain",
        "/v1/revoke",
    }
    assert needs["/v1/heartbeat"] == [{"identity": []}]
