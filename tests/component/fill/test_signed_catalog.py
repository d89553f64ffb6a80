"""From the publisher's key to whoever plans and fills: a catalog that somebody else wrote is nobody's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml

from contracts.catalog import LATEST_KEY, CatalogIndex, Latest, index_key
from contracts.documents import BadDocument, encode, sha256
from contracts.inforce import CATALOGS, InForce, SignedLatest
from daemon.cli import Exit
from fill.catalog import CatalogReader, KeptMemory, Memory, Trust
from fill.publish.sign import sign_catalog
from fill.signing import signed_latest
from tests.component.fill.conftest import Setup, StorekeeperThread, fill, last_line, read_index
from tests.signedcatalog import STRANGER, SignedCatalog


@pytest.fixture
def catalog(setup: Setup) -> SignedCatalog:
    """With two titles; the first catalog had one."""
    (setup.folder / "publisher").mkdir()
    made = SignedCatalog(setup.client, setup.config, setup.folder / "publisher")
    made.publish("tt1", b"1" * 1000)
    made.publish("tt2", b"2" * 1000)
    return made


def _word(catalog: SignedCatalog) -> InForce:
    return msgspec.json.decode(catalog.latest(), type=SignedLatest)


def _config(setup: Setup, catalog: SignedCatalog, **agent: str) -> Path:
    path = setup.write_config()
    document = yaml.safe_load(path.read_text())
    del document["publish"]["require_signature"]
    document["publish"]["signing_key"] = str(catalog.signing_key)
    document["planner"]["signing_key"] = str(setup.folder / "planner" / "plan-signing.jwk")
    document["agent"] |= agent
    path.write_text(yaml.safe_dump(document))
    assert fill("init-key", "--config", path).returncode == 0
    return path


def _drop_all(catalog: SignedCatalog) -> None:
    key = index_key(_word(catalog).version)
    catalog.put(key, encode(CatalogIndex(_word(catalog).version, ())))


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (_drop_all, "its signature is wrong"),
        (lambda made: made.put(LATEST_KEY, b"{"), "truncated"),
        (lambda made: made.put(LATEST_KEY, b" " * 5000), "at most 4096 are read"),
        (lambda made: made.put(LATEST_KEY, encode(Latest(_word(made).version))), "is not signed"),
        (
            lambda made: made.put(
                LATEST_KEY, signed_latest(CATALOGS, InForce(_word(made).version, 1 << 33), STRANGER)
            ),
            "a key that is not known here",
        ),
        (lambda made: made.delete(LATEST_KEY), "is gone, and catalog"),
        (
            lambda made: made.put(index_key(_word(made).version) + ".sig", b"a..b"),
            "its signature is not a detached JWS",
        ),
    ],
)
def test_the_publisher_carries_over_nothing_that_it_did_not_sign(
    catalog: SignedCatalog, attack: Callable[[SignedCatalog], None], says: str
) -> None:
    """What it carries over it would sign."""
    attack(catalog)
    with pytest.raises(BadDocument, match=says):
        catalog.publish("tt3", b"3")
    with pytest.raises(BadDocument, match=says):
        catalog.unpublish("tt1")


def test_an_unpublished_title_is_not_published_again_by_the_next_publisher(
    setup: Setup, catalog: SignedCatalog
) -> None:
    """The old catalog is put back, and is the publisher's own: its memory knows better, and mends the bucket."""
    old = catalog.latest()
    catalog.unpublish("tt1")
    removed = _word(catalog)
    catalog.put(LATEST_KEY, old)
    with pytest.raises(BadDocument, match="somebody put an old one back"):
        catalog.publish("tt3", b"3")
    done = fill("sign-catalog", "--config", _config(setup, catalog))
    assert done.returncode == 0, done.stderr
    assert "somebody put an old one back" in done.stdout
    assert "it is replaced" in done.stdout
    assert f"the 1 titles of {removed.version}, 1 removed" in done.stdout
    word = _word(catalog)
    assert word.issued_at > removed.issued_at
    index = read_index(setup.client, setup.config.bucket, word.version)
    assert ([ref.title for ref in index.titles], [gone.title for gone in index.removed]) == (["tt2"], ["tt1"])
    assert [ref.title for ref in catalog.publish("tt3", b"3").titles] == ["tt2", "tt3"]


def test_a_bucket_whose_catalog_nobody_signed_is_signed_as_it_is(setup: Setup) -> None:
    setup.publish_bytes("tt1", 10)
    setup.publish_bytes("tt2", 10)
    version = msgspec.json.decode(
        setup.client.get_object(Bucket=setup.config.bucket, Key=LATEST_KEY)["Body"].read()
    )["version"]
    # As a program wrote it that knew of no digests.
    index = read_index(setup.client, setup.config.bucket, version)
    undescribed = tuple(msgspec.structs.replace(ref, sha256=None) for ref in index.titles)
    (setup.folder / "publisher").mkdir()
    catalog = SignedCatalog(setup.client, setup.config, setup.folder / "publisher")
    catalog.put(index_key(version), encode(msgspec.structs.replace(index, titles=undescribed)))
    config = _config(setup, catalog)
    for command in (("unpublish", "tt1"), ("sign-catalog",), ("plan",)):
        setup.write_fleet()
        done = fill(*command, "--config", config)
        assert done.returncode == Exit.FAILED
        assert last_line(done).startswith("fill: catalog/latest: is not signed")
        assert "`fill sign-catalog --as-it-is` signs" in last_line(done)
    done = fill("sign-catalog", "--as-it-is", "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["before"], told["titles"], told["refused"]) == (version, 2, None)
    refs = (
        CatalogReader(setup.client, setup.config.bucket, catalog.signing().trust)
        .version(told["catalog"])
        .titles
    )
    assert [ref.sha256 for ref in refs] == [sha256(catalog.get(ref.entry)) for ref in refs]
    assert fill("unpublish", "tt1", "--config", config).returncode == 0


def test_the_publisher_goes_back_to_an_earlier_catalog_and_everybody_follows(
    catalog: SignedCatalog, setup: Setup
) -> None:
    memory = Memory()
    reader = CatalogReader(
        setup.client, setup.config.bucket, Trust(catalog.signing().signer.public(), memory)
    )
    newest = reader.newest()
    assert newest is not None
    first = catalog.publish("tt3", b"3").version
    catalog.publish("tt4", b"4")
    catalog.now += 60
    done = sign_catalog(
        setup.client, setup.config.bucket, catalog.version(), catalog.signing(), first, as_it_is=False
    )
    assert done.before == first
    again = reader.newest()
    assert again is not None
    assert [ref.title for ref in again.titles] == ["tt1", "tt2", "tt3"]
    unsigned, next_version = "20260101T000000Z-0a1b2c", catalog.version()
    catalog.put(index_key(unsigned), encode(CatalogIndex(unsigned, ())))
    with pytest.raises(BadDocument, match="is not signed"):
        sign_catalog(
            setup.client,
            setup.config.bucket,
            next_version,
            catalog.signing(),
            unsigned,
            as_it_is=False,
        )


def test_a_catalog_that_was_put_back_is_neither_planned_from_nor_filled_from(
    setup: Setup, catalog: SignedCatalog, storekeeper: StorekeeperThread
) -> None:
    old = catalog.latest()
    catalog.publish("tt3", b"3" * 1000)
    metrics = setup.folder / "fill.prom"
    config = _config(setup, catalog, metrics_file=str(metrics))
    setup.write_fleet()
    done = fill("plan", "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)["plan"]
    known = storekeeper.obeyed = _word(catalog)
    catalog.put(LATEST_KEY, old)
    done = fill("plan", "--config", config)
    assert done.returncode == Exit.FAILED
    assert "somebody put an old one back" in last_line(done)
    done = fill("run", "--json", "--config", config)
    assert done.returncode == Exit.FAILED
    assert "somebody put an old one back" in last_line(done)
    assert "the catalog that was in force stays so" in last_line(done)
    summary = json.loads(done.stdout)
    assert (summary["catalog"], summary["committed"], summary["left_out"]) == (known.version, 9, {})
    assert "fill_catalog_refused 1" in metrics.read_text()
    assert storekeeper.store.plan == plan
    shown = fill("status", "--config", config)
    assert shown.returncode == Exit.FAILED
    assert f"catalog {known.version} in force for" in shown.stdout
    assert "somebody put an old one back" in last_line(shown)


def test_an_altered_entry_leaves_out_its_title_alone(
    setup: Setup, catalog: SignedCatalog, storekeeper: StorekeeperThread
) -> None:
    config = _config(setup, catalog)
    setup.write_fleet()
    assert fill("plan", "--config", config).returncode == 0
    catalog.put(catalog.entries["tt1"], catalog.get(catalog.entries["tt1"]) + b" ")
    done = fill("run", "--json", "--config", config)
    assert done.returncode == Exit.FAILED
    summary = json.loads(done.stdout)
    assert {key.partition("/")[0] for key in summary["left_out"]} == {"tt1"}
    assert summary["committed"] == 3
    assert catalog.entries["tt1"] in last_line(done)
    assert "is not the document that the catalog's index was made with" in last_line(done)
    done = fill("plan", "--config", config)
    assert done.returncode == Exit.FAILED
    assert catalog.entries["tt1"] in last_line(done)


def test_of_two_at_once_the_one_that_is_late_does_not_forget_for_both(tmp_path: Path) -> None:
    path, old, newest = tmp_path / "key.obeyed", "20260101T000000Z-0a1b2c", "20260102T000000Z-0a1b2c"
    late = KeptMemory(path, "here")
    KeptMemory(path, "here").remember(InForce(newest, 2))
    KeptMemory(path, "elsewhere").remember(InForce(old, 9))
    late.remember(InForce(old, 1))
    assert KeptMemory(path, "here").obeyed == InForce(newest, 2)
    assert KeptMemory(path, "elsewhere").obeyed == InForce(old, 9)


def test_a_memory_that_cannot_be_read_is_named(setup: Setup, catalog: SignedCatalog) -> None:
    config = _config(setup, catalog)
    (setup.folder / "publisher" / "catalog-signing.obeyed").write_text("{")
    done = fill("unpublish", "tt1", "--config", config)
    assert done.returncode == Exit.USAGE
    assert "catalog-signing.obeyed: not what was obeyed last" in last_line(done)


def test_who_has_no_key_is_told_which_to_name(setup: Setup, catalog: SignedCatalog) -> None:
    path = setup.write_config()
    whole = yaml.safe_load(path.read_text())
    for section, command, says in (
        ("publish", ("unpublish", "tt1"), "publish.signing_key: missing"),
        ("planner", ("plan",), "planner.signing_key: missing"),
        ("agent", ("status",), "agent.plan_key: missing"),
    ):
        document = {name: dict(value) for name, value in whole.items()}
        del document[section]["require_signature"]
        path.write_text(yaml.safe_dump(document))
        done = fill(*command, "--config", path)
        assert done.returncode == Exit.USAGE
        assert says in last_line(done)
    document["agent"]["plan_key"] = str(catalog.public)
    path.write_text(yaml.safe_dump(document))
    assert "catalog_key: missing: the publisher's public key" in last_line(fill("status", "--config", path))
