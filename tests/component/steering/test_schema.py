"""The OpenAPI document and the service agree: schemathesis finds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.component.steering import schemathesis_hooks
from tests.component.steering.service import Service

ROOT = Path(__file__).parents[3]
EXAMPLES = 10


def schemathesis(service: Service, folder: Path, examples: int) -> None:
    """Fails with what it reports."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{service.url}/openapi.json",
            "--header",
            f"Authorization: Bearer {service.key}",
            "--max-examples",
            str(examples),
            "--generation-deterministic",
            "--continue-on-failure",
            "--no-color",
        ],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": schemathesis_hooks.__name__, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_schemathesis_finds_nothing(shared: Service, tmp_path: Path) -> None:
    schemathesis(shared, tmp_path, EXAMPLES)


@pytest.mark.soak
def test_schemathesis_finds_nothing_in_the_long_form(shared: Service, tmp_path: Path) -> None:
    schemathesis(shared, tmp_path, 1000)
