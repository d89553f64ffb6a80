"""What runs the SQL: a text, the files it reads, and the one Parquet file that it writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec


@dataclass(frozen=True, slots=True)
class Lines:
    """NDJSON files of flat rows; ``columns`` {name: "text", "integer" or "flag"}, the rest is not read.

    A line that does not parse, and a value that is not of its type, are NULL in that place.
    """

    paths: Sequence[Path]
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Parquet:
    paths: Sequence[Path]


Relation = Lines | Parquet


class EngineFailed(Exception):
    """The SQL did not run to its end; one line says why."""


class Engine(Protocol):
    def write(self, sql: str, relations: Mapping[str, Relation], into: Path) -> None:
        """Runs ``sql`` over ``relations`` and writes its result as the file ``into``. Raises `EngineFailed`."""

    def close(self) -> None: ...


def small_table(path: Path, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> Lines:
    """A relation made here, written as ``path``: both engines read a file in the same way."""
    names = tuple(columns)
    with path.open("wb") as file:
        for row in rows:
            file.write(msgspec.json.encode(dict(zip(names, row, strict=True))) + b"\n")
    return Lines((path,), columns)


def one_line(error: Exception) -> str:
    """The first line of an engine's message: the rest is the SQL, or a Java stack."""
    return str(error).strip().partition("\n")[0][:500]
