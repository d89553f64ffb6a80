"""Whom an appliance believes to be steering, over https."""

from __future__ import annotations

import ssl

from daemon.config import ConfigError
from oca.config import Steering


def trust(config: Steering) -> ssl.SSLContext:
    """The authorities of ``ca_file`` alone, or the system's where none is named. Raises `ConfigError`."""
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"steering.ca_file: {config.ca_file}: {error.strerror or error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def trust_where_needed(config: Steering) -> ssl.SSLContext | bool:
    """For aiohttp: True where every URL is plain, and nothing need be read."""
    return trust(config) if any(url.startswith("https://") for url in config.urls) else True
