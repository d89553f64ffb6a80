"""`POST /v1/enrol`: an appliance brings its key with a one-time code. The one question that needs no known key."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from aiohttp import web

from contracts import enrol as contract
from contracts.documents import BadDocument, decode
from contracts.problem import Problem
from contracts.token import KeyRing, TokenRefused, verify_identity
from daemon.config import ConfigError
from daemon.log import event
from steering.budget import Budget
from steering.enrolment import Outcome, enrol, public_key
from steering.forwarded import IPNetwork, asker
from steering.request import Refused, bad_field, bearer, read_body
from steering.store import Entry, Kind, Store, StoreError

log = logging.getLogger("steering")

_PER_NETWORK: Final = (0.2, 10.0)
"""Tries a second, and at once, of an IPv4 address or IPv6 /64: a rack of new appliances behind one NAT passes."""
_OF_ALL: Final = (20.0, 100.0)
_MAX_NETWORKS: Final = 4096


class Enrolling:
    """``known``: whether the fleet file has an appliance. ``needs``: what an appliance is given. ``changed`` hears of its key.

    ``proxies`` are believed to say who asks; ``limited`` hears of who asked too often.
    """

    def __init__(
        self,
        store: Store,
        known: Callable[[str], bool],
        needs: Callable[[], contract.EnrolReply],
        changed: Callable[[str, Entry | None], None],
        proxies: Sequence[IPNetwork] = (),
        limited: Callable[[], None] = lambda: None,
    ) -> None:
        self._proxies = proxies
        self._limited = limited
        self._changed = changed
        self._store = store
        self._known = known
        self._needs = needs
        self._all = Budget(*_OF_ALL)
        self._networks: OrderedDict[str, Budget] = OrderedDict()

    async def handle(self, request: web.Request) -> web.Response:
        """Raises `Refused`."""
        remote = asker(request.remote or "", request.headers.getall("X-Forwarded-For", []), self._proxies)
        self._spend(remote)
        token = bearer(request)
        if not token:
            raise Refused(Problem.IDENTITY_MISSING, "an identity token is expected as Bearer")
        raw = await read_body(request, contract.MAX_REQUEST_BYTES)
        asked = self._read(raw, token)
        if not self._known(asked.appliance):
            # The same words as for a wrong code: nobody learns here who is in the fleet.
            event(
                log,
                "enrolment refused",
                logging.WARNING,
                appliance=asked.appliance,
                why="not in the fleet file",
            )
            raise Refused(Problem.IDENTITY_REFUSED, Outcome.REFUSED.value)
        try:
            needs = self._needs()  # first: a code is good for one try
        except (ConfigError, OSError, ValueError) as error:
            event(log, "enrolment failed", logging.ERROR, appliance=asked.appliance, why=str(error))
            raise Refused(Problem.UNAVAILABLE, "the keys cannot be read now", retry_s=5) from None
        try:
            outcome = await enrol(self._store, asked, time.time())
            # At once here: a store tells of what others write, and that a moment later.
            self._changed(asked.appliance, await self._store.get(Kind.KEY, asked.appliance))
        except StoreError as error:
            event(log, "enrolment failed", logging.ERROR, appliance=asked.appliance, why=str(error))
            raise Refused(Problem.UNAVAILABLE, "the key cannot be kept now", retry_s=5) from None
        if outcome is Outcome.REFUSED:
            event(log, "enrolment refused", logging.WARNING, appliance=asked.appliance, remote=remote)
            raise Refused(Problem.IDENTITY_REFUSED, outcome.value)
        event(log, "appliance enrolled", appliance=asked.appliance, remote=remote)
        return web.Response(
            body=msgspec.json.encode(needs) + b"\n",
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    def _read(self, raw: bytes, token: str) -> contract.EnrolRequest:
        """The question, from whoever has the private half of the key that it brings; raises `Refused`."""
        try:
            asked = decode(raw, contract.EnrolRequest, name="body", limit_bytes=contract.MAX_REQUEST_BYTES)
            keys = KeyRing({asked.appliance: public_key(asked)})
        except BadDocument as error:
            raise bad_field(error.why) from None
        except ValueError as error:
            raise Refused(Problem.BAD_FIELD, str(error), field="public_key") from None
        try:
            speaker = verify_identity(token, keys, audience=contract.AUDIENCE, now=time.time())
            speaker.check_body(raw)
        except TokenRefused as error:
            raise Refused(Problem.IDENTITY_REFUSED, str(error)) from None
        return asked

    def _spend(self, remote: str) -> None:
        now = time.monotonic()
        name = _network(remote)
        budget = self._networks.get(name)
        if budget is None:
            budget = self._networks[name] = Budget(*_PER_NETWORK)
            if len(self._networks) > _MAX_NETWORKS:
                self._networks.popitem(last=False)
        self._networks.move_to_end(name)
        wait_s = budget.take(now) or self._all.take(now)
        if wait_s:
            self._limited()
            raise Refused(Problem.RATE, retry_s=wait_s)


def _network(remote: str) -> str:
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return remote
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return remote
