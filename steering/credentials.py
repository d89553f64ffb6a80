"""What somebody shows of himself with a request. Pure."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Certified(NamedTuple):
    """A client certificate that an authority of ours signed."""

    names: tuple[str, ...]
    """Each with its kind before it: ``DNS:``, ``URI:``, ``email:``; ``CN:`` where there is none of them (RFC 9525
    section 2: a common name is no identifier beside those)."""
    expires_at: float
    """Seconds since 1970: a connection may live for longer than the certificate with which it began."""


Credentials: TypeAlias = str | Certified | None
"""What stands behind ``Bearer``, or else the certificate of the connection."""
