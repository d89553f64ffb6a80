"""How an appliance brings its public key to steering, once, with a code that an operator was given.

The message travels with an identity token (`contracts.token.verify_identity`, audience `AUDIENCE`) that is
signed with the very key it brings and is made for this body: whoever sends a key has the private half.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from contracts import VERSION
from contracts.fleet import PublicKey
from contracts.keyset import SignedKeySet
from contracts.plan import Name

PATH: Final = "/v1/enrol"
AUDIENCE: Final = "steering-enrol"
MAX_REQUEST_BYTES: Final = 4096
MAX_REPLY_BYTES: Final = 1 << 18
CODE_BITS: Final = 130
"""26 letters of base32. At a million guesses a second, one of a million valid codes is found in 10^19 years."""

Code = Annotated[str, Meta(pattern=r"^[A-Z2-7]{26}\Z")]


class EnrolRequest(msgspec.Struct, frozen=True):
    appliance: Name
    public_key: PublicKey
    code: Code
    contract: int = VERSION


class EnrolReply(msgspec.Struct, frozen=True):
    """What an appliance needs of steering: what it checks viewers' tokens with."""

    jwks: dict[str, Any]
    """Public keys, RFC 7517."""
    network_key: dict[str, Any] | None = None
    """Opens the network that tokens are bound to; None where they are not."""
    roots: dict[str, Any] | None = None
    """Root keys, RFC 7517: what signs the key sets that come with heartbeats."""
    keyset: SignedKeySet | None = None
    """The one in force."""
    contract: int = VERSION


def code_hash(appliance: str, code: str) -> str:
    """How a code is kept. It has 130 random bits, so a slow hash would add nothing; and it is of no use elsewhere."""
    return hashlib.sha256(f"{appliance}\0{code}".encode()).hexdigest()


def tidy_code(text: str) -> str:
    """As it may be typed: in groups, in small letters."""
    return "".join(text.split()).replace("-", "").upper()
