"""What schemathesis shall not send, because JSON Schema and we differ on purpose."""

from __future__ import annotations

import math
from typing import Any

import schemathesis


@schemathesis.hook
def filter_body(_: object, body: object) -> bool:
    """To JSON Schema 6.0 is an integer; we take integers as every JSON writer writes them."""
    return not _has_whole_float(body)


def _has_whole_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_whole_float(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_whole_float(item) for item in value)
    return isinstance(value, float) and math.isfinite(value) and value.is_integer()
