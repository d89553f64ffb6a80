"""What steering signs, an appliance believes; a key is stored as a hash and compared in equal time."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from contracts.objectkey import TITLE_PATTERN
from contracts.token import MAX_TOKEN_BYTES, KeyRing, Refusal, TokenRefused, verify_identity, verify_viewer
from daemon.config import ConfigError
from steering.apikeys import load_api_keys
from steering.keys import Paths, Signer, make

NOW = 1_800_000_000.7
KEY = ECKey.generate_key("P-256")


def test_a_signed_token_is_believed_by_who_has_the_published_key(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "state")
    make(paths, new_api_key=False)
    token, expires_at = Signer.load(paths).sign("tt1", "session-1", NOW, 3600)
    ring = KeyRing.from_jwks(paths.public.read_bytes())
    grant = verify_viewer(token, ring, NOW)
    assert (grant.title, grant.session, grant.expires_at) == ("tt1", "session-1", expires_at)
    assert expires_at == int(NOW) + 3600
    with pytest.raises(TokenRefused) as refused:
        verify_viewer(token, ring, expires_at)
    assert refused.value.why is Refusal.EXPIRED
    with pytest.raises(TokenRefused):
        verify_identity(token, ring, audience="steering", now=NOW)


@given(st.from_regex(TITLE_PATTERN, fullmatch=True), st.from_regex("[A-Za-z0-9_-]{8,64}", fullmatch=True))
def test_a_token_of_any_title_and_session_is_believed_and_fits_a_url(title: str, session: str) -> None:
    token, _ = Signer(KEY).sign(title, session, NOW, 60)
    ring = KeyRing({KEY.thumbprint(): ECKey.import_key(KEY.as_dict(private=False))})
    assert verify_viewer(token, ring, NOW).title == title
    assert len(token) < MAX_TOKEN_BYTES / 2


def test_init_makes_what_is_missing_and_overwrites_nothing(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "state")
    key = make(paths, new_api_key=False)
    assert key is not None
    before = {path.name: path.read_bytes() for path in paths.state_dir.iterdir()}
    assert set(before) == {"signing.jwk", "signing.jwks", "network.jwk", "api_keys.json"}
    assert make(paths, new_api_key=False) is None
    assert {path.name: path.read_bytes() for path in paths.state_dir.iterdir()} == before


def test_secrets_are_readable_by_their_owner_alone_and_the_api_key_is_nowhere(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    key = make(paths, new_api_key=False)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {
        "signing.jwk": 0o600,
        "signing.jwks": 0o644,
        "network.jwk": 0o600,
        "api_keys.json": 0o600,
    }
    assert key is not None
    assert all(key.encode() not in path.read_bytes() for path in tmp_path.iterdir())
    assert [known.hash for known in load_api_keys(paths.api_keys)] == [
        hashlib.sha256(key.encode()).hexdigest()
    ]
    assert "d" not in json.loads(paths.public.read_text())["keys"][0]


def test_a_changed_signing_key_is_published_beside_the_old_one(tmp_path: Path) -> None:
    """Tokens of the old key are under way for hours."""
    paths = Paths(tmp_path)
    make(paths, new_api_key=False)
    old, _ = Signer.load(paths).sign("tt1", "session-1", NOW, 60)
    paths.private.unlink()
    make(paths, new_api_key=False)
    new, _ = Signer.load(paths).sign("tt1", "session-1", NOW, 60)
    ring = KeyRing.from_jwks(paths.public.read_bytes())
    assert len(ring) == 2
    assert verify_viewer(old, ring, NOW) == verify_viewer(new, ring, NOW)


def test_a_draft_that_cannot_be_put_in_place_is_taken_away(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.private.mkdir()
    paths.api_keys.mkdir()
    with pytest.raises(ConfigError, match="directory"):
        make(paths, new_api_key=False)
    assert {path.name for path in tmp_path.iterdir()} == {"signing.jwk", "api_keys.json"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "run `steering init`"),
        ("", "not a P-256 private key"),
        ("{}", "not a P-256 private key"),
        ("[]", "not a P-256 private key"),
        (json.dumps(KEY.as_dict(private=False)), "a public key on P-256"),
        (json.dumps(ECKey.generate_key("P-384").as_dict(private=True)), "a private key on P-384"),
        ('{"kty": "oct", "k": "AAAA"}', "not a P-256 private key"),
    ],
)
def test_a_signing_key_that_is_none_is_named(tmp_path: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / "signing.jwk").write_text(text)
    with pytest.raises(ConfigError, match=why) as caught:
        Signer.load(Paths(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}/signing.jwk: ")
    assert "\n" not in str(caught.value)


def test_a_public_file_that_is_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "signing.jwks").write_text("mine")
    with pytest.raises(ConfigError, match="not a JWK Set"):
        make(Paths(tmp_path), new_api_key=False)
    assert (tmp_path / "signing.jwks").read_text() == "mine"
