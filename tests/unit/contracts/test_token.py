"""A token is believed only when everything about it is as our own signers make it.

The hostile tokens are one table: what was changed, and the one reason that is then given.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OKPKey

from contracts.objectkey import TITLE_PATTERN, BadKey, parse_key, title_of
from contracts.token import (
    CLOCK_SKEW_S,
    IDENTITY_TYP,
    MAX_IDENTITY_LIFE_S,
    MAX_TOKEN_BYTES,
    Refusal,
    TokenRefused,
    identity_claims,
    scope_of,
    verify_identity,
    verify_viewer,
)
from tests.unit.contracts.forging import (
    BODY,
    BOX,
    NOW,
    RING,
    STEERING,
    STRANGER,
    VIEWER_HEADER,
    b64,
    claims,
    identity,
    signed,
    viewer,
)


def refusal_of_viewer(token: str, now: float = NOW) -> Refusal:
    with pytest.raises(TokenRefused) as caught:
        verify_viewer(token, RING, now)
    assert str(caught.value) == caught.value.why.value
    return caught.value.why


def refusal_of_identity(token: str, now: float = NOW) -> Refusal:
    with pytest.raises(TokenRefused) as caught:
        verify_identity(token, RING, audience="steering", now=now).check_body(BODY)
    return caught.value.why


def test_a_viewers_token_grants_its_title_until_it_expires() -> None:
    grant = verify_viewer(viewer(), RING, NOW)
    assert (grant.title, grant.expires_at, grant.session) == ("tt1", NOW + 3600, "session-1")


def test_an_appliances_token_names_the_appliance() -> None:
    speaker = verify_identity(identity(), RING, audience="steering", now=NOW)
    assert (speaker.appliance, speaker.issued_at) == ("isp-a1", NOW)
    speaker.check_body(BODY)


def test_our_signer_and_our_maker_of_raw_tokens_agree() -> None:
    """Else the table below would be refused for reasons of its own."""
    token = jws.serialize_compact(VIEWER_HEADER, json.dumps(claims()), STEERING)
    assert verify_viewer(token, RING, NOW) == verify_viewer(viewer(), RING, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW + 0.5},  # RFC 7519 section 2: NumericDate may have a fraction
        {"nbf": int(NOW) + CLOCK_SKEW_S},
        {"iat": int(NOW) + CLOCK_SKEW_S},
        {"iat": ..., "nbf": 0},
        {"jti": ..., "iss": ..., "cdniv": ...},
        {"cdnicrit": "cdniuc,exp"},
        {"sub": "somebody"},
    ],
)
def test_what_the_rfc_allows_and_we_understand_is_accepted(changes: dict[str, Any]) -> None:
    assert verify_viewer(viewer(**changes), RING, NOW).title == "tt1"


def secret_from_public_key() -> list[bytes]:
    """What a verifier that confuses algorithms could take for the secret of HS256."""
    raw = STEERING.public_key
    return [
        raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        raw.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(STEERING.as_dict(private=False)).encode(),
    ]


def hs256(secret: bytes, header: dict[str, Any] | None = None) -> str:
    full = VIEWER_HEADER | {"alg": "HS256"} | (header or {})
    start = f"{b64(json.dumps(full).encode())}.{b64(json.dumps(claims()).encode())}"
    return f"{start}.{b64(hmac.new(secret, start.encode(), hashlib.sha256).digest())}"


def altered(part: int, change: Callable[[str], str]) -> str:
    parts = viewer().split(".")
    parts[part] = change(parts[part])
    return ".".join(parts)


JWK = STRANGER.as_dict(private=False)

HOSTILE = {
    # time
    "expired": (viewer(exp=int(NOW)), Refusal.EXPIRED),
    "expired a second ago: no grace": (viewer(exp=int(NOW) - 1), Refusal.EXPIRED),
    "not yet valid": (viewer(nbf=int(NOW) + CLOCK_SKEW_S + 1), Refusal.NOT_YET),
    "signer's clock ahead beyond the leeway": (viewer(iat=int(NOW) + CLOCK_SKEW_S + 1), Refusal.NOT_YET),
    "no exp": (viewer(exp=...), Refusal.CLAIMS),
    "exp null": (viewer(exp=None), Refusal.CLAIMS),
    "exp a string": (viewer(exp=str(int(NOW) + 60)), Refusal.CLAIMS),
    "exp true": (viewer(exp=True), Refusal.CLAIMS),
    "exp a list": (viewer(exp=[int(NOW) + 60]), Refusal.CLAIMS),
    "exp negative": (viewer(exp=-1), Refusal.CLAIMS),
    "exp huge": (viewer(exp=1 << 40), Refusal.CLAIMS),
    "exp of a thousand digits": (viewer(exp=10**1000), Refusal.CLAIMS),
    "exp infinite": (signed(json.dumps(claims(exp=float("inf")))), Refusal.CLAIMS),
    "exp not a number": (signed(json.dumps(claims(exp=float("nan")))), Refusal.CLAIMS),
    "nbf a string": (viewer(nbf="0"), Refusal.CLAIMS),
    "iat negative": (viewer(iat=-1), Refusal.CLAIMS),
    # keys and algorithms
    "another's key under our kid": (viewer(key=STRANGER), Refusal.SIGNATURE),
    "unknown kid": (viewer({"kid": "k2"}), Refusal.UNKNOWN_KEY),
    "no kid": (signed(json.dumps(claims()), {"typ": "JWT", "alg": "ES256"}), Refusal.UNKNOWN_KEY),
    "kid a list": (viewer({"kid": ["k1"]}), Refusal.UNKNOWN_KEY),
    "kid a path": (viewer({"kid": "../../etc/passwd"}), Refusal.UNKNOWN_KEY),
    "alg none": (viewer({"alg": "none"}), Refusal.ALGORITHM),
    "alg None": (viewer({"alg": "None"}), Refusal.ALGORITHM),
    "alg none, no signature": (viewer({"alg": "none"}).rpartition(".")[0] + ".", Refusal.MALFORMED),
    "no alg": (signed(json.dumps(claims()), {"typ": "JWT", "kid": "k1"}), Refusal.ALGORITHM),
    "HS256 with the public key, PEM": (hs256(secret_from_public_key()[0]), Refusal.ALGORITHM),
    "HS256 with the public key, DER": (hs256(secret_from_public_key()[1]), Refusal.ALGORITHM),
    "HS256 with the public key, JWK": (hs256(secret_from_public_key()[2]), Refusal.ALGORITHM),
    "HMAC that says ES256": (hs256(secret_from_public_key()[0], {"alg": "ES256"}), Refusal.SIGNATURE),
    "EdDSA that names an EC key": (viewer({"alg": "EdDSA"}), Refusal.ALGORITHM),
    "Ed25519 that names an EC key": (viewer({"alg": "Ed25519"}), Refusal.ALGORITHM),
    "ES256 that names an Ed25519 key": (viewer({"kid": "isp-a1"}, key=BOX), Refusal.ALGORITHM),
    "ES384": (viewer({"alg": "ES384"}), Refusal.ALGORITHM),
    "its own key in the header": (viewer({"jwk": JWK}, key=STRANGER), Refusal.HEADER),
    "a key to be fetched": (viewer({"jku": "http://127.0.0.1:9/k"}), Refusal.HEADER),
    "a certificate to be fetched": (viewer({"x5u": "http://127.0.0.1:9/k"}), Refusal.HEADER),
    "a certificate": (viewer({"x5c": ["MIIB"]}), Refusal.HEADER),
    "crit": (viewer({"crit": ["exp"]}), Refusal.HEADER),
    "crit and b64": (viewer({"crit": ["b64"], "b64": False}), Refusal.HEADER),
    "zip": (viewer({"zip": "DEF"}), Refusal.HEADER),
    # shape
    "empty": ("", Refusal.MALFORMED),
    "one part": ("abc", Refusal.MALFORMED),
    "dots": ("..", Refusal.MALFORMED),
    "four parts": (viewer() + ".e30", Refusal.MALFORMED),
    "a JWE's five parts": ("e30.e30.e30.e30.e30", Refusal.MALFORMED),
    "signature cut by a byte": (viewer()[:-2], Refusal.SIGNATURE),
    "signature cut to a bad length": (viewer()[:-5], Refusal.MALFORMED),
    "signature gone": (viewer().rpartition(".")[0], Refusal.MALFORMED),
    "padded": (viewer() + "==", Refusal.MALFORMED),
    "newline behind": (viewer() + "\n", Refusal.MALFORMED),
    "space in front": (" " + viewer(), Refusal.MALFORMED),
    "standard alphabet": (altered(2, lambda text: "+/" + text[2:]), Refusal.MALFORMED),
    "not ASCII": (altered(1, lambda text: "\u212a" + text[1:]), Refusal.MALFORMED),
    "percent-encoded": (viewer().replace(".", "%2E"), Refusal.MALFORMED),
    "header not JSON": (altered(0, lambda _: b64(b"{")), Refusal.MALFORMED),
    "header not base64": (altered(0, lambda _: "A"), Refusal.MALFORMED),
    "header a list": (altered(0, lambda _: b64(b"[]")), Refusal.MALFORMED),
    "header nested deeply": (altered(0, lambda _: b64(b"[" * 900)), Refusal.MALFORMED),
    "header in UTF-16": (
        altered(0, lambda _: b64(json.dumps(VIEWER_HEADER).encode("utf-16"))),
        Refusal.MALFORMED,
    ),
    "payload not JSON": (signed("{"), Refusal.MALFORMED),
    "payload a list": (signed("[]"), Refusal.MALFORMED),
    "payload not UTF-8": (signed(b'{"exp":"\xff"}'), Refusal.MALFORMED),
    "payload in UTF-16": (signed(json.dumps(claims()).encode("utf-16")), Refusal.MALFORMED),
    "oversized": (viewer(jti="j" * MAX_TOKEN_BYTES), Refusal.OVERSIZED),
    "oversized garbage": ("." * (MAX_TOKEN_BYTES + 1), Refusal.OVERSIZED),
    "a claim twice": (signed(json.dumps(claims())[:-1] + ', "exp": 1}'), Refusal.MALFORMED),
    "a scope twice": (
        signed(json.dumps(claims())[:-1] + f', "cdniuc": {json.dumps(scope_of("tt2"))}}}'),
        Refusal.MALFORMED,
    ),
    "alg twice": (
        signed(json.dumps(claims()), '{"alg":"none",' + json.dumps(VIEWER_HEADER)[1:]),
        Refusal.MALFORMED,
    ),
    # claims
    "no scope": (viewer(cdniuc=...), Refusal.CLAIMS),
    "scope a list": (viewer(cdniuc=[scope_of("tt1")]), Refusal.CLAIMS),
    "session not text": (viewer(jti=7), Refusal.CLAIMS),
    "another issuer": (viewer(iss="somebody"), Refusal.ISSUER),
    "made out to somebody": (viewer(aud="isp-a1"), Refusal.UNSUPPORTED),
    "newer claim set": (viewer(cdniv=2), Refusal.UNSUPPORTED),
    "claim set true": (viewer(cdniv=True), Refusal.UNSUPPORTED),
    "critical claim that we do not check": (viewer(cdnicrit="cdniuc,cdnistd"), Refusal.UNSUPPORTED),
    "critical claims a list": (viewer(cdnicrit=["exp"]), Refusal.UNSUPPORTED),
    "unknown claim": (viewer(only_on_tuesdays=True), Refusal.UNSUPPORTED),
    "renewal": (viewer(cdnistt=1), Refusal.UNSUPPORTED),
    # Bound to a client's network. RFC 9246 section 2.1.10 wants it as a JWE for the verifier, and a
    # verifier that cannot check it to refuse: an appliance has no key to open it with.
    "bound to IPv4, in the clear": (viewer(cdniip="198.51.100.7/32"), Refusal.UNSUPPORTED),
    "bound to IPv6, in the clear": (viewer(cdniip="2001:db8::/32"), Refusal.UNSUPPORTED),
    "bound to mapped IPv4": (viewer(cdniip="::ffff:198.51.100.7/128"), Refusal.UNSUPPORTED),
    "bound to everybody": (viewer(cdniip="0.0.0.0/0"), Refusal.UNSUPPORTED),
    "bound, as a JWE": (viewer(cdniip="e30.e30.e30.e30.e30"), Refusal.UNSUPPORTED),
    # a container is taken in the one form that steering writes
    "scope of everything": (viewer(cdniuc="regex:.*"), Refusal.UNSUPPORTED),
    "scope empty": (viewer(cdniuc=""), Refusal.UNSUPPORTED),
    "scope of a hash": (viewer(cdniuc="hash:sha-256;" + "A" * 43), Refusal.UNSUPPORTED),
    "scope of no title": (viewer(cdniuc="regex:https?://[^/]*//.*"), Refusal.UNSUPPORTED),
    "head and tail overlap": (viewer(cdniuc="regex:https?://[^/]*/.*"), Refusal.UNSUPPORTED),
    "scope on one host": (viewer(cdniuc="regex:https?://a\\.example/tt1/.*"), Refusal.UNSUPPORTED),
    "scope below a title": (viewer(cdniuc="regex:https?://[^/]*/tt1/hls/.*"), Refusal.UNSUPPORTED),
    "scope of two titles": (viewer(cdniuc="regex:https?://[^/]*/(tt1|tt2)/.*"), Refusal.UNSUPPORTED),
    "any title": (viewer(cdniuc="regex:https?://[^/]*/.*/.*"), Refusal.UNSUPPORTED),
    "a class in the title": (viewer(cdniuc="regex:https?://[^/]*/tt[12]/.*"), Refusal.UNSUPPORTED),
    "a dot that is any character": (viewer(cdniuc="regex:https?://[^/]*/tt.1/.*"), Refusal.UNSUPPORTED),
    "a backslash too many": (viewer(cdniuc="regex:https?://[^/]*/tt\\\\.1/.*"), Refusal.UNSUPPORTED),
    "dot dot": (viewer(cdniuc="regex:https?://[^/]*/\\.\\./.*"), Refusal.UNSUPPORTED),
    "encoded slash in the title": (viewer(cdniuc="regex:https?://[^/]*/tt1%2Ftt2/.*"), Refusal.UNSUPPORTED),
    "newline behind the scope": (viewer(cdniuc=scope_of("tt1") + "\n"), Refusal.UNSUPPORTED),
    # the other kind of token
    "an appliance's token": (identity(), Refusal.TYPE),
    "an appliance's token that says JWT": (identity({"typ": "JWT"}), Refusal.ALGORITHM),
    "an appliance's key, a viewer's claims": (
        viewer({"alg": "Ed25519", "kid": "isp-a1"}, key=BOX),
        Refusal.ALGORITHM,
    ),
    "no type": (signed(json.dumps(claims()), {"alg": "ES256", "kid": "k1"}), Refusal.TYPE),
    "typ at+jwt": (viewer({"typ": "at+jwt"}), Refusal.TYPE),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_token_is_refused_for_its_one_reason(name: str) -> None:
    token, why = HOSTILE[name]
    assert refusal_of_viewer(token) is why


HOSTILE_IDENTITY = {
    "a viewer's token": (viewer(), Refusal.TYPE),
    "a viewer's token of this type": (viewer({"typ": IDENTITY_TYP}), Refusal.ALGORITHM),
    "steering's key speaks for itself": (
        identity({"alg": "ES256", "kid": "k1"}, key=STEERING, iss="k1"),
        Refusal.ALGORITHM,
    ),
    "another's key": (identity(key=OKPKey.generate_key("Ed25519")), Refusal.SIGNATURE),
    "an appliance that is not in the fleet": (identity({"kid": "isp-a2"}, iss="isp-a2"), Refusal.UNKNOWN_KEY),
    "speaks for somebody else": (identity(iss="isp-a2"), Refusal.CLAIMS),
    "speaks for nobody": (identity(iss=...), Refusal.CLAIMS),
    "made out to somebody else": (identity(aud="ixp-b1"), Refusal.AUDIENCE),
    "made out to several": (identity(aud=["steering", "ixp-b1"]), Refusal.AUDIENCE),
    "made out to nobody": (identity(aud=...), Refusal.AUDIENCE),
    "made for another message": (
        identity(**identity_claims("isp-a1", "steering", NOW, ttl_s=60, body=b"{}")),
        Refusal.BODY,
    ),
    "made for no message": (identity(body_sha256=...), Refusal.BODY),
    "without iat": (identity(iat=...), Refusal.CLAIMS),
    "good for a year": (identity(exp=int(NOW) + 365 * 86400), Refusal.CLAIMS),
    "held back, or a clock behind": (identity(iat=int(NOW) - 90, exp=int(NOW) - 30), Refusal.STALE),
    "a clock ahead": (identity(iat=int(NOW) + 90, exp=int(NOW) + 150), Refusal.NOT_YET),
    "EdDSA, the older name": (identity({"alg": "EdDSA"}), Refusal.ALGORITHM),
}


@pytest.mark.parametrize("name", HOSTILE_IDENTITY)
def test_a_hostile_identity_is_refused_for_its_one_reason(name: str) -> None:
    token, why = HOSTILE_IDENTITY[name]
    assert refusal_of_identity(token) is why


@pytest.mark.parametrize(
    ("appliance_ahead_s", "why"),
    [
        (CLOCK_SKEW_S, None),
        (CLOCK_SKEW_S + 1, Refusal.NOT_YET),
        (-59, None),
        (-60, Refusal.STALE),
    ],
)
def test_an_appliances_clock_may_be_half_a_minute_ahead_and_a_minute_behind(
    appliance_ahead_s: int, why: Refusal | None
) -> None:
    made = NOW + appliance_ahead_s
    token = identity(**identity_claims("isp-a1", "steering", made, ttl_s=60, body=BODY))
    if why is None:
        assert verify_identity(token, RING, audience="steering", now=NOW).issued_at == made
    else:
        assert refusal_of_identity(token) is why
        assert "clock" in why.value


def test_the_longest_life_of_an_identity_is_accepted() -> None:
    token = identity(exp=int(NOW) + MAX_IDENTITY_LIFE_S)
    assert verify_identity(token, RING, audience="steering", now=NOW).appliance == "isp-a1"


def test_neither_kind_of_token_is_taken_for_the_other() -> None:
    assert refusal_of_viewer(identity()) is Refusal.TYPE
    assert refusal_of_identity(viewer()) is Refusal.TYPE


@pytest.mark.parametrize(
    "path",
    [
        *("tt10/a.mp4", "tt/a.mp4", "TT1/a.mp4", "tt1./a.mp4", "tt1-/a.mp4", "xtt1/a.mp4", "tt2/tt1/a.mp4"),
        *("../tt1/a.mp4", "tt2/../tt1/a.mp4", "tt1/../tt2/a.mp4", "./tt1/a.mp4", "/tt1/a.mp4", "//tt1/a.mp4"),
        *("tt1%2Fa.mp4", "tt1%2f../tt2/a", "%74t1/a.mp4", "tt1%252F..%252Ftt2/a", "tt1\\..\\tt2\\a", "tt1"),
    ],
)
def test_no_trick_with_a_path_reaches_beyond_the_title_of_the_token(path: str) -> None:
    """Either the path is no key at all, or its title is compared whole: there are no prefixes."""
    grant = verify_viewer(viewer(), RING, NOW)
    try:
        key = parse_key(path)
    except BadKey:
        return
    assert title_of(key) != grant.title


@given(st.from_regex(TITLE_PATTERN, fullmatch=True))
def test_a_scope_names_its_title_and_as_a_regex_matches_nothing_else(title: str) -> None:
    assert verify_viewer(viewer(cdniuc=scope_of(title)), RING, NOW).title == title
    pattern = re.compile(scope_of(title).removeprefix("regex:"))
    assert pattern.fullmatch(f"http://192.0.2.1:8080/{title}/a/b.mp4")
    assert not pattern.fullmatch(f"http://192.0.2.1:8080/{title}x/a/b.mp4")
    assert not pattern.fullmatch(f"http://192.0.2.1:8080/{title.replace('.', 'x')}x/a")


VALID_VIEWER, VALID_IDENTITY = viewer(), identity()
ANY = st.characters(max_codepoint=0x17F)


@given(st.integers(0, len(VALID_VIEWER) - 1), ANY)
def test_a_viewers_token_with_any_character_changed_is_refused(at: int, put: str) -> None:
    """The last character too: its four idle bits must be zero, so a token has no second spelling."""
    changed = VALID_VIEWER[:at] + put + VALID_VIEWER[at + 1 :]
    if changed != VALID_VIEWER:
        refusal_of_viewer(changed)


@given(st.integers(0, len(VALID_IDENTITY) - 1), ANY)
def test_an_identity_with_any_character_changed_is_refused(at: int, put: str) -> None:
    changed = VALID_IDENTITY[:at] + put + VALID_IDENTITY[at + 1 :]
    if changed != VALID_IDENTITY:
        refusal_of_identity(changed)


def test_every_other_spelling_of_the_last_character_is_refused() -> None:
    """Fifteen more characters decode to the same signature: RFC 4648 section 3.5."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for token, refusal in ((VALID_VIEWER, refusal_of_viewer), (VALID_IDENTITY, refusal_of_identity)):
        same = base64.urlsafe_b64decode(token.rpartition(".")[2] + "==")
        twins = [token[:-1] + last for last in alphabet if last != token[-1]]
        twins = [t for t in twins if base64.urlsafe_b64decode(t.rpartition(".")[2] + "==") == same]
        assert len(twins) == 15
        assert {refusal(twin) for twin in twins} == {Refusal.MALFORMED}


@given(st.integers(0, len(VALID_VIEWER) - 1))
def test_a_token_cut_anywhere_is_refused(end: int) -> None:
    refusal_of_viewer(VALID_VIEWER[:end])


@given(st.text(max_size=300) | st.from_regex(r"[\w-]{1,80}\.[\w-]{1,80}\.[\w-]{1,80}", fullmatch=True))
def test_any_text_is_refused_and_nothing_else_is_raised(text: str) -> None:
    refusal_of_viewer(text)
    refusal_of_identity(text)


@given(st.dictionaries(st.text(max_size=10), st.none() | st.integers() | st.text(max_size=20), max_size=5))
def test_any_signed_claims_are_judged_and_nothing_else_is_raised(made: dict[str, Any]) -> None:
    refusal_of_viewer(signed(json.dumps(made)))
