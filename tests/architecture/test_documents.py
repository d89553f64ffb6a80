"""What the documents point to is there, and the commands they show exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from tests.architecture.test_names import CHECKOUT, texts

TYPED = ("README.md", "docs/install.md", "demo/README.md")
PROGRAMS = ("oca", "fill", "steering")
_link = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_every_relative_link_leads_to_a_file() -> None:
    broken = [
        (name, target)
        for name, text in texts()
        if name.endswith(".md")
        for target in _link.findall(text)
        if "://" not in target and not (CHECKOUT / name).parent.joinpath(target).exists()
    ]
    assert broken == []


def commands() -> Iterator[tuple[str, list[str]]]:
    """(document, words from the program's name on) of each line of code that runs a program of ours."""
    for name in TYPED:
        text = (CHECKOUT / name).read_text().replace("\\\n", " ")
        for line in re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines():  # fences hold diagrams
            if line.startswith("    "):
                words = shlex.split(line, comments=True)
                programs = [word.rpartition("/")[2] for word in words]
                start = next((at for at, word in enumerate(programs) if word in PROGRAMS), None)
                if start is not None and words[0] not in {"rm", "systemctl", "journalctl", "curl"}:
                    yield name, [programs[start], *words[start + 1 :]]


@cache
def explained(program: str, command: str) -> str:
    """What ``program command --help`` says."""
    done = subprocess.run([sys.executable, "-m", program, command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("document", "words"),
    list(commands()),
    ids=[f"{name}: {' '.join(words[:2])}" for name, words in commands()],
)
def test_a_command_that_a_document_shows_exists_with_its_options(document: str, words: list[str]) -> None:
    program, command, *arguments = words
    told = explained(program, command)
    unknown = [word for word in arguments if word.startswith("--") and word.partition("=")[0] not in told]
    assert unknown == [], document
