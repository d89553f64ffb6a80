"""A code lets one key in, once, for one appliance, until it expires; a revoked appliance stays out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from joserfc.jwk import OKPKey

from contracts.enrol import EnrolRequest, tidy_code
from contracts.fleet import PublicKey
from contracts.token import KeyRing, import_public
from steering.enrolment import ApplianceKeys, Outcome, enrol, give_code, revoke
from steering.store import Kind, Store
from steering.store.local import LocalStore


def key() -> PublicKey:
    jwk = OKPKey.generate_key("Ed25519").as_dict(private=False)
    return PublicKey(jwk["kty"], jwk["crv"], jwk["x"])


ONE, OTHER = key(), key()


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    store = LocalStore(folder / "s.sqlite")
    try:
        yield store
    finally:
        await store.close()


def with_store(folder: Path, work: Callable[[Store], Awaitable[None]]) -> None:
    async def run() -> None:
        async with opened(folder) as store:
            await work(store)

    asyncio.run(run())


def ask(code: str, appliance: str = "a1", brought: PublicKey = ONE) -> EnrolRequest:
    return EnrolRequest(appliance, brought, code)


def test_a_code_lets_one_key_in_once(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        given = await give_code(store, "a1", 100, 3600)
        assert await enrol(store, ask(given.code), 200) is Outcome.ENROLLED
        assert await enrol(store, ask(given.code), 201) is Outcome.ENROLLED  # it did not hear our answer
        assert await enrol(store, ask(given.code, brought=OTHER), 202) is Outcome.REFUSED
        entry = await store.get(Kind.KEY, "a1")
        assert entry is not None
        assert msgspec.json.decode(entry.value)["x"] == ONE.x

    with_store(tmp_path, work)


def test_of_many_at_once_one_is_let_in(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        given = await give_code(store, "a1", 100, 3600)
        keys = [key() for _ in range(20)]
        outcomes = await asyncio.gather(*(enrol(store, ask(given.code, brought=item), 101) for item in keys))
        assert outcomes.count(Outcome.ENROLLED) == 1

    with_store(tmp_path, work)


@pytest.mark.parametrize("what", ["other appliance", "wrong", "expired", "replaced", "revoked", "none"])
def test_no_other_code_lets_anybody_in(tmp_path: Path, what: str) -> None:
    async def work(store: Store) -> None:
        code = "A" * 26 if what == "none" else (await give_code(store, "a1", 100, 3600)).code
        appliance, now = "a1", 200.0
        if what == "other appliance":
            await give_code(store, "a2", 100, 3600)
            appliance = "a2"
        elif what == "wrong":
            code = ("B" if code[0] == "A" else "A") + code[1:]
        elif what == "expired":
            now = 3700
        elif what == "replaced":
            await give_code(store, "a1", 150, 3600)
        elif what == "revoked":
            await revoke(store, "a1", 150)
        assert await enrol(store, ask(code, appliance), now) is Outcome.REFUSED
        found = await store.load(Kind.KEY)
        assert found == {} or what == "revoked"

    with_store(tmp_path, work)


def test_a_code_is_not_to_be_found_in_the_store(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        given = await give_code(store, "a1", 100, 3600)
        for kind in Kind:
            for entry in (await store.load(kind)).values():
                assert given.code.encode() not in entry.value
        assert tidy_code(f" {given.code[:5].lower()}-{given.code[5:]}\n") == given.code
        msgspec.convert(msgspec.to_builtins(ask(given.code)), EnrolRequest)

    with_store(tmp_path, work)


def test_the_store_stands_above_the_fleet_file(tmp_path: Path) -> None:
    file = KeyRing(
        {"a1": import_public(msgspec.to_builtins(ONE)), "a2": import_public(msgspec.to_builtins(ONE))}
    )
    heard: list[tuple[str, str]] = []
    keys = ApplianceKeys(
        lambda: file,
        lambda name: heard.append(("revoked", name)),
        lambda name: heard.append(("enrolled", name)),
    )

    async def work(store: Store) -> None:
        async def changed() -> None:
            keys.changed("a1", await store.get(Kind.KEY, "a1"))

        assert keys.get("a1") is file.get("a1")
        await revoke(store, "a1", 100)
        await changed()
        await changed()
        assert keys.get("a1") is None
        assert keys.get("a2") is file.get("a2")
        given = await give_code(store, "a1", 100, 3600)
        await enrol(store, ask(given.code, brought=OTHER), 101)
        await changed()
        await changed()
        found = keys.get("a1")
        assert found is not None
        assert found.as_dict(private=False)["x"] == OTHER.x
        keys.changed("a1", None)
        assert keys.get("a1") is file.get("a1")
        assert keys.get(None) is None
        assert keys.get("a9") is None
        assert heard == [("revoked", "a1"), ("enrolled", "a1")]
        again = ApplianceKeys(
            lambda: file, lambda name: heard.append(("again", name)), lambda name: heard.append(("no", name))
        )
        await revoke(store, "a2", 100)
        again.load(await store.load(Kind.KEY))
        assert heard[2:] == [("again", "a2")]
        assert again.get("a2") is None

    with_store(tmp_path, work)


def test_a_record_that_cannot_be_read_lets_nobody_in() -> None:
    from steering.store import Entry

    file = KeyRing({"a1": import_public(msgspec.to_builtins(ONE))})
    keys = ApplianceKeys(lambda: file, lambda _: None, lambda _: None)
    keys.changed("a1", Entry(b'{"x": 7}', 1))
    assert keys.get("a1") is None
