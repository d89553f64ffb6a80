"""API keys: named, scoped, ended, compared in equal time, and in the file as hashes alone."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config import ConfigError
from steering.apikeys import (
    EVERY_SCOPE,
    ApiKey,
    Callers,
    KeyExists,
    NoSuchKey,
    Scope,
    add_api_key,
    add_certificate,
    hash_api_key,
    load_api_keys,
    remove_api_key,
)

NOW = 1_800_000_000.0


def known(*keys: str) -> list[ApiKey]:
    return [ApiKey(f"key-{at}", hash_api_key(key)) for at, key in enumerate(keys)]


def test_keys_are_added_found_and_removed_by_name(tmp_path: Path) -> None:
    file = tmp_path / "api_keys.json"
    unnamed = [add_api_key(file, None) for _ in range(3)]
    studio = add_api_key(file, "studio", (Scope.STEER,), int(NOW))
    keys = load_api_keys(file)
    assert [key.name for key in keys] == ["key-1", "key-2", "key-3", "studio"]
    assert {Callers(keys).of_key(key, NOW) for key in unnamed} == set(keys[:3])
    assert keys[3] == ApiKey("studio", hash_api_key(studio), (Scope.STEER,), int(NOW))
    with pytest.raises(KeyExists):
        add_api_key(file, "studio")
    remove_api_key(file, "key-2")
    with pytest.raises(NoSuchKey):
        remove_api_key(file, "key-2")
    assert [key.name for key in load_api_keys(file)] == ["key-1", "key-3", "studio"]
    assert all(key not in file.read_text() for key in (*unnamed, studio))


def test_a_key_ends(tmp_path: Path) -> None:
    file = tmp_path / "api_keys.json"
    key = add_api_key(file, "studio", EVERY_SCOPE, int(NOW))
    assert Callers(load_api_keys(file)).of_key(key, NOW - 1) is not None
    assert Callers(load_api_keys(file)).of_key(key, NOW) is None


def test_an_api_key_is_never_taken_for_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: "-" * 43)
    assert not add_api_key(tmp_path / "api_keys.json", None).startswith("-")


def test_of_two_commands_at_once_neither_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "api_keys.json"
    threads = [threading.Thread(target=add_api_key, args=(file, f"studio-{at}")) for at in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in load_api_keys(file)} == {f"studio-{at}" for at in range(20)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        json.dumps(["0" * 64]),
        '{"keys": [{}]}',
        '{"keys": [{"name": "a", "hash": "short"}]}',
        json.dumps({"keys": [{"name": "A", "hash": "0" * 64}]}),
        json.dumps({"keys": [{"name": "a", "hash": "0" * 64, "scopes": ["all"]}]}),
        json.dumps({"keys": [{"name": "a", "hash": "0" * 64, "more": 1}]}),
        json.dumps({"keys": [{"name": "a"}]}),
        json.dumps({"keys": [{"name": "a", "hash": "0" * 64, "certificate": "DNS:a"}]}),
        json.dumps({"keys": [{"name": "a", "certificate": "a"}]}),
    ],
)
def test_a_file_that_is_something_else_is_named_and_not_overwritten(tmp_path: Path, text: str) -> None:
    file = tmp_path / "api_keys.json"
    file.write_text(text)
    for use in (load_api_keys, lambda path: add_api_key(path, None)):
        with pytest.raises(ConfigError, match=r"api_keys\.json: not the API keys"):
            use(file)
    assert file.read_text() == text


@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=5))
def test_a_key_is_found_and_no_other_is(key: str, others: list[str]) -> None:
    wrong = known(*(other for other in others if other != key))
    right = ApiKey("mine", hash_api_key(key))
    assert Callers(wrong).of_key(key, NOW) is None
    assert Callers([*wrong, right]).of_key(key, NOW) == right


def test_the_key_itself_is_never_compared() -> None:
    """Found by its digest alone: how long a look-up takes says nothing of a key that is nearly right."""
    assert Callers(known("a")).of_key(hash_api_key("a"), NOW) is None


def test_a_certificate_stands_for_a_key_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "api_keys.json"
    add_api_key(file, "studio")
    add_certificate(file, "player", "DNS:player.example.net", (Scope.STEER,), int(NOW))
    with pytest.raises(KeyExists):
        add_certificate(file, "player", "DNS:other.example.net", (Scope.STEER,), None)
    with pytest.raises(KeyExists):
        add_certificate(file, "other", "DNS:player.example.net", EVERY_SCOPE, None)
    callers = Callers(load_api_keys(file))
    found = callers.of_certificate(("URI:spiffe://example.net/x", "DNS:player.example.net"), NOW - 1)
    assert found is not None
    assert (found.name, found.scopes, found.hash) == ("player", (Scope.STEER,), None)
    assert callers.of_certificate(("DNS:player.example.net",), NOW) is None
    for other in ((), ("CN:player.example.net",), ("DNS:player.example.net.evil.example",)):
        assert callers.of_certificate(other, NOW - 1) is None
    assert callers.of_key("", NOW) is None


def test_bytes_of_a_header_that_are_no_text_are_just_a_wrong_key() -> None:
    assert Callers(known("a")).of_key(b"\xff\xfe".decode("utf-8", "surrogateescape"), NOW) is None
