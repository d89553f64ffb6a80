"""Which keys appliances have enrolled, which were revoked, and the one-time codes in between.

A code is 130 random bits, kept as a hash, bound to one appliance, good for one key and until it expires. Guessing
is hopeless by its length alone; that an address may try a few times a minute only keeps the noise down.

What the store says stands above the fleet file: a revoked appliance stays out whatever key the file has, until
it is given a new code.
"""

from __future__ import annotations

import base64
import enum
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from joserfc.jwk import ECKey, OKPKey

from contracts.enrol import EnrolRequest, code_hash
from contracts.fleet import PublicKey
from contracts.token import KeyRing, import_public
from steering.store import Entry, Kind, Store, Write

DEFAULT_HOURS: Final = 24.0
_NO_HASH: Final = "0" * 64


class KeyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Kept by the appliance's id. A field that a reader does not know is none of its business."""

    x: str | None
    """The Ed25519 public key (RFC 8037); None: revoked."""
    at: float
    """When it was enrolled, or revoked: seconds since 1970."""
    version: int = 1


class CodeRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    sha256: str
    expires_at: float
    used_by: str | None = None
    """The key that it was used for: who did not hear our answer may ask again, with the same key."""
    version: int = 1


class Outcome(enum.Enum):
    """What became of an attempt."""

    ENROLLED = "the key is enrolled"
    REFUSED = "the code is wrong, was used, or has expired: `steering enrol` gives a new one"


@dataclass(frozen=True, slots=True)
class Given:
    """A code, to be shown once."""

    code: str
    expires_at: float


async def give_code(store: Store, appliance: str, now: float, valid_s: float) -> Given:
    """A new code for ``appliance``; one that was given before is worth nothing any more."""
    code = base64.b32encode(secrets.token_bytes(17)).decode()[:26]
    record = CodeRecord(code_hash(appliance, code), now + valid_s)
    await store.write([Write(Kind.CODE, appliance, msgspec.json.encode(record))])
    return Given(code, record.expires_at)


async def revoke(store: Store, appliance: str, now: float) -> None:
    """Its key is worth nothing from here on, nor is a code that it was given. Every steering hears of it."""
    record = msgspec.json.encode(KeyRecord(None, now))
    await store.write([Write(Kind.KEY, appliance, record), Write(Kind.CODE, appliance, None)])


async def enrol(store: Store, request: EnrolRequest, now: float) -> Outcome:
    """Takes the key for a code. The caller has checked that the sender has the private half of the key."""
    entry = await store.get(Kind.CODE, request.appliance)
    code = None if entry is None else msgspec.json.decode(entry.value, type=CodeRecord)
    # As long whether there is a code, and whichever letter differs.
    same = hmac.compare_digest(
        code.sha256 if code is not None else _NO_HASH, code_hash(request.appliance, request.code)
    )
    if entry is None or code is None or not same or now >= code.expires_at:
        return Outcome.REFUSED
    x = request.public_key.x
    if code.used_by is not None:
        return Outcome.ENROLLED if code.used_by == x else Outcome.REFUSED
    used = msgspec.json.encode(msgspec.structs.replace(code, used_by=x))
    if not await store.replace(Kind.CODE, request.appliance, used, entry.revision):
        return Outcome.REFUSED  # another was faster with the same code
    await store.write([Write(Kind.KEY, request.appliance, msgspec.json.encode(KeyRecord(x, now)))])
    return Outcome.ENROLLED


class ApplianceKeys(KeyRing):
    """The keys in force: of the store, and of the fleet file for who is not in the store.

    ``file`` gives those of the fleet file that is in force. ``on_revoked`` and ``on_enrolled`` hear of each change.
    """

    def __init__(
        self,
        file: Callable[[], KeyRing],
        on_revoked: Callable[[str], None],
        on_enrolled: Callable[[str], None],
    ) -> None:
        super().__init__({})
        self._file = file
        self._enrolled: dict[str, OKPKey | ECKey | None] = {}
        self._on_revoked = on_revoked
        self._on_enrolled = on_enrolled

    def get(self, kid: object) -> ECKey | OKPKey | None:
        if isinstance(kid, str) and kid in self._enrolled:
            return self._enrolled[kid]
        return self._file().get(kid)

    def load(self, entries: Mapping[str, Entry]) -> None:
        """At start. Whoever is revoked is told of; an enrolled key is no news for what was heard with it."""
        on_enrolled, self._on_enrolled = self._on_enrolled, lambda _: None
        for name, entry in entries.items():
            self.changed(name, entry)
        self._on_enrolled = on_enrolled

    def changed(self, name: str, entry: Entry | None) -> None:
        """The store's word on one appliance; see `Store.watch`."""
        before = self._enrolled.get(name)
        known = name in self._enrolled
        if entry is None:
            self._enrolled.pop(name, None)
            return
        try:
            record = msgspec.json.decode(entry.value, type=KeyRecord)
            key = None if record.x is None else import_public({"kty": "OKP", "crv": "Ed25519", "x": record.x})
        except (msgspec.MsgspecError, ValueError):
            key = None  # what cannot be read lets nobody in
        self._enrolled[name] = key
        if key is None:
            if not known or before is not None:
                self._on_revoked(name)
        elif before is None or before.as_dict() != key.as_dict():
            self._on_enrolled(name)


def public_key(request: EnrolRequest) -> OKPKey | ECKey:
    """Raises ValueError on one that is none."""
    return import_public(jwk(request.public_key))


def jwk(key: PublicKey) -> dict[str, str]:
    return {"kty": key.kty, "crv": key.crv, "x": key.x}
