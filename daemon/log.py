"""One line per event: an event's name and its fields. JSON under systemd, words on a terminal.

log = logging.getLogger("oca.store")
event(log, "object committed", key=key, size=size)
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, Final

LEVELS: Final = ("debug", "info", "warning", "error")


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
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Words(logging.Formatter):
    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        mark = "" if record.levelno <= logging.INFO else f" {record.levelname.lower()}:"
        text = f"{clock} {self._program}{mark} {record.getMessage()} {fields}".rstrip()
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")
