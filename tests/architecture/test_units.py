"""The systemd units load, start programs that exist, and keep their sandbox."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import msgspec
import pytest

from oca.config import Config

CHECKOUT = Path(__file__).resolve().parents[2]
UNITS = sorted(
    path
    for path in (CHECKOUT / "systemd").iterdir()
    if path.suffix in {".service", ".timer", ".target", ".socket"}
)
SERVICES = [path for path in UNITS if path.suffix == ".service"]
PROGRAMS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"]
SYSTEM_UNITS = Path("/lib/systemd/system")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root folder with the units installed as docs/install.md says; the programs are empty scripts."""
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze is missing, and CI is set")
        pytest.skip("systemd-analyze is missing (Debian: apt-get install systemd)")
    installed = tmp_path / "etc/systemd/system"
    installed.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(unit, installed)
    # The units that every service depends on, such as sysinit.target.
    shutil.copytree(SYSTEM_UNITS, tmp_path / "lib/systemd/system", symlinks=True)
    for program in [*(f"opt/nearcast/bin/{name}" for name in PROGRAMS), "bin/kill"]:
        script = tmp_path / program
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    return tmp_path


def verify(root: Path) -> subprocess.CompletedProcess[str]:
    names = [unit.name for unit in UNITS]
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={root}", *names], capture_output=True, text=True
    )


def test_systemd_has_nothing_to_say_against_any_unit(root: Path) -> None:
    done = verify(root)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_misspelt_setting_would_be_noticed(root: Path) -> None:
    installed = root / "etc/systemd/system/oca.service"
    installed.write_text(installed.read_text().replace("ProtectHome=", "ProtectHom="))
    assert "ProtectHom" in verify(root).stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_the_sandbox_of_a_service_is_not_weakened(unit: Path, root: Path) -> None:
    """Exposure of at most 1.4 of 10; what remains is mostly the network."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=14", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_service_starts_a_program_of_the_wheel_with_a_configuration_that_has_an_example(unit: Path) -> None:
    program, _command, *_switches, flag, config = _read(unit)["Service"]["ExecStart"].split()
    assert program.removeprefix("/opt/nearcast/bin/") in PROGRAMS
    assert flag == "--config"
    assert (CHECKOUT / "configs" / config.removeprefix("/etc/nearcast/")).is_file()


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_wrong_configuration_is_not_restarted(unit: Path) -> None:
    assert _read(unit)["Service"]["RestartPreventExitStatus"] == "2"


def test_only_the_appliance_owns_the_folder_of_the_sockets() -> None:
    """A RuntimeDirectory is removed when its unit stops: the fill's end must not take the sockets along."""
    assert _read(CHECKOUT / "systemd/oca.service")["Service"]["RuntimeDirectory"] == "nearcast"
    fill = _read(CHECKOUT / "systemd/fill.service")
    assert "RuntimeDirectory" not in fill["Service"]
    assert fill["Unit"]["Requisite"] == "oca.service"


def test_the_window_that_opens_is_closed_by_the_clock() -> None:
    closes = _read(CHECKOUT / "systemd/fill-closed.timer")["Timer"]
    assert closes["Unit"] == "fill-closed.target"
    assert _read(CHECKOUT / "systemd/fill-closed.target")["Unit"]["Conflicts"] == "fill.service"


def test_the_socket_is_the_port_that_the_appliance_listens_on() -> None:
    """By default; an address that differs would be opened twice, and the start fails."""
    assert _read(CHECKOUT / "systemd/oca.socket")["Socket"]["ListenStream"] == _default_listen()


def _default_listen() -> str:
    default = next(field.default for field in msgspec.structs.fields(Config) if field.name == "listen")
    assert isinstance(default, str)
    return default


def _read(unit: Path) -> configparser.ConfigParser:
    # Not strict: systemd allows a setting to stand twice (SystemCallFilter does).
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return parser
