"""Changing the signing key refuses no token: published before it signs, kept while its tokens live."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.token import KeyRing, TokenRefused, verify_viewer
from steering.keys import Paths, Signer, make
from steering.rotation import AlreadyBegun, NothingBegun, begin, finish, retire

NOW = 1_800_000_000.7
TTL_S = 3600


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(tmp_path)
    make(made, new_api_key=False)
    return made


def believed(paths: Paths, token: str) -> bool:
    try:
        verify_viewer(token, KeyRing.from_jwks(paths.public.read_bytes()), NOW)
    except TokenRefused:
        return False
    return True


def test_no_token_is_refused_until_it_has_expired(paths: Paths) -> None:
    old, _ = Signer.load(paths).sign("tt1", "session-1", NOW, TTL_S)
    following = begin(paths)
    assert (
        Signer.load(paths).sign("tt1", "session-1", NOW, TTL_S)[0].partition(".")[0] == old.partition(".")[0]
    )
    ring_before = paths.public.read_bytes()
    assert finish(paths, NOW) == following
    new, _ = Signer.load(paths).sign("tt1", "session-1", NOW, TTL_S)
    verify_viewer(new, KeyRing.from_jwks(ring_before), NOW)
    assert believed(paths, old)
    assert retire(paths, NOW + TTL_S - 1, TTL_S) == []
    assert believed(paths, old)
    assert len(retire(paths, NOW + TTL_S, TTL_S)) == 1
    assert not believed(paths, old)
    assert believed(paths, new)
    assert not paths.following.exists()


def test_each_step_has_its_turn(paths: Paths) -> None:
    with pytest.raises(NothingBegun):
        finish(paths, NOW)
    begin(paths)
    before = paths.public.read_bytes()
    with pytest.raises(AlreadyBegun):
        begin(paths)
    assert paths.public.read_bytes() == before
    finish(paths, NOW)
    with pytest.raises(NothingBegun):
        finish(paths, NOW)


def test_the_key_that_signs_is_never_retired(paths: Paths) -> None:
    assert retire(paths, NOW * 2, TTL_S) == []
    begin(paths)
    assert retire(paths, NOW * 2, TTL_S) == []


def test_a_finish_that_was_cut_off_retires_nothing_that_signs(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(paths)

    def cut(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("steering.rotation.os.replace", cut)
    with pytest.raises(OSError):
        finish(paths, NOW)
    monkeypatch.undo()
    assert retire(paths, NOW * 2, TTL_S) == []
    finish(paths, NOW)
