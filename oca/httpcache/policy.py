"""Whether a response may be stored, for how long it is fresh, and whether a request may have it. RFC 9111, for a shared cache."""

from __future__ import annotations

import enum
import math
import re
from typing import Final

import msgspec

from oca.httpcache.cachecontrol import Directives, parse, response_directives, seconds
from oca.httpcache.dates import parse_date
from oca.httpcache.fields import Fields, end_to_end, first, members, values, without
from oca.httpcache.vary import names

HEURISTIC_SHARE: Final = 0.1
"""Of the time since it was last modified: section 4.2.2."""
MOST_HEURISTIC_S: Final = 86_400
_HEURISTIC: Final = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that RFC 9110 section 15.1 lets a cache guess a lifetime for."""
_GUESSED: Final = frozenset({200, 203, 404, 410})
"""For which a guess of ours stands above the RFC's."""
_UNDERSTOOD: Final = _HEURISTIC | {302, 303, 307, 304, 400, 401, 403, 500, 502, 503, 504}
"""What must-understand asks of us: section 5.2.2.3."""
_NOT_FROM_304: Final = frozenset(
    {"content-encoding", "content-length", "content-md5", "content-range", "etag"}
)
"""They describe the stored bytes, which did not change: section 3.2."""
_age = re.compile(r"\d{1,32}\Z", re.ASCII).match


class Freshness(msgspec.Struct, frozen=True, array_like=True):
    """What decides on reuse of one response; made once, when it came or was validated."""

    responded_at: float
    initial_age_s: float
    """`corrected_initial_age` of section 4.2.3."""
    lifetime_s: float
    validate: bool
    """no-cache: every use is validated first."""
    never_stale: bool
    """must-revalidate, proxy-revalidate, s-maxage or no-cache: stale is never good enough."""
    while_revalidate_s: float
    if_error_s: float | None
    """None where the origin says nothing: then ours counts."""

    def age(self, now: float) -> float:
        return self.initial_age_s + max(0.0, now - self.responded_at)

    def left_s(self, now: float) -> float:
        """Seconds of freshness left; below zero when stale."""
        return self.lifetime_s - self.age(now)


class Keep(enum.Enum):
    """Whether a response is stored."""

    STORE = "store"  # for reuse, and for everybody who waits if it is fresh
    ALONE = "alone"  # it is for the one who asked alone


class Use(enum.Enum):
    """What may be done with a stored response for a request."""

    FRESH = "fresh"  # send it
    STALE = "stale"  # send it: the client (max-stale) allows it
    WHILE_REVALIDATE = "while_revalidate"  # send it, and validate it behind the client's back: RFC 5861
    VALIDATE = "validate"  # ask upstream first, whether the response or the request wants it


def freshness(
    status: int, fields: Fields, requested_at: float, responded_at: float, guess_s: float | None = None
) -> Freshness:
    """``guess_s``: how long it is fresh where the origin says nothing; None is the RFC's own heuristic."""
    said, targeted = response_directives(fields)
    lifetime = _explicit(said, targeted, fields, responded_at)
    if lifetime is None:
        lifetime = _heuristic(status, said, fields, responded_at, guess_s)
    validate = "no-cache" in said and said["no-cache"] is None
    return Freshness(
        responded_at=responded_at,
        initial_age_s=_initial_age(fields, requested_at, responded_at),
        lifetime_s=lifetime,
        validate=validate,
        never_stale=validate
        or not said.keys().isdisjoint({"must-revalidate", "proxy-revalidate", "s-maxage"}),
        while_revalidate_s=seconds(said, "stale-while-revalidate") or 0,
        if_error_s=seconds(said, "stale-if-error"),
    )


def is_explicit(fields: Fields, now: float) -> bool:
    """Whether the origin itself says how long the response is fresh."""
    said, targeted = response_directives(fields)
    return _explicit(said, targeted, fields, now) is not None


def keep(
    method: str, status: int, request: Fields, fields: Fields, fresh: Freshness, *, authorised: bool
) -> Keep:
    """Section 3, paragraph by paragraph. ``authorised``: the request had an Authorization that goes upstream."""
    said, _ = response_directives(fields)
    understood = "must-understand" in said
    if (
        method != "GET"
        or status < 200
        or status in {206, 304}  # parts of a representation are kept apart
        or (understood and status not in _UNDERSTOOD)
        or ("no-store" in said and not understood)
        or "no-store" in parse(values(request, "cache-control"))
        or ("private" in said and said["private"] is None)
        or (authorised and said.keys().isdisjoint({"public", "must-revalidate", "s-maxage"}))
        or names(fields) is None
    ):
        return Keep.ALONE
    explicit = is_explicit(fields, fresh.responded_at)
    if values(fields, "set-cookie") and not explicit:
        # Section 7.3 lets it be stored; we do so only when the origin names a lifetime itself.
        return Keep.ALONE
    if not explicit and status not in _HEURISTIC and "public" not in said:
        return Keep.ALONE
    usable = fresh.lifetime_s > 0 or has_validator(fields)
    return Keep.STORE if usable else Keep.ALONE


def has_validator(fields: Fields) -> bool:
    return first(fields, "etag") is not None or first(fields, "last-modified") is not None


def use(fresh: Freshness, request: Fields, now: float, *, obey: bool) -> Use:
    """Sections 4.2 and 5.2.1. ``obey``: whether clients may ask for newer than fresh."""
    asked = parse(values(request, "cache-control"))
    age, left = fresh.age(now), fresh.left_s(now)
    if obey and _wants_newer(asked, age, left, request):
        return Use.VALIDATE
    if fresh.validate:
        return Use.VALIDATE
    if left > 0:
        return Use.FRESH
    if fresh.never_stale:
        return Use.VALIDATE
    if (
        obey
        and "max-stale" in asked
        and (asked["max-stale"] is None or -left <= (seconds(asked, "max-stale") or 0))
    ):
        return Use.STALE
    if -left < fresh.while_revalidate_s:
        return Use.WHILE_REVALIDATE
    return Use.VALIDATE


def _wants_newer(asked: Directives, age: float, left: float, request: Fields) -> bool:
    if "no-cache" in asked or "no-store" in asked:
        return True
    most = seconds(asked, "max-age")
    if most is not None and age > most and "max-stale" not in asked:
        return True
    if most == 0 and "max-stale" not in asked:
        return True
    least = seconds(asked, "min-fresh")
    return least is not None and left < least


def is_demanding(request: Fields) -> bool:
    """Whether the request wants an answer of its own from the origin: it does not join another's."""
    asked = parse(values(request, "cache-control"))
    return "no-cache" in asked or "no-store" in asked or seconds(asked, "max-age") == 0


def only_if_cached(request: Fields) -> bool:
    return "only-if-cached" in parse(values(request, "cache-control"))


def may_collapse(fresh: Freshness, now: float) -> bool:
    """Whether those who waited for this response may have it, though it was asked for by another.

    What is good for half a second upstream often has nothing left of it when it comes through a tier, for Age and Date
    are whole seconds. Who waited while it was fetched is not served late by it; if each asked for himself, a live
    playlist would cost a request for every player.
    """
    if fresh.left_s(now) > 0:
        return not fresh.validate
    return fresh.lifetime_s > 0 and not fresh.never_stale


def stale_on_error(fresh: Freshness, now: float, default_s: float) -> bool:
    """Whether it may be sent although stale, since upstream failed: RFC 9111 section 4.2.4, RFC 5861 section 4."""
    allowed = fresh.if_error_s if fresh.if_error_s is not None else default_s
    return not fresh.never_stale and -fresh.left_s(now) <= allowed


def stored_fields(fields: Fields, responded_at_date: str) -> Fields:
    """What is stored of a response's fields, and sent on: section 3.1. A Date is added where there is none."""
    said, _ = response_directives(fields)
    left_out = {
        name.lower()
        for directive in ("no-cache", "private")
        if (listed := said.get(directive)) is not None
        for name in members([listed])
    }
    kept = without(end_to_end(fields), left_out | {"age"})
    return kept if first(kept, "date") is not None else (*kept, ("Date", responded_at_date))


def passed_fields(fields: Fields) -> Fields:
    """What is sent on of a response that is not stored."""
    return end_to_end(fields)


def merged(stored: Fields, news: Fields) -> Fields:
    """The stored fields after a 304, or after a HEAD, that brought ``news``: section 3.2."""
    fresh = [field for field in news if field[0].lower() not in _NOT_FROM_304]
    replaced = {name.lower() for name, _ in fresh}
    return (*without(stored, replaced), *fresh)


def validators(fields: Fields) -> Fields:
    """The condition that asks whether a stored response is still the one: section 4.3.1."""
    asked: list[tuple[str, str]] = []
    if (etag := first(fields, "etag")) is not None:
        asked.append(("If-None-Match", etag))
    if (modified := first(fields, "last-modified")) is not None:
        asked.append(("If-Modified-Since", modified))
    return tuple(asked)


def same_representation(stored: Fields, size: int | None, head: Fields) -> bool:
    """Whether a HEAD's answer speaks of what is stored: section 4.3.5."""
    for name in ("etag", "last-modified"):
        news = first(head, name)
        if news is not None and news != first(stored, name):
            return False
    length = first(head, "content-length")
    return length is None or size is None or length == str(size)


def _explicit(said: Directives, targeted: bool, fields: Fields, responded_at: float) -> float | None:
    for name in ("s-maxage", "max-age"):
        if (given := seconds(said, name)) is not None:
            return given
    if targeted:
        return None  # RFC 9213 section 2.2: neither Cache-Control nor Expires count beside it
    expires = first(fields, "expires")
    if expires is None:
        return None
    until = parse_date(expires, responded_at)
    if until is None:
        return 0  # section 5.3: an invalid date, "0" above all, is in the past
    date = parse_date(first(fields, "date"), responded_at)
    return max(0.0, until - (date if date is not None else responded_at))


def _heuristic(
    status: int, said: Directives, fields: Fields, responded_at: float, guess_s: float | None
) -> float:
    if status not in _HEURISTIC and "public" not in said:
        return 0
    if guess_s is not None and status in _GUESSED:
        return guess_s
    modified = parse_date(first(fields, "last-modified"), responded_at)
    if modified is None:
        return 0
    date = parse_date(first(fields, "date"), responded_at)
    since = (date if date is not None else responded_at) - modified
    return min(max(0.0, since * HEURISTIC_SHARE), MOST_HEURISTIC_S)


def _initial_age(fields: Fields, requested_at: float, responded_at: float) -> float:
    """Section 4.2.3; of several values the first counts, and one that is no number not at all: section 5.1."""
    date = parse_date(first(fields, "date"), responded_at)
    # Date is in whole seconds: a response made just now must not come a second old.
    apparent = max(0.0, math.floor(responded_at) - date) if date is not None else 0.0
    said = (members(values(fields, "age")) or [""])[0]
    age_s = int(said) if _age(said) else 0
    return max(apparent, age_s + max(0.0, responded_at - requested_at))
