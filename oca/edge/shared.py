"""Requests of HTTP origins: answered from what this worker knows to be fresh, else by asking the storekeeper.

A worker remembers the stored responses it was told of, with their files open, and needs no message to
send one while it is fresh. All that it remembers may be forgotten at any time.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from contracts.problem import Problem
from oca.config import Config
from oca.edge.answer import PROBLEMS, error
from oca.edge.exchange import Exchange
from oca.edge.request import Request
from oca.edge.sharedanswer import Plan, from_stored
from oca.edge.sharedfile import SharedFile, open_stored
from oca.edge.state import State
from oca.edge.stream import Pieces, Stream
from oca.httpcache import messages, policy, vary
from oca.httpcache.fields import Fields, first, without
from oca.httpcache.forward import without_token
from oca.httpcache.messages import Ask, Reply, Stored
from oca.httpcache.policy import Use
from oca.httpcache.target import BadTarget, cache_key, longest_prefix
from oca.ipc import Outcome

if TYPE_CHECKING:
    from oca.edge.connection import Connection
    from oca.edge.worker import Worker

_REMEMBERED: Final = 2048
"""Responses, each with a file open."""


class _Known:
    __slots__ = ("file", "stored")

    def __init__(self, stored: Stored, file: SharedFile) -> None:
        self.stored = stored
        self.file = file


class _Opening:
    """A file that is being opened, and what was said of it meanwhile."""

    __slots__ = ("held_back", "news", "task")

    def __init__(self, task: asyncio.Task[SharedFile]) -> None:
        self.task = task
        self.held_back: messages.Grown | None = None
        self.news: Stored | None = None
        """As it was last told of; None when it was dropped since."""


class Shared:
    def __init__(self, worker: Worker, config: Config) -> None:
        self.worker = worker
        self.rules = config.http_cache
        self._origins = config.http_origins
        self._prefixes = [origin.prefix for origin in config.http_origins]
        self._required = config.auth.required
        self._name = config.appliance.encode()
        self._known: OrderedDict[str, list[_Known]] = OrderedDict()
        self._count = 0
        self._files: dict[int, SharedFile] = {}
        """Of responses whose body still comes."""
        self._opening: dict[int, _Opening] = {}
        self._exchanges: dict[int, Exchange] = {}
        self._ids = itertools.count(1)

    # A request

    def begin(self, connection: Connection, request: Request, target: bytes) -> bool:
        """Takes a request that is an HTTP origin's; False for any other."""
        try:
            key = cache_key(target.decode("latin-1"))
        except BadTarget:
            return False
        origin = longest_prefix(self._prefixes, key)
        if origin is None:
            return False
        if self._required and connection.route(request, target) is None:
            return True
        fields = without_token(
            tuple((name.decode("latin-1"), value) for name, value in request.headers.items()),
            bearer=self._required,
        )
        body = request.body
        if body is not None:
            request.keep_alive = body.keep_alive
        if request.method in {b"CONNECT", b"TRACE"}:
            connection.answer(error(Problem.METHOD, request.method))
        elif body is not None and (body.length or 0) > self.rules.body_bytes:
            request.keep_alive = False
            connection.answer(error(Problem.TOO_LARGE, request.method))
        elif body is not None or not self._from_memory(connection, request, key, fields, origin):
            self._ask(connection, request, key, fields, origin)
        return True

    def _from_memory(
        self, connection: Connection, request: Request, key: str, fields: Fields, origin: int
    ) -> bool:
        if request.method not in {b"GET", b"HEAD"} or key not in self._known:
            return False
        now = time.time()
        for known in self._known[key]:
            stored = known.stored
            if (
                not known.file.cut
                and stored.status != 206
                and vary.selects(stored.selecting, fields, vary.content_language(stored.fields))
                and policy.use(stored.fresh, fields, now, obey=self._origins[origin].obey_clients)
                in {Use.FRESH, Use.STALE}
            ):
                self._known.move_to_end(key)
                cache = f"hit; ttl={int(stored.fresh.left_s(now))}"
                self.send_stored(connection, request, fields, stored, stored.fields, known.file, cache)
                return True
        return False

    def _ask(self, connection: Connection, request: Request, key: str, fields: Fields, origin: int) -> None:
        body = request.body
        length: int | None = 0 if body is None else body.length
        ask = Ask(
            next(self._ids), origin, key, request.method.decode("latin-1"), fields, connection.address,
            connection.secure, first(fields, "authorization") is not None, length,
        )  # fmt: skip
        if not self.worker.store.up:
            connection.answer(error(PROBLEMS[Outcome.LOST], request.method))
            return
        exchange = self._exchanges[ask.id] = Exchange(self, connection, request, ask)
        connection.exchange = exchange
        connection.state = State.LOCATING
        connection.deadline = self.worker.now + self.worker.wait_timeout_s
        self.worker.store.send(ask)
        exchange.begin_body()

    def ask_again(self, exchange: Exchange) -> None:
        """What the storekeeper offered is not there: it is told, and asked once more."""
        exchange.ask = msgspec.structs.replace(exchange.ask, id=next(self._ids))
        self._exchanges[exchange.ask.id] = exchange
        self.worker.store.send(exchange.ask)

    def forget(self, exchange: Exchange) -> bool:
        """Nothing more is heard of it; whether something might have been."""
        return self._exchanges.pop(exchange.ask.id, None) is not None

    # What the storekeeper says

    def received(self, message: messages.ToEdge) -> None:
        if isinstance(message, messages.Grown):
            self._grown(message)
        elif isinstance(message, messages.Drop):
            for key in message.keys:
                self._count -= len(self._known.pop(key, ()))
            for opening in self._opening.values():
                if opening.news is not None and opening.news.key in message.keys:
                    opening.news = None
        else:
            exchange = self._exchanges.get(message.id)
            if exchange is None:
                return
            if isinstance(message, Reply):
                exchange.reply(message)
            elif isinstance(message, messages.Piece):
                exchange.piece(message)
            elif isinstance(message, messages.Interim):
                exchange.interim(message)
            else:
                exchange.taken(message.count)

    def lost(self) -> None:
        """The storekeeper is away: what was under way is over, and what is fresh is served on."""
        for exchange in tuple(self._exchanges.values()):
            exchange.lost()
        for file in tuple(self._files.values()):
            self._grown(messages.Grown(file.number, file.ready, cut=True))

    def _grown(self, message: messages.Grown) -> None:
        opening = self._opening.get(message.number)
        if opening is not None:
            opening.held_back = message  # the last word counts
        file = self._files.get(message.number)
        if file is None:
            return
        file.grown(message)
        if message.done or message.cut:
            del self._files[message.number]
        self.worker.store.wake(file.item.key)

    def expect(self, stored: Stored) -> asyncio.Future[SharedFile]:
        """Remembers a stored response; its file once that is open, or OSError where it is gone.

        From now on it is heard what becomes of the file. Whoever expects it has it, even if it is dropped
        before they come to send it.
        """
        file = self._open_already(stored)
        if file is not None:
            self._remember(_Known(stored, file))
            opened: asyncio.Future[SharedFile] = asyncio.get_running_loop().create_future()
            opened.set_result(file)
            return opened
        opening = self._opening.get(stored.number)
        if opening is None:
            task = asyncio.ensure_future(self._open(stored))
            opening = self._opening[stored.number] = _Opening(task)
        opening.news = stored
        return opening.task

    def _open_already(self, stored: Stored) -> SharedFile | None:
        file = self._files.get(stored.number)
        if file is not None:
            return file
        for known in self._known.get(stored.key, ()):
            if known.stored.number == stored.number:
                return known.file
        return None

    async def _open(self, stored: Stored) -> SharedFile:
        disk = str(Path(stored.path).parents[2])
        threads = self.worker.files.threads(disk)
        try:
            fd = await threads.run(partial(open_stored, stored.path))
        finally:
            opening = self._opening.pop(stored.number)
        file = SharedFile(fd, stored, disk, threads.close)
        if opening.held_back is not None:
            file.grown(opening.held_back)
        if not file.done and not file.cut:
            self._files[stored.number] = file
        if opening.news is not None:
            self._remember(_Known(opening.news, file))
        return file

    def _remember(self, news: _Known) -> None:
        """In front of the key's others, and instead of the one it replaces."""
        before = self._known.pop(news.stored.key, [])
        kept = [
            known
            for known in before
            if known.stored.number != news.stored.number and known.stored.selecting != news.stored.selecting
        ]
        self._known[news.stored.key] = [news, *kept]
        self._count += 1 + len(kept) - len(before)
        while self._count > _REMEMBERED and len(self._known) > 1:
            self._count -= len(self._known.popitem(last=False)[1])

    # Answers

    def send_stored(
        self,
        connection: Connection,
        request: Request,
        fields: Fields,
        stored: Stored,
        sent: Fields,
        file: SharedFile,
        cache: str,
    ) -> None:
        """Answers from a stored response; ``sent`` are its fields, or those that came with it just now."""
        method, now = request.method.decode("latin-1"), time.time()
        if stored.total is None and file.done:
            stored = _whole(stored, file.ready)
        plan = from_stored(method, fields, stored, sent, now)
        if not file.done and len(plan.parts) > 1:
            # Several ranges of what is not all there: all of it, which is always right.
            plan = from_stored(method, without(fields, {"range"}), stored, sent, now)
        missed = not cache.startswith("hit")
        if file.done or plan.body_bytes == 0:
            head = self.head(connection, request, plan, cache, sent)
            connection.deliver(plan.status, head, plan.parts, plan.body_bytes or 0, file, missed=missed)
            return
        self.stream(connection, request, plan, file, cache, sent, missed=missed)

    def stream(
        self,
        connection: Connection,
        request: Request,
        plan: Plan,
        source: SharedFile | Pieces,
        cache: str,
        sent: Fields,
        *,
        missed: bool,
    ) -> None:
        """Answers with a body that still comes."""
        span = plan.parts[0] if plan.parts else (0, None)
        assert isinstance(span, tuple)
        head = self.head(connection, request, plan, cache, sent)
        chunked = plan.body_bytes is None and request.version == "HTTP/1.1"
        connection.stream(
            Stream(connection.wire, plan.status, head, source, span[0], span[1], chunked=chunked),
            missed=missed,
        )

    def head(self, connection: Connection, request: Request, plan: Plan, cache: str, sent: Fields) -> bytes:
        """The whole head, with what only the connection knows."""
        if plan.body_bytes is None and request.method != b"HEAD":
            if request.version == "HTTP/1.1":
                plan.head += b"Transfer-Encoding: chunked\r\n"
            else:
                request.keep_alive = False  # the end of the connection is the end of the body
        cors = b"" if first(sent, "access-control-allow-origin") else self.worker.cors(request.headers)
        early = connection.exchange.early() if connection.exchange is not None else b""
        return early + b"%bVia: 1.1 %b\r\nCache-Status: %b; %b\r\n%bConnection: %b\r\n\r\n" % (
            plan.head, self._name, self._name, cache.encode(), cors,
            b"close" if connection.ends(request) else b"keep-alive",
        )  # fmt: skip


def _whole(stored: Stored, total: int) -> Stored:
    return msgspec.structs.replace(stored, total=total, size=total, ready=total, done=True)
