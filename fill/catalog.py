"""The catalog as all of this package read it: by the publisher's word, and never an older one than before.

`contracts.catalog` says what is signed and what is believed by its digest. Entries are read with `read_entry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from contracts import catalog
from contracts.catalog import CatalogIndex
from contracts.documents import MAX_SIGNATURE_BYTES, BadDocument, signature_key
from contracts.inforce import CATALOGS, InForce, gone, to_obey
from contracts.signature import SignatureKeys
from daemon.config import ConfigError
from daemon.durable import replace_file, sync_folder
from daemon.s3 import S3Error, Trouble, get, get_if_there
from fill.s3documents import read_in_force

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Memory:
    """Which word was obeyed last. For as long as the process runs: who outlives it tells us at the start."""

    def __init__(self, obeyed: InForce | None = None) -> None:
        self.obeyed = obeyed

    def remember(self, word: InForce) -> None:
        if word != self.obeyed:
            self._keep(word)
            self.obeyed = word

    def _keep(self, word: InForce) -> None:
        pass


class KeptMemory(Memory):
    """In a file, by the bucket ``where``: for the machines that publish and plan, where no storekeeper is."""

    def __init__(self, path: Path, where: str) -> None:
        """Raises `ConfigError`, OSError."""
        self._path = path
        self._where = where
        super().__init__(self._kept().get(where))

    def _keep(self, word: InForce) -> None:
        kept = self._kept()
        if self._where in kept and kept[self._where].issued_at > word.issued_at:
            return  # another publisher of this machine has said, or seen, a later one meanwhile
        raw = msgspec.json.format(msgspec.json.encode(kept | {self._where: word}), indent=1)
        replace_file(self._path, raw, mode=0o644)
        sync_folder(self._path.parent)

    def _kept(self) -> dict[str, InForce]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, InForce])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"{self._path}: not what was obeyed last ({error}); remove it once you know that the bucket has "
                "the newest catalog"
            ) from None


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose catalogs are believed (``keys`` None: anybody's, in a lab), and which of them was obeyed last."""

    keys: SignatureKeys | None = None
    memory: Memory = field(default_factory=Memory)


class CatalogReader:
    """``patiently`` wraps each request, for a caller that tries again."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        trust: Trust,
        patiently: Callable[[Callable[[], Any]], Any] = lambda read: read(),
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._trust = trust
        self._patiently = patiently

    def newest(self) -> CatalogIndex | None:
        """The catalog that is in force; None when nothing was ever published.

        Raises `S3Error`, `BadDocument`, and OSError where it cannot be remembered.
        """
        word = self.word()
        if word is None:
            return None
        index = self.version(word.version)
        if self._trust.keys is not None:
            self._trust.memory.remember(word)
        return index

    def newest_or_obeyed(self) -> tuple[CatalogIndex | None, str]:
        """`newest`; or, where that is not believed, the one that was obeyed before, and why. Raises as `newest`."""
        try:
            return self.newest(), ""
        except (BadDocument, S3Error) as error:
            obeyed = self._trust.memory.obeyed
            astray = isinstance(error, BadDocument) or error.trouble in {Trouble.NO_OBJECT, Trouble.TOO_LARGE}
            if obeyed is None or not astray:
                raise
            return self.version(obeyed.version), str(error)

    def word(self) -> InForce | None:
        """What ``catalog/latest`` says, and is to be obeyed. Raises `S3Error`, `BadDocument`."""
        obeyed = self._trust.memory.obeyed
        raw = self._patiently(lambda: read_in_force(self._client, self._bucket, CATALOGS))
        if raw is None:
            if obeyed is not None:
                raise gone(CATALOGS, obeyed)
            return None
        return to_obey(CATALOGS, raw, self._trust.keys, obeyed)

    def version(self, version: str) -> CatalogIndex:
        """The index of one version, newest or not. Raises `S3Error`, `BadDocument`."""
        key, keys = catalog.index_key(version), self._trust.keys
        raw = self._read(key, catalog.MAX_INDEX_BYTES)
        signature = None
        if keys is not None:
            signature = self._patiently(
                lambda: get_if_there(
                    self._client, self._bucket, signature_key(key), limit_bytes=MAX_SIGNATURE_BYTES
                )
            )
        return catalog.believed_index(raw, signature, keys, version)

    def _read(self, key: str, limit_bytes: int) -> bytes:
        raw: bytes = self._patiently(lambda: get(self._client, self._bucket, key, limit_bytes=limit_bytes))
        return raw
