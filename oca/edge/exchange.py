"""One request that the storekeeper was asked about: its body on the way up, the answer on the way down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from contracts.problem import Problem
from oca.edge import sharedanswer
from oca.edge.answer import PROBLEMS, error
from oca.edge.request import Request
from oca.edge.stream import Pieces
from oca.httpcache import messages
from oca.httpcache.fields import first
from oca.httpcache.messages import WINDOW_BYTES, Ask, Body, Gone, Interim, Missing, Piece, Reply, Took
from oca.ipc import Outcome

if TYPE_CHECKING:
    from oca.edge.connection import Connection
    from oca.edge.shared import Shared
    from oca.edge.sharedfile import SharedFile


class Exchange:
    def __init__(self, shared: Shared, connection: Connection, request: Request, ask: Ask) -> None:
        self.ask = ask
        self._shared = shared
        self._connection = connection
        self._request = request
        self._sent = 0
        self._under_way = 0
        self._paused = False
        self._answered = False
        self._again = False
        self._opening: asyncio.Task[None] | None = None
        self._pieces: Pieces | None = None
        self._early = b""
        """Of interim answers, what the client's socket did not take."""

    # Up

    def begin_body(self) -> None:
        """Sends the request's body as it comes, and asks for it where the client waits to be asked."""
        body = self._request.body
        if body is None:
            return
        expects = first(self.ask.fields, "expect")
        if expects is not None and expects.lower() == "100-continue" and not body.begun:
            self._send_early(b"HTTP/1.1 100 Continue\r\n\r\n")
        body.flow(self._body_came)

    def _body_came(self, data: bytes, last: bool) -> None:
        self._sent += len(data)
        self._connection.deadline = self._shared.worker.now + self._shared.worker.wait_timeout_s
        if self._sent > self._shared.rules.body_bytes:
            self._request.keep_alive = False
            self._connection.fail(Problem.TOO_LARGE)
            return
        self._under_way += len(data)
        self._shared.worker.store.send(Body(self.ask.id, data, last))
        if self._under_way > WINDOW_BYTES and not self._paused:
            self._paused = True
            self._connection.wire.pause()

    def taken(self, count: int) -> None:
        self._under_way -= count
        if self._paused and self._under_way <= WINDOW_BYTES // 2:
            self._paused = False
            self._connection.wire.read()

    # Down

    def interim(self, message: Interim) -> None:
        if not self._answered and self._request.version == "HTTP/1.1":
            self._send_early(sharedanswer.interim(message.status, message.fields))

    def reply(self, message: Reply) -> None:
        if self._answered:
            return
        self._answered = True
        body = self._request.body
        if body is not None and not body.ended:
            self._request.keep_alive = False  # what is left of the body is of no use, and is not read
        if message.stored is not None:
            self._done()
            expected = self._shared.expect(message.stored)
            self._opening = asyncio.ensure_future(self._stored(message, message.stored, expected))
            return
        if message.problem is not None:
            self._done()
            self._connection.answer(error(Problem[message.problem], self._request.method, message.detail))
        else:
            self._passed(message)
        self._connection.drive()

    def piece(self, message: Piece) -> None:
        pieces = self._pieces
        if pieces is None:
            self._done()
            return
        if message.data:
            pieces.queue.append(message.data)
        pieces.ended, pieces.cut = message.last and not message.cut, message.cut
        if message.last:
            self._done()
        self._shared.worker.store.wake(pieces.item.key)

    def lost(self) -> None:
        """The storekeeper went away."""
        self._done()
        if self._pieces is not None:
            self._pieces.cut = True
            self._shared.worker.store.wake(self._pieces.item.key)
        elif not self._answered:
            self._answered = True
            self._connection.answer(error(PROBLEMS[Outcome.LOST], self._request.method))
            self._connection.drive()

    def leave(self) -> None:
        """The client has its answer, or is gone."""
        if self._shared.forget(self):
            self._shared.worker.store.send(Gone(self.ask.id))

    async def _stored(
        self, message: Reply, stored: messages.Stored, expected: asyncio.Future[SharedFile]
    ) -> None:
        try:
            file = await asyncio.shield(expected)
        except OSError:
            file = None
        if self._connection.exchange is not self:
            return  # the client has gone meanwhile, or was told 504
        if file is None:
            # Evicted between two messages; or its disk has been away.
            self._shared.worker.store.send(Missing(stored.number, stored.key))
            if not self._again:
                self._again, self._answered = True, False
                self._shared.ask_again(self)
                return
            self._connection.answer(error(PROBLEMS[Outcome.LOST], self._request.method))
        else:
            self._shared.send_stored(
                self._connection, self._request, self.ask.fields, stored, message.fields, file, message.cache
            )
        self._connection.drive()

    def _passed(self, message: Reply) -> None:
        plan = sharedanswer.passed(self.ask.method, message.status, message.fields, message.body_bytes)
        shared, connection = self._shared, self._connection
        path = self.ask.key.partition("?")[0]
        if plan.body_bytes == 0:
            head = shared.head(connection, self._request, plan, message.cache, message.fields)
            connection.deliver(plan.status, head, [], 0, None, missed=True)
            return
        self._pieces = Pieces(path, self._took)
        shared.stream(
            connection, self._request, plan, self._pieces, message.cache, message.fields, missed=True
        )

    def _took(self, count: int) -> None:
        self._shared.worker.store.send(Took(self.ask.id, count))

    def _done(self) -> None:
        self._shared.forget(self)

    def early(self) -> bytes:
        """What must go out before the answer does."""
        early, self._early = self._early, b""
        return early

    def _send_early(self, data: bytes) -> None:
        try:
            sent = 0 if self._early else self._connection.wire.send(data, 0)
        except OSError:
            sent = 0  # no room; or an error, which the answer meets again
        self._early += data[sent:]
