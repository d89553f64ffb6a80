"""The suite http-cache-tests, as its lock file pins it: its tests, its origin, one run of it against a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from daemon.cli import CommandError

FOLDER: Final = Path(__file__).parent
_RUN_S: Final = 170.0

Kind: TypeAlias = Literal["required", "optimal", "check"]
KINDS: Final[tuple[Kind, ...]] = ("required", "optimal", "check")
"""What a cache must do, what a good one does, and what is only looked at."""
Failure: TypeAlias = str
"""Why a test failed, in the suite's words; "" when it passed."""


class Test(msgspec.Struct, frozen=True):
    id: str
    name: str
    suite: str
    kind: Kind
    depends_on: tuple[str, ...]
    """Tests that have to pass for this one to say anything."""


def tests() -> list[Test]:
    """Every test that is not for browsers alone."""
    done = subprocess.run(
        [_node(), "tests.mjs"], cwd=FOLDER, capture_output=True, text=True, check=True, timeout=60
    )
    return msgspec.json.decode(done.stdout, type=list[Test])


@contextmanager
def origin() -> Iterator[int]:
    """The suite's origin; its port."""
    process = subprocess.Popen(
        [_node(), "origin.mjs"], cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise CommandError("the suite's origin did not start")
        yield int(line)
    finally:
        process.kill()
        process.wait()


def run(port: int, all_tests: Sequence[Test]) -> dict[str, Failure]:
    """Every test, by the suite's own command line, against the cache on ``port``; by id."""
    command = [_node(), "--no-warnings", "cli.mjs"]
    done = subprocess.run(
        command,
        cwd=FOLDER / "node_modules" / "http-cache-tests",
        env={
            **os.environ,
            "npm_package_config_base": f"http://127.0.0.1:{port}",
            "npm_package_config_id": "",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=_RUN_S,
    )
    said = msgspec.json.decode(done.stdout, type=dict[str, bool | tuple[str, str]])
    return judged(said, all_tests)


def judged(said: Mapping[str, bool | tuple[str, str]], all_tests: Sequence[Test]) -> dict[str, Failure]:
    """As the suite's own pages read it: a test whose dependency failed has not passed either."""
    by_id = {test.id: test for test in all_tests}

    def failure(test: Test) -> Failure:
        got = said.get(test.id)
        if got is None:
            return "not run"
        for needed in test.depends_on:
            if failure(by_id[needed]):
                return f"depends on {needed}"
        return "" if got is True else ": ".join(got) if isinstance(got, tuple) else "failed"

    return {test.id: failure(test) for test in all_tests}


def _node() -> str:
    """Raises `CommandError` where there is none."""
    node = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
    if node is None:
        raise CommandError("node is missing: build the virtualenv again, which brings it")
    return node
