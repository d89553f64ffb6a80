"""Steering's own TLS: its certificate, and what a caller's says of him."""

from __future__ import annotations

import ssl
from asyncio import BaseTransport
from typing import Any, Final

from daemon.config import ConfigError
from steering.config import Tls
from steering.credentials import Certified

_MINIMUM: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_KINDS: Final = {"DNS", "URI", "email"}


def server_context(config: Tls) -> ssl.SSLContext:
    """For connections from now on; raises `ConfigError` when a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MINIMUM[config.minimum]
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_SINGLE_ECDH_USE
    context.num_tickets = 1
    try:
        context.load_cert_chain(config.certificate_file, config.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls: {config.certificate_file} with {config.key_file}: {error.strerror or error}"
        ) from None
    if config.client_ca_file is not None:
        try:
            context.load_verify_locations(config.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"tls: client_ca_file: {config.client_ca_file}: {error.strerror or error}"
            ) from None
        # Players and appliances come to the same port, and have none.
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def certified(transport: BaseTransport | None) -> Certified | None:
    """What the other side of a connection has shown; None where that is nothing."""
    found = None if transport is None else transport.get_extra_info("peercert")
    if not found:
        return None
    names = [f"{kind}:{value}" for kind, value in found.get("subjectAltName", ()) if kind in _KINDS]
    return Certified(tuple(names or _common_names(found)), float(ssl.cert_time_to_seconds(found["notAfter"])))


def _common_names(found: dict[str, Any]) -> list[str]:
    parts = [part for group in found.get("subject", ()) for part in group]
    return [f"CN:{value}" for kind, value in parts if kind == "commonName"]
