"""A signed catalog in a bucket of its own, and what somebody does to it who may write there and has no key."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from joserfc.jwk import OKPKey
from msgspec.structs import replace

from contracts.catalog import (
    LATEST_KEY,
    CatalogIndex,
    CatalogObject,
    Kind,
    TitleEntry,
    entry_key,
    index_key,
    media_key,
)
from contracts.documents import sha256, signature_key
from daemon.s3 import S3Config, get
from fill.catalog import KeptMemory, Trust
from fill.publish.index import Signing, remove_title, write_catalog
from fill.signing import Signer, make_key, public_path
from fill.version import version_name
from tests.appliance import published

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

STARTED = 1_800_000_000
STRANGER = Signer(OKPKey.generate_key("Ed25519"))


@dataclass
class SignedCatalog:
    """``folder`` is the publisher's, with its key; each change is a minute later than the last."""

    client: S3Client
    config: S3Config
    folder: Path
    now: int = STARTED
    entries: dict[str, str] = field(default_factory=dict)
    """The S3 key of each title's entry."""

    def __post_init__(self) -> None:
        if not self.signing_key.exists():
            make_key(self.signing_key)

    @property
    def signing_key(self) -> Path:
        return self.folder / "catalog-signing.jwk"

    @property
    def public(self) -> Path:
        return public_path(self.signing_key)

    def signing(self) -> Signing:
        signer = Signer.load(self.signing_key)
        memory = KeptMemory(
            self.folder / "catalog-signing.obeyed", f"{self.config.endpoint_url}/{self.config.bucket}"
        )
        return Signing(signer, Trust(signer.public(), memory), self.now)

    def version(self) -> str:
        self.now += 60
        return version_name(self.now, secrets.token_bytes(3))

    def publish(self, title: str, data: bytes) -> CatalogIndex:
        """A title whose one medium, ``video.mp4``, is ``data``."""
        item = replace(published(f"{title}/video.mp4", data), etag=f'"{sha256(data)}"')
        manifests = [
            CatalogObject(f"{title}/{name}", 0, "text/plain", '"m"', 0, b"", Kind.MANIFEST)
            for name in ("m.m3u8", "m.mpd")
        ]
        entry = TitleEntry(title, 0, 60.0, (item, *manifests), manifests[0].key, manifests[1].key)
        for each in (item, *manifests):
            body = data if each is item else b""
            self.client.put_object(Bucket=self.config.bucket, Key=media_key(each.key), Body=body)
        version = self.version()
        self.entries[title] = entry_key(version, title)
        return write_catalog(self.client, self.config.bucket, version, entry, self.signing())

    def unpublish(self, title: str) -> None:
        version = self.version()
        remove_title(self.client, self.config.bucket, version, title, self.now, self.signing())

    def get(self, key: str) -> bytes:
        return get(self.client, self.config.bucket, key, limit_bytes=1 << 30)

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.config.bucket, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.config.bucket, Key=key)

    def latest(self) -> bytes:
        return self.get(LATEST_KEY)

    def index(self, version: str) -> tuple[str, bytes, str, bytes]:
        """Key and bytes of an index, and of its signature."""
        key = index_key(version)
        return key, self.get(key), signature_key(key), self.get(signature_key(key))
