"""The wheel works where nothing else of ours is: no checkout, no demo, no bench, no tests."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

_IMPORT_ALL = """
import importlib, pkgutil, sys
before = set(sys.modules)
for package in sys.argv[1:]:
    importlib.import_module(package)
    for found in pkgutil.walk_packages([*sys.modules[package].__path__], package + "."):
        if not found.name.endswith(".__main__"):
            importlib.import_module(found.name)
print(*sorted(name for name in set(sys.modules) - before if name.partition(".")[0] in sys.argv[1:]))
ours = {"demo", "bench", "tests"} & {name.partition(".")[0] for name in sys.modules}
assert not ours, ours
for package in sys.argv[1:]:
    assert sys.modules[package].__file__.startswith(sys.prefix), sys.modules[package].__file__
"""


@dataclass(frozen=True)
class Installed:
    wheel: Path
    bin: Path
    empty: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the virtualenv in an empty folder, with an environment of its own."""
        program, *arguments = command
        return subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.empty,
            env={"PATH": os.defpath, "HOME": str(self.empty)},
            capture_output=True,
            text=True,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(root / "dist")]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = (root / "dist").glob("*.whl")
    venv.create(root / "venv", with_pip=False)
    python = root / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", f"--python={python}", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--quiet", "--no-index", "--no-deps", wheel], check=True, capture_output=True)
    # What it depends on comes from this virtualenv. A line of a .pth file adds the folder alone: the
    # folder's own .pth, which names the checkout, is not read.
    (site,) = (root / "venv/lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (root / "empty").mkdir()
    return Installed(wheel, root / "venv/bin", root / "empty")


@pytest.mark.parametrize(
    "command",
    [
        "oca --help",
        "fill --help",
        "steering --help",
        "oca serve --help",
        "fill run --help",
        "oca init --help",
    ],
)
def test_a_command_explains_itself(installed: Installed, command: str) -> None:
    done = installed.run(*command.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {command.split()[0]}")


def test_every_module_can_be_imported_and_none_needs_the_checkout(installed: Installed) -> None:
    done = installed.run("python", "-W", "error", "-c", _IMPORT_ALL, *PACKAGES)
    assert done.returncode == 0, done.stderr
    expected = {
        ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in (CHECKOUT / package).rglob("*.py")
        if path.name != "__main__.py"
    }
    assert set(done.stdout.split()) == expected


def test_the_checkout_is_out_of_reach_there(installed: Installed) -> None:
    """Otherwise the tests above would prove nothing."""
    for module in ("demo", "bench", "tests"):
        done = installed.run("python", "-c", f"import {module}")
        assert "ModuleNotFoundError" in done.stderr, module


def test_a_wrong_configuration_is_one_line_and_exit_code_2(installed: Installed) -> None:
    (installed.empty / "oca.yaml").write_text("lisen: 127.0.0.1:1\n")
    done = installed.run("oca", "serve", "--config", "oca.yaml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "oca.yaml:1: lisen: no such key" in done.stderr


def test_the_wheel_holds_the_named_packages_and_nothing_else(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops - {f"nearcast-{PROJECT['project']['version']}.dist-info"} == set(PACKAGES)
