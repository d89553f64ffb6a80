"""How long to wait before asking S3 or the storekeeper again, and when to give up. Pure but for `Patience`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from daemon.s3 import S3Error

LONGEST_ASKED_S: Final = 60.0
"""Of a Retry-After: a server may ask for less load, but not for the whole night."""

T = TypeVar("T")


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Full jitter: the wait is drawn from 0 to a ceiling that doubles. Source: AWS, "Exponential Backoff
    And Jitter" (2015), where it needs the fewest calls of those compared: a fleet that failed together does
    not come back together.
    """

    tries: Annotated[
        int, Meta(ge=1, le=20, description="without a byte between them, the first included")
    ] = 5
    first_s: Annotated[float, Meta(ge=0, le=60, description="ceiling of the first wait, in seconds")] = 0.5
    longest_s: Annotated[float, Meta(ge=0, le=600, description="ceiling of any wait, in seconds")] = 30.0

    def __post_init__(self) -> None:
        if self.first_s > self.longest_s:
            raise ValueError(f"first_s ({self.first_s}) must not be above longest_s ({self.longest_s})")

    def wait_s(self, failures: int, chance: float, asked_s: float | None = None) -> float:
        """Seconds to wait after ``failures`` (from 1) in a row; ``chance`` from 0 to 1.

        ``asked_s`` (a Retry-After, within bounds) comes on top: nobody returns at the very same moment.
        """
        # The exponent is bounded: 2.0 ** 1024 is an OverflowError.
        ceiling = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 64))
        return chance * ceiling + min(max(asked_s or 0.0, 0.0), LONGEST_ASKED_S)


@dataclass(frozen=True, slots=True)
class Patience:
    """A `Retry` with the clock and the dice to carry it out."""

    retry: Retry
    sleep: Callable[[float], object]
    chance: Callable[[], float]

    def pause(self, failures: int, asked_s: float | None = None) -> None:
        self.sleep(self.retry.wait_s(failures, self.chance(), asked_s))

    def read(self, ask: Callable[[], T]) -> T:
        """What ``ask`` returns, asked again while S3 is in passing trouble; raises its last `S3Error`."""
        failures = 0
        while True:
            try:
                return ask()
            except S3Error as error:
                failures += 1
                if not error.passing or failures >= self.retry.tries:
                    raise
                self.pause(failures, error.retry_after_s)
