"""The keys that viewers' tokens are checked with: from a file, or from steering as the fleet's root key signed them.

With ``auth.roots_file`` the answers to heartbeats bring a newer key set whenever there is one. It is believed when a root
key that we know signed it and its version is higher than that of ours, and it is on the disk before it counts. Until the
first comes, and without ``roots_file``, ``auth.keys_file`` counts.

    steering --reply to a heartbeat--> storekeeper: `TrustedKeys.take` --> state_dir/keyset.json
                                            \\--> every worker; one that starts reads the file itself
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.documents import BadDocument
from contracts.keyset import KeySet, SignedKeySet, open_keyset, root_ring, root_ring_of
from contracts.token import KeyRing
from daemon.config import ConfigError
from daemon.durable import replace_file, sync_folder
from daemon.keyfiles import load_public
from daemon.log import event
from oca.config import Config

log = logging.getLogger("oca.keys")

_FILE_NAME: Final = "keyset.json"


class _Stored(msgspec.Struct, frozen=True):
    """What was taken last, and which roots sign the next."""

    signed: SignedKeySet
    roots: tuple[dict[str, Any], ...]
    anchors: str
    """Digest of roots_file then: another one, by the operator's hand, stands above what was learned."""


class TrustedKeys:
    """Of one process; the storekeeper alone calls `take`."""

    def __init__(self, config: Config) -> None:
        """Reads all there is; raises `ConfigError`."""
        auth = config.auth
        self._file = Path(config.state_dir) / _FILE_NAME
        self._why = ""
        self._roots = KeyRing({})
        self._root_keys: tuple[dict[str, Any], ...] = ()
        self._anchors = ""
        self._set: KeySet | None = None
        self._file_keys = keys_in(auth.keys_file)
        if auth.roots_file is not None:
            self._begin(Path(auth.roots_file))

    @property
    def version(self) -> int | None:
        """Of the set in force, 0 before the first; None where no root key is named, and files alone count."""
        return (0 if self._set is None else self._set.version) if self._anchors else None

    @property
    def ring(self) -> KeyRing:
        return self._file_keys if self._set is None else self._set.ring()

    @property
    def jwks(self) -> bytes | None:
        """The set in force, for workers; None while the file counts, which they read themselves."""
        return None if self._set is None else json.dumps({"keys": self._set.keys}).encode()

    def take(self, signed: SignedKeySet) -> bool:
        """Puts a newer set in force, and on the disk; whether it is one. Raises `BadDocument`, OSError."""
        made = open_keyset(signed, self._roots)
        if made.version <= (self.version or 0):
            return False
        roots = made.roots or self._root_keys
        stored = _Stored(signed, roots, self._anchors)
        replace_file(self._file, msgspec.json.encode(stored) + b"\n", mode=0o640)
        sync_folder(self._file.parent)
        self._set, self._root_keys, self._roots = made, roots, root_ring(roots)
        return True

    def offered(self, signed: SignedKeySet, url: str) -> bool:
        """`take`, of what a steering sent: what is refused is said once, and what counted counts on."""
        try:
            taken = self.take(signed)
        except (BadDocument, OSError) as error:
            if str(error) != self._why:
                event(log, "key set refused", logging.ERROR, url=url, why=str(error))
            self._why = str(error)
            return False
        self._why = ""
        if taken:
            event(log, "keys taken", url=url, version=self.version)
        return taken

    def _begin(self, roots_file: Path) -> None:
        try:
            raw = roots_file.read_bytes()
            anchors = root_ring_of(raw)
        except OSError as error:
            raise ConfigError(f"auth.roots_file: {roots_file}: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"auth.roots_file: {roots_file}: {error}") from None
        self._anchors = hashlib.sha256(raw).hexdigest()
        self._roots, self._root_keys = anchors, tuple(json.loads(raw)["keys"])
        stored = self._recall()
        if stored is None:
            return
        learned = stored.anchors == self._anchors
        try:
            # What was learned since stands above the file, and below another file.
            made = open_keyset(stored.signed, root_ring(stored.roots) if learned else anchors)
        except ValueError as error:
            event(log, "key set left out", logging.WARNING, file=str(self._file), why=str(error))
            return
        self._set, self._root_keys = made, stored.roots if learned else made.roots or self._root_keys
        self._roots = root_ring(self._root_keys)

    def _recall(self) -> _Stored | None:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Stored)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            # Steering brings it again with the next heartbeat.
            event(log, "key set not recalled", logging.WARNING, file=str(self._file), why=str(error))
            return None


def keys_in(path: str | None) -> KeyRing:
    """The public keys in a JWK Set; raises `ConfigError`."""
    if path is None:
        return KeyRing({})
    return load_public(Path(path), KeyRing.from_jwks)
