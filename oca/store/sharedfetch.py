"""One request upstream, and what came of it: stored and growing, or for one client alone."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

from oca.httpcache import parts, policy
from oca.httpcache.fields import Fields, first, without
from oca.httpcache.messages import Reply
from oca.httpcache.policy import Keep
from oca.store.httpclient import Response
from oca.store.httporigin import ERRORS
from oca.store.sharedask import Asked
from oca.store.sharedindex import Entry
from oca.store.upstream import UpstreamError

if TYPE_CHECKING:
    from oca.store.shared import SharedCache


class Outcome(enum.Enum):
    """What a fetch brought, and what those who wait for it do."""

    STORED = "stored"  # a response that is stored, or is still good: share it if it is fresh and selected
    STALE = "stale"  # upstream failed, and the stored response is good enough for that: send it
    ALONE = "alone"  # it is for the one who asked: everybody else asks for himself
    FAILED = "failed"  # nobody upstream answered: neither would they answer us again


@dataclass(frozen=True)
class Result:
    outcome: Outcome
    entry: Entry | None = None
    error: Exception | None = None


class Fetch:
    """``entry`` is validated, when there is one. ``whole``: the client's range and conditions stay here.

    ``after_waiting``: it is one of many at once that could not have what one of them fetched.
    """

    def __init__(
        self,
        cache: SharedCache,
        asked: Asked,
        entry: Entry | None,
        *,
        whole: bool,
        after_waiting: bool = False,
    ) -> None:
        self._after_waiting = after_waiting
        self.asked = asked
        self.whole = whole
        self.result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.fields: Fields = ()
        self._cache = cache
        self._entry = entry
        self._response: Response | None = None
        self._name = ""

    async def run(self) -> None:
        """Asks, tells those who wait, and stores the body to its end."""
        try:
            entry, growing = await self._ask()
        except UpstreamError as error:
            self._landed(self._failed(error))
        except BaseException as error:
            # Whoever waits must hear of it, whatever it was: a bug of ours as well as our end.
            if not self.result.done():
                self.result.set_result(Result(Outcome.FAILED, error=_plain(error)))
                self.result.exception()
            raise
        else:
            if growing is not None:
                await self._fill(growing)
            elif entry is None and self.asked.gone:
                self.close()

    async def ask_alone(self) -> None:
        """Asks for the client alone, whatever may be stored; raises `UpstreamError` and `Loop`."""
        ask = self.asked.ask
        body = self.asked.body() if ask.body_bytes != 0 else None
        self._response, self._name = await self._cache.upstreams.ask(
            ask, ask.fields, whole=False, body=body, interim=self.asked.interim
        )
        self.status, self.fields = self._response.status, policy.passed_fields(self._response.fields)

    def reply(self, cache: str) -> Reply:
        """The head of what is for the client alone; `stream` sends the body."""
        assert self._response is not None
        fields = without(self.fields, {"content-length"})
        return Reply(self.asked.ask.id, self.status, fields, cache, None, self._response.body_bytes)

    async def stream(self) -> None:
        """Sends the body to the client as it comes."""
        assert self._response is not None
        cut = True
        try:
            async for piece in self._response.pieces():
                self._cache.upstreams.received(self._name, len(piece))
                await self.asked.piece(piece)
            cut = False
        except UpstreamError as error:
            self._cache.upstreams.broke_off(self._name, error)
        finally:
            if cut:
                self.close()
            self.asked.end(cut=cut)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()

    async def _ask(self) -> tuple[Entry | None, Entry | None]:
        """Asks and decides; the entry that answers, and the one whose body still comes."""
        cache, ask, entry = self._cache, self.asked.ask, self._entry
        fields = ask.fields
        conditions = policy.validators(entry.fields) if entry is not None else ()
        if conditions:
            fields = (
                *without(fields, {"if-none-match", "if-modified-since", "if-range", "range"}),
                *conditions,
            )
        requested_at = cache.now()
        # Our own conditions stay; a client's are left out for what is to be stored.
        response, self._name = await cache.upstreams.ask(
            ask, fields, whole=self.whole and not conditions, interim=self.asked.interim
        )
        now = cache.now()
        self._response, self.status = response, response.status
        self.fields = policy.passed_fields(response.fields)
        if response.status in ERRORS and entry is not None and self._may_be_stale(entry):
            response.close()
            self._landed(Result(Outcome.STALE, entry))
            return entry, None
        if response.status == 304 and conditions and entry is not None:
            async for _ in response.pieces():
                pass
            cache.store.update(entry, response.fields, requested_at, now, cache.guess_s(ask, entry.status))
            self._landed(Result(Outcome.STORED, entry))
            return entry, None
        stored = await self._store(response, requested_at, now)
        self._landed(Result(Outcome.STORED, stored) if stored is not None else Result(Outcome.ALONE))
        return stored, stored

    async def _store(self, response: Response, requested_at: float, now: float) -> Entry | None:
        """An entry for the response, to be filled; None when it is not to be stored."""
        cache, ask = self._cache, self.asked.ask
        guess = cache.guess_s(ask, response.status)
        fresh = policy.freshness(response.status, response.fields, requested_at, now, guess)
        status, start, total = response.status, 0, response.body_bytes
        if status == 206:
            span = parts.content_range(first(response.fields, "content-range"), response.body_bytes)
            if span is not None:
                start, total = span
        partial = status == 206 and total is not None and not self.whole
        keep = policy.keep(
            ask.method,
            200 if partial else status,
            ask.fields,
            response.fields,
            fresh,
            authorised=ask.authorised,
        )
        cache.remember(ask, keep, status, total)
        if keep is Keep.ALONE:
            return None
        if self._after_waiting and (fresh.validate or fresh.left_s(now) <= 0):
            # Each of the many would replace another's file before a worker has opened it.
            return None
        fields = policy.stored_fields(response.fields, formatdate(now, usegmt=True))
        fields = without(fields, {"content-length", *(("content-range",) if partial else ())})
        return await cache.store.begin(
            ask, status, fields, fresh, response.body_bytes, start=start, total=total
        )

    async def _fill(self, entry: Entry) -> None:
        assert self._response is not None
        try:
            async for piece in self._response.pieces():
                self._cache.upstreams.received(self._name, len(piece))
                await self._cache.store.grow(entry, piece)
        except UpstreamError as error:
            self._cache.upstreams.broke_off(self._name, error)
            self._cache.store.broken(entry)
        except OSError as error:
            self.close()
            self._cache.store.failed(entry, error)
        except BaseException:
            self.close()
            self._cache.store.broken(entry)
            raise
        else:
            await self._cache.store.finish(entry)

    def _failed(self, error: UpstreamError) -> Result:
        if self._entry is not None and self._may_be_stale(self._entry):
            return Result(Outcome.STALE, self._entry)
        return Result(Outcome.FAILED, error=error)

    def _may_be_stale(self, entry: Entry) -> bool:
        return policy.stale_on_error(entry.fresh, self._cache.now(), self._cache.rules.stale_if_error_s)

    def _landed(self, result: Result) -> None:
        self._cache.landed(self)
        if not self.result.done():
            self.result.set_result(result)


def _plain(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else ConnectionError("ended")
