"""What each process loads is what docs/loads/ says."""

from __future__ import annotations

import pytest

from tests.architecture.loads import FOLDER, PROCESSES, listing

FORBIDDEN_IN_AN_EDGE_WORKER = {
    "boto3": "it never talks to S3",
    "botocore": "it never talks to S3, and 60 MB for each worker are page cache lost",
    "aiohttp": "it parses with httptools and sends by itself",
    "prometheus-client": "the storekeeper shows the metrics",
    "rich": "it prints no table",
}


@pytest.mark.parametrize("program", PROCESSES)
def test_a_process_loads_what_is_written_down_and_no_more(program: str) -> None:
    written = (FOLDER / f"{program}.txt").read_text()
    assert written == listing(program), "if it is meant: python -m tests.architecture.loads"


@pytest.mark.parametrize("name", FORBIDDEN_IN_AN_EDGE_WORKER)
def test_an_edge_worker_does_not_load(name: str) -> None:
    written = (FOLDER / "oca.txt").read_text()
    worker = written.split("oca serve: an edge worker\n")[1].split("\n\n")[0].split()
    assert "httptools" in worker
    assert name not in worker, FORBIDDEN_IN_AN_EDGE_WORKER[name]
