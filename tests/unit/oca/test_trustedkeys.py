"""An appliance takes a newer key set from steering when its root signed it, and keeps it over restarts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from contracts.documents import BadDocument
from contracts.keyset import SignedKeySet
from daemon.config import ConfigError
from daemon.s3 import S3Config
from oca.config import Auth, Config, Disk
from oca.trustedkeys import TrustedKeys
from steering.keys import Paths, load_private, make
from steering.keyset import load_keyset, load_roots, make_root, replace_root, sign
from steering.rotation import begin

NOW = 1_800_000_000


class Fleet:
    """A steering's keys, and an appliance's folder."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths(folder / "steering")
        make(self.paths, new_api_key=False)
        make_root(self.paths)
        self.at = NOW
        self.state = folder / "state"
        self.state.mkdir()
        (folder / "root.jwks").write_bytes(self.paths.roots.read_bytes())
        (folder / "steering.jwks").write_bytes(self.paths.public.read_bytes())
        self.auth = Auth(keys_file=str(folder / "steering.jwks"), roots_file=str(folder / "root.jwks"))

    def keys(self) -> TrustedKeys:
        """As a process of the appliance reads them at its start."""
        config = Config(
            "isp-a1", (Disk("/disk"),), origin=S3Config("bucket"), catalog_key="/none", auth=self.auth
        )
        return TrustedKeys(msgspec.structs.replace(config, state_dir=str(self.state)))

    def sign(self) -> SignedKeySet:
        self.at += 1
        sign(self.paths, load_roots(self.paths.root), self.at)
        found = load_keyset(self.paths)
        assert found is not None
        return found.signed


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_a_newer_set_counts_at_once_and_after_a_restart(fleet: Fleet) -> None:
    keys = fleet.keys()
    first = load_private(fleet.paths.private).thumbprint()
    assert (keys.version, keys.ring.kids(), keys.jwks) == (0, [first], None)
    second = begin(fleet.paths)
    assert keys.take(fleet.sign())
    for now in (keys, fleet.keys()):
        assert (now.version, now.ring.kids()) == ((NOW + 1) * 1000, [first, second])
        assert now.jwks is not None


def test_an_older_or_equal_set_is_not_taken(fleet: Fleet) -> None:
    keys = fleet.keys()
    older, newer = fleet.sign(), fleet.sign()
    assert keys.take(newer)
    assert not keys.take(newer)
    assert not keys.take(older)
    assert fleet.keys().version == (NOW + 2) * 1000


def test_a_set_of_another_root_changes_nothing(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = Fleet(tmp_path / "other")
    stranger.at = NOW + 1000
    keys = fleet.keys()
    with pytest.raises(BadDocument, match="no root key"):
        keys.take(stranger.sign())
    assert not keys.offered(stranger.sign(), "https://steering.example")
    assert keys.version == fleet.keys().version == 0


def test_the_root_key_is_replaced_over_the_wire_and_remembered(fleet: Fleet) -> None:
    keys = fleet.keys()
    replace_root(fleet.paths.root)
    assert keys.take(fleet.sign())
    (fleet.paths.state_dir / "root-previous.jwk").unlink()
    assert fleet.keys().take(fleet.sign())
    assert keys.take(fleet.sign())
    again = fleet.keys()
    assert again.version == (NOW + 3) * 1000
    assert len(again.ring) == 1


def test_another_roots_file_stands_above_what_was_learned(fleet: Fleet, tmp_path: Path) -> None:
    assert fleet.keys().take(fleet.sign())
    (tmp_path / "other").mkdir()
    next_fleet = Fleet(tmp_path / "other")
    (tmp_path / "root.jwks").write_bytes(next_fleet.paths.roots.read_bytes())
    keys = fleet.keys()
    assert keys.version == 0
    with pytest.raises(BadDocument):
        keys.take(fleet.sign())
    assert keys.take(next_fleet.sign())
    assert fleet.keys().version == (NOW + 1) * 1000


def test_a_file_that_cannot_be_read_is_fetched_again(fleet: Fleet) -> None:
    signed = fleet.sign()
    assert fleet.keys().take(signed)
    (fleet.state / "keyset.json").write_text("{")
    keys = fleet.keys()
    assert keys.version == 0
    assert keys.take(signed)
    assert fleet.keys().version == (NOW + 1) * 1000


def test_without_roots_the_file_alone_counts(fleet: Fleet) -> None:
    assert fleet.keys().take(fleet.sign())
    fleet.auth = Auth(keys_file=fleet.auth.keys_file)
    keys = fleet.keys()
    assert keys.version is None
    assert keys.ring.kids() == [load_private(fleet.paths.private).thumbprint()]
    assert not keys.offered(fleet.sign(), "https://steering.example")


def test_what_is_wrong_with_the_roots_file_is_said(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "root.jwks").write_bytes(fleet.paths.public.read_bytes())
    with pytest.raises(ConfigError, match=r"auth\.roots_file: .*Ed25519"):
        fleet.keys()
    (tmp_path / "root.jwks").unlink()
    with pytest.raises(ConfigError, match=r"auth\.roots_file: .*No such file"):
        fleet.keys()
