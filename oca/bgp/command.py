"""`oca bgp`: the session's process, and what it says of itself."""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from contracts.framing import BadFrame, Unframer
from daemon.cli import CommandError, Exit, print_json, print_table
from daemon.log import setup
from oca.bgp.config import Bgp
from oca.bgp.feed import SOCKET_NAME, WANT_STATUS, BgpStatus, NeighbourStatus, decode
from oca.bgp.filters import Verdict
from oca.config import Config, load_config

_TIMEOUT_S = 5.0


def bgp(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    if config.bgp is None:
        raise CommandError(
            f"{arguments.config}: bgp is missing: name local_as and the neighbours", Exit.USAGE
        )
    if arguments.status:
        return _status(config, as_json=arguments.json)
    return _speak(config, config.bgp)


def _speak(config: Config, section: Bgp) -> int:
    from oca.bgp.speaker import Speaker

    setup("oca-bgp", config.log_level)
    run_dir = Path(config.run_dir)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{run_dir}: {error.strerror}") from None
    asyncio.run(Speaker(section, run_dir).run())
    return Exit.DONE


def _status(config: Config, *, as_json: bool) -> int:
    status = ask(Path(config.run_dir))
    if as_json:
        print_json(status)
    else:
        print_table(
            ["NEIGHBOUR", "AS", "STATE", "SINCE", "ACCEPTED", "REFUSED", "TABLE", "WHY"],
            [
                [
                    item.address,
                    str(item.remote_as),
                    item.state,
                    f"{item.age_s:.0f} s",
                    item.accepted,
                    sum(item.refused.values()),
                    "whole" if item.whole else "stale" if item.stale else "not whole",
                    item.why or "-",
                ]
                for item in status.neighbours
            ],
        )
        for line in refusals(status):
            print(line)
        print(f"\n{status.prefixes} prefixes" + ("" if status.ready else ", not told yet: no table is whole"))
    return Exit.DONE if all(item.state == "up" for item in status.neighbours) else Exit.FAILED


def refusals(status: BgpStatus) -> Iterator[str]:
    """A line per neighbour and reason."""
    for item in status.neighbours:
        for name, count in item.refused.items():
            yield f"{item.address}: {count} refused: {Verdict[name.upper()].value}"


def ask(run_dir: Path) -> BgpStatus:
    """What the running `oca bgp` says; raises `CommandError` when there is none."""
    path = run_dir / SOCKET_NAME
    unframer = Unframer()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_TIMEOUT_S)
        try:
            sock.connect(str(path))
            sock.sendall(WANT_STATUS)
            while data := sock.recv(1 << 16):
                for payload in unframer.feed(data):
                    message = decode(payload)
                    if isinstance(message, BgpStatus):
                        return message
        except (FileNotFoundError, ConnectionRefusedError):
            raise CommandError("oca bgp is not running: systemctl start oca-bgp") from None
        except (OSError, BadFrame, msgspec.MsgspecError) as error:
            raise CommandError(f"{path}: oca bgp does not answer: {error}") from None
    raise CommandError(f"{path}: oca bgp does not answer")


def short(item: NeighbourStatus) -> str:
    """One neighbour in a line of `oca status`."""
    refused = sum(item.refused.values())
    said = f"{item.state} for {item.age_s:.0f} s, {item.accepted} prefixes"
    said += f", {refused} refused" if refused else ""
    return f"{said}: {item.why}" if item.why else said
