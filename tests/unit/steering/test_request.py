"""A refusal names the field that is wrong, whatever the caller wrote into it."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.documents import BadDocument, decode
from contracts.steer import MAX_REQUEST_BYTES, SteerRequest
from steering.request import bad_field

GOOD = {"client_ip": "192.0.2.1", "title": "tt1"}


def field_of(raw: bytes) -> str | None:
    with pytest.raises(BadDocument) as caught:
        decode(raw, SteerRequest, name="body", limit_bytes=MAX_REQUEST_BYTES)
    return bad_field(caught.value.why).field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"client_ip": ...}, "client_ip"),
        ({"client_ip": 7}, "client_ip"),
        ({"client_ip": ""}, "client_ip"),
        ({"client_ip": "here"}, "client_ip"),
        ({"client_ip": "192.0.2.256"}, "client_ip"),
        ({"client_ip": "192.0.2.1/24"}, "client_ip"),
        ({"client_ip": "192.0.2.01"}, "client_ip"),
        ({"client_ip": "fe80::1%eth0"}, "client_ip"),
        ({"client_ip": " 192.0.2.1"}, "client_ip"),
        ({"client_ip": "1" * 46}, "client_ip"),
        ({"title": ...}, "title"),
        ({"title": "../tt1"}, "title"),
        ({"title": None}, "title"),
        ({"session": "short"}, "session"),
        ({"session": "s" * 65}, "session"),
        ({"session": "has space"}, "session"),
        ({"country": "Germany"}, "country"),
        ({"country": "de"}, "country"),
        ({"count": 0}, "count"),
        ({"count": 11}, "count"),
        ({"count": "3"}, "count"),
        ({"count": 2.5}, "count"),
        ({"count": True}, "count"),
        ({"county": "DE"}, "county"),
        # What the caller wrote is not taken for where msgspec found it.
        ({"client_ip": "x - at `$.title`"}, "client_ip"),
        ({"client_ip": "`$.count`"}, "client_ip"),
        ({"client_ip": "title: x"}, "client_ip"),
    ],
)
def test_the_wrong_field_is_named(changes: dict[str, Any], field: str) -> None:
    question = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    assert field_of(json.dumps(question).encode()) == field


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b"[" * 4000])
def test_what_is_no_object_has_no_field(raw: bytes) -> None:
    assert field_of(raw) is None


@pytest.mark.parametrize("address", ["192.0.2.1", "::1", "2001:db8::1", "::ffff:192.0.2.1", "0.0.0.0"])
def test_an_address_is_an_address(address: str) -> None:
    assert msgspec.convert(GOOD | {"client_ip": address}, SteerRequest).client_ip == address


@given(st.text(max_size=45))
def test_any_client_ip_is_an_address_or_is_named(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        assert field_of(json.dumps(GOOD | {"client_ip": text}).encode()) == "client_ip"
