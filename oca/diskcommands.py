"""`oca disks`: what the disks of the running appliance are, and operations on them, with progress."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from daemon.cli import CommandError, Exit, human_bytes, print_json, print_table
from oca.adminclient import ask
from oca.config import Config, load_config
from oca.diskrequest import DiskRequest, Operation
from oca.status import DiskStatus, ScrubStatus
from oca.tier import Tier

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_LOOK_S: Final = 0.5
_IN_SERVICE: Final = frozenset({"serving", "draining", "drained"})


def add_to(commands: Subparsers, default_config: Path) -> None:
    """Adds `disks` and what it can do to the parser."""
    text = "the disks of the running appliance; add, drain, remove, replace or retry one"
    parser = commands.add_parser(
        "disks", help=text, description=text, epilog="example: oca disks drain /srv/nearcast/disk1"
    )
    _common(parser, default_config)
    parser.set_defaults(command=_show)
    actions = parser.add_subparsers(metavar="OPERATION")
    for operation, text in (
        (Operation.ADD, "take a folder into service; a new, empty one is marked as ours first"),
        (Operation.DRAIN, "nothing new onto it; move what is planned or hot to other disks"),
        (Operation.UNDRAIN, "take objects again"),
        (Operation.REMOVE, "end its use, once it is drained"),
        (Operation.REPLACE, "add NEW, drain PATH onto it, remove PATH"),
        (Operation.RETRY, "look at a failed disk now"),
    ):
        action = actions.add_parser(operation.value, help=text, description=text)
        _common(action, default_config, again=True)
        action.add_argument("path", metavar="PATH", type=os.path.abspath)
        if operation is Operation.REPLACE:
            action.add_argument("by", metavar="NEW", type=os.path.abspath)
        if operation in {Operation.ADD, Operation.REPLACE}:
            action.add_argument("--class", dest="tier", type=Tier, metavar="{flash,bulk}")
            action.add_argument("--capacity", type=int, metavar="BYTES")
        if operation is Operation.REMOVE:
            action.add_argument("--now", action="store_true", help="though it is not drained")
        if operation in {Operation.DRAIN, Operation.REPLACE}:
            action.add_argument("--no-wait", action="store_true", help="return once it has begun")
        action.set_defaults(command=_operate, operation=operation)


def _common(parser: argparse.ArgumentParser, default: Path, *, again: bool = False) -> None:
    # As an option of the operation, one that is left out must not undo what was said before it.
    unset: Any = argparse.SUPPRESS
    parser.add_argument(
        "--config", type=Path, default=unset if again else default, help=f"default: {default}", metavar="FILE"
    )
    parser.add_argument("--json", action="store_true", default=unset if again else False, help="for machines")


def _show(arguments: argparse.Namespace) -> int:
    disks = _disks(load_config(arguments.config))
    if arguments.json:
        print_json(disks)
        return Exit.DONE
    columns = "DISK STATE CLASS CAPACITY USED PINNED DEMAND OBJECTS FAULTS BAD SCRUB HEAT"
    print_table(columns.split(), [_row(disk) for disk in disks])
    return Exit.DONE


def _row(disk: DiskStatus) -> list[object]:
    state = disk.state
    if disk.why:
        state += f": {disk.why}"
    elif disk.stays:
        state += f": {disk.stays} planned or hot objects found no room elsewhere"
    sizes = (disk.capacity_bytes, disk.used_bytes, disk.pinned_bytes, disk.demand_bytes)
    return [
        disk.path, state, disk.tier, *map(human_bytes, sizes), disk.objects, disk.faults,
        disk.quarantined_files, _scrub(disk.scrub), disk.heat,
    ]  # fmt: skip


def _scrub(scrub: ScrubStatus | None) -> str:
    if scrub is None:
        return "-"
    if scrub.reading:
        return f"{scrub.share_done:.0%}"
    return time.strftime("%Y-%m-%d", time.gmtime(scrub.ended_at)) if scrub.ended_at else "not yet"


def _operate(arguments: argparse.Namespace) -> int:
    config: Config = load_config(arguments.config)
    asked = DiskRequest(
        arguments.operation,
        arguments.path,
        getattr(arguments, "by", None),
        getattr(arguments, "tier", None),
        getattr(arguments, "capacity", None),
        getattr(arguments, "now", False),
    )
    raw = ask(config, "POST", "/v1/disks", msgspec.json.encode(asked))
    disks = msgspec.json.decode(raw, type=tuple[DiskStatus, ...])
    waits = asked.operation in {Operation.DRAIN, Operation.REPLACE} and not arguments.no_wait
    try:
        code = _wait(config, asked.path, quiet=arguments.json) if waits else Exit.DONE
    except KeyboardInterrupt:
        raise CommandError(
            f"{asked.path} drains on by itself; `oca disks` shows how far it is, "
            f"`oca disks undrain {asked.path}` ends it",
            Exit.PARTLY,
        ) from None
    if waits:
        disks = _disks(config)
    if arguments.json:
        print_json(disks)
    if asked.operation in {Operation.ADD, Operation.RETRY}:
        _check(disks, asked.path)
    if not arguments.json:
        print(_told(disks, asked))
    return code


def _told(disks: tuple[DiskStatus, ...], asked: DiskRequest) -> str:
    """What has become of the disk, and what the operator still owes the configuration file."""
    found = {disk.path: disk.state for disk in disks}
    said = f"{asked.path}: {found.get(asked.path, 'removed')}"
    if asked.operation in {Operation.ADD, Operation.REPLACE}:
        said += f"\nPut {asked.by or asked.path} into the configuration file as well: it says how disks are meant to be"
    elif asked.operation is Operation.REMOVE:
        said += f"\nTake {asked.path} out of the configuration file as well; it may be unmounted once no response is in flight"
    return said


def _check(disks: tuple[DiskStatus, ...], path: str) -> None:
    for disk in disks:
        if disk.path == path and disk.state not in _IN_SERVICE:
            raise CommandError(f"{path} is {disk.state}: {disk.why}", Exit.PARTLY)


def _wait(config: Config, path: str, *, quiet: bool) -> Exit:
    """Returns once the disk has drained, or is gone because another replaced it."""
    with _shown(path, quiet=quiet) as show:
        total = 0
        while True:
            disk = next((disk for disk in _disks(config) if disk.path == path), None)
            if disk is None:
                return Exit.DONE
            left = disk.pinned_bytes + disk.hot_bytes
            total = max(total, left)
            show(total, total - left)
            if disk.state == "drained":
                break
            if disk.state != "draining":
                raise CommandError(
                    f"{path} is {disk.state}: {disk.why or 'it no longer drains'}", Exit.PARTLY
                )
            time.sleep(_LOOK_S)
    if disk.stays:
        raise CommandError(
            f"{path}: {disk.stays} planned or hot objects ({human_bytes(left)}) found no room elsewhere; "
            "they are served until it is removed",
            Exit.PARTLY,
        )
    return Exit.DONE


@contextmanager
def _shown(path: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Shows how many bytes have moved of how many: a bar on a terminal, lines elsewhere."""
    # No other command needs it.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console()
    if quiet:
        yield lambda total, done: None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(f"draining {path}")
            yield lambda total, done: progress.update(task, total=total, completed=done)
    else:
        said = -1

        def line(total: int, done: int) -> None:
            nonlocal said
            tenth = 10 if not total else done * 10 // total
            if tenth > said:
                said = tenth
                print(f"{path}: {human_bytes(done)} of {human_bytes(total)} moved", flush=True)

        yield line


def _disks(config: Config) -> tuple[DiskStatus, ...]:
    return msgspec.json.decode(ask(config, "GET", "/v1/disks"), type=tuple[DiskStatus, ...])
