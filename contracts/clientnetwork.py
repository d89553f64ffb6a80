"""The ``cdniip`` claim: the network that a viewer's token was made out to, encrypted.

Encrypted because the token travels in a URL, and an address says who watches what. One symmetric key for
the fleet: steering seals, appliances open. It signs nothing: who steals it from an appliance learns the
networks of tokens that he holds, and can make none.

Source: RFC 9246 section 2.1 (Client IP), RFC 7516 (JWE, compact, ``dir`` with ``A256GCM``).
"""

from __future__ import annotations

import base64
import ipaddress
import json
from functools import lru_cache
from typing import Final, TypeAlias

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

HEADER: Final = {"alg": "dir", "enc": "A256GCM"}
ALGORITHMS: Final = ["dir", "A256GCM"]
KEY_BITS: Final = 256


def import_key(raw: bytes) -> OctKey:
    """The key in a JWK; raises ValueError unless it is a symmetric key of 256 bits."""
    try:
        jwk = json.loads(raw)
        # The library warns of a short key, and would take it.
        if len(base64.urlsafe_b64decode(jwk["k"] + "=")) * 8 == KEY_BITS:
            return OctKey.import_key(jwk)
    except (JoseError, ValueError, TypeError, KeyError):
        pass
    raise ValueError('not a symmetric key of 256 bits as JWK: {"kty": "oct", "k": ...} is expected')


def open_claim(claim: object, key: OctKey) -> IPNetwork:
    """The network in a claim; raises ValueError when it is not one that was sealed with ``key``."""
    if not isinstance(claim, str):
        raise ValueError("cdniip is not a string")
    try:
        sealed = jwe.decrypt_compact(claim, key, algorithms=ALGORITHMS)
        return ipaddress.ip_network((sealed.plaintext or b"").decode("ascii"))
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"cdniip cannot be opened: {error}") from None


def contains(network: IPNetwork, address: str) -> bool:
    """Whether ``address``, as the kernel writes a peer's, lies in ``network``; IPv4 in IPv6 counts as IPv4."""
    parsed = _parsed(address)
    return parsed.version == network.version and parsed in network


@lru_cache(maxsize=4096)
def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


def network_of(address: str) -> IPNetwork:
    """What a token is made out to: the /24 or /48 of a viewer, who may move within it."""
    parsed = _parsed(address)
    length = 24 if parsed.version == 4 else 48
    return ipaddress.ip_network(f"{parsed}/{length}", strict=False)
