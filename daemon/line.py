"""Text from outside, made fit to be printed: it stays in its line, and tells no secret."""

from __future__ import annotations

import re
from typing import Final

CUT: Final = "[cut]"

# Each repetition ends at a character that begins no other: linear in any text, however made.
_secret: Final = re.compile(
    # RFC 9246: the token of a signed URL, in the path, the query or a cookie.
    r"(?P<name>(?i:URISigningPackage)(?:=|%3[Dd]))[^\s/\"'&;,]+"
    # RFC 6750: a header field, or a sentence about one.
    r"|(?P<scheme>\b(?i:Bearer)(?:[:=]|%20|\s)\s*)[^\s\"',;]+"
    # A JWT (RFC 7519) anywhere: it begins with `{"` in base64url. Not monkeyJungle.mp4.
    r"|(?:(?<![a-z])|(?<=%[0-9A-Fa-f]{2}))eyJ[A-Za-z0-9_.-]{10,}"
    # RFC 3986 section 3.2.1: userinfo, behind a scheme or with a password in it.
    r"|(?<=://)[^\s/?#]*(?=@)"
    r"|(?<![^\s/@])[^\s/:@]+:[^\s/]*(?=@)"
)


def without_secrets(text: str) -> str:
    """``text`` with every token, API key and password cut out that is recognised by its form."""
    return _secret.sub(lambda found: (found["name"] or found["scheme"] or "") + CUT, text)


def one_line(text: str) -> str:
    """``text`` with what is not printable (line breaks, terminal sequences, marks of direction) escaped."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text
    )
