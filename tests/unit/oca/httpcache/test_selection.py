"""Which stored response a request selects, what 304 needs, dates, targets, parts, and what goes upstream."""

from __future__ import annotations

import pytest

from oca.httpcache import vary
from oca.httpcache.dates import parse_date
from oca.httpcache.fields import Fields, members
from oca.httpcache.forward import Loop, upstream_fields, without_token
from oca.httpcache.parts import content_range, single_span
from oca.httpcache.precondition import not_modified, range_applies
from oca.httpcache.target import BadTarget, cache_key, longest_prefix, resolve, suffix

NOW = 1_760_000_000.0


def fields(*lines: str) -> Fields:
    return tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))


@pytest.mark.parametrize(
    ("varying", "first", "second", "same"),
    [
        ("Foo", ["Foo: 1"], ["foo: 1"], True),
        ("Foo", ["Foo: 1"], ["Foo: 2"], False),
        ("Foo", ["Foo: 1"], [], False),
        ("Foo", [], ["Foo:"], False),
        ("Foo", [], [], True),
        ("Foo, Bar", ["Foo: 1", "Bar: 2"], ["Bar: 2", "Foo: 1"], True),
        ("Foo, Bar", ["Foo: 1", "Bar: 2"], ["Foo: 1", "Bar: 3"], False),
        # Section 4.1: white space, and lines that are joined.
        ("Foo", ["Foo: 1, 2"], ["Foo: 1", "Foo: 2"], True),
        ("Foo", ["Foo: 1,2"], ["Foo:  1, 2 "], True),
        # Known semantics: the order of preferences is in their weights.
        ("Accept-Language", ["Accept-Language: en, de"], ["Accept-Language: De ,  eN"], True),
        ("Accept-Encoding", ["Accept-Encoding: gzip, br"], ["Accept-Encoding: br, gzip"], True),
        ("Foo", ["Foo: a, b"], ["Foo: b, a"], False),
    ],
)
def test_a_stored_response_is_selected_by_what_its_vary_names(
    varying: str, first: list[str], second: list[str], same: bool
) -> None:
    names = vary.names(fields(f"Vary: {varying}"))
    assert names is not None
    stored = vary.selecting(names, fields(*first))
    assert vary.selects(stored, fields(*second), None) is same


@pytest.mark.parametrize("value", ["*", "*, *", ", *", "Foo, *", ",".join(f"a{n}" for n in range(40))])
def test_a_response_that_varies_by_anything_is_selected_by_nothing(value: str) -> None:
    assert vary.names(fields(f"Vary: {value}")) is None


def test_the_language_that_is_preferred_is_the_one_that_is_stored() -> None:
    stored = vary.selecting(["accept-language"], fields("Accept-Language: en, de"))
    assert vary.selects(stored, fields("Accept-Language: fr;q=0.5, de;q=1.0"), "de")
    assert not vary.selects(stored, fields("Accept-Language: fr, de"), "de")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("SUN, 06 nov 1994 08:49:37 gmt", 784111777),
        ("Sun 06 Nov 1994 8:49:37 GMT", 784111777),
        ("Thu, 18 Aug 50 02:01:18 GMT", 2544400878),
        ("Sun, 06 Nov 1994 08:49:37 UTC", None),
        ("Sun, 06 Nov 1994 08:49:37 AEST", None),
        ("0", None),
        ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 25:49:37 GMT", None),
        ("x" * 100, None),
    ],
)
def test_dates_are_read_tolerantly_and_in_one_zone(text: str, seconds: int | None) -> None:
    assert parse_date(text, NOW) == seconds


@pytest.mark.parametrize(
    ("asked", "stored", "unchanged"),
    [
        (['If-None-Match: "a"'], ['ETag: "a"'], True),
        (['If-None-Match: W/"a"'], ['ETag: "a"'], True),
        (['If-None-Match: "b", "a"'], ['ETag: W/"a"'], True),
        (['If-None-Match: "b"'], ['ETag: "a"'], False),
        (["If-None-Match: *"], [], True),
        (["If-None-Match: a"], ["ETag: a"], True),
        (['If-None-Match: "b"', "If-Modified-Since: Sun, 06 Nov 2044 08:49:37 GMT"], ['ETag: "a"'], False),
        (["If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"],
         ["Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"], True),
        (["If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT"],
         ["Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"], False),
        (["If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT"],
         ["Date: Sun, 06 Nov 1994 08:49:30 GMT"], True),
        ([], ['ETag: "a"'], False),
    ],
)  # fmt: skip
def test_who_has_it_already_gets_304(asked: list[str], stored: list[str], unchanged: bool) -> None:
    assert not_modified(fields(*asked), 200, fields(*stored), NOW) is unchanged


def test_a_range_counts_only_for_the_very_same_representation() -> None:
    assert range_applies((), ())
    assert range_applies(fields('If-Range: "a"'), fields('ETag: "a"'))
    assert not range_applies(fields('If-Range: W/"a"'), fields('ETag: W/"a"'))


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("/a/b.ts?x=1&y", "/a/b.ts?x=1&y"),
        ("/%7Ea/%c3%a9?q=%2f", "/~a/%C3%A9?q=%2F"),
        ("/a/./b/../c", "/a/c"),
        ("/../a/..", "/"),
        ("http://host:80/a?b", "/a?b"),
        ("http://host", "/"),
        ("/URISigningPackage=abc/live/a.ts", "/live/a.ts"),
        ("/live/a.ts?x=1&URISigningPackage=abc", "/live/a.ts?x=1"),
        ("/live/a.ts?URISigningPackage=abc", "/live/a.ts"),
        ("/a//b/", "/a//b/"),
        ("/a%2Fb", "/a%2Fb"),
    ],
)
def test_what_is_the_same_is_one_key_and_no_token_is_in_it(target: str, key: str) -> None:
    assert cache_key(target) == key
    assert cache_key(key) == key


@pytest.mark.parametrize("target", ["*", "a/b", "/a#b", "/a b", "/\xe9", "/URISigningPackage=abc"])
def test_what_is_no_path_is_no_key(target: str) -> None:
    with pytest.raises(BadTarget):
        cache_key(target)


def test_the_longest_prefix_is_whose_a_key_is() -> None:
    assert longest_prefix(["/", "/live/", "/live/ch1/"], "/live/ch1/a") == 2
    assert longest_prefix(["/live/"], "/vod/a") is None


def test_a_location_of_the_same_site_is_a_key() -> None:
    here = frozenset({"edge.example:8080"})
    assert resolve("b", "/a/c?d", here) == "/a/b"
    assert resolve("/x?y#z", "/a/c", here) == "/x?y"
    assert resolve("http://Edge.example:8080/x", "/a", here) == "/x"
    assert resolve("http://other.example/x", "/a", here) is None
    assert resolve("//other.example/x", "/a", here) is None


def test_a_suffix_is_that_of_the_last_segment() -> None:
    assert suffix("/a.b/C.M3U8?x=.mpd") == ".m3u8"
    assert suffix("/a.b/c") == ""


def test_a_part_is_what_its_content_range_says_and_no_more() -> None:
    assert content_range("bytes 4-8/10", 5) == (4, 10)
    assert content_range("bytes 4-8/10", 6) is None
    assert content_range("bytes 4-8/*", 5) is None
    assert content_range("bytes 8-4/10", 5) is None
    assert single_span("bytes=-5", 10) == (5, 10)
    assert single_span("bytes=6-", 10) == (6, 10)
    assert single_span("bytes=0-1,4-5", 10) is None


def test_what_goes_upstream_says_who_forwards_it_and_for_whom() -> None:
    request = fields(
        "Host: edge", "Foo: 1", "Connection: bar", "Bar: 2", "TE: trailers", "Expect: 100-continue",
        "Range: bytes=0-1", "X-Forwarded-For: 192.0.2.1",
    )  # fmt: skip
    sent = dict(upstream_fields(request, "isp-a1", "192.0.2.9", "origin", whole=True, secure=False))
    assert sent == {
        "Host": "origin", "Foo": "1", "Via": "1.1 isp-a1", "CDN-Loop": "isp-a1",
        "X-Forwarded-For": "192.0.2.1, 192.0.2.9", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "edge",
        "Surrogate-Capability": 'nearcast="Surrogate/1.0"',
    }  # fmt: skip


@pytest.mark.parametrize("line", ["Via: 1.1 x, 1.1 isp-a1", "CDN-Loop: y, isp-a1; v=1"])
def test_a_request_that_was_here_before_is_a_loop(line: str) -> None:
    with pytest.raises(Loop):
        upstream_fields(fields(line), "isp-a1", "192.0.2.9", "origin", whole=True, secure=False)


def test_no_token_of_ours_goes_upstream() -> None:
    request = fields("Cookie: a=b; URISigningPackage=x", "Authorization: Bearer y", "Foo: 1")
    assert without_token(request, bearer=True) == (("Cookie", "a=b"), ("Foo", "1"))
    assert without_token(fields("Cookie: URISigningPackage=x"), bearer=False) == ()


def test_members_are_split_outside_quotes() -> None:
    assert members(['a, "b, \\"c", ,d', "e"]) == ["a", '"b, \\"c"', "d", "e"]
