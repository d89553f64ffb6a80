"""A command ends with a code that means something, and with one line when it failed."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.cli import CommandError, Exit, human_bytes, human_rate, print_json, print_table, run
from daemon.config import ConfigError


def ends(error: BaseException | None) -> int:
    def command(_: argparse.Namespace) -> int:
        if error is not None:
            raise error
        return Exit.PARTLY

    parser = argparse.ArgumentParser()
    parser.set_defaults(command=command)
    return run("program", parser, [])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 3, ""),
        (CommandError("no room on /disk"), 1, "program: no room on /disk\n"),
        (CommandError("--count -1: at least 0", Exit.USAGE), 2, "program: --count -1: at least 0\n"),
        (ConfigError("f.yaml:3: workers: stands twice"), 2, "program: f.yaml:3: workers: stands twice\n"),
        (CommandError("http://u:secret@s3.example: away"), 1, "program: http://[cut]@s3.example: away\n"),
        (CommandError("it said:\n\x1b[2Kno"), 1, "program: it said:\n\\x1b[2Kno\n"),
        (KeyboardInterrupt(), 130, "program: interrupted\n"),
    ],
)
def test_how_a_command_ends_is_its_exit_code_and_one_line(
    capsys: pytest.CaptureFixture[str], error: BaseException | None, code: int, line: str
) -> None:
    assert ends(error) == code
    assert capsys.readouterr() == ("", line)


def test_what_nobody_expected_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        ends(ZeroDivisionError())


def test_a_reader_who_leaves_is_no_error() -> None:
    """`program | head -1`."""
    source = (
        "import argparse\nfrom daemon.cli import run\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.set_defaults(command=lambda _: [print('line', flush=True) for _ in range(100000)] and 0)\n"
        "raise SystemExit(run('program', parser, []))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(60) == 0


def test_a_table_in_a_pipe_is_whole_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["NAME", "COUNT", "WHY"], [["a" * 300, 7, "it is long"], ["b", 1234, ""]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].split(maxsplit=2) == ["a" * 300, "7", "it is long"]
    assert lines[2].endswith("1234"), "an empty cell at the end leaves no spaces"


def test_an_empty_table_is_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["NAME", "COUNT"], [])
    assert capsys.readouterr().out.split() == ["NAME", "COUNT"]


def test_brackets_in_a_cell_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["ADDRESS"], [["http://[2001:db8::1]:8080"]])
    assert "http://[2001:db8::1]:8080" in capsys.readouterr().out


def test_json_is_indented(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1]})
    assert capsys.readouterr().out == '{\n  "a": [\n    1\n  ]\n}\n'


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000_000, "1.5 GB"),
        (24e13, "240.0 TB"),
        (5e16, "50.0 PB"),
    ],
)
def test_bytes_are_told_in_decimal_units(count: float, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("bps", "text"), [(0, "0 b/s"), (2500, "2.5 kb/s"), (1e11, "100.0 Gb/s"), (9e13, "90.0 Tb/s")]
)
def test_rates_are_told_in_decimal_units(bps: float, text: str) -> None:
    assert human_rate(bps) == text


@given(st.integers(0, 10**18))
def test_a_number_of_bytes_is_always_short(count: int) -> None:
    assert len(human_bytes(count)) <= 9
