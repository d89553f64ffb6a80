"""``make demo``: one real playback on this machine, from nothing; Ctrl-C ends it and all it started."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console

from contracts.objectkey import BadKey, parse_title
from daemon.cli import Exit, run
from daemon.lifecycle import die_with_parent
from demo.bringup import Bringup
from demo.endpoints import Endpoints, write_endpoints
from demo.layout import CHECKOUT, HOST, LARGEST_OFFSET, Layout
from demo.preflight import check_ports, check_source, check_space, fresh_folder
from demo.processes import Processes

_WATCH_S = 0.5


def main(argv: list[str] | None = None) -> int:
    # SIGTERM and a closed terminal end the demo as Ctrl-C does: through every `with` and `finally`.
    # SIGINT by name too: a shell that starts us in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    if "MAKELEVEL" in os.environ:
        # What `make demo` started ends with `make`, even when that is killed.
        die_with_parent(os.getppid(), signal.SIGTERM)
    for name in ("no_proxy", "NO_PROXY"):
        # All of it is on this machine, which no proxy reaches.
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), HOST)))
    return run("demo", parser(), argv)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="make demo",
        description="S3, publish, plan, fill, three appliances, steering and a player page on this machine.",
        epilog='example: make demo DEMO_ARGS="--source holiday.mp4 --title holiday"',
    )
    result.add_argument("--source", type=Path, metavar="FILE", help="publish this video, not a generated one")
    result.add_argument("--title", type=_title, default="tt0001", metavar="ID", help="default: %(default)s")
    result.add_argument(
        "--port-offset", type=_offset, default=0, metavar="N", help="add N to every port (default: 0)"
    )
    result.add_argument(
        "--dir", type=Path, default=CHECKOUT / "var" / "demo", metavar="FOLDER", help="default: var/demo"
    )
    result.set_defaults(command=_demo)
    return result


def _title(text: str) -> str:
    try:
        return parse_title(text)
    except BadKey as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _offset(text: str) -> int:
    if not text.isdigit() or int(text) > LARGEST_OFFSET:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {LARGEST_OFFSET}")
    return int(text)


def _demo(arguments: argparse.Namespace) -> int:
    console = Console(soft_wrap=True)
    if arguments.source is not None:
        check_source(arguments.source)
    root = arguments.dir.resolve()
    with fresh_folder(root), tempfile.TemporaryDirectory(prefix="nearcast-") as sockets:
        layout = Layout(root, Path(sockets), arguments.port_offset)
        layout.logs.mkdir()
        check_ports(layout)
        check_space(root, arguments.source)
        with _cursor_shown(console), Processes(layout.logs) as processes:
            try:
                endpoints = Bringup(layout, processes, console).run(arguments.source, arguments.title)
                write_endpoints(layout.endpoints, endpoints)
                _say_what_to_try(console, layout, endpoints)
                _watch(console, processes)
            except KeyboardInterrupt:
                if not layout.endpoints.exists():
                    raise
                console.print(f"\nEnding every process. The logs stay in {layout.logs}.")
            finally:
                layout.endpoints.unlink(missing_ok=True)
    return Exit.DONE


@contextlib.contextmanager
def _cursor_shown(console: Console) -> Iterator[None]:
    """A command that is killed under its progress bar leaves the terminal without one."""
    try:
        yield
    finally:
        console.show_cursor(True)


def _watch(console: Console, processes: Processes) -> None:
    """Stays until a signal comes, and says which child has ended by itself."""
    while True:
        for child in processes.just_ended():
            console.print(f"{child.name} (pid {child.pid}) {child.ending()}; its log: {child.log}")
        time.sleep(_WATCH_S)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say_what_to_try(console: Console, layout: Layout, endpoints: Endpoints) -> None:
    """The few things worth trying, each ready to paste into another terminal."""

    def short(path: Path) -> str:
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

    programs = short(Path(sys.executable).parent)
    first = next(box for box in endpoints.appliances if box.tier == "isp")
    elsewhere = "" if layout.root == CHECKOUT / "var" / "demo" else f" --dir {short(layout.root)}"
    question = f'{{"client_ip": "{HOST}", "title": "{endpoints.title}"}}'
    key = f"STEERING_KEY=$(cat {short(layout.steering_key)})"
    bearer = f"Authorization: Bearer $(cat {short(layout.steering_key)})"
    steer = f'curl {endpoints.steering}/v1/steer -H "{bearer}"'
    steer += f" -H 'Content-Type: application/json' -d '{question}'"
    tries = {
        "watch it in a browser, with hls.js or dash.js": [
            endpoints.player,
            f"{endpoints.player}?engine=dash",
        ],
        "watch it in another player": [f'mpv "$({programs}/python -m demo.url{elsewhere})"'],
        f"kill the appliance {first.id}, and see the picture go on": [f"kill -9 {first.pid}"],
        f"empty {first.id}, and see it fetch from the exchange what is asked for": [
            f'curl -X POST {first.admin}/v1/purge -d \'{{"title": "{endpoints.title}"}}\'',
        ],
        "ask steering, as a playback service does": [steer],
        "look around": [
            f"{key} {programs}/steering fleet --config {short(layout.config('steering'))}",
            f"{programs}/oca status --config {short(layout.config(f'oca-{first.id}'))}",
            f"{programs}/fill status --config {short(layout.config(f'fill-{first.id}'))}",
        ],
    }
    console.print("\n[bold]Ready.[/] To try, in another terminal:", highlight=False)
    for what, lines in tries.items():
        console.print(f"\n  {what}", style="dim", highlight=False)
        for line in lines:
            console.print(f"    {line}", markup=False, highlight=False)
    console.print(f"\nLogs are in {short(layout.logs)}. Ctrl-C ends everything.", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
