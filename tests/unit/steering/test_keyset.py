"""What the root key signs is what an appliance believes; whatever else comes over the wire is not."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey

from contracts.documents import BadDocument
from contracts.keyset import KeySet, Signature, SignedKeySet, open_keyset, protected_header, root_ring_of
from contracts.signature import protected_header as document_header
from contracts.token import KeyRing
from daemon.config import ConfigError
from steering.keys import Paths, load_private, make
from steering.keyset import (
    NoRoot,
    Published,
    load_keyset,
    load_root,
    load_roots,
    make_root,
    replace_root,
    sign,
    unsigned,
)
from steering.rotation import begin, finish, retire

NOW = 1_800_000_000.7


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(tmp_path)
    make(made, new_api_key=False)
    make_root(made)
    sign(made, load_roots(made.root), NOW)
    return made


def loaded(paths: Paths) -> Published:
    found = load_keyset(paths)
    assert found is not None
    return found


def roots(paths: Paths) -> KeyRing:
    return root_ring_of(paths.roots.read_bytes())


def kids(paths: Paths) -> list[str]:
    return [str(key["kid"]) for key in open_keyset(loaded(paths).signed, roots(paths)).keys]


def signed(payload: bytes, header: dict[str, Any], root: OKPKey) -> SignedKeySet:
    protected, text, signature = jws.serialize_compact(header, payload, root, algorithms=["Ed25519"]).split(
        "."
    )
    return SignedKeySet(text, (Signature(protected, signature),))


def test_each_change_is_signed_with_a_version_that_rises(paths: Paths) -> None:
    first = loaded(paths)
    assert first.version == int(NOW * 1000)
    old, new = load_private(paths.private).thumbprint(), begin(paths)
    assert unsigned(paths) == [new]
    # The clock was set back meanwhile: the version rises all the same.
    assert sign(paths, load_roots(paths.root), NOW - 1000) == first.version + 1
    assert (kids(paths), unsigned(paths)) == ([old, new], [])
    finish(paths, NOW)
    assert unsigned(paths) == []
    retire(paths, NOW + 3600, 3600)
    sign(paths, load_roots(paths.root), NOW + 3600)
    assert kids(paths) == [new]
    assert loaded(paths).version == int((NOW + 3600) * 1000)


def test_a_root_key_that_lies_elsewhere_is_not_made_anew(paths: Paths, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    safe.mkdir()
    paths.root.rename(safe / "root.jwk")
    make_root(paths)
    with pytest.raises(NoRoot):
        load_roots(paths.root)
    assert sign(paths, load_roots(safe / "root.jwk"), NOW + 1) == int((NOW + 1) * 1000)


def test_a_root_key_of_another_fleet_signs_nothing_here(paths: Paths, tmp_path: Path) -> None:
    other = Paths(tmp_path / "other")
    make(other, new_api_key=False)
    make_root(other)
    before = paths.keyset.read_bytes()
    with pytest.raises(ConfigError, match=r"root\.jwks: has no root key"):
        sign(paths, load_roots(other.root), NOW + 1)
    assert paths.keyset.read_bytes() == before


def test_who_knows_the_former_root_alone_learns_of_the_next(paths: Paths) -> None:
    former = roots(paths)
    replace_root(paths.root)
    sign(paths, load_roots(paths.root), NOW + 1)
    later = open_keyset(loaded(paths).signed, former)
    assert [key["kid"] for key in later.roots] == [load_root(paths.root).thumbprint()]
    assert root_ring_of(json.dumps({"keys": later.roots}).encode()).kids() == roots(paths).kids()
    assert former.kids() != roots(paths).kids()
    (paths.state_dir / "root-previous.jwk").unlink()
    sign(paths, load_roots(paths.root), NOW + 2)
    open_keyset(loaded(paths).signed, roots(paths))
    with pytest.raises(BadDocument, match="no root key that is known"):
        open_keyset(loaded(paths).signed, former)


def test_what_the_root_did_not_sign_as_a_key_set_is_not_believed(paths: Paths) -> None:
    root, ring = load_root(paths.root), roots(paths)
    good = loaded(paths).signed
    made = open_keyset(good, ring)
    raw = msgspec.json.encode(made)
    header = protected_header(root.thumbprint())
    other = OKPKey.generate_key("Ed25519")
    raised = msgspec.json.encode(msgspec.structs.replace(made, version=made.version + 1))
    text = base64.urlsafe_b64encode(raised).rstrip(b"=").decode()
    open_keyset(signed(raw, header, root), ring)
    for bad, why in (
        (SignedKeySet(text, good.signatures), "signature is wrong"),
        (signed(raised, header, other), "signature is wrong"),
        (signed(raised, protected_header(other.thumbprint()), other), "no root key"),
        (signed(raised, document_header(root.thumbprint()), root), "not one of a key set"),
        (signed(raised, {**header, "jku": "https://keys.example"}, root), "not one of a key set"),
        (signed(b"{", header, root), "key set"),
        (signed(b'{"version": 1, "keys": []}', header, root), "key set"),
        (signed(_with(made, ECKey.generate_key("P-256").as_dict(private=True)), header, root), "private"),
        (signed(_with(made, other.as_dict(private=False)), header, root), "only EC P-256"),
        (signed(_with(made, dict(made.keys[0])), header, root), "two keys have the kid"),
        (
            signed(msgspec.json.encode({**msgspec.to_builtins(made), "contract": 99}), header, root),
            "contract",
        ),
    ):
        with pytest.raises(BadDocument, match=why):
            open_keyset(bad, ring)


def _with(made: KeySet, key: dict[str, Any]) -> bytes:
    keys = (*made.keys, {"kid": "another", **key})
    return msgspec.json.encode(msgspec.structs.replace(made, keys=keys))


@pytest.mark.parametrize("text", ["", "{}", '{"payload": "e30", "signatures": []}', "\0"])
def test_a_broken_file_is_named(paths: Paths, text: str) -> None:
    paths.keyset.write_text(text)
    with pytest.raises(ConfigError, match=r"keyset\.json"):
        load_keyset(paths)


def test_without_a_root_key_there_is_no_set(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    make(paths, new_api_key=False)
    assert load_keyset(paths) is None
    assert unsigned(paths) == []
