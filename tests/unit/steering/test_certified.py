"""Steering's certificate: what cannot be used is named, at the start, on a reload, and by the doctor."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from daemon.config import ConfigError
from daemon.s3 import S3Config
from steering.certified import certified, server_context
from steering.config import Config, Tls
from steering.doctor import Wrong, check_tls
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


def asked(authority: Authority, url: str, days: float = 300) -> Config:
    certificate, key = authority.issue("steering", days=days)
    tls = Tls(str(certificate), str(key), str(authority.file))
    return Config("-", S3Config("bucket"), url, tls=tls)


@pytest.mark.parametrize("broken", ["certificate_file", "key_file", "client_ca_file"])
def test_a_file_that_cannot_be_used_is_named(authority: Authority, broken: str) -> None:
    tls = asked(authority, "https://127.0.0.1").tls
    assert tls is not None
    assert server_context(tls).verify_mode is ssl.CERT_OPTIONAL
    file = Path(getattr(tls, broken))
    file.write_text("nothing")
    with pytest.raises(ConfigError, match=f"tls: .*{file}"):
        server_context(tls)
    file.unlink()
    with pytest.raises(ConfigError, match=f"tls: .*{file}.*No such file"):
        server_context(tls)


@pytest.mark.parametrize(
    ("days", "url", "says"),
    [
        (-1, "https://127.0.0.1:7080", "ended 1 days ago: renew it"),
        (5.01, "https://127.0.0.1:7080", "ends in 5 days: renew it"),
        (300, "https://steering.example.net", "is for 127.0.0.1, and public_url names steering.example.net"),
        (300, "http://127.0.0.1:7080", "https:// is expected"),
    ],
)
def test_the_doctor_sees_a_certificate_that_will_not_do(
    authority: Authority, days: float, url: str, says: str
) -> None:
    with pytest.raises(Wrong, match=says):
        check_tls(asked(authority, url, days))


def test_the_doctor_sees_keys_that_travel_in_the_clear() -> None:
    with pytest.raises(Wrong, match="in the clear"):
        check_tls(Config("-", S3Config("bucket"), "http://steering.example.net", "0.0.0.0:7080"))
    assert "a proxy" in check_tls(Config("-", S3Config("bucket"), "https://steering.example.net"))


def test_who_shows_nothing_is_nobody(authority: Authority) -> None:
    assert certified(None) is None
    assert "days left; callers may show one" in check_tls(asked(authority, "https://127.0.0.1"))
