"""What is usually wrong with a BGP session, and how it is mended."""

from __future__ import annotations

import errno
import importlib.util
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from daemon.cli import CommandError
from oca.bgp.command import ask
from oca.bgp.config import Bgp, Neighbour
from oca.bgp.feed import BgpStatus, NeighbourStatus
from oca.bgp.filters import Verdict

_CONNECT_S: Final = 5.0
_HINTS: Final = {
    "(2,2)": "bad peer AS: compare local_as and remote_as with what the router has for us",
    "(2,3)": "bad BGP identifier: two routers have the same one, set router_id",
    "(2,6)": "the hold time is not acceptable to the router: raise hold_time_s",
    "(4,0)": "the hold timer expired: packets are lost on the way, or the router is overloaded",
    "(6,1)": "the router's bound on prefixes was reached; we announce none, so look at the router",
    "(6,2)": "the session is shut down on the router",
    "(6,3)": "the router does not know this session any more",
    "(6,5)": "the router rejects the connection: it has no session with local_address, or another AS for us",
    "(6,7)": "the router calls us too, and its call won: make it passive",
}
"""By the notification's code and subcode: RFC 4271 section 4.5, RFC 4486."""
_NO_HINT: Final = (
    "it has no session with local_address, has another AS for us, or wants another password: see its log"
)


class Wrong(Exception):
    """What is wrong, and how to mend it."""


def checks(config: Bgp, run_dir: Path) -> list[tuple[str, Callable[[], str]]]:
    """As `oca.doctor` runs them: each returns a sentence or raises."""
    return [
        ("bgp", lambda: _process(config, run_dir)),
        *(
            (f"bgp {neighbour.address}", lambda neighbour=neighbour: _neighbour(neighbour, run_dir))
            for neighbour in config.neighbours
        ),
    ]


def _process(config: Bgp, run_dir: Path) -> str:
    from oca.bgp.speaker import read_passwords

    if importlib.util.find_spec("exabgp") is None:
        raise Wrong("exabgp is not installed: install nearcast again, it comes with it")
    read_passwords(config)
    try:
        status = ask(run_dir)
    except CommandError as error:
        raise Wrong(str(error)) from None
    if status.bad_lines:
        raise Wrong(
            f"{status.bad_lines} lines of exabgp were not understood: is it another version than tested?"
        )
    return f"running, {status.prefixes} prefixes"


def _neighbour(neighbour: Neighbour, run_dir: Path) -> str:
    try:
        status: BgpStatus | None = ask(run_dir)
    except CommandError:
        status = None
    found = next(
        (item for item in (status.neighbours if status else ()) if item.address == neighbour.address), None
    )
    if found is None or found.state == "down":
        # exabgp says of a session that never came up only that it did not.
        return _call(neighbour, found)
    return _judge(found)


def _judge(item: NeighbourStatus) -> str:
    if item.state == "stopped":
        raise Wrong(f"{item.why}: filter on the router, or raise max_prefixes")
    refused = "; ".join(
        f"{count} refused: {Verdict[name.upper()].value}" for name, count in item.refused.items()
    )
    if not item.accepted and item.refused:
        raise Wrong(f"every prefix is refused, so no client is served: {refused}")
    if not item.accepted and item.whole:
        raise Wrong(
            "the session is up and the router announces nothing: does it export its customers' routes to us?"
        )
    if item.accepted > 0.8 * item.limit:
        raise Wrong(
            f"{item.accepted} prefixes of at most {item.limit}: raise max_prefixes before it is reached"
        )
    return f"up for {item.age_s:.0f} s, {item.accepted} prefixes" + (f"; {refused}" if refused else "")


def _call(neighbour: Neighbour, found: NeighbourStatus | None) -> str:
    """Whether the router's port answers; says what is likely when the session is not up all the same."""
    where = f"{neighbour.address} port {neighbour.port}"
    family = socket.AF_INET6 if ":" in neighbour.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(_CONNECT_S)
        try:
            sock.bind((neighbour.local_address, 0))
        except OSError:
            raise Wrong(
                f"local_address {neighbour.local_address} is not an address of this machine"
            ) from None
        try:
            sock.connect((neighbour.address, neighbour.port))
        except TimeoutError:
            if neighbour.password_file is not None:
                # Without the option a router that wants MD5 is silent: that is as it should be.
                return f"{where} is silent to a call without password, as it should be; " + _said(found)
            raise Wrong(
                f"{where} is silent: a firewall, or the router wants a TCP MD5 password (password_file)"
            ) from None
        except ConnectionRefusedError:
            raise Wrong(
                f"{where} refuses: BGP does not run there, or not for {neighbour.local_address}"
            ) from None
        except OSError as error:
            code = errno.errorcode.get(error.errno or 0, "")
            raise Wrong(f"{where} cannot be reached: {error.strerror or error} {code}".rstrip()) from None
    if neighbour.password_file is not None:
        raise Wrong(
            f"{where} answers without a password, and password_file is set: the router has none for us"
        )
    return f"{where} answers; " + _said(found)


def _said(found: NeighbourStatus | None) -> str:
    if found is None:
        return "oca bgp does not run"
    hint = next((hint for code, hint in _HINTS.items() if code in found.why.replace(" ", "")), _NO_HINT)
    raise Wrong(f"the session is down for {found.age_s:.0f} s ({found.why}): {hint}")
