"""The processes below one of ours, read while they come and go."""

from __future__ import annotations

from collections.abc import Callable

import psutil


def below(pid: int, matches: Callable[[psutil.Process], bool] = lambda _: True) -> list[psutil.Process]:
    """The living descendants of ``pid`` that match; one that ends while it is looked at does not."""
    return [child for child in psutil.Process(pid).children(recursive=True) if _lives_and(matches, child)]


def with_role(role: str) -> Callable[[psutil.Process], bool]:
    """The appliance's own: ``edge`` or ``store``, an argument of theirs."""
    return lambda child: role in child.cmdline()


def named(name: str) -> Callable[[psutil.Process], bool]:
    return lambda child: child.name().startswith(name)


def _lives_and(matches: Callable[[psutil.Process], bool], child: psutil.Process) -> bool:
    try:
        return child.is_running() and matches(child)
    except psutil.NoSuchProcess:
        return False


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all have ended; whoever waits for a parent to look has."""
    return not any(_lives_and(lambda one: one.status() != psutil.STATUS_ZOMBIE, one) for one in processes)


def stopped(process: psutil.Process) -> bool:
    """Whether SIGSTOP has taken effect: kill(2) returns before."""
    return process.status() == psutil.STATUS_STOPPED
