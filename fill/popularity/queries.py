"""The SQL that counts deliveries: one text for DuckDB and for Spark.

Written in what both dialects have, with the same meaning: no backslash in a string (Spark takes it for an escape),
shapes of numbers checked before TRY_CAST (DuckDB would round '1.5'), integers throughout, as sums of floating-point
numbers depend on their order.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from contracts import VERSION


class Outcome(enum.Enum):
    """What became of a line of the log; all but the first are left out and counted."""

    COUNTED = "counted"  # it is in the day's sums
    MALFORMED = "malformed"  # no JSON, a column is missing or has another form: look at who writes it
    NEWER = "newer"  # of a newer contract than this program knows: update the planner
    OTHER_DAY = "other_day"  # its minute is not of the day under which its part lies: look at that clock
    UNKNOWN_APPLIANCE = "unknown_appliance"  # the fleet file does not have it: is that file up to date?
    IMPLAUSIBLE = (
        "implausible"  # more bytes than the appliance can send in a minute: is its throughput right?
    )
    NOT_IN_CATALOG = "not_in_catalog"  # of no published title: live, an HTTP origin's, or taken back


DELIVERY_COLUMNS: Final = {
    # As text: what is not of the expected form becomes an outcome, not an error of the reader.
    "minute": "text",
    "appliance": "text",
    "key": "text",
    "network": "text",
    "bytes": "text",
    "miss_bytes": "text",
    "sessions": "text",
    "contract": "text",
}
REPORTER_COLUMNS: Final = {"id": "text", "site": "text", "upper": "flag", "limit_bytes": "integer"}
NETWORK_COLUMNS: Final = {"network": "text", "site": "text"}
TITLE_COLUMNS: Final = {"title": "text"}
UNIT_COLUMNS: Final = {"site": "text", "unit": "integer"}
CALENDAR_COLUMNS: Final = {"day": "text", "number": "integer"}


_day = re.compile(r"\d{4}-\d{2}-\d{2}\Z").match


def of_day(sql: str, day: str) -> str:
    """`COUNT_DAY` or `MERGE_DAY` for one day, such as 2026-11-21; raises ValueError for another form."""
    if _day(day) is None:
        raise ValueError(f"{day!r} is no day")
    return sql.replace(":day", day).replace(":contract", str(VERSION))


COUNT_DAY: Final = """
WITH shaped AS (
  SELECT minute, appliance, key, network,
    CASE WHEN length(bytes) BETWEEN 1 AND 15 AND NOT regexp_like(bytes, '[^0-9]')
      THEN TRY_CAST(bytes AS BIGINT) END AS bytes,
    CASE WHEN length(miss_bytes) BETWEEN 1 AND 15 AND NOT regexp_like(miss_bytes, '[^0-9]')
      THEN TRY_CAST(miss_bytes AS BIGINT) END AS miss_bytes,
    CASE WHEN length(sessions) BETWEEN 1 AND 9 AND NOT regexp_like(sessions, '[^0-9]')
      THEN TRY_CAST(sessions AS BIGINT) END AS sessions,
    CASE WHEN contract IS NULL THEN 1
      WHEN length(contract) BETWEEN 1 AND 4 AND NOT regexp_like(contract, '[^0-9]')
      THEN TRY_CAST(contract AS BIGINT) END AS contract
  FROM delivery
), judged AS (
  SELECT
    CASE
      WHEN contract > :contract THEN 'newer'
      WHEN contract IS NULL OR minute IS NULL OR appliance IS NULL OR key IS NULL OR shaped.network IS NULL
        OR bytes IS NULL OR miss_bytes IS NULL OR sessions IS NULL
        OR length(minute) <> 20 OR length(key) > 512 OR miss_bytes > bytes THEN 'malformed'
      WHEN substr(minute, 1, 10) <> ':day' THEN 'other_day'
      WHEN reporter.site IS NULL THEN 'unknown_appliance'
      WHEN bytes > limit_bytes THEN 'implausible'
      ELSE 'counted'
    END AS outcome,
    CASE WHEN upper AND viewers.site IS NOT NULL THEN viewers.site ELSE reporter.site END AS site,
    upper AND viewers.site IS NOT NULL AND viewers.site <> reporter.site AS above,
    key, bytes, miss_bytes, sessions
  FROM shaped
    LEFT JOIN reporter ON shaped.appliance = reporter.id
    LEFT JOIN network AS viewers ON shaped.network = viewers.network
), named AS (
  SELECT outcome,
    CASE WHEN outcome = 'counted' THEN site ELSE '' END AS site,
    CASE WHEN outcome = 'counted' THEN key ELSE '' END AS key,
    CASE WHEN outcome = 'counted' AND NOT above THEN bytes ELSE 0 END AS bytes,
    CASE WHEN outcome = 'counted' AND NOT above THEN miss_bytes ELSE 0 END AS miss_bytes,
    CASE WHEN outcome = 'counted' AND above THEN bytes ELSE 0 END AS above_bytes,
    CASE WHEN outcome = 'counted' THEN sessions ELSE 0 END AS session_minutes
  FROM judged
)
SELECT outcome, site, key, count(*) AS log_rows,
  CAST(sum(bytes) AS BIGINT) AS bytes, CAST(sum(miss_bytes) AS BIGINT) AS miss_bytes,
  CAST(sum(above_bytes) AS BIGINT) AS above_bytes, CAST(sum(session_minutes) AS BIGINT) AS session_minutes
FROM named GROUP BY outcome, site, key
"""
"""Of ``delivery`` (lines of one day's parts), ``reporter`` and ``network``: sums by outcome, site and key.

``above_bytes`` is what the site's viewers got from a tier above. It holds what the site's own
appliances pulled from there for the requests of ``miss_bytes``.
"""

MERGE_DAY: Final = """
WITH known AS (
  SELECT
    CASE
      WHEN outcome <> 'counted' THEN outcome
      WHEN regexp_like(key, '[^A-Za-z0-9._~+@,=/-]') THEN 'malformed'
      WHEN title IS NULL THEN 'not_in_catalog'
      ELSE 'counted'
    END AS outcome,
    site, key, log_rows, bytes, miss_bytes, above_bytes, session_minutes
  FROM batch LEFT JOIN title ON split_part(key, '/', 1) = title
), named AS (
  SELECT outcome,
    CASE WHEN outcome = 'counted' THEN site ELSE '' END AS site,
    CASE WHEN outcome = 'counted' THEN key ELSE '' END AS key,
    log_rows, bytes, miss_bytes, above_bytes, session_minutes
  FROM known
)
SELECT ':day' AS day, outcome, site, key, CAST(sum(log_rows) AS BIGINT) AS log_rows,
  CAST(sum(bytes) AS BIGINT) AS bytes, CAST(sum(miss_bytes) AS BIGINT) AS miss_bytes,
  CAST(sum(above_bytes) AS BIGINT) AS above_bytes, CAST(sum(session_minutes) AS BIGINT) AS session_minutes
FROM named GROUP BY outcome, site, key ORDER BY outcome, site, key
"""
"""Of ``batch`` (results of `COUNT_DAY`) and ``title`` (those of the catalog): one such result, sorted."""

SITES: Final = """
SELECT day, site, CAST(sum(bytes) AS BIGINT) AS bytes
FROM (
  SELECT day, site, key, sum(bytes) + greatest(0, sum(above_bytes) - sum(miss_bytes)) AS bytes
  FROM daily WHERE outcome = 'counted' GROUP BY day, site, key
) GROUP BY day, site ORDER BY day, site
"""
"""Of ``daily`` (results of `MERGE_DAY`): what each site's viewers watched, by day."""

OBJECTS: Final = """
SELECT key, row_number() OVER (ORDER BY key) - 1 AS object
FROM (SELECT DISTINCT key FROM daily WHERE outcome = 'counted') ORDER BY key
"""
"""Of ``daily``: every key that was ever watched, numbered in their order."""

SERIES: Final = """
SELECT unit, object, number AS day,
  CAST(sum(bytes) AS BIGINT) AS bytes, CAST(sum(session_minutes) AS BIGINT) AS session_minutes
FROM (
  SELECT day, site, key, sum(bytes) + greatest(0, sum(above_bytes) - sum(miss_bytes)) AS bytes,
    sum(session_minutes) AS session_minutes
  FROM daily WHERE outcome = 'counted' GROUP BY day, site, key
) AS watched
  JOIN unit ON watched.site = unit.site
  JOIN object ON watched.key = object.key
  JOIN calendar ON watched.day = calendar.day
GROUP BY unit, object, number ORDER BY unit, object, number
"""
"""Of ``daily``, ``object`` (of `OBJECTS`), ``unit`` (which sites make up one) and ``calendar``: what each unit watched."""
