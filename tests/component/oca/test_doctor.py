"""`oca doctor`: what it says of the appliance that runs, or does not, and of who does not answer it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import commands
from tests.appliance import Appliance, running
from tests.ports import free_port


def doctor(appliance: Appliance) -> tuple[int, dict[str, dict[str, Any]]]:
    done = commands.run("oca", "doctor", "--config", appliance.root / "oca.yaml", "--json")
    assert done.stderr == ""
    return done.returncode, {item["check"]: item for item in json.loads(done.stdout)}


def test_one_that_does_not_run_is_no_fault_and_is_said(tmp_path: Path) -> None:
    with running(tmp_path, start=False) as appliance:
        _, found = doctor(appliance)
        service = found["service"]
        assert (service["ok"], service["detail"]) == (
            True,
            f"does not run: nobody listens at 127.0.0.1:{appliance.admin}",
        )
        status = commands.run("oca", "status", "--config", appliance.root / "oca.yaml")
        assert (status.returncode, status.stdout) == (1, "")
        assert status.stderr == (
            f"oca: test-1 does not answer at http://127.0.0.1:{appliance.admin}/v1/status: "
            "connection refused; is `oca serve` running?\n"
        )


def test_one_that_runs_is_asked_how_it_is(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with running(tmp_path, steering={"urls": [nobody], "heartbeat_interval_s": 0.2}) as appliance:
        code, found = doctor(appliance)
        assert code == 1
        assert found[f"steering {nobody}"]["detail"] == "does not answer: connection refused"
        assert found["service"]["detail"] == f"its heartbeats do not reach {nobody}: connection refused"
    (tmp_path / "quiet").mkdir()
    with running(tmp_path / "quiet") as appliance:
        assert doctor(appliance)[1]["service"]["detail"] == "runs, serving"


def test_what_another_appliance_answers_is_not_taken_for_this_one(tmp_path: Path) -> None:
    with running(tmp_path) as appliance:
        config = appliance.root / "oca.yaml"
        config.write_text(config.read_text().replace("test-1", "test-2"))
        _, found = doctor(appliance)
        assert not found["service"]["ok"]
        assert "is test-1: two appliances share an address" in found["service"]["detail"]


def test_a_shells_soft_limit_of_open_files_is_no_fault(tmp_path: Path) -> None:
    """`oca serve` raises it by itself; what counts is the hard one."""
    with running(tmp_path, start=False, limits={"connections": 1000}) as appliance:
        for hard, ok in ((6000, True), (4000, False)):
            command = ["prlimit", f"--nofile=256:{hard}", sys.executable, "-m", "oca", "doctor", "--json"]
            done = subprocess.run(
                [*command, "--config", appliance.root / "oca.yaml"],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            (found,) = [item for item in json.loads(done.stdout) if item["check"] == "open files"]
            assert found["ok"] is ok
            assert found["detail"].startswith(f"{hard} allowed per process")
