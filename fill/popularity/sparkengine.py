"""A Spark master as the engine: for logs that one machine does not count in a night.

The files lie where this process put them: with a master on other machines, `popularity.work_dir` is a folder that
all of them see under the same path.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from fill.popularity.engine import EngineFailed, Lines, Relation, one_line

_TYPES: Final = {"text": "STRING", "integer": "BIGINT", "flag": "BOOLEAN"}


class Spark:
    """``settings`` of Spark, beside the master; raises `EngineFailed` when there is no Java or no master."""

    def __init__(self, master: str, settings: Mapping[str, str]) -> None:
        builder = SparkSession.builder.master(master).appName("nearcast popularity")
        ours = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
        if master.startswith("local"):
            ours |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        for name, value in (ours | dict(settings)).items():
            builder = builder.config(name, value)
        try:
            self._session = builder.getOrCreate()
            self._session.sparkContext.setLogLevel("ERROR")
        except (PySparkException, Py4JError, RuntimeError) as error:
            raise EngineFailed(f"Spark at {master}: {one_line(error)}; it needs Java 17") from error

    def write(self, sql: str, relations: Mapping[str, Relation], into: Path) -> None:
        folder = into.with_name(f"{into.name}.spark")
        try:
            for name, relation in relations.items():
                self._read(relation).createOrReplaceTempView(name)
            # One file, as the results are small; a sorted one stays sorted.
            found = self._session.sql(sql).coalesce(1)
            found.write.mode("overwrite").option("compression", "zstd").parquet(str(folder))
            next(folder.glob("part-*.parquet")).replace(into)
        except (PySparkException, Py4JError) as error:
            raise EngineFailed(f"Spark: {one_line(error)}") from error
        except StopIteration:
            raise EngineFailed(
                f"Spark: {folder} is empty: does its master see {into.parent} as a folder of its own?"
            ) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        self._session.stop()

    def _read(self, relation: Relation) -> DataFrame:
        paths = [str(path) for path in relation.paths]
        if not isinstance(relation, Lines):
            return self._session.read.parquet(*paths)
        schema = ", ".join(f"`{name}` {_TYPES[kind]}" for name, kind in relation.columns.items())
        reader = self._session.read.schema(schema).option("mode", "PERMISSIVE").option("lineSep", "\n")
        # As DuckDB reads: JSON, and nothing that only looks like it.
        reader = reader.option("allowSingleQuotes", value=False).option("allowNonNumericNumbers", value=False)
        return reader.json(paths)
