"""What cannot lead to an enrolment is refused before the code leaves the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.cli import CommandError
from daemon.s3 import S3Config
from oca.config import Auth, Config, Disk
from oca.enrolment import enrol
from oca.identity import Identity

CODE = "A" * 26


def config(keys_file: str) -> Config:
    return Config(
        "isp-a1",
        (Disk("/disk"),),
        origin=S3Config("bucket"),
        catalog_key="/none",
        auth=Auth(keys_file=keys_file),
    )


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        (None, CODE, "--steering is missing"),
        ("http://192.0.2.1:7080", CODE, "must not travel in the clear"),
        ("http://steering.example.net", CODE, "must not travel in the clear"),
        ("ftp://192.0.2.1", CODE, "https://HOST:PORT is expected"),
        ("http://127.0.0.1:9", CODE, "steering does not answer"),
        ("http://[::1]:9", "aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-a", "steering does not answer"),
        ("http://127.0.0.1:9", "nonsense", "not a code"),
        ("http://127.0.0.1:9", "1" * 26, "not a code"),
    ],
)
def test_what_cannot_work_is_said(tmp_path: Path, url: str | None, code: str, says: str) -> None:
    identity, _ = Identity.load_or_make("isp-a1", tmp_path / "identity.jwk")
    with pytest.raises(CommandError, match=says):
        enrol(config(str(tmp_path / "keys")), identity, code, url)
    assert not (tmp_path / "keys").exists()


def test_a_file_that_cannot_be_written_is_found_before_the_code_is_used(tmp_path: Path) -> None:
    identity, _ = Identity.load_or_make("isp-a1", tmp_path / "identity.jwk")
    with pytest.raises(CommandError, match="the code was not used"):
        enrol(config("/proc/no/such/keys"), identity, CODE, "http://127.0.0.1:9")
