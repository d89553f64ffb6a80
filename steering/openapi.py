"""The OpenAPI 3.1 document, made from the message types themselves."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from contracts import enrol, heartbeat, steer
from contracts.problem import MEDIA_TYPE, Document
from steering.report import Explanation, FleetReport, SteeringManifest

_SCHEMAS: Final = (
    *(steer.SteerRequest, steer.SteerResponse, steer.RevokeRequest, steer.Revoked),
    *(SteeringManifest, FleetReport, Explanation),
    *(heartbeat.Heartbeat, heartbeat.HeartbeatReply, enrol.EnrolRequest, enrol.EnrolReply, Document),
)
_SECURITY: Final = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "an API key, from `steering keys add`; over TLS a client certificate instead",
    },
    "identity": {
        "type": "http",
        "scheme": "bearer",
        "description": "a JWT signed by the appliance, or a MAC of its session",
    },
}
_SESSION: Final = {"name": "session", "in": "path", "required": True, "schema": {"type": "string"}}

_PATHWAYS: Final = {
    "name": "pathways",
    "in": "query",
    "required": False,
    "description": "ids that the player's manifest has, with commas between them: others are told as clones",
    "schema": {"type": "string"},
}


def openapi() -> dict[str, Any]:
    """Every route of the service, and nothing else (a test compares)."""
    _, found = msgspec.json.schema_components(_SCHEMAS, ref_template="#/components/schemas/{name}")
    schemas = _readable(found)
    manifest = {
        "parameters": [_SESSION, _PATHWAYS],
        "get": _operation(
            "content-steering manifest of a session", "SteeringManifest", refusals=(404, 503), security=None
        ),
    }
    question = schemas["SteerRequest"]
    query = [
        {"name": name, "in": "query", "required": name in question["required"], "schema": schema}
        for name, schema in question["properties"].items()
    ]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Nearcast steering", "version": "1"},
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
        "paths": {
            "/v1/steer": {
                "post": _operation(
                    "candidates for a playback, best first",
                    "SteerResponse",
                    asked="SteerRequest",
                    refusals=(400, 401, 403, 404, 408, 413, 422, 429, 503),
                )
            },
            "/v1/steer/{session}/hls": manifest,
            "/v1/steer/{session}/dash": manifest,
            "/URISigningPackage={token}/{key}": {
                "parameters": [
                    {"name": "token", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "key", "in": "path", "required": True, "schema": {"type": "string"}},
                ],
                "get": _operation(
                    "a title's HLS playlist or MPD with every pathway of the token's session in it",
                    None,
                    refusals=(403, 404, 502, 503),
                    security=None,
                ),
            },
            "/v1/revoke": {
                "post": _operation(
                    "takes back the tokens of a session",
                    "Revoked",
                    asked="RevokeRequest",
                    refusals=(400, 401, 403, 408, 413, 422, 429, 503),
                )
            },
            heartbeat.PATH: {
                "post": _operation(
                    "an appliance lives",
                    "HeartbeatReply",
                    asked="Heartbeat",
                    refusals=(400, 401, 403, 408, 413, 422),
                    security="identity",
                )
            },
            enrol.PATH: {
                "post": _operation(
                    "an appliance brings its key, with a one-time code",
                    "EnrolReply",
                    asked="EnrolRequest",
                    refusals=(400, 401, 403, 408, 413, 422, 429, 503),
                    security="identity",
                )
            },
            "/v1/fleet": {
                "get": _operation("the fleet and its health", "FleetReport", refusals=(401, 403, 429))
            },
            "/v1/explain": {
                "get": {
                    **_operation(
                        "why a client gets its answer", "Explanation", refusals=(401, 403, 422, 429)
                    ),
                    "parameters": query,
                }
            },
            "/healthz": {"get": _operation("the process lives", None, security=None)},
            "/readyz": {"get": _operation("it can answer", None, refusals=(503,), security=None)},
            "/metrics": {"get": _operation("Prometheus metrics", None, security=None)},
            "/openapi.json": {"get": _operation("this document", None, security=None)},
        },
    }


def _readable(schema: Any, *, listed: bool = False) -> Any:
    """With patterns in lists as others read them: schemathesis knows Python's end of a text, but not there."""
    if isinstance(schema, dict):
        return {
            name: value.replace(r"\Z", "$")
            if listed and name == "pattern" and isinstance(value, str)
            else _readable(value, listed=listed or name == "prefixItems")
            for name, value in schema.items()
        }
    if isinstance(schema, list | tuple):
        return [_readable(item, listed=listed) for item in schema]
    return schema


def _operation(
    summary: str,
    answered: str | None,
    *,
    asked: str | None = None,
    refusals: tuple[int, ...] = (),
    security: str | None = "key",
) -> dict[str, Any]:
    failed = {
        "description": "a problem (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Document"}}},
    }
    done: dict[str, Any] = {"description": "done"}
    if answered is not None:
        done |= _body(answered)
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": done, **{str(status): failed for status in refusals}},
    }
    if asked is not None:
        operation["requestBody"] = {"required": True, **_body(asked)}
    if security is not None:
        operation["security"] = [{security: []}]
    return operation


def _body(schema: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}
