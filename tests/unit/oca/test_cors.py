"""The CORS fields for each kind of configuration and asker."""

from __future__ import annotations

import pytest

from oca.edge.cors import Cors

ONE = "https://play.example"


@pytest.mark.parametrize(
    ("configured", "asks", "first"),
    [
        ((), None, b""),
        ((), ONE, b""),
        (("*",), None, b"Access-Control-Allow-Origin: *\r\n"),
        (("*",), ONE, b"Access-Control-Allow-Origin: *\r\n"),
        (("*", ONE), ONE, b"Access-Control-Allow-Origin: *\r\n"),
        ((ONE,), ONE, b"Vary: Origin\r\nAccess-Control-Allow-Origin: https://play.example\r\n"),
        ((ONE,), "https://other.example", b"Vary: Origin\r\n"),
        ((ONE,), None, b"Vary: Origin\r\n"),
    ],
)
def test_fields(configured: tuple[str, ...], asks: str | None, first: bytes) -> None:
    fields = Cors(configured).fields(asks)
    assert fields.startswith(first)
    assert (b"Allow-Origin" in fields) is (b"Allow-Origin" in first)
    assert (b"Timing-Allow-Origin" in fields) is (b"Allow-Origin" in first)


def test_the_same_asker_gets_the_same_object_so_that_heads_can_be_kept_by_it() -> None:
    cors = Cors((ONE, "https://second.example"))
    assert cors.fields(ONE) is cors.fields("https://play" + ".example")
    assert cors.fields(None) is cors.fields("https://other.example")
