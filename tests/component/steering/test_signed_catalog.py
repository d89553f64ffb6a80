"""Steering with the publisher's public key: what is licensed where, and that a title exists, is the publisher's word."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from joserfc.jwk import OKPKey

from contracts.catalog import (
    INDEX_TYP,
    LATEST_KEY,
    Latest,
    decode_entry,
    entry_key,
    index_key,
)
from contracts.documents import BadDocument, encode, signature_key
from contracts.inforce import CATALOGS, InForce
from daemon import s3
from fill.signing import Signer, make_key, public_path, signed_latest
from steering import keptcontent
from steering.config import load_config
from steering.content import Content, ContentReader, Trusted, load_keys
from tests.component.steering.conftest import TITLES
from tests.component.steering.service import BOXES, Bucket, Service, wait_until


def get(bucket: Bucket, key: str) -> bytes:
    return s3.get(bucket.client, bucket.config.bucket, key, limit_bytes=1 << 30)


def sign(bucket: Bucket, signer: Signer, version: str, issued_at: int) -> None:
    """Puts the catalog ``version`` in force by the publisher's word."""
    key = index_key(version)
    bucket.put(signature_key(key), signer.sign(get(bucket, key), INDEX_TYP))
    bucket.put(LATEST_KEY, signed_latest(CATALOGS, InForce(version, issued_at), signer))


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    make_key(tmp_path / "catalog.jwk")
    return Signer.load(tmp_path / "catalog.jwk")


@pytest.fixture
def reader(bucket: Bucket, signer: Signer, tmp_path: Path) -> ContentReader:
    keys = load_keys("catalog_key", str(public_path(tmp_path / "catalog.jwk")))
    return ContentReader(bucket.config, Trusted(catalogs=keys))


def test_an_unsigned_catalog_is_none(bucket: Bucket, reader: ContentReader) -> None:
    with pytest.raises(BadDocument, match=r"^catalog/latest: is not signed"):
        reader.read(Content(), BOXES)
    bucket.client.delete_object(Bucket=bucket.config.bucket, Key=LATEST_KEY)
    with pytest.raises(BadDocument, match=r"^catalog/latest: does not exist"):
        reader.read(Content(), BOXES)


def test_a_catalog_that_is_not_the_publishers_newest_word_leaves_in_force_what_was(
    bucket: Bucket, reader: ContentReader, signer: Signer
) -> None:
    old, known_version, newest = bucket.publish({"tt9": None}), bucket.publish(TITLES), bucket.publish({})
    sign(bucket, signer, old, 1)
    old_latest = get(bucket, LATEST_KEY)
    sign(bucket, signer, known_version, 2)
    planned = bucket.plan(dict.fromkeys(BOXES, ("tt1",)), known_version)
    known = reader.read(Content(), BOXES)
    assert (known.catalog, known.catalog_issued_at, known.plan, known.refused) == (
        *(known_version, 2, planned),
        {},
    )
    stranger = Signer(OKPKey.generate_key("Ed25519"))
    for raw, says in (
        (old_latest, "somebody put an old one back"),
        (signed_latest(CATALOGS, InForce(old, 2), signer), "in the same second"),
        (encode(Latest(old)), "is not signed"),
        (signed_latest(CATALOGS, InForce(old, 3), stranger), "a key that is not known here"),
        (b" " * 5000, "at most 4096 are read"),
        (b"{", "truncated"),
        (None, ""),
    ):
        if raw is None:
            bucket.client.delete_object(Bucket=bucket.config.bucket, Key=LATEST_KEY)
        else:
            bucket.put(LATEST_KEY, raw)
        kept = reader.read(known, BOXES)
        assert (kept.catalog, kept.titles.keys(), kept.plan) == (known_version, TITLES.keys(), planned)
        assert says in kept.refused.get(LATEST_KEY, "")
    sign(bucket, signer, newest, 3)
    raw, key = get(bucket, index_key(newest)), index_key(newest)
    for body, signature, says in (
        (
            get(bucket, index_key(old)),
            signer.sign(get(bucket, index_key(old)), INDEX_TYP),
            f"not of {newest}",
        ),
        (raw + b" ", signer.sign(raw, INDEX_TYP), "its signature is wrong"),
        (raw, signer.sign(raw), "not one of such a document"),
    ):
        bucket.put(key, body)
        bucket.put(signature_key(key), signature)
        kept = reader.read(known, BOXES)
        assert (kept.catalog, kept.catalog_issued_at, kept.titles.keys()) == (
            *(known_version, 2),
            TITLES.keys(),
        )
        assert says in kept.refused[key]
    sign(bucket, signer, newest, 3)
    bucket.put(key, raw)
    assert reader.read(known, BOXES).titles == {}


def test_an_altered_entry_is_refused_and_read_again_once_it_is_right(
    bucket: Bucket, reader: ContentReader, signer: Signer
) -> None:
    """By another's hand tt-de would be licensed everywhere."""
    sign(bucket, signer, bucket.publish(TITLES), 1)
    known = reader.read(Content(), BOXES)
    version = bucket.publish(TITLES)
    sign(bucket, signer, version, 2)
    key = entry_key(version, "tt-de")
    right = get(bucket, key)
    forged = encode(msgspec.structs.replace(decode_entry(right, key, "tt-de"), countries=None))
    for body in (forged, b" " * (9 << 20)):
        bucket.put(key, body)
        found = reader.read(known, BOXES)
        assert (found.catalog, list(found.refused)) == (version, [key])
        assert found.titles["tt-de"] == known.titles["tt-de"]
        assert "tt-de" not in reader.read(Content(), BOXES).titles
    assert list(reader.read(found, BOXES).refused) == [key], "it is looked at again"
    bucket.put(key, right)
    mended = reader.read(found, BOXES)
    assert (mended.refused, mended.behind) == ({}, ())
    assert mended.entries["tt-de"] == key


def test_a_restart_forgets_nothing_and_whoever_looks_sees_it(
    stopped: Service, bucket: Bucket, signer: Signer, tmp_path: Path
) -> None:
    stopped.write(catalog_key=str(public_path(tmp_path / "catalog.jwk")))
    old, newest = bucket.publish(TITLES), bucket.publish({"tt1": None})
    sign(bucket, signer, old, 19)
    old_latest = get(bucket, LATEST_KEY)
    sign(bucket, signer, newest, 20)
    source = keptcontent.source_for(load_config(stopped.config))
    kept = stopped.root / "state" / keptcontent.FILE_NAME
    with stopped.running():
        wait_until("it is kept", lambda: keptcontent.obeyed(kept, source, CATALOGS) == InForce(newest, 20))
    bucket.put(LATEST_KEY, old_latest)
    with stopped.running():
        wait_until("it refuses", lambda: stopped.get("/v1/fleet").json["refused_documents"])
        refused = stopped.get("/v1/fleet").json["refused_documents"][LATEST_KEY]
        assert "somebody put an old one back" in refused
        assert stopped.get("/v1/fleet").json["catalog"] == newest
        metrics = stopped.ask("/metrics").body.decode().splitlines()
        assert "steering_refused_documents 1.0" in metrics
        assert "steering_catalog_issued_timestamp_seconds 20.0" in metrics
        assert f"refused: {refused}" in stopped.run("fleet", STEERING_KEY=stopped.key).stdout
        findings = {item["check"]: item for item in json.loads(stopped.run("doctor", "--json").stdout)}
        assert findings["publisher's key"] == {"check": "publisher's key", "ok": False, "detail": refused}
        assert findings["planner's key"]["ok"]
        bucket.client.delete_object(Bucket=bucket.config.bucket, Key=LATEST_KEY)
        findings = {item["check"]: item for item in json.loads(stopped.run("doctor", "--json").stdout)}
        assert findings["publisher's key"] == {
            "check": "publisher's key",
            "ok": False,
            "detail": f"catalog/latest: is gone, and catalog {newest} was in force",
        }
        sign(bucket, signer, old, 21)
        wait_until("it goes back", lambda: stopped.get("/v1/fleet").json["catalog"] == old)
        assert stopped.get("/v1/fleet").json["refused_documents"] == {}
