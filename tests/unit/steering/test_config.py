"""The commented example is true: it loads, and every default that it shows is the default."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from daemon.config import ConfigError, parse
from steering.config import Config, load_config

EXAMPLE = Path(__file__).parents[3] / "configs" / "steering.yaml"
SHOWN = re.compile(r"^# ([a-z_]+: )", re.MULTILINE)


def test_the_example_loads() -> None:
    assert load_config(EXAMPLE).public_url == "https://steering.example.net"


def test_every_default_that_the_example_shows_is_the_default() -> None:
    text = EXAMPLE.read_text()
    assert parse(SHOWN.sub(r"\1", text), Config, "example") == load_config(EXAMPLE)


def test_the_example_shows_every_key() -> None:
    shown = set(re.findall(r"^(?:# +)?([a-z_]+):", EXAMPLE.read_text(), re.MULTILINE))
    assert shown == {field.encode_name for field in msgspec.structs.fields(Config)}


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:7080", ("127.0.0.1", 7080)), ("[::1]:65535", ("::1", 65535)), ("0.0.0.0:1", ("0.0.0.0", 1))],
)
def test_an_address_is_a_host_and_a_port(listen: str, address: tuple[str, int]) -> None:
    assert msgspec.structs.replace(load_config(EXAMPLE), listen=listen).address == address


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("listen: 127.0.0.1", "listen: "),
        ("listen: 127.0.0.1:65536", "listen: 65536 is not a port: 1 to 65535"),
        ("listen: '[::g]:80'", "listen: "),
        ("listen: '[127.0.0.1:80'", "listen: "),
        ("listen: 256.0.0.1:80", "listen: '256.0.0.1' is not an IPv4 or IPv6 address"),
        ("token_ttl_s: 1", "token_ttl_s: expected `int` >= 60"),
        ("content_refresh_s: .nan", "content_refresh_s: expected `float` > 0.0"),
        ("requests_per_s: .inf", "requests_per_s: expected `float` <= 1000000.0"),
        ("log_level: loud", "log_level: invalid enum value 'loud'"),
        ("state_dirr: /x", "state_dirr: no such key; did you mean 'state_dir'?"),
    ],
)
def test_what_is_wrong_is_named(line: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        parse(EXAMPLE.read_text() + line + "\n", Config, "steering.yaml")
