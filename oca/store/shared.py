"""HTTP responses that may change: who asks, is answered from what is stored, or upstream is asked once for all.

    a request finds                      then
    a fresh response                     it is sent
    a stale one it may still have        it is sent, and validated behind the client's back (RFC 5861)
    a stale one, or none                 upstream is asked, with its validators; who comes meanwhile waits
    upstream asked already               waits for the head; if that may be shared, shares it, else asks alone
    upstream failed                      a stale one within its bounds, else 502 or 504 for all who wait

A fetch goes on when the client that caused it is gone, unless it is for that client alone. Who waits never
waits behind one who waits: what may not be shared sets everybody free at once, and is remembered for a while.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from contracts.problem import Problem
from oca.config import Config
from oca.httpcache import messages, policy
from oca.httpcache.fields import first, values
from oca.httpcache.forward import Loop
from oca.httpcache.messages import Ask, Reply
from oca.httpcache.policy import Keep, Use
from oca.httpcache.target import resolve
from oca.identity import Identity
from oca.store.disks import Disk
from oca.store.httpclient import HttpClient
from oca.store.httporigin import HttpUpstreams, Tally
from oca.store.sharedask import Asked, Link
from oca.store.sharedfetch import Fetch, Outcome, Result
from oca.store.sharedfiles import SharedFiles
from oca.store.sharedindex import Entry
from oca.store.sharedstore import SharedStore
from oca.store.upstream import Fault, UpstreamError

log = logging.getLogger("oca.store.shared")

_PASS_S: Final = 10.0
"""How long it is remembered that a key's responses cannot be shared, so that nobody waits for the next."""
_MOST_REMEMBERED: Final = 65_536
_WAITED: Final = "bypass"
"""The reason of RFC 9211 for who waited, and could not have what came."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class SharedCache:
    """``now`` is the time of day."""

    def __init__(
        self,
        config: Config,
        store: SharedStore,
        upstreams: HttpUpstreams,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.upstreams = upstreams
        self.rules = config.http_cache
        self.origins = config.http_origins
        self.now = now
        self._wait_s = config.pull.wait_timeout_s
        self._asked: dict[tuple[Link | None, int], Asked] = {}
        self._flights: dict[tuple[str, str], Fetch] = {}
        self._passing: dict[str, float] = {}
        self._small: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # What workers say

    def received(self, link: Link, message: messages.ToStore) -> None:
        if isinstance(message, messages.Missing):
            self.missing(message)
            return
        if isinstance(message, Ask):
            asked = Asked(link, message)
            self._asked[link, message.id] = asked
            asked.task = asyncio.ensure_future(self._answer(asked))
            return
        known = self._asked.get((link, message.id))
        if known is None:
            return
        if isinstance(message, messages.Body):
            known.body_came(message.data, message.last)
        elif isinstance(message, messages.Took):
            known.took(message.count)
        else:
            known.cancel()

    def missing(self, message: messages.Missing) -> None:
        """A worker could not open it: its disk has been away, or somebody removed it."""
        for entry in self.store.index.get(message.key):
            if entry.number == message.number:
                self.store.drop([message.key])

    def left(self, link: Link) -> None:
        """The worker is gone, and its clients with it."""
        for (owner, _), asked in tuple(self._asked.items()):
            if owner is link:
                asked.cancel()

    def touched(self, paths: Iterable[str]) -> None:
        """Workers have served these."""
        for path in paths:
            self.store.index.touch(path)

    def purge(self, matches: Callable[[str], bool]) -> int:
        """Drops every response whose path (without its slash and query) matches; how many keys those were."""
        keys = [key for key in self.store.index.all_keys() if matches(key[1:].partition("?")[0])]
        self.store.drop(keys)
        return len(keys)

    # One request

    async def _answer(self, asked: Asked) -> None:
        ask = asked.ask
        try:
            if ask.method in {"GET", "HEAD"} and ask.body_bytes == 0:
                await self._cached(asked)
            else:
                await self._through(asked)
        except Loop:
            asked.refuse(Problem.LOOP)
        except UpstreamError as error:
            asked.refuse(_problem(error))
        except TimeoutError:
            asked.refuse(Problem.UPSTREAM_SLOW)
        except Exception:
            log.exception("unexpected")
            asked.refuse(Problem.INTERNAL)
        finally:
            self._asked.pop((asked.link, ask.id), None)

    async def _cached(self, asked: Asked) -> None:
        ask = asked.ask
        alone = policy.is_demanding(ask.fields) and self.origins[ask.origin].obey_clients
        why = "request" if alone else ""
        while True:
            entry = await self.store.select(ask.key, ask.fields)
            if entry is not None and self._serves(asked, entry):
                return
            if policy.only_if_cached(ask.fields):
                asked.refuse(Problem.UPSTREAM_SLOW, "only-if-cached, and it is not")
                return
            alone = alone or self._passing.get(ask.key, 0) > self.now()
            if ask.method == "HEAD":
                await self._head(asked, entry)
                return
            why = why or _why(self, ask, entry)
            fetch = self._fetch(asked, entry, alone=alone, after_waiting=why == _WAITED)
            mine = fetch.asked is asked
            result = await asyncio.wait_for(asyncio.shield(fetch.result), self._wait_s)
            if self._finish(asked, fetch, result, mine=mine, why=why):
                if mine and result.outcome is Outcome.ALONE:
                    await fetch.stream()
                return
            alone, why = True, _WAITED

    def _serves(self, asked: Asked, entry: Entry) -> bool:
        """Answers from the stored response, if it is good enough."""
        ask, now = asked.ask, self.now()
        use = policy.use(entry.fresh, ask.fields, now, obey=self.origins[ask.origin].obey_clients)
        if use is Use.VALIDATE:
            return False
        if use is Use.WHILE_REVALIDATE and not self._in_flight(ask, entry):
            self._fetch(Asked(None, ask), entry, alone=False)
        asked.reply(Reply(ask.id, entry.status, entry.fields, _hit(entry, now), entry.stored()))
        return True

    def _finish(self, asked: Asked, fetch: Fetch, result: Result, *, mine: bool, why: str) -> bool:
        """Answers by what the fetch brought; False when it is not for this request."""
        ask, now, entry = asked.ask, self.now(), result.entry
        if result.outcome is Outcome.FAILED:
            assert result.error is not None
            raise result.error
        if result.outcome is Outcome.ALONE:
            if mine:
                asked.reply(fetch.reply(f"fwd={why}; fwd-status={fetch.status}"))
            return mine
        assert entry is not None
        if entry.cut:
            # It was told before we could answer, to workers that did not know of it yet.
            raise UpstreamError(Fault.CUT, "upstream broke off")
        if result.outcome is Outcome.STALE:
            asked.reply(
                Reply(
                    ask.id,
                    entry.status,
                    entry.fields,
                    f"hit; ttl={_ttl(entry, now)}; fwd={why}",
                    entry.stored(),
                )
            )
            return True
        if not mine:
            if not policy.may_collapse(entry.fresh, now):
                return False
            if self.store.index.select(ask.key, ask.fields) is not entry:
                return False
        fields = entry.fields if not mine or fetch.status == 304 else fetch.fields
        cache = f"fwd={why}; fwd-status={fetch.status}; stored; ttl={_ttl(entry, now)}"
        asked.reply(
            Reply(ask.id, entry.status, fields, cache if mine else cache + "; collapsed", entry.stored())
        )
        return True

    # Upstream

    def _in_flight(self, ask: Ask, entry: Entry | None) -> bool:
        return _flight_key(ask, whole=self._whole(ask, entry)) in self._flights

    def _whole(self, ask: Ask, entry: Entry | None) -> bool:
        """Whether all of the representation is asked for, whatever the client's range."""
        if first(ask.fields, "range") is None:
            return True
        return ask.key in self._small or (entry is not None and entry.status != 206)

    def _fetch(self, asked: Asked, entry: Entry | None, *, alone: bool, after_waiting: bool = False) -> Fetch:
        """The fetch that is under way for this, or a new one."""
        ask = asked.ask
        whole = self._whole(ask, entry)
        key = _flight_key(ask, whole=whole)
        flight = None if alone else self._flights.get(key)
        if flight is None:
            flight = Fetch(
                self,
                asked,
                entry if whole else None,
                whole=whole and not (alone and entry is None),
                after_waiting=after_waiting,
            )
            if not alone:
                self._flights[key] = flight
            task = asyncio.ensure_future(flight.run())
            self._tasks.add(task)
            task.add_done_callback(lambda _: self._ended(key, flight, task))
        return flight

    def _ended(self, key: tuple[str, str], flight: Fetch, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._flights.get(key) is flight:
            del self._flights[key]

    def landed(self, flight: Fetch) -> None:
        """Its head is known: who comes from now on finds what it left, or asks anew."""
        key = _flight_key(flight.asked.ask, whole=flight.whole)
        if self._flights.get(key) is flight:
            del self._flights[key]

    def remember(self, ask: Ask, keep: Keep, status: int, total: int | None) -> None:
        """What the next request for this key should know of it."""
        if keep is Keep.STORE:
            self._passing.pop(ask.key, None)
        elif status < 400 and status != 304:
            _bounded(self._passing)[ask.key] = self.now() + _PASS_S
        if status == 206 and total is not None and total <= self.rules.whole_bytes:
            _bounded(self._small)[ask.key] = None

    async def _head(self, asked: Asked, entry: Entry | None) -> None:
        """HEAD goes upstream as HEAD, and what it says is applied to what is stored: RFC 9111 section 4.3.5."""
        ask, requested_at = asked.ask, self.now()
        try:
            response, name = await self.upstreams.ask(ask, ask.fields, whole=False, interim=asked.interim)
        except UpstreamError:
            if entry is None or not policy.stale_on_error(
                entry.fresh, self.now(), self.rules.stale_if_error_s
            ):
                raise
            asked.reply(Reply(ask.id, entry.status, entry.fields, "hit; fwd=stale", entry.stored()))
            return
        now = self.now()
        async for _ in response.pieces():
            pass
        if response.status == 200 and first(ask.fields, "range") is None:
            for stored in self.store.index.get(ask.key):
                if policy.same_representation(stored.fields, stored.total, response.fields):
                    self.store.update(
                        stored, response.fields, requested_at, now, self.guess_s(ask, stored.status)
                    )
                else:
                    self.store.drop([ask.key])
            self.store.announce_drop([ask.key])
        cache = f"fwd={'stale' if entry is not None else 'method'}; fwd-status={response.status}"
        length = first(response.fields, "content-length")
        body_bytes = int(length) if length is not None and length.isdecimal() else None
        asked.reply(
            Reply(ask.id, response.status, policy.passed_fields(response.fields), cache, None, body_bytes)
        )
        self.upstreams.received(name, 0)

    async def _through(self, asked: Asked) -> None:
        """Any other request goes to the origin, and what it may have changed is dropped: section 4.4."""
        ask = asked.ask
        fetch = Fetch(self, asked, None, whole=False)
        await fetch.ask_alone()
        if ask.method not in _SAFE and fetch.status < 400:
            dropped = {ask.key}
            authorities = self.upstreams.authorities(ask.origin, ask.fields)
            for name in ("location", "content-location"):
                for reference in values(fetch.fields, name):
                    key = resolve(reference, ask.key, authorities)
                    if key is not None:
                        dropped.add(key)
            self.store.drop(sorted(dropped))
        asked.reply(fetch.reply(f"fwd=method; fwd-status={fetch.status}"))
        await fetch.stream()

    def guess_s(self, ask: Ask, status: int) -> float | None:
        """How long a response is fresh where its origin says nothing."""
        return self.origins[ask.origin].guess_s(ask.key, status)


def shared_cache(
    config: Config,
    identity: Identity,
    disks: Callable[[], Sequence[Disk]],
    client: HttpClient,
    tally: Tally,
    tell: Callable[[messages.ToEdge], None],
) -> SharedCache:
    """All of it, wired together."""
    files = SharedFiles(disks)
    store = SharedStore(config.http_cache, config.http_origins, files, tell, time.time)
    upstreams = HttpUpstreams(config, identity, client, tally, time.monotonic, secrets.SystemRandom())
    return SharedCache(config, store, upstreams)


def _flight_key(ask: Ask, *, whole: bool) -> tuple[str, str]:
    return ask.key, "" if whole else first(ask.fields, "range") or ""


def _why(cache: SharedCache, ask: Ask, entry: Entry | None) -> str:
    """The reason of RFC 9211 section 2.2 for going upstream."""
    if entry is not None:
        return "stale"
    return "vary-miss" if cache.store.index.get(ask.key) else "uri-miss"


def _hit(entry: Entry, now: float) -> str:
    return f"hit; ttl={_ttl(entry, now)}"


def _ttl(entry: Entry, now: float) -> int:
    return int(entry.fresh.left_s(now))


def _bounded(memory: dict) -> dict:  # type: ignore[type-arg]
    if len(memory) >= _MOST_REMEMBERED:
        memory.clear()
    return memory


def _problem(error: UpstreamError) -> Problem:
    return Problem.UPSTREAM_SLOW if error.fault is Fault.SLOW else Problem.UPSTREAM
