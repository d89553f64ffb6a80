"""One client: reads requests, answers them in order, one at a time.

    state      waits for                       then
    IDLE       a request                       looks for the object
    LOCATING   the storekeeper                 SENDING (the object, or an error)
    WAITING    slices from upstream            SENDING, or an error if nothing was sent yet, else closes
    WARMING    a thread that reads the disk    SENDING
    SENDING    room in the socket              IDLE, or LINGERING when the connection must end
    LINGERING  the client to close first       closed (so that it reads the answer before a reset)
    CLOSED     nothing

Every state but SENDING with a taking client has a deadline; `Connection.expire` is what it means.
"""

from __future__ import annotations

import enum
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

from contracts.objectkey import slices_covering
from contracts.problem import Problem
from oca import ipc
from oca.edge.answer import Answer, Part, answer_for, error, preflight
from oca.edge.authorise import Refused
from oca.edge.cold import WINDOW_BYTES, bring_in, is_warm
from oca.edge.files import OpenFile
from oca.edge.request import BadRequest, Request, RequestReader
from oca.ipc import Outcome

if TYPE_CHECKING:
    from oca.edge.listener import Worker

_RECEIVE_BYTES: Final = 64 << 10
_PIPELINED: Final = 16
"""Requests read ahead of the one being answered; then we stop reading."""
_WINDOWS_A_TURN: Final = 8
"""A fast client of a large file gives way to the others after this many windows."""
_LINGER_S: Final = 1.0
_AHEAD_SLICES: Final = 8

_PROBLEMS: Final = {
    Outcome.UNKNOWN: Problem.NOT_FOUND,
    Outcome.NO_CATALOG: Problem.UNAVAILABLE,
    Outcome.UPSTREAM: Problem.UPSTREAM,
    Outcome.SLOW: Problem.UPSTREAM_SLOW,
    Outcome.NO_ROOM: Problem.UNAVAILABLE,
    Outcome.LOST: Problem.UNAVAILABLE,
}


class State(enum.Enum):
    IDLE = enum.auto()
    LOCATING = enum.auto()
    WAITING = enum.auto()
    WARMING = enum.auto()
    SENDING = enum.auto()
    LINGERING = enum.auto()
    CLOSED = enum.auto()


class Connection:
    def __init__(self, worker: Worker, sock: socket.socket) -> None:
        self.worker = worker
        self.state = State.IDLE
        self.deadline = worker.now + worker.limits.idle_timeout_s
        self._sock = sock
        self._fd = sock.fileno()
        self._reader = RequestReader(worker.limits)
        self._queue: deque[Request] = deque()
        self._request = Request()
        self._file: OpenFile | None = None
        self._pending: bytes | memoryview = b""
        self._parts: deque[Part] = deque()
        self._body_bytes = 0
        self._status = 0
        self._head_sent = False
        self._missed = False
        self._last = False  # no further request is read: the answers to those that came are the last
        self._reading = True
        self._writing = False
        self._warm_until = 0
        worker.loop.add_reader(self._fd, self._readable)

    @property
    def midway(self) -> bool:
        """Whether a request has begun to arrive."""
        return self._reader.midway

    # Reading

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if self.state is State.LINGERING:
            if not data:
                self.close()
            return
        if not data:
            self._stop_reading()
            self._last = True
            if self.state is State.IDLE:
                self.close()
            return
        began = self._reader.midway
        try:
            requests = self._reader.feed(data)
        except BadRequest as bad:
            self._refuse_input(bad)
            return
        if requests:
            self._queue.extend(requests)
            if len(self._queue) > _PIPELINED:
                self._stop_reading()
            self._drive()
        elif not began and self.state is State.IDLE:
            # From the first byte on, so that a byte now and then does not hold the connection.
            self.deadline = self.worker.now + self.worker.limits.header_timeout_s

    def _refuse_input(self, bad: BadRequest) -> None:
        """Answers the requests that came whole, then says what is wrong with the rest, then closes."""
        self._stop_reading()
        refused = Request(method=b"", keep_alive=False)
        refused.headers = {b"refused": bad.detail, b"problem": bad.problem.name}
        self._queue.append(refused)
        self._drive()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self.worker.loop.remove_reader(self._fd)

    def _start_reading(self) -> None:
        if not self._reading and not self._last:
            self._reading = True
            self.worker.loop.add_reader(self._fd, self._readable)

    # One request after the other

    def _drive(self) -> None:
        """Goes on as far as it goes without waiting. Every event of the connection ends here."""
        while True:
            if self.state is State.IDLE:
                if not self._queue:
                    if self._last:
                        self._end()
                    else:
                        self._start_reading()
                        self.deadline = self.worker.now + self.worker.limits.idle_timeout_s
                    return
                self._begin(self._queue.popleft())
            if self.state is not State.SENDING or not self._pump():
                return

    def _begin(self, request: Request) -> None:
        self._request = request
        self._file, self._missed, self._head_sent = None, False, False
        worker = self.worker
        if request.method == b"":
            self._answer(error(Problem[request.headers[b"problem"]], b"GET", request.headers[b"refused"]))
            return
        if request.method == b"OPTIONS":
            self._answer(preflight())
            return
        if request.method not in {b"GET", b"HEAD"}:
            self._answer(error(Problem.METHOD, request.method))
            return
        try:
            route = worker.authoriser.route(request.target, request.headers, worker.clock)
        except Refused as refused:
            if refused.problem is not Problem.BAD_KEY:
                worker.counters.tokens_refused += 1
            self._answer(error(refused.problem, request.method, refused.detail))
            return
        found = worker.files.get(route.key)
        if found is not None:
            self._serve(found)
            return
        self.state = State.LOCATING
        self.deadline = worker.now + worker.wait_timeout_s
        worker.store.locate(route.key, lambda result: self._located(request, result))

    def _located(self, request: Request, result: OpenFile | Outcome) -> None:
        if self.state is not State.LOCATING or self._request is not request:
            return  # closed, or timed out, in the meantime
        if isinstance(result, Outcome):
            self._answer(error(_PROBLEMS[result], request.method))
        else:
            self._serve(result)
        self._drive()

    def _serve(self, file: OpenFile) -> None:
        """Answers from ``file``; waits first when not even its beginning is there yet."""
        self._file = file
        answer = answer_for(self._request.method, self._request.headers, file.representation)
        spans = [part for part in answer.parts if isinstance(part, tuple)]
        if file.bitmap is not None and spans:
            self._missed = any(file.ready_until(start, end) < end for start, end in spans)
        if spans:
            status = b"; fwd=miss; stored" if self._missed else b"; hit"
            answer.head += b"Cache-Status: %b%b\r\n" % (self.worker.name, status)
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        worker, request = self.worker, self._request
        keep = request.keep_alive and not worker.draining and not self._last
        if not request.keep_alive or worker.draining:
            self._last = True
            self._stop_reading()
        self._pending = b"%b%bDate: %b\r\nConnection: %b\r\n\r\n" % (
            answer.head,
            worker.cors(request.headers),
            worker.date,
            b"keep-alive" if keep or self._queue else b"close",
        )
        self._parts = deque(answer.parts)
        self._body_bytes = answer.body_bytes
        self._warm_until = 0
        self._status = answer.status
        self.state = State.SENDING
        self.deadline = worker.now + worker.limits.send_timeout_s

    # Sending

    def _pump(self) -> bool:
        """Sends until the answer is out (True) or something has to be waited for (False)."""
        try:
            for _ in range(_WINDOWS_A_TURN):
                if not self._head_sent and self._must_wait():
                    return False
                if self._pending:
                    self._send_pending()
                elif self._parts:
                    part = self._parts[0]
                    if isinstance(part, bytes):
                        self._pending = part
                        self._parts.popleft()
                    elif self._must_wait() or not self._send_window(*part):
                        return False
                else:
                    self._sent()
                    return True
            self._wait_writable()
        except BlockingIOError:
            self._wait_writable()
        except ConnectionError:
            self._abort()
        except OSError as fault:
            self._read_failed(fault)
        return False

    def _send_pending(self) -> None:
        sent = self._sock.send(self._pending, socket.MSG_MORE if self._parts else 0)
        self._head_sent = True
        self._pending = memoryview(self._pending)[sent:] if sent < len(self._pending) else b""

    def _must_wait(self) -> bool:
        """Whether the next bytes of the object are still upstream; if so they are asked for."""
        file = self._file
        if file is None or file.bitmap is None or not self._parts:
            return False
        part = next((part for part in self._parts if isinstance(part, tuple)), None)
        if part is None or file.ready_until(*part) > part[0]:
            return False
        wanted = slices_covering(*part)[:_AHEAD_SLICES]
        self.state = State.WAITING
        self.deadline = self.worker.now + self.worker.wait_timeout_s
        self.worker.store.want(file.item.key, wanted[0], wanted[-1], self)
        return True

    def _send_window(self, start: int, end: int) -> bool:
        """Sends some of the span; False when its pages have to be read from the disk first."""
        file = self._file
        assert file is not None
        if start >= self._warm_until:
            window = min(file.ready_until(start, end), start + WINDOW_BYTES)
            if not is_warm(file.fd, start, window):
                self.state = State.WARMING
                self.worker.counters.cold_reads += 1
                self.worker.warm(bring_in, file, start, window, self._warmed)
                return False
            self._warm_until = window
        sent = os.sendfile(self._fd, file.fd, start, min(end, self._warm_until) - start)
        if not sent:
            raise OSError("the file of an object is shorter than it says")
        self.deadline = self.worker.now + self.worker.limits.send_timeout_s
        if start + sent == end:
            self._parts.popleft()
        else:
            self._parts[0] = (start + sent, end)
        return True

    def _warmed(self, start: int, end: int, fault: OSError | None) -> None:
        if self.state is not State.WARMING:
            return
        self.state = State.SENDING
        if fault is not None:
            self._read_failed(fault)
            return
        self._warm_until = end
        self._drive()

    def _wait_writable(self) -> None:
        if not self._writing:
            self._writing = True
            self.worker.loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        self._writing = False
        self.worker.loop.remove_writer(self._fd)
        self._drive()

    def _sent(self) -> None:
        counters = self.worker.counters
        counters.requests += 1
        counters.status(self._status)
        if self._file is not None and self._body_bytes:
            if self._missed:
                counters.misses += 1
                counters.miss_bytes += self._body_bytes
            else:
                counters.hits += 1
                counters.hit_bytes += self._body_bytes
            self.worker.touch(self._file.item.key, self._body_bytes)
        self._file = None
        self.state = State.IDLE

    # Slices from upstream

    def slices_arrived(self) -> None:
        file = self._file
        if self.state is not State.WAITING or file is None:
            return
        part = next(part for part in self._parts if isinstance(part, tuple))
        if file.ready_until(*part) > part[0]:
            self.worker.store.leave(file.item.key, self)
            self.state = State.SENDING
            self._drive()

    def slices_failed(self, outcome: Outcome, first: int, last: int) -> None:
        file = self._file
        if self.state is not State.WAITING or file is None:
            return
        part = next(part for part in self._parts if isinstance(part, tuple))
        if not first <= slices_covering(*part)[0] <= last:
            return
        self.worker.store.leave(file.item.key, self)
        self.state = State.SENDING
        self._fail(_PROBLEMS[outcome])

    def _fail(self, problem: Problem) -> None:
        """An error when the head is not out yet; otherwise all that is left is to cut the answer short."""
        if self._head_sent:
            self._abort()
            return
        self._file = None
        self._answer(error(problem, self._request.method))
        self._drive()

    def _read_failed(self, fault: OSError) -> None:
        if self._file is not None:
            key, disk = self._file.item.key, self._file.disk
            self.worker.files.forget(key)
            self.worker.store.send(ipc.Fault(key, disk, fault.errno or 0))
        self._fail(Problem.UNAVAILABLE)

    # Ending

    def expire(self) -> None:
        """The deadline has passed."""
        if self.state is State.LOCATING:
            self._answer(error(Problem.UPSTREAM_SLOW, self._request.method))
            self._drive()
        elif self.state is State.WAITING and self._file is not None:
            self.worker.store.leave(self._file.item.key, self)
            self.state = State.SENDING
            self._fail(Problem.UPSTREAM_SLOW)
        elif self.state is State.WARMING:
            self.deadline = self.worker.now + self.worker.limits.send_timeout_s
        elif self.state is State.SENDING:
            self._abort()
        else:
            self.close()

    def _abort(self) -> None:
        self.worker.counters.aborted += 1
        self.close()

    def _end(self) -> None:
        """Says that nothing more comes, and lets the client close first, within a bound."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.state = State.LINGERING
        self.deadline = self.worker.now + _LINGER_S
        if not self._reading:
            self._reading = True
            self.worker.loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        if self.state is State.CLOSED:
            return
        if self.state is State.WAITING and self._file is not None:
            self.worker.store.leave(self._file.item.key, self)
        self.state = State.CLOSED
        self._stop_reading()
        if self._writing:
            self._writing = False
            self.worker.loop.remove_writer(self._fd)
        self._sock.close()
        self._file = None
        self._queue.clear()
        self.worker.closed(self)
