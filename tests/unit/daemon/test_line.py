"""Secrets are recognised by their form, and everything else stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.line import one_line, without_secrets

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjE4MDAwMDAwMDB9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"GET /URISigningPackage={JWT}/tt1/a.mp4", "GET /URISigningPackage=[cut]/tt1/a.mp4"),
        (f"/tt1/a.mp4?URISigningPackage={JWT}&x=1", "/tt1/a.mp4?URISigningPackage=[cut]&x=1"),
        (f"a=1; urisigningpackage={JWT}; b=2", "a=1; urisigningpackage=[cut]; b=2"),
        (f"/?to=%2FURISigningPackage%3D{JWT}", "/?to=%2FURISigningPackage%3D[cut]"),
        ("/URISigningPackage=no-jwt-at-all/tt1", "/URISigningPackage=[cut]/tt1"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [cut]"),
        ("{'Authorization': 'bearer  abc', 'Host': 'x'}", "{'Authorization': 'bearer  [cut]', 'Host': 'x'}"),
        (f"the token {JWT} is late", "the token [cut] is late"),
        (f"a token%3a{JWT}", "a token%3a[cut]"),
        (f"{JWT}{JWT}", "[cut]"),
        (f"of three parts only two: {JWT.rpartition('.')[0]}", "of three parts only two: [cut]"),
        ("https://user:secret@s3.example/b", "https://[cut]@s3.example/b"),
        ("https://secret@s3.example/b", "https://[cut]@s3.example/b"),
        ("https://user:sec@ret@s3.example/b", "https://[cut]@s3.example/b"),
        ("https://a:b@one https://c:d@two", "https://[cut]@one https://[cut]@two"),
        ("proxy user:secret@10.0.0.1:3128", "proxy [cut]@10.0.0.1:3128"),
    ],
)
def test_a_secret_is_cut_out_and_what_stands_around_it_is_not(text: str, left: str) -> None:
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "",
        "object committed key=tt1/1080p/video.mp4 size=7",
        "an identity token is expected as Bearer",
        "http://192.0.2.10:8080 answered 502 at 12:30:01",
        "monkeyJungleAdventures.mp4",
        "https://example.net/a@b?c@d",
        "somebody@example.net",
        "[2001:db8::1]:8080",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "piece",
    [
        "eyJ",
        "eyJ-",
        "a:",
        "a:@",
        "@a:",
        "://",
        "://a",
        "Bearer ",
        "Bearer",
        "URISigningPackage=",
        "@",
        ":",
        "%3DeyJ",
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    """Quadratic work on this much would meet the time limit of the suite."""
    for text in (piece * (1 << 18), piece * (1 << 18) + " @", "a:" + piece * (1 << 18)):
        without_secrets(text)


@given(st.text())
def test_a_line_is_one_printable_line(text: str) -> None:
    assert one_line(text).isprintable()
    assert one_line(one_line(text)) == one_line(text)


@given(st.text(alphabet="abc xyz/:@=%äß汉"))
def test_what_is_printable_is_not_touched(text: str) -> None:
    assert one_line(text) == text
