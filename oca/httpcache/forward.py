"""A client's request as it goes on upstream. Source: RFC 9110 section 7.6, RFC 8586 (CDN-Loop)."""

from __future__ import annotations

import base64
from typing import Final

from contracts.token import IDENTITY_TYP
from contracts.urisigning import PARAMETER
from oca.httpcache.cachecontrol import SURROGATE
from oca.httpcache.fields import Fields, end_to_end, first, members, values, without

_OURS: Final = frozenset(
    {"host", "content-length", "expect", "via", "cdn-loop", "x-forwarded-for", "x-forwarded-proto",
     "x-forwarded-host", "forwarded", "surrogate-capability"}
)  # fmt: skip
_CONDITIONS: Final = frozenset({"if-none-match", "if-modified-since", "if-range", "range"})


class Loop(Exception):
    """The request has been here before: two appliances name one another as parents, or as origins."""


def upstream_fields(
    request: Fields, appliance: str, address: str, host: str, *, whole: bool, secure: bool
) -> Fields:
    """The fields to send; raises `Loop`. ``whole``: for the store, so without the client's own conditions."""
    loop = values(request, "cdn-loop")
    if any(member.partition(";")[0].strip() == appliance for member in members(loop)) or any(
        member.split(" ")[1:2] == [appliance] for member in members(values(request, "via"))
    ):
        raise Loop
    kept = without(end_to_end(request), _OURS | (_CONDITIONS if whole else frozenset()))
    before = ", ".join(values(request, "x-forwarded-for"))
    via = ", ".join([*values(request, "via"), f"1.1 {appliance}"])
    capability = ", ".join([*values(request, "surrogate-capability"), f'{SURROGATE}="Surrogate/1.0"'])
    return (
        ("Host", host),
        *kept,
        ("Via", via),
        ("CDN-Loop", ", ".join([*loop, appliance])),
        ("X-Forwarded-For", f"{before}, {address}" if before else address),
        ("X-Forwarded-Proto", first(request, "x-forwarded-proto") or ("https" if secure else "http")),
        ("X-Forwarded-Host", first(request, "x-forwarded-host") or first(request, "host") or host),
        ("Surrogate-Capability", capability),
    )


def without_token(request: Fields, *, bearer: bool) -> Fields:
    """The request without what lets its client in here: no origin ever sees a token of ours.

    ``bearer``: Authorization is ours too, since tokens are asked for. That of an appliance below always is.
    """
    kept: list[tuple[str, str]] = []
    for name, value in request:
        lower = name.lower()
        if lower == "authorization" and (bearer or _is_identity(value)):
            continue
        if lower == "cookie" and PARAMETER in value:
            value = "; ".join(
                pair.strip() for pair in value.split(";") if not pair.strip().startswith(PARAMETER + "=")
            )
            if not value:
                continue
        kept.append((name, value))
    return tuple(kept)


def _is_identity(authorization: str) -> bool:
    """Whether it holds the identity of an appliance, by its type alone: whether it is good is not asked here."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return False
    head = token.strip().partition(".")[0]
    try:
        return IDENTITY_TYP.encode() in base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))
    except ValueError:
        return False
