"""One worker's question on behalf of one client: its body on the way up, its answer on the way down."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from contracts.problem import Problem
from oca.httpcache import messages
from oca.httpcache.fields import Fields, end_to_end
from oca.httpcache.messages import WINDOW_BYTES, Ask, Interim, Piece, Reply, Taken


class Link(Protocol):
    """The line to one worker."""

    def send(self, message: messages.ToEdge) -> None: ...


class Asked:
    """``link`` is None for what we ask by ourselves, such as a validation nobody waits for."""

    def __init__(self, link: Link | None, ask: Ask) -> None:
        self.link = link
        self.ask = ask
        self.task: asyncio.Task[None] | None = None
        self.gone = False
        self._body: deque[bytes] = deque()
        self._body_ended = ask.body_bytes == 0
        self._news = asyncio.Event()
        self._under_way = 0
        self._room = asyncio.Event()
        self._room.set()

    def cancel(self) -> None:
        """The client is gone."""
        self.gone = True
        if self.task is not None:
            self.task.cancel()

    # Down

    def reply(self, message: Reply) -> None:
        if self.link is not None:
            self.link.send(message)

    def refuse(self, problem: Problem, detail: str | None = None) -> None:
        self.reply(Reply(self.ask.id, problem.status, (), "", problem=problem.name, detail=detail))

    def interim(self, status: int, fields: Fields) -> None:
        if self.link is not None:
            self.link.send(Interim(self.ask.id, status, end_to_end(fields)))

    async def piece(self, data: bytes) -> None:
        """Sends a piece of the body, once there is room for it on the way."""
        await self._room.wait()
        self._under_way += len(data)
        if self._under_way >= WINDOW_BYTES:
            self._room.clear()
        if self.link is not None:
            self.link.send(Piece(self.ask.id, data, False))

    def took(self, count: int) -> None:
        self._under_way -= count
        if self._under_way < WINDOW_BYTES:
            self._room.set()

    def end(self, *, cut: bool) -> None:
        if self.link is not None:
            self.link.send(Piece(self.ask.id, b"", True, cut))

    # Up

    def body_came(self, data: bytes, last: bool) -> None:
        self._body.append(data)
        self._body_ended = last
        self._news.set()

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body, as the client sends it."""
        while True:
            while self._body:
                piece = self._body.popleft()
                yield piece
                if self.link is not None and piece:
                    self.link.send(Taken(self.ask.id, len(piece)))
            if self._body_ended:
                return
            self._news.clear()
            await self._news.wait()
