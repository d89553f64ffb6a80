"""A token that is bound to the viewer's network: sealed by steering, opened at the appliance."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from joserfc import jwe
from joserfc.jwk import OctKey

from contracts.clientnetwork import HEADER, contains, import_key, network_of, open_claim
from contracts.token import KeyRing, Refusal, TokenRefused, verify_viewer
from steering.keys import Paths, Signer, make

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    paths = Paths(tmp_path_factory.mktemp("keys"))
    make(paths, new_api_key=False)
    return paths


def ring(paths: Paths) -> KeyRing:
    return KeyRing.from_jwks(paths.public.read_bytes())


def test_a_bound_token_names_the_network_to_who_has_the_key_and_to_nobody_else(paths: Paths) -> None:
    token, _ = Signer.load(paths, bind_networks=True).sign("tt1", "session-1", NOW, 60, "198.51.100.7")
    grant = verify_viewer(token, ring(paths), NOW, import_key(paths.network.read_bytes()))
    assert grant.network == ipaddress.ip_network("198.51.100.0/24")
    assert "198.51" not in token
    for key in (None, OctKey.generate_key(256)):
        with pytest.raises(TokenRefused) as refused:
            verify_viewer(token, ring(paths), NOW, key)
        assert refused.value.why is (Refusal.UNSUPPORTED if key is None else Refusal.CLAIMS)


def test_a_token_that_is_not_bound_is_for_all(paths: Paths) -> None:
    token, _ = Signer.load(paths).sign("tt1", "session-1", NOW, 60, "198.51.100.7")
    assert verify_viewer(token, ring(paths), NOW, import_key(paths.network.read_bytes())).network is None


@pytest.mark.parametrize(
    ("viewer", "client", "inside"),
    [
        ("198.51.100.7", "198.51.100.250", True),
        ("198.51.100.7", "198.51.101.7", False),
        ("198.51.100.7", "::ffff:198.51.100.9", True),
        ("::ffff:198.51.100.7", "198.51.100.9", True),
        ("2001:db8:1:2::3", "2001:db8:1:ffff::1", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("2001:db8:1::1", "198.51.100.7", False),
        ("fe80::1", "fe80::2%eth0", True),
    ],
)
def test_who_is_in_the_network(viewer: str, client: str, inside: bool) -> None:
    assert contains(network_of(viewer), client) is inside


@pytest.mark.parametrize("plain", [b"", b"everywhere", b"198.51.100.7/24", b"\xff", b"10.0.0.0/33"])
def test_what_is_sealed_and_no_network_is_refused(plain: bytes) -> None:
    key = OctKey.generate_key(256)
    with pytest.raises(ValueError, match="cdniip"):
        open_claim(jwe.encrypt_compact(HEADER, plain, key), key)


def test_a_claim_in_another_algorithm_or_another_shape_is_refused() -> None:
    key = OctKey.generate_key(128)
    other = jwe.encrypt_compact({"alg": "A128KW", "enc": "A128GCM"}, b"10.0.0.0/8", key)
    for claim in (other, "", "a.b.c.d.e", "x" * 5000, 7, None, ["10.0.0.0/8"]):
        with pytest.raises(ValueError, match="cdniip"):
            open_claim(claim, key)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"kty":"oct","k":"AAAA"}', b'{"kty":"EC"}', b"\0"])
def test_a_key_of_another_kind_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="256 bits"):
        import_key(raw)


def test_init_keeps_the_key_that_is_there(paths: Paths) -> None:
    before = paths.network.read_bytes()
    make(paths, new_api_key=True)
    assert paths.network.read_bytes() == before
    assert Path(paths.network).stat().st_mode & 0o777 == 0o600
