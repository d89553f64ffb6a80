"""What a signed URL looks like from outside: known to whoever reads a path or hides a token, and needs no key."""

from __future__ import annotations

from typing import Final

PARAMETER: Final = "URISigningPackage"
"""Name of the path segment, query parameter and cookie, RFC 9246 section 2."""
