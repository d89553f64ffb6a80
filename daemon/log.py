"""One line per event: an event's name and its fields. JSON under systemd, words on a terminal.

log = logging.getLogger("oca.store")
event(log, "object committed", key=key, size=size)

Whatever stands in a field, it makes no second line, and no token, API key or password is written.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from typing import Any, Final

from daemon.line import one_line, without_secrets

LEVELS: Final = ("debug", "info", "warning", "error")

_DEEPEST: Final = 6
"""Of lists and mappings in a field; what is deeper is written as its text."""


def event(logger: logging.Logger, name: str, level: int = logging.INFO, /, **fields: Any) -> None:
    """Logs ``name`` with ``fields``. Values should be plain; what is not is written as its text."""
    if logger.isEnabledFor(level):
        logger.log(level, name, extra={"fields": fields})


def setup(program: str, level: str = "info") -> None:
    """Sends this process's log to standard error, for whoever reads it there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Words(program) if sys.stderr.isatty() else _Json(program))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Their INFO is one line per request.
    for chatty in ("botocore", "boto3", "urllib3", "s3transfer", "aiohttp.access", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _Json(logging.Formatter):
    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "program": self._program,
            "logger": record.name,
            "event": without_secrets(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = without_secrets(self.formatException(record.exc_info))
        for name, value in _fields(record).items():
            free = without_secrets(name)
            while free in line:
                free += "_"  # a field that came from outside must not pass for one of ours
            line[free] = _plain(value)
        return json.dumps(line)


class _Words(logging.Formatter):
    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        mark = "" if record.levelno <= logging.INFO else f" {record.levelname.lower()}:"
        said = one_line(without_secrets(f"{record.getMessage()} {fields}".rstrip()))
        text = f"{clock} {self._program}{mark} {said}"
        if record.exc_info:
            # Set in, so that no line of it passes for an event.
            trace = without_secrets(self.formatException(record.exc_info)).split("\n")
            text += "".join(f"\n    {one_line(line)}" for line in trace)
        return text


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = getattr(record, "fields", {})
    return found


def _plain(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON knows it, its secrets cut out; what JSON does not know as its text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, dict) and depth < _DEEPEST:
        return {without_secrets(str(name)): _plain(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [_plain(inner, depth + 1) for inner in value]
    return without_secrets(str(value))
