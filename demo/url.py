"""Prints an URL that a player understands: the best candidate's manifest, signed for this moment.

    mpv "$(python -m demo.url)"
    ffplay "$(python -m demo.url dash)"

What a playback service does for its viewers, for a viewer at a shell.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from daemon.cli import CommandError, Exit, run
from daemon.unreachable import why_unreachable
from demo.bringup import steer
from demo.endpoints import Endpoints
from demo.layout import CHECKOUT


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="demo.url", description="Prints a signed URL for any player.")
    result.add_argument("format", nargs="?", choices=["hls", "dash"], default="hls")
    result.add_argument(
        "--dir", type=Path, default=CHECKOUT / "var" / "demo", metavar="FOLDER", help="the demo's"
    )
    result.set_defaults(command=_print)
    return result


def _print(arguments: argparse.Namespace) -> int:
    file: Path = arguments.dir / "endpoints.json"
    try:
        endpoints = msgspec.json.decode(file.read_bytes(), type=Endpoints)
    except FileNotFoundError:
        raise CommandError(f"{file} is not there: no demo is ready; start one with make demo") from None
    try:
        answer = steer(endpoints.steering, endpoints.steering_key, endpoints.title)
    except OSError as error:
        raise CommandError(
            f"steering does not answer at {endpoints.steering}: {why_unreachable(error)}"
        ) from None
    if answer is None or not answer.candidates:
        raise CommandError(f"steering has no appliance for {endpoints.title} now")
    print(answer.candidates[0].hls if arguments.format == "hls" else answer.candidates[0].dash)
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(run("demo.url", parser()))
