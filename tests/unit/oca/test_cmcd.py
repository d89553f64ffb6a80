"""CMCD as players write it, and as nobody should."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.edge.cmcd import MAX_BYTES, MAX_KEYS, Cmcd, lift, parse, separate

# CTA-5004 section 4: the examples of version 1.
EXAMPLES = [
    (
        ('bl=21300,br=3200,bs,cid="faec5fc2-ac30-11ea-bb37-0242ac130002",d=4004,dl=18500,mtp=48100,'
        'nor="..%2F300kbps%2Ftrack.m4v",nrr="12323-48763",ot=v,pr=1.08,rtp=12000,sf=d,'
        'sid="6e2fb550-c457-11e9-bb97-0800200c9a66",st=v,su,tb=6000'),
        Cmcd(
            session="6e2fb550-c457-11e9-bb97-0800200c9a66",
            content="faec5fc2-ac30-11ea-bb37-0242ac130002",
            bitrate_bps=3_200_000,
            top_bitrate_bps=6_000_000,
            buffer_s=21.3,
            deadline_s=18.5,
            duration_s=4.004,
            throughput_bps=48_100_000,
            highest_rate_bps=12_000_000,
            rate=1.08,
            object_type="v",
            live=False,
            next_object="..%2F300kbps%2Ftrack.m4v",
            next_range="12323-48763",
            starved=True,
            startup=True,
        ),
    ),
    ('sid="6e2fb550-c457-11e9-bb97-0800200c9a66"', Cmcd(session="6e2fb550-c457-11e9-bb97-0800200c9a66")),
    ("br=3200,bs,d=4004", Cmcd(bitrate_bps=3_200_000, starved=True, duration_s=4.004)),
    # Keys of the operator's own, with a prefix, and of later versions.
    ('com.example-key="a,b",com-example-x=1,bl=100', Cmcd(buffer_s=0.1)),
    # Version 2: inner lists, parameters, booleans of structured fields.
    ('br=(3200;v 128;a),bs=?0,su=?1,nor=("a.m4s";r="0-9" "b.m4s"),ts=1700000000000,v=2,sta=p',
     Cmcd(bitrate_bps=3_200_000, startup=True, next_object="a.m4s")),
    # White space after the comma, as joined header fields have it.
    ("br=800, bl=1200, ot=av", Cmcd(bitrate_bps=800_000, buffer_s=1.2, object_type="av")),
    (r'sid="a\"b\\c",br=1', Cmcd(session=r'a"b\c', bitrate_bps=1000)),
    ("st=l", Cmcd(live=True)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "meant"), EXAMPLES)
def test_what_players_send(text: str, meant: Cmcd) -> None:
    assert parse(text) == meant


@pytest.mark.parametrize(("text", "meant"), EXAMPLES)
def test_the_query_form_is_the_same_percent_encoded(text: str, meant: Cmcd) -> None:
    target, found = separate(b"/tt1/v.mp4?CMCD=" + quote(text, safe="").encode(), {})
    assert target == b"/tt1/v.mp4"
    assert found is not None
    assert parse(found) == meant


@pytest.mark.parametrize(
    ("target", "left"),
    [
        (b"/a/b?CMCD=br%3D1", b"/a/b"),
        (b"/a/b?x=1&CMCD=br%3D1", b"/a/b?x=1"),
        (b"/a/b?CMCD=br%3D1&x=1", b"/a/b?x=1"),
        (b"/a/b?x=1&CMCD=br%3D1&y=2", b"/a/b?x=1&y=2"),
        (b"/a/b?CMCD=", b"/a/b"),
    ],
)
def test_the_rest_of_the_query_stays(target: bytes, left: bytes) -> None:
    found, text = separate(target, {})
    assert found == left
    assert text is not None


@pytest.mark.parametrize("target", [b"/a/b", b"/a/b?XCMCD=br%3D1", b"/a/CMCD=br%3D1/b", b"CMCD=br%3D1"])
def test_a_target_without_cmcd_is_left_alone(target: bytes) -> None:
    assert separate(target, {}) == (target, None)


def test_the_four_header_fields_are_one() -> None:
    _, text = separate(
        b"/a",
        {
            b"host": "h",
            b"cmcd-object": "br=3200,d=4004,ot=v",
            b"cmcd-request": "bl=21300",
            b"cmcd-status": "bs",
            b"cmcd-session": 'sid="s-1"',
        },
    )
    assert text is not None
    assert parse(text) == Cmcd(
        bitrate_bps=3_200_000, duration_s=4.004, object_type="v", buffer_s=21.3, starved=True, session="s-1"
    )


@pytest.mark.parametrize(
    "text",
    ["", ",", ",,,,", "=", "br=", "br=x", "br=-5", 'br="5', "sid=", 'sid=""', f'sid="{"x" * 65}"', "=br=5",
     'sid="a\x00b"', "ot=VERYLONG", "st=x", "\x00", "(", '"'],
)  # fmt: skip
def test_what_says_nothing_is_no_cmcd(text: str) -> None:
    assert parse(text) is None


def test_one_bad_key_does_not_hide_the_others() -> None:
    assert parse("br=x,=,(,bl=1000,%%%,mtp=5") == Cmcd(buffer_s=1.0, throughput_bps=5000)


def test_more_than_the_bound_is_not_read() -> None:
    long = b"x" * (MAX_BYTES + 1)
    assert separate(b"/a?CMCD=" + long, {}) == (b"/a", "")
    assert separate(b"/a?CMCD=" + b"%41" * (MAX_BYTES + 1), {}) == (b"/a", "")
    assert separate(b"/a", {b"cmcd-object": long.decode()}) == (b"/a", "")
    assert parse("x=1," * MAX_KEYS + "br=1") is None


HEAD = b"GET /a/b%b HTTP/1.1\r\nHost: a\r\n%bAccept: */*\r\n\r\n"


@pytest.mark.parametrize(
    ("query", "fields", "left", "text"),
    [
        (b"?CMCD=br%3D1%2Cbs", b"", b"", "br=1,bs"),
        (b"?x=1&CMCD=br%3D1&y=2", b"", b"?x=1&y=2", "br=1"),
        (b"", b"CMCD-Object: br=1\r\nCMCD-Status: bs\r\n", b"", "br=1,bs"),
        (b"?x", b"CMCD-Request: bl=100,su\r\n", b"?x", "bl=100,su"),
    ],
)
def test_a_head_without_its_cmcd_is_what_it_would_have_been(
    query: bytes, fields: bytes, left: bytes, text: str
) -> None:
    assert lift(HEAD % (query, fields)) == (HEAD % (left, b""), text)


@pytest.mark.parametrize(
    "head",
    [
        HEAD % (b"", b""),
        HEAD % (b"?XCMCD=br%3D1", b""),
        HEAD % (b"?CMCD=\xff", b""),
        HEAD % (b"?CMCD=br\t1", b""),
        HEAD % (b"?CMCD=br%3D1#", b""),
        HEAD % (b"?CMCD=" + b"x" * 5000, b""),
        HEAD % (b"", b"CMCD-Object: br=\x01\r\n"),
        HEAD % (b"", b"CMCD-Object : br=1\r\n"),
        HEAD % (b"", b"CMCD-Nothing: br=1\r\n"),
        HEAD % (b"", b"X-CMCD-Object: br=1\r\n"),
        # What follows the empty line is another request.
        b"GET /a/b HTTP/1.1\r\nHost: a\r\n\r\nCMCD-Object: br=1\r\n",
        b"GET /a/b HTTP/1.1\r\nHost: a\r\n\r\nCMCD-Object: br=1\r\n\r\n",
    ],
)
def test_what_the_parser_must_see_is_not_lifted_out(head: bytes) -> None:
    assert lift(head) is None


@given(st.text(max_size=MAX_BYTES) | st.text(alphabet='br=",()\\; 1slid', max_size=MAX_BYTES))
def test_no_text_is_an_error(text: str) -> None:
    found = parse(text)
    assert found is None or (found.bitrate_bps or 0) < 10**16


@given(st.binary(max_size=500))
def test_no_target_is_an_error(tail: bytes) -> None:
    target, text = separate(b"/a?CMCD=" + tail, {})
    assert target.startswith(b"/a")
    assert text is not None


@given(st.builds(lambda key, value: {key: value}, st.sampled_from(["br", "sid", "bl"]), st.text(max_size=40)))
def test_no_value_of_a_known_key_is_an_error(pairs: dict[str, str]) -> None:
    for key, value in pairs.items():
        parse(f"{key}={value}")
