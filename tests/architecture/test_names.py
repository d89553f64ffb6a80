"""Names and sizes: a file is one idea, and nothing in it belongs to one machine or one registry."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

MAX_LINES = 400
REASON = "Longer than 400 lines"
"""The words with which one of a long file's first lines says why it is long."""
NOT_WRITTEN_BY_HAND = re.compile(r"(locks/.*|LICENSE|.*package-lock\.json|docs/loads/.*|docs/plots/.*)\Z")

VAGUE = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "stuff"}

HOSTS = {
    # host: why it may stand in a file
    "www.w3.org": "names of XML namespaces",
    "dashif.org": "the name of a property in DASH manifests",
    "www.apache.org": "the licence",
    "s3.": "the start of AWS's own endpoints, completed with a region",
}
NO_HOSTS_IN = {
    "demo/player/package-lock.json": "npm writes who may be paid for a package",
    "bench/conformance/package-lock.json": "the same",
}
EXAMPLES = re.compile(
    r"127\.|192\.0\.2\.|198\.51\.100\.|203\.0\.113\.|\[|(.*\.)?example(\.(net|com|org))?\Z|(.*\.)?(invalid|test)\Z"
)
# Put together here, so that this file does not hold what it looks for.
REGISTRIES = [".".join(name) for name in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]
MACHINES = re.compile("|".join("(?<![\\w.])/" + name for name in ("work/", "home/[a-z]", "Users/[A-Za-z]")))


@cache
def tracked() -> tuple[str, ...]:
    # In a container the checkout may belong to another user, and git would say no more than that.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(f"git ls-files: {done.stderr}")
        pytest.skip("not a git checkout")
    return tuple(name for name in done.stdout.split("\0") if name and (CHECKOUT / name).is_file())


def texts() -> Iterator[tuple[str, str]]:
    for name in tracked():
        try:
            yield name, (CHECKOUT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [name for name in tracked() if VAGUE & set(re.split(r"[/._-]", name.lower()))]
    assert vague == []


def test_a_long_file_says_at_its_top_why_it_is_long() -> None:
    long = [
        name
        for name, text in texts()
        if NOT_WRITTEN_BY_HAND.match(name) is None
        and text.count("\n") > MAX_LINES
        and REASON not in "".join(text.splitlines(keepends=True)[:20])
    ]
    assert long == []


def test_no_file_names_a_package_registry() -> None:
    found = [(name, host) for name, text in texts() for host in REGISTRIES if host in text]
    assert found == []


def test_every_host_in_a_url_is_an_example_or_has_a_reason() -> None:
    found = [
        (name, host)
        for name, text in texts()
        if name not in NO_HOSTS_IN and not name.startswith("locks/")
        for host in re.findall(r"https?://(\[|[A-Za-z0-9-]+\.[A-Za-z0-9.-]*)", text)
        if host not in HOSTS and EXAMPLES.match(host) is None
    ]
    assert found == []


def test_no_file_names_a_folder_of_one_developers_machine() -> None:
    found = [(name, match[0]) for name, text in texts() if (match := MACHINES.search(text))]
    assert found == []


def test_tests_sleep_only_while_they_poll_within_a_bound() -> None:
    """A sleep stands in a loop of a function that watches the clock or counts its rounds."""
    loose = [
        f"{name}:{call.lineno}"
        for name in tracked()
        if name.startswith("tests/") and name.endswith(".py")
        for call in _loose_sleeps(ast.parse((CHECKOUT / name).read_text()))
    ]
    assert loose == []


@pytest.mark.parametrize(
    ("code", "loose"),
    [
        ("def f():\n time.sleep(1)", True),
        ("def f():\n while not done():\n  time.sleep(0.1)", True),
        ("async def f():\n await asyncio.sleep(1)", True),
        ("from time import sleep\ndef f():\n sleep(1)", True),
        (
            "def f():\n until = time.monotonic() + 9\n while time.monotonic() < until:\n  time.sleep(0.1)",
            False,
        ),
        ("def f():\n for _ in range(9):\n  time.sleep(0.1)", False),
        ("async def f():\n await asyncio.sleep(0)", False),
    ],
)
def test_the_rule_on_sleeping_tells_polling_from_waiting(code: str, loose: bool) -> None:
    assert bool(_loose_sleeps(ast.parse(code))) is loose


def _loose_sleeps(tree: ast.Module) -> list[ast.Call]:
    bounded: set[ast.Call] = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            watches = any(
                isinstance(node, ast.Attribute) and node.attr in {"monotonic", "time"}
                for node in ast.walk(function)
            )
            for loop in ast.walk(function):
                if (isinstance(loop, ast.While) and watches) or isinstance(loop, ast.For | ast.AsyncFor):
                    bounded.update(_sleeps(loop))
    return [call for call in _sleeps(tree) if call not in bounded]


def _sleeps(tree: ast.AST) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""))
        == "sleep"
        # sleep(0) gives way to others and waits for nothing.
        and not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
    ]
