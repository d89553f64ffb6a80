"""Who waits for an answer, and how those who were answered together hear of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Asker(Protocol):
    """Who is answered, and waits for nothing else meanwhile."""

    def answer(self, result: bytes | Exception) -> None:
        """With the body of an answer, or what its question is refused with."""


def answer_each(answered: Iterable[tuple[Asker, bytes | Exception]]) -> None:
    """Tells everybody; what one of them raises is raised when the others have their answers."""
    failed: Exception | None = None
    for asker, result in answered:
        try:
            asker.answer(result)
        except Exception as error:  # noqa: BLE001 - raised once the others have their answers
            failed = error
    if failed is not None:
        raise failed
