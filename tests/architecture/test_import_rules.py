"""The import rules of pyproject.toml notice what they are there for: each is broken here on purpose."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIGURED = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]
RULES = [rule["name"] for rule in CONFIGURED["contracts"]]

_PROGRAMS = "The three programs meet only in contracts"
_PROCESSES = "The edge and the store are two processes and meet only in oca.ipc"
_CONTRACTS = "A contract opens no socket and no file, and knows no cloud"
_PURE = "Decisions are pure: no socket, no file, no clock"

PLANTED = [
    # rule, the module that breaks it, the line that does
    (_PROGRAMS, "fill/agent/transfer.py", "import oca.objectfile"),
    (_PROGRAMS, "steering/rank.py", "import fill.planning.copies"),
    (_PROGRAMS, "oca/heartbeat.py", "import steering.health"),
    (_PROGRAMS, "oca/cli.py", "import demo.layout"),
    (_PROGRAMS, "contracts/plan.py", "import oca.config"),
    (_PROGRAMS, "daemon/cli.py", "import contracts.plan"),
    (_PROCESSES, "oca/edge/files.py", "import oca.store.disks"),
    (_PROCESSES, "oca/store/pull.py", "import oca.edge.ranges"),
    (_CONTRACTS, "contracts/token.py", "import time"),
    (_CONTRACTS, "contracts/framing.py", "import socket"),
    (_CONTRACTS, "contracts/catalog.py", "import boto3"),
    (_PURE, "oca/edge/ranges.py", "import os"),
    (_PURE, "fill/planning/copies.py", "import time"),
    (_PURE, "steering/rank.py", "import asyncio"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and their rules, to be broken."""
    root = tmp_path_factory.mktemp("planted")
    for package in CONFIGURED["root_packages"]:
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(CHECKOUT / package, root / package, ignore=ignored)
    shutil.copy(CHECKOUT / "pyproject.toml", root)
    return root


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run in ``root``, whose packages then come before the checkout's."""
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--no-cache",
        "--config",
        "pyproject.toml",
    ]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def test_as_it_is_no_rule_is_broken(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("rule", "module", "line"), PLANTED, ids=[f"{row[1]}: {row[2]}" for row in PLANTED])
def test_a_planted_violation_is_found_and_named(copy: Path, rule: str, module: str, line: str) -> None:
    file = copy / module
    before = file.read_text()
    file.write_text(f"{before}\n{line}\n")
    try:
        done = lint(copy)
    finally:
        file.write_text(before)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [name for name in RULES if f"{name} BROKEN" in done.stdout]
    assert broken == [rule]


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _, _ in PLANTED} == set(RULES)
