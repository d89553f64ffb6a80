"""Asks the admin port of the running appliance, for the commands."""

from __future__ import annotations

from typing import Final

from contracts.problem import words_of
from daemon.cli import CommandError
from daemon.unreachable import why_unreachable
from oca.config import Config

_TIMEOUT_S: Final = 60.0
"""A disk that is added is probed and counted before the answer."""
_MAX_ANSWER_BYTES: Final = 64 << 20


def ask(config: Config, method: str, path: str, body: bytes | None = None) -> bytes:
    """The admin port's answer; raises `CommandError` when the appliance does not run, or refuses."""
    # `oca serve` has the other commands loaded, and no use for this.
    import urllib.error
    import urllib.request

    url = f"http://{config.admin}{path}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, method=method), timeout=_TIMEOUT_S) as answer:
            raw: bytes = answer.read(_MAX_ANSWER_BYTES)
            return raw
    except urllib.error.HTTPError as error:
        raise CommandError(
            words_of(error.read(_MAX_ANSWER_BYTES)) or f"{url} answered {error.code}"
        ) from None
    except OSError as error:
        refused = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
        hint = "; is `oca serve` running?" if refused else ""
        raise CommandError(
            f"{config.appliance} does not answer at {url}: {why_unreachable(error)}{hint}"
        ) from None
