"""DuckDB in this process: the engine unless `engine: spark` is configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
from numpy.typing import NDArray

from fill.popularity.engine import EngineFailed, Lines, Relation, one_line

_TYPES: Final = {"text": "VARCHAR", "integer": "BIGINT", "flag": "BOOLEAN"}
_ROW_GROUP: Final = 250_000
"""Rows that are read or skipped together: one unit's series is found without reading the rest."""


class DuckDB:
    """``memory_bytes`` bounds what it holds; beyond that it spills to ``temporary``. ``threads`` 0: all cores."""

    def __init__(self, memory_bytes: int, threads: int, temporary: Path) -> None:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_bytes // 1_000_000}MB",
            "temp_directory": str(temporary),
            "preserve_insertion_order": False,
            # What is not in the wheel would be fetched from a server of somebody else's.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        if threads:
            settings["threads"] = threads
        self._connection = duckdb.connect(":memory:", config=settings)
        # The other engine's name for the same function.
        self._connection.execute("CREATE MACRO regexp_like(text, pattern) AS regexp_matches(text, pattern)")
        self._connection.execute("SET enable_progress_bar = false")

    def write(self, sql: str, relations: Mapping[str, Relation], into: Path) -> None:
        try:
            self._define(relations)
            self._connection.sql(sql).write_parquet(str(into), compression="zstd", row_group_size=_ROW_GROUP)
        except duckdb.Error as error:
            raise EngineFailed(f"DuckDB: {one_line(error)}") from error

    def columns(
        self, sql: str, relations: Mapping[str, Relation], values: Sequence[int | str] = ()
    ) -> dict[str, NDArray[Any]]:
        """The result as arrays, for what is small enough to be held here; ``values`` for each ``?``."""
        try:
            self._define(relations)
            return dict(self._connection.execute(sql, list(values)).fetchnumpy())
        except duckdb.Error as error:
            raise EngineFailed(f"DuckDB: {one_line(error)}") from error

    def close(self) -> None:
        self._connection.close()

    def _define(self, relations: Mapping[str, Relation]) -> None:
        for name, relation in relations.items():
            self._read(relation).create_view(name, replace=True)

    def _read(self, relation: Relation) -> duckdb.DuckDBPyRelation:
        paths = [str(path) for path in relation.paths]
        if not isinstance(relation, Lines):
            return self._connection.read_parquet(paths)
        columns = {name: _TYPES[kind] for name, kind in relation.columns.items()}
        # Its stubs know of one path alone; it takes a list as `read_parquet` does.
        return self._connection.read_json(
            paths,  # type: ignore[arg-type]
            columns=columns,
            format="newline_delimited",
            ignore_errors=True,
        )
