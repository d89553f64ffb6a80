"""RFC 9111 by section: what is stored, how long it is fresh, who may have it. All times are given."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from oca.httpcache.fields import Fields
from oca.httpcache.policy import (
    Keep,
    Use,
    freshness,
    keep,
    merged,
    same_representation,
    stale_on_error,
    stored_fields,
    use,
)

NOW = 1_760_000_000.0


def at(seconds: float) -> str:
    return formatdate(NOW + seconds, usegmt=True)


def fields(*lines: str) -> Fields:
    return tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))


@pytest.mark.parametrize(
    ("lines", "lifetime"),
    [
        # Section 4.2.1: the first of s-maxage, max-age and Expires that is there.
        (["Cache-Control: max-age=60"], 60),
        (["Cache-Control: max-age=60, s-maxage=5"], 5),
        (["Cache-Control: s-maxage=5", "Cache-Control: max-age=60"], 5),
        (["Cache-Control: max-age=60", f"Expires: {at(-60)}", f"Date: {at(0)}"], 60),
        ([f"Expires: {at(90)}", f"Date: {at(0)}"], 90),
        ([f"Expires: {at(300)}", f"Date: {at(400)}"], 0),
        (["Expires: 0"], 0),
        # More than one: the first counts.
        (["Cache-Control: max-age=60, max-age=1"], 60),
        (["Cache-Control: max-age=1", "Cache-Control: max-age=60"], 1),
        # What cannot be read is stale, and what stands in quotes is no directive.
        (["Cache-Control: max-age=-5"], 0),
        (["Cache-Control: max-age='60'"], 0),
        (["Cache-Control: max-age=60a"], 0),
        (['Cache-Control: max-age="60"'], 60),
        (['Cache-Control: x="max-age=60", max-age=1'], 1),
        (["Cache-Control: MaX-aGe=60, foobar"], 60),
        (["Cache-Control: max-age=99999999999"], 1 << 31),
        # Section 4.2.2: a tenth of its age, for a day at most.
        ([f"Last-Modified: {at(-600)}", f"Date: {at(0)}"], 60),
        ([f"Last-Modified: {at(-86400 * 100)}"], 86400),
        (["ETag: x"], 0),
        # RFC 9213: beside CDN-Cache-Control nothing else counts; one that does not parse is not there.
        (["Cache-Control: max-age=1", "CDN-Cache-Control: max-age=60"], 60),
        (["Cache-Control: max-age=1", "CDN-Cache-Control: max-age=60, &&"], 1),
        (["Cache-Control: max-age=9", "CDN-Cache-Control: max-age=\"60\""], 9),
        (["CDN-Cache-Control: no-cache", f"Expires: {at(60)}"], 0),
        (["Cache-Control: max-age=1", "Surrogate-Control: max-age=60"], 60),
        (["Cache-Control: max-age=1", "Surrogate-Control: max-age=60;other"], 1),
        (["Cache-Control: max-age=1", "Surrogate-Control: max-age=60;nearcast"], 60),
    ],
)  # fmt: skip
def test_how_long_a_response_is_fresh(lines: list[str], lifetime: float) -> None:
    assert freshness(200, fields(*lines), NOW, NOW).lifetime_s == lifetime


@pytest.mark.parametrize(
    ("lines", "took_s", "age"),
    [
        # Section 4.2.3.
        ([f"Date: {at(-10)}"], 0, 10),
        ([f"Date: {at(0)}", "Age: 30"], 2, 32),
        ([f"Date: {at(100)}"], 0, 0),
        # Section 5.1: of several values the first, and what is no number is not there.
        (["Age: 7, 9"], 0, 7),
        (["Age: 7", "Age: 9"], 0, 7),
        (["Age: -7"], 0, 0),
        (["Age: 7.0"], 0, 0),
    ],
)
def test_how_old_a_response_is_when_it_comes(lines: list[str], took_s: float, age: float) -> None:
    fresh = freshness(200, fields(*lines), NOW - took_s, NOW)
    assert fresh.initial_age_s == age
    assert fresh.age(NOW + 5) == age + 5


@pytest.mark.parametrize(
    ("status", "lines", "request_lines", "authorised", "stored"),
    [
        (200, ["Cache-Control: max-age=60"], [], False, True),
        (200, [], [], False, False),
        (200, ["ETag: x"], [], False, True),
        (404, ["Cache-Control: max-age=60"], [], False, True),
        (404, [], [], False, False),
        (503, ["Cache-Control: max-age=60"], [], False, True),
        (503, [f"Last-Modified: {at(-600)}"], [], False, False),
        (599, [f"Last-Modified: {at(-600)}", "Cache-Control: public"], [], False, True),
        (206, ["Cache-Control: max-age=60"], [], False, False),
        (200, ["Cache-Control: no-store, max-age=60"], [], False, False),
        (200, ["Cache-Control: No-Store"], [], False, False),
        (200, ["Cache-Control: private, max-age=60"], [], False, False),
        (200, ['Cache-Control: private="a", max-age=60'], [], False, True),
        (200, ["Cache-Control: no-store", "CDN-Cache-Control: max-age=9"], [], False, True),
        (200, ["Cache-Control: max-age=60"], ["Cache-Control: no-store"], False, False),
        (200, ["Cache-Control: max-age=60", "Vary: a, *"], [], False, False),
        # Section 3.5.
        (200, ["Cache-Control: max-age=60"], [], True, False),
        (200, ["Cache-Control: max-age=60, public"], [], True, True),
        (200, ["Cache-Control: max-age=60, must-revalidate"], [], True, True),
        (200, ["Cache-Control: s-maxage=60"], [], True, True),
        # Section 5.2.2.3.
        (299, ["Cache-Control: max-age=60, must-understand"], [], False, False),
        (200, ["Cache-Control: max-age=60, must-understand, no-store"], [], False, True),
        # A cookie is for one; unless the origin says itself how long everybody may have it.
        (200, ["Set-Cookie: a=b", f"Last-Modified: {at(-600)}"], [], False, False),
        (200, ["Set-Cookie: a=b", "Cache-Control: max-age=60"], [], False, True),
    ],
)
def test_what_is_stored(
    status: int, lines: list[str], request_lines: list[str], authorised: bool, stored: bool
) -> None:
    response = fields(*lines)
    fresh = freshness(status, response, NOW, NOW)
    verdict = keep("GET", status, fields(*request_lines), response, fresh, authorised=authorised)
    assert (verdict is Keep.STORE) is stored


@pytest.mark.parametrize(
    ("response", "asked", "after_s", "use_of_it"),
    [
        ("max-age=60", "", 10, Use.FRESH),
        ("max-age=60", "", 61, Use.VALIDATE),
        ("max-age=60, no-cache", "", 1, Use.VALIDATE),
        # Section 5.2.1: what a client may ask for.
        ("max-age=60", "no-cache", 1, Use.VALIDATE),
        ("max-age=60", "max-age=5", 10, Use.VALIDATE),
        ("max-age=60", "max-age=0", 0, Use.VALIDATE),
        ("max-age=60", "min-fresh=55", 10, Use.VALIDATE),
        ("max-age=60", "min-fresh=45", 10, Use.FRESH),
        ("max-age=60", "max-stale=10", 65, Use.STALE),
        ("max-age=60", "max-stale", 6500, Use.STALE),
        ("max-age=60", "max-stale=10", 75, Use.VALIDATE),
        ("max-age=60, must-revalidate", "max-stale", 61, Use.VALIDATE),
        # RFC 5861 section 3.
        ("max-age=60, stale-while-revalidate=30", "", 89, Use.WHILE_REVALIDATE),
        ("max-age=60, stale-while-revalidate=30", "", 91, Use.VALIDATE),
        ("s-maxage=60, stale-while-revalidate=30", "", 61, Use.VALIDATE),
    ],
)
def test_who_may_have_a_stored_response(response: str, asked: str, after_s: float, use_of_it: Use) -> None:
    fresh = freshness(200, fields(f"Cache-Control: {response}"), NOW, NOW)
    request = fields(f"Cache-Control: {asked}") if asked else ()
    assert use(fresh, request, NOW + after_s, obey=True) is use_of_it


def test_an_origin_may_be_shielded_from_clients_that_ask_for_newer() -> None:
    fresh = freshness(200, fields("Cache-Control: max-age=60"), NOW, NOW)
    assert use(fresh, fields("Cache-Control: no-cache"), NOW + 1, obey=False) is Use.FRESH


@pytest.mark.parametrize(
    ("response", "after_s", "served"),
    [
        ("max-age=60", 100, True),
        ("max-age=60", 130, False),
        ("max-age=60, stale-if-error=600", 500, True),
        ("max-age=60, stale-if-error=0", 61, False),
        ("max-age=60, must-revalidate", 61, False),
        ("max-age=60, proxy-revalidate", 61, False),
        ("s-maxage=60", 61, False),
        ("max-age=60, no-cache", 1, False),
    ],
)
def test_when_upstream_fails_stale_is_good_enough_within_bounds(
    response: str, after_s: float, served: bool
) -> None:
    fresh = freshness(200, fields(f"Cache-Control: {response}"), NOW, NOW)
    assert stale_on_error(fresh, NOW + after_s, default_s=60) is served


def test_what_ends_at_this_hop_is_not_stored() -> None:
    came = fields(
        "Connection: a, close", "A: 1", "Keep-Alive: 5", "Transfer-Encoding: chunked", "B: 2", "Age: 3",
        'Cache-Control: no-cache="c, d", max-age=5', "C: 3", "D: 4", "Proxy-Authenticate: x",
    )  # fmt: skip
    kept = dict(stored_fields(came, at(0)))
    assert kept.keys() == {"B", "Cache-Control", "Date"}


def test_a_304_updates_all_but_what_describes_the_stored_bytes() -> None:
    stored = fields("A: 1", "B: 1", 'ETag: "x"', "Content-Length: 5", "Content-Encoding: gzip")
    news = fields("A: 2", 'ETag: "y"', "Content-Length: 9", "Content-Encoding: br", "C: 3")
    assert dict(merged(stored, news)) == {
        "A": "2", "B": "1", "C": "3", "ETag": '"x"', "Content-Length": "5", "Content-Encoding": "gzip",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("head", "same"),
    [
        (['ETag: "x"'], True),
        (['ETag: "y"'], False),
        (["Content-Length: 5"], True),
        (["Content-Length: 6"], False),
        ([], True),
    ],
)
def test_whether_a_head_speaks_of_what_is_stored(head: list[str], same: bool) -> None:
    assert same_representation(fields('ETag: "x"'), 5, fields(*head)) is same


def test_a_lifetime_may_be_guessed_only_where_the_origin_says_nothing() -> None:
    assert freshness(200, (), NOW, NOW, guess_s=2).lifetime_s == 2
    assert freshness(200, fields("Cache-Control: max-age=9"), NOW, NOW, guess_s=2).lifetime_s == 9
    assert freshness(404, (), NOW, NOW, guess_s=2).lifetime_s == 2
    assert freshness(500, (), NOW, NOW, guess_s=2).lifetime_s == 0
