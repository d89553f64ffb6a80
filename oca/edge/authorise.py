"""From a request's target and token to the object key it may read, or a refusal.

What was decided for a target is remembered, bounded in number and never past the token's expiry: a
player asks for hundreds of ranges of one URL, and a signature costs ten times a whole answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from joserfc.jwk import OctKey

from contracts.clientnetwork import IPNetwork, contains
from contracts.objectkey import BadKey, parse_key, title_of
from contracts.problem import Problem
from contracts.token import (
    MAX_TOKEN_BYTES,
    Grant,
    KeyRing,
    Refusal,
    TokenRefused,
    verify_identity,
    verify_viewer,
)
from contracts.urisigning import PARAMETER
from oca.edge.memory import Memory
from oca.sessions import session_id

_REMEMBERED: Final = 49_152
"""Targets, and tokens: an appliance is made for 20,000 viewers of two tracks, and one worker may have them all."""
_REFUSED: Final = 4096
_PREFIX: Final = PARAMETER + "="


@dataclass(frozen=True, slots=True)
class Route:
    """Which object, and until when (seconds since 1970) the answer holds."""

    key: str
    expires_at: float
    session: int = 0
    """Of `oca.sessions`; 0 where no token names one."""
    network: IPNetwork | None = None
    """For clients of this network alone."""


class Refused(Exception):
    def __init__(self, problem: Problem, detail: str | None = None) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail


class Authoriser:
    """``keys`` are steering's, ``peers`` those of appliances that may pull from this one."""

    def __init__(
        self,
        appliance: str,
        keys: KeyRing,
        peers: KeyRing,
        *,
        required: bool,
        network_key: OctKey | None = None,
    ) -> None:
        self._appliance = appliance
        self._keys = keys
        self._peers = peers
        self._required = required
        self._network_key = network_key
        self._revoked: frozenset[str] = frozenset()
        self._routes: Memory[bytes, Route] = Memory(_REMEMBERED)
        self._grants: Memory[str, Grant] = Memory(_REMEMBERED)
        # Apart, so that a flood of bad tokens drives out no good one.
        self._refusals: Memory[str, Refusal] = Memory(_REFUSED)

    def route(
        self, target: bytes, headers: Mapping[bytes, str], now: float, trusted: bool, address: str
    ) -> Route:
        """The object that this request, from ``address``, may have at ``now``; raises `Refused`.

        Checking a signature costs twenty answers. Who is not ``trusted`` gets it only for tokens known
        to be good.
        """
        route = self._route(target, headers, now, trusted)
        if route.network is not None and not contains(route.network, address):
            raise Refused(Problem.TOKEN_REFUSED, Refusal.NETWORK.value)
        return route

    def _route(self, target: bytes, headers: Mapping[bytes, str], now: float, trusted: bool) -> Route:
        known = self._routes.get(target)
        if known is not None and now < known.expires_at:
            return known
        key, token = _split(target)
        if not self._required:
            return self._remember(target, Route(key, float("inf")))
        if token is not None:
            grant = self._grant(token, key, now, trusted)
            return self._remember(target, _granted(key, grant))
        token = _cookie(headers.get(b"cookie", ""))
        if token is not None:
            return _granted(key, self._grant(token, key, now, trusted))
        scheme, _, token = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refused(Problem.TOKEN_MISSING, f"no {PARAMETER} in path, query, cookie or Authorization")
        return self._bearer(token.strip(), key, now, trusted)

    def revoke(self, sessions: frozenset[str]) -> bool:
        """From now on these sessions' tokens are refused, and no others for this; whether that is news.

        When it is, whatever the caller remembers of granted requests may hold no longer.
        """
        if sessions == self._revoked:
            return False
        self._revoked = sessions
        self._routes.clear()
        return True

    def rekey(self, keys: KeyRing) -> bool:
        """From now on tokens are checked with ``keys``, steering's; whether one of before is not among them.

        Then whatever the caller remembers of granted requests may hold no longer.
        """
        gone = [kid for kid in self._keys.kids() if not self._keys.same(kid, keys)]
        self._keys = keys
        # A token of a key that has come only now was refused a moment ago.
        self._refusals.clear()
        if gone:
            self._grants.clear()
            self._routes.clear()
        return bool(gone)

    def _bearer(self, token: str, key: str, now: float, trusted: bool) -> Route:
        """A viewer's token, or the identity of an appliance of the tier below."""
        try:
            return _granted(key, self._grant(token, key, now, trusted))
        except Refused as refused:
            if refused.detail is None or Refusal.TYPE.value not in refused.detail:
                raise
        try:
            verify_identity(token, self._peers, audience=self._appliance, now=now)
        except TokenRefused as error:
            raise Refused(Problem.IDENTITY_REFUSED, str(error)) from None
        return Route(key, now)

    def _grant(self, token: str, key: str, now: float, trusted: bool) -> Grant:
        known = self._grants.get(token)
        if known is None or now >= known.expires_at:
            known = self._verified(token, now, trusted)
        if known.session in self._revoked:
            raise Refused(Problem.TOKEN_REFUSED, Refusal.REVOKED.value)
        if known.title != title_of(key):
            raise Refused(Problem.TOKEN_REFUSED, Refusal.SCOPE.value)
        return known

    def _verified(self, token: str, now: float, trusted: bool) -> Grant:
        why = self._refusals.get(token)
        if why is None:
            if not trusted:
                raise Refused(Problem.RATE, "too many tokens of this network were refused")
            try:
                grant = verify_viewer(token, self._keys, now, self._network_key)
            except TokenRefused as error:
                why = error.why
                # A token that is not valid yet will be: that refusal is not kept.
                if why is not Refusal.NOT_YET and len(token) <= MAX_TOKEN_BYTES:
                    self._refusals.put(token, why)
            else:
                self._grants.put(token, grant)
                return grant
        raise Refused(Problem.TOKEN_REFUSED, why.value)

    def _remember(self, target: bytes, route: Route) -> Route:
        self._routes.put(target, route)
        return route


def _granted(key: str, grant: Grant) -> Route:
    session = session_id(grant.session) if grant.session else 0
    return Route(key, grant.expires_at, session, grant.network)


def _split(target: bytes) -> tuple[str, str | None]:
    """Object key and token of a target in origin-form or absolute-form (RFC 9112 section 3.2)."""
    text = target.decode("latin-1")
    if text[:7].lower() == "http://" or text[:8].lower() == "https://":
        text = "/" + text.split("/", 3)[3] if text.count("/") >= 3 else "/"
    path, _, query = text.partition("?")
    if not path.startswith("/") or "#" in text:
        raise Refused(Problem.BAD_KEY, "the target is not a path")
    token: str | None = None
    first, slash, rest = path[1:].partition("/")
    plain = unquote(first, errors="replace")
    if plain.startswith(_PREFIX):
        token, path = plain[len(_PREFIX) :], rest
        if not slash:
            raise Refused(Problem.BAD_KEY, "nothing follows the token")
    else:
        path = path[1:]
    if "%2f" in path.lower():
        raise Refused(Problem.BAD_KEY, "an encoded slash")
    if token is None:
        for pair in query.split("&"):
            if pair.startswith(_PREFIX):
                token = unquote(pair[len(_PREFIX) :], errors="replace")
                break
    try:
        return parse_key(unquote(path, errors="replace")), token
    except BadKey as error:
        raise Refused(Problem.BAD_KEY, str(error)) from None


def _cookie(header: str) -> str | None:
    for pair in header.split(";"):
        name, _, value = pair.strip().partition("=")
        if name == PARAMETER:
            return value
    return None
