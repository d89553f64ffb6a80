"""How exabgp is told what to do: its configuration and its environment. Pure.

It announces nothing, for nothing to announce is in its configuration and its control channels are closed; it
listens nowhere; it runs one helper, which passes what it says on to us.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from oca.bgp.config import Bgp, Neighbour

HELPER: Final = "nearcast"


def configuration(
    config: Bgp, helper: str, passwords: Mapping[str, str], without: Collection[str] = ()
) -> str:
    """The text of its configuration file.

    ``helper``: the command that gets the JSON. ``passwords``: by the neighbour's address. ``without``:
    neighbours with whom there is to be no session now.
    """
    blocks = [f"process {HELPER} {{\n    run {helper};\n    encoder json;\n}}\n"]
    blocks += [
        _neighbour(config, neighbour, passwords.get(neighbour.address))
        for neighbour in config.neighbours
        if neighbour.address not in without
    ]
    return "\n".join(blocks)


def environment(port: int = 179) -> dict[str, str]:
    """What makes it quiet, deaf, and end when its helper does."""
    return {
        "exabgp_daemon_drop": "false",
        "exabgp_daemon_daemonize": "false",
        "exabgp_daemon_umask": "0o077",
        "exabgp_api_ack": "false",
        "exabgp_api_cli": "false",
        "exabgp_api_respawn": "false",
        "exabgp_api_terminate": "true",
        "exabgp_cache_attributes": "true",
        # It reads one message, then sleeps for a hundredth of this: at the default 100,000 prefixes take 33 s.
        "exabgp_reactor_speed": "0.2",
        "exabgp_log_level": "WARNING",
        "exabgp_log_destination": "stderr",
        "exabgp_log_short": "true",
        "exabgp_tcp_bind": "",
        "exabgp_tcp_port": str(port),
    }


def quotable(password: str) -> bool:
    """Whether it can stand in the configuration: printable ASCII of 1 to 80 characters, none of them special there."""
    return 0 < len(password) <= 80 and all(
        "!" <= letter <= "~" and letter not in "\"'\\;{}#" for letter in password
    )


def _neighbour(config: Bgp, neighbour: Neighbour, password: str | None) -> str:
    lines = [
        f"router-id {config.identifier};",
        f"local-address {neighbour.local_address};",
        f"local-as {config.local_as};",
        f"peer-as {neighbour.remote_as};",
        f"hold-time {config.hold_time_s};",
        f"connect {neighbour.port};",
        "adj-rib-in false;",
        "family { ipv4 unicast; ipv6 unicast; }",
        # Routers mark the end of their table (RFC 4724) only to who speaks of graceful restart.
        "capability { graceful-restart 120; route-refresh enable; asn4 enable; }",
        f"api {{ processes [ {HELPER} ]; neighbor-changes; receive {{ parsed; update; }} }}",
    ]
    if password is not None:
        lines.insert(6, f'md5-password "{password}";')
    body = "".join(f"    {line}\n" for line in lines)
    return f"neighbor {neighbour.address} {{\n{body}}}\n"
