"""How steering's HTTP side says things: values as JSON, refusals as problem documents (RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus

import msgspec
from aiohttp import web

from contracts.problem import MEDIA_TYPE, Problem, render
from steering.request import Refused

log = logging.getLogger("steering")


def as_json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value) + b"\n", content_type="application/json")


def problem(what: Problem, detail: str | None = None, field: str | None = None) -> web.Response:
    return web.Response(status=what.status, body=render(what, detail, field=field), content_type=MEDIA_TYPE)


def failure(error: Exception) -> web.Response:
    """The answer to a request that ended with ``error``; one that nobody meant is logged, and is 500."""
    if isinstance(error, Refused):
        return refusal(error)
    log.error("request failed", exc_info=error)
    return problem(Problem.INTERNAL)


def refusal(refused: Refused) -> web.Response:
    answer = problem(refused.problem, refused.detail, refused.field)
    if refused.retry_s:
        answer.headers["Retry-After"] = str(max(1, round(refused.retry_s)))
    if refused.problem.status == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer
