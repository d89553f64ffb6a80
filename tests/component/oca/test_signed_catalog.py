"""An appliance before a bucket into which somebody writes who has no key: it serves on, by the publisher's word."""

from __future__ import annotations

import asyncio
import json
import random
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest
from msgspec.structs import replace

from contracts.catalog import INDEX_TYP, LATEST_KEY, CatalogIndex, Latest, Removed, decode_entry
from contracts.documents import encode
from contracts.inforce import CATALOGS, PLANS, InForce, SignedLatest
from contracts.signature import SignatureKeys
from daemon.cli import Exit
from demo.origin import OriginServer
from fill.signing import Signer, make_key, signed_latest
from oca.config import Pull
from oca.store.catalog import CatalogView
from oca.store.obeyed import Obeyed
from oca.store.upstream import OriginUpstream, client_session
from tests import commands
from tests.appliance import Appliance, published, restarted, running
from tests.component.oca.test_serving import ask
from tests.signedcatalog import STRANGER, SignedCatalog
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SIZE = 70_000


def data_of(title: str) -> bytes:
    return random.Random(title).randbytes(SIZE)


@pytest.fixture
def catalog(tmp_path: Path, origin: OriginServer, s3: S3Client) -> SignedCatalog:
    bucket = f"signed-{random.SystemRandom().getrandbits(48):x}"
    s3.create_bucket(Bucket=bucket)
    (tmp_path / "publisher").mkdir()
    return SignedCatalog(s3, msgspec.structs.replace(origin.config, bucket=bucket), tmp_path / "publisher")


@contextmanager
def appliance_of(catalog: SignedCatalog, root: Path) -> Iterator[Appliance]:
    root.mkdir()
    origin = msgspec.to_builtins(catalog.config)
    with running(
        root, origin=origin, catalog_key=str(catalog.public), pull={"catalog_refresh_s": 0.2}
    ) as appliance:
        yield appliance


def status(appliance: Appliance) -> dict[str, Any]:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{appliance.admin}/v1/status", timeout=PATIENCE_S
    ) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def metric(appliance: Appliance, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{appliance.admin}/metrics", timeout=PATIENCE_S) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))


def until_said(appliance: Appliance, says: str) -> None:
    """Until it tells why it takes no newer catalog; "": until it has taken the newest."""

    def told() -> bool:
        why = status(appliance)["catalog_error"]
        return (says in why if why else False) if says else why is None

    until(told, lambda: status(appliance))


def played(appliance: Appliance, title: str) -> bool:
    answer = ask(appliance, target=f"/{title}/video.mp4")
    return answer.status == 200 and answer.body == data_of(title)


class Reading:
    """What an appliance's storekeeper knows of the catalog, with a clock of its own; real S3 behind it."""

    def __init__(self, catalog: SignedCatalog, http: aiohttp.ClientSession) -> None:
        self.now = 0.0
        self.changed: list[str] = []
        self.removed: set[str] = set()
        keys = SignatureKeys.from_jwks(catalog.public.read_bytes())
        self.view = CatalogView(
            OriginUpstream(catalog.config, http),
            Obeyed(keys, catalog.folder / "catalog.json"),
            lambda: self.now,
            lambda objects: self.changed.extend(objects),
            self.removed.update,
        )

    async def look(self) -> str | None:
        """Why it takes no newer catalog; None when it has the newest."""
        self.now += 60
        await self.view.refresh()
        return self.view.error


def with_reading(catalog: SignedCatalog, told: Callable[[Reading], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with client_session(Pull()) as http:
            await told(Reading(catalog, http))

    asyncio.run(run())


def test_a_latest_that_is_not_the_publishers_newest_word_leaves_in_force_what_was(
    catalog: SignedCatalog,
) -> None:
    first = catalog.publish("tt1", b"1").version
    old = catalog.latest()

    async def told(reading: Reading) -> None:
        assert await reading.look() is None
        known = catalog.publish("tt2", b"2").version
        right = catalog.latest()
        assert await reading.look() is None
        issued_at = msgspec.json.decode(right, type=SignedLatest).issued_at
        signer = Signer.load(catalog.signing_key)
        for raw, says in (
            (old, "somebody put an old one back"),
            (signed_latest(CATALOGS, InForce(first, issued_at), signer), "in the same second"),
            (signed_latest(CATALOGS, InForce(first, 1 << 33), None), "is not signed"),
            (encode(Latest(first)), "is not signed"),
            (signed_latest(CATALOGS, InForce(first, 1 << 33), STRANGER), "a key that is not known here"),
            (signed_latest(PLANS, InForce(first, 1 << 33), signer), "not one of such a document"),
            (b" " * 5000, "more than 4096 bytes"),
            (b"{", "truncated"),
        ):
            catalog.put(LATEST_KEY, raw)
            why = await reading.look()
            assert why is not None
            assert why.startswith(f"{LATEST_KEY}: ")
            assert says in why
            assert reading.view.version == known
            assert await reading.view.find("tt2/video.mp4") is not None
        catalog.delete(LATEST_KEY)
        assert "has no catalog/latest" in (await reading.look() or "")
        assert reading.view.version == known
        catalog.put(LATEST_KEY, right)
        assert await reading.look() is None

    with_reading(catalog, told)


def test_an_index_that_is_not_the_publishers_leaves_in_force_the_one_before(catalog: SignedCatalog) -> None:
    known = catalog.publish("tt1", b"1").version
    _, old, _, old_signature = catalog.index(known)
    newest = catalog.publish("tt2", b"2").version
    key, right, signature_at, right_signature = catalog.index(newest)
    newest_latest = catalog.latest()
    dropping_all = encode(CatalogIndex(newest, (), (Removed("tt1", 1),)))

    async def told(reading: Reading) -> None:
        catalog.put(LATEST_KEY, signed_latest(CATALOGS, InForce(known, 1), Signer.load(catalog.signing_key)))
        assert await reading.look() is None
        catalog.put(LATEST_KEY, newest_latest)
        for body, signature, says in (
            (old, old_signature, f"is the index of version {known}, not of {newest}"),
            (dropping_all, right_signature, "its signature is wrong"),
            (dropping_all, STRANGER.sign(dropping_all, INDEX_TYP), "a key that is not known here"),
            (right, None, "is not signed"),
            (right, b"a" * 5000, "more than 4096 bytes"),
            (b" " * ((64 << 20) + 1), right_signature, "more than 67108864 bytes"),
        ):
            catalog.put(key, body)
            if signature is None:
                catalog.delete(signature_at)
            else:
                catalog.put(signature_at, signature)
            why = await reading.look()
            assert why is not None
            assert key in why
            assert says in why
            assert (reading.view.version, reading.removed) == (known, set())
        catalog.put(key, right)
        catalog.put(signature_at, right_signature)
        assert await reading.look() is None
        assert (reading.view.version, reading.view.refused) == (newest, {})

    with_reading(catalog, told)


def test_a_title_whose_new_entry_is_altered_stays_as_it_was_until_that_is_right(
    catalog: SignedCatalog,
) -> None:
    catalog.publish("tt1", b"1")

    async def told(reading: Reading) -> None:
        was = await reading.view.find("tt1/video.mp4")
        catalog.publish("tt1", b"1 again")
        key = catalog.entries["tt1"]
        right = catalog.get(key)
        catalog.put(key, b"{}")
        assert await reading.look() is None
        assert await reading.view.find("tt1/video.mp4") == was
        assert "is not the document that the catalog's index was made with" in reading.view.refused[key]
        assert reading.changed == []
        catalog.put(key, right)
        assert await reading.look() is None
        assert (reading.view.refused, set(reading.changed)) == (
            {},
            {f"tt1/{name}" for name in ("video.mp4", "m.m3u8", "m.mpd")},
        )
        found = await reading.view.find("tt1/video.mp4")
        assert found is not None
        assert found != was

    with_reading(catalog, told)


def test_a_catalog_that_cannot_be_remembered_is_not_obeyed(catalog: SignedCatalog) -> None:
    """Forgotten at a restart, an older one could be put in its place."""
    first = catalog.publish("tt1", b"1").version

    async def told(reading: Reading) -> None:
        assert await reading.look() is None
        (catalog.folder / "catalog.json").unlink()
        (catalog.folder / "catalog.json").mkdir()
        catalog.publish("tt2", b"2")
        assert "directory" in (await reading.look() or "")
        assert reading.view.version == first

    with_reading(catalog, told)


def test_an_altered_entry_is_refused_and_its_title_alone_cannot_be_pulled(
    catalog: SignedCatalog, tmp_path: Path
) -> None:
    for title in ("tt1", "tt2"):
        catalog.publish(title, data_of(title))
    key, altered = catalog.entries["tt2"], bytes(SIZE)
    right = catalog.get(key)
    was = decode_entry(right, key, "tt2")
    forged = encode(replace(was, objects=(published("tt2/video.mp4", altered), *was.objects[1:])))
    catalog.put("media/tt2/video.mp4", altered)
    with appliance_of(catalog, tmp_path / "a") as appliance:
        until(lambda: played(appliance, "tt1"))
        for body in (forged, catalog.get(catalog.entries["tt1"]), b" " * (9 << 20)):
            catalog.put(key, body)
            assert ask(appliance, target="/tt2/video.mp4").status == 502
            assert key in status(appliance)["catalog_refused"]
            assert metric(appliance, "oca_catalog_refused_documents") == 1
        shown = commands.run("oca", "status", "--config", appliance.root / "oca.yaml")
        assert f"{key}: " in shown.stdout
        catalog.put("media/tt2/video.mp4", data_of("tt2"))
        catalog.put(key, right)
        assert played(appliance, "tt2")
        assert status(appliance)["catalog_refused"] == {}
        assert metric(appliance, "oca_catalog_refused_documents") == 0


def test_an_unpublished_title_does_not_come_back_by_an_old_catalog_nor_through_a_restart(
    catalog: SignedCatalog, tmp_path: Path
) -> None:
    catalog.publish("tt1", data_of("tt1"))
    catalog.publish("tt2", data_of("tt2"))
    old = catalog.latest()
    with appliance_of(catalog, tmp_path / "a") as appliance:
        until(lambda: played(appliance, "tt1"))
        catalog.unpublish("tt1")
        removed = catalog.latest()
        until(lambda: ask(appliance, target="/tt1/video.mp4").status == 404)
        known = status(appliance)["catalog"]
        appliance.kill()
    catalog.put(LATEST_KEY, old)
    with restarted(appliance.root) as again:
        until_said(again, "somebody put an old one back")
        assert metric(again, "oca_catalog_stale") == 1
        shown = commands.run("oca", "status", "--config", again.root / "oca.yaml")
        assert "somebody put an old one back" in shown.stdout
        assert status(again)["catalog"] == known, "by the index of what was obeyed"
        assert ask(again, target="/tt1/video.mp4").status == 404
        assert played(again, "tt2")
        doctor = commands.run("oca", "doctor", "--json", "--config", again.root / "oca.yaml")
        found = {item["check"]: item for item in json.loads(doctor.stdout)}
        assert not found["origin"]["ok"]
        assert "somebody put an old one back" in found["origin"]["detail"]
        catalog.delete(LATEST_KEY)
        doctor = commands.run("oca", "doctor", "--json", "--config", again.root / "oca.yaml")
        found = {item["check"]: item for item in json.loads(doctor.stdout)}
        assert found["origin"]["detail"] == f"catalog/latest: is gone, and catalog {known} was in force"
        catalog.put(LATEST_KEY, removed)
        until_said(again, "")
        doctor = commands.run("oca", "doctor", "--json", "--config", again.root / "oca.yaml")
        found = {item["check"]: item for item in json.loads(doctor.stdout)}
        assert found["origin"]["ok"]
        assert f"catalog {known} was signed" in found["origin"]["detail"]


def test_a_key_is_replaced_while_both_are_believed(catalog: SignedCatalog) -> None:
    """As docs/operations.md says: the new public key first, and to everybody; then the new private one signs."""
    catalog.publish("tt1", data_of("tt1"))
    old = catalog.signing_key.read_bytes()
    catalog.signing_key.unlink()
    make_key(catalog.signing_key)
    new = catalog.signing_key.read_bytes()
    catalog.signing_key.write_bytes(old)

    async def told(reading: Reading) -> None:
        assert await reading.look() is None
        catalog.signing_key.write_bytes(new)
        version = catalog.publish("tt2", b"2").version
        assert await reading.look() is None
        assert reading.view.version == version
        assert await reading.view.find("tt1/video.mp4") is not None, "of an entry that is as it was"

    with_reading(catalog, told)


def test_without_the_publishers_key_it_does_not_start_and_says_what_is_missing(tmp_path: Path) -> None:
    origin = {"bucket": "nowhere", "endpoint_url": "http://127.0.0.1:9"}
    with running(tmp_path, start=False, origin=origin, catalog_key="/nowhere/catalog.jwks"):
        config = tmp_path / "oca.yaml"
        done = commands.run("oca", "doctor", "--json", "--config", config)
        found = {item["check"]: item for item in json.loads(done.stdout)}
        assert not found["origin"]["ok"]
        config.write_text(config.read_text().replace("catalog_key: /nowhere/catalog.jwks\n", ""))
        done = commands.run("oca", "status", "--config", config)
        assert done.returncode == Exit.USAGE
        assert "catalog_key is missing: name the JWK Set with the publisher's public key" in done.stderr
