"""How a command ends and what it prints: exit codes, one-line errors, tables and ``--json``."""

from __future__ import annotations

import argparse
import enum
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from daemon.config import ConfigError
from daemon.line import one_line, without_secrets


class Exit(enum.IntEnum):
    """The meaning of an exit code, the same in every program."""

    DONE = 0
    FAILED = 1
    USAGE = 2  # wrong usage or configuration: nothing was done
    PARTLY = 3  # some of it was done, the rest can be done by running it again


class CommandError(Exception):
    """Ends a command with one line on standard error and ``code``."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.code = code


def run(program: str, parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> int:
    """Parses, calls the chosen command (``set_defaults(command=...)``), and returns its exit code."""
    arguments = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return int(command(arguments))
    except CommandError as error:
        # Its words may come from S3, a peer or a log: no password of a URL, and no terminal sequences.
        for line in f"{program}: {without_secrets(str(error))}".split("\n"):
            print(one_line(line), file=sys.stderr)
        return int(error.code)
    except ConfigError as error:
        print(f"{program}: {without_secrets(str(error))}", file=sys.stderr)
        return int(Exit.USAGE)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe left (`| head`): not an error, and nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.DONE)


def print_json(value: Any) -> None:
    """Prints ``value`` (plain data or structs) as indented JSON."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """Prints a table; numbers are set to the right."""
    # What serves prints no table, and starts sooner without.
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    listed = [list(row) for row in rows]
    for index, column in enumerate(columns):
        numeric = bool(listed) and all(isinstance(row[index], int | float) for row in listed)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*(str(cell) for cell in row))
    console = Console()
    if console.is_terminal:
        console.print(table)
        return
    # A pipe has no width: rows whole rather than folded at 80, and no column filled up at their end.
    console = Console(width=10_000)
    with console.capture() as captured:
        console.print(table, soft_wrap=True)
    for line in captured.get().splitlines():
        print(line.rstrip())


def human_bytes(count: float) -> str:
    """``count`` in decimal units, as disks and links are sold: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} PB"


def human_rate(bps: float) -> str:
    """Bits per second, in decimal units."""
    for unit in ("b/s", "kb/s", "Mb/s", "Gb/s"):
        if abs(bps) < 1000:
            return f"{bps:.0f} {unit}" if unit == "b/s" else f"{bps:.1f} {unit}"
        bps /= 1000
    return f"{bps:.1f} Tb/s"
