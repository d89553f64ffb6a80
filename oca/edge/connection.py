"""One client: reads requests, answers them in order, one at a time.

    state      waits for                       then
    IDLE       a request                       looks for the object
    LOCATING   the storekeeper                 SENDING (the object, or an error)
    WAITING    slices from upstream            SENDING, or an error if nothing was sent yet, else closes
    WARMING    a thread that reads the disk    SENDING
    SENDING    room on the wire                IDLE, or LINGERING when the connection must end
    LINGERING  the client to close first       closed (so that it reads the answer before a reset)

Every state but SENDING with a taking client has a deadline; `Connection.expire` is what it means.

Longer than 400 lines: it is the one machine that the table draws, and each event of it is a method here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Final

from contracts.problem import Problem
from oca import ipc
from oca.edge.answer import PROBLEMS, Answer, Part, answer_for, error, preflight
from oca.edge.authorise import Refused, Route
from oca.edge.cold import bring_in
from oca.edge.delivery import Delivery, DiskFault, Progress
from oca.edge.exchange import Exchange
from oca.edge.files import OpenFile
from oca.edge.networks import Network
from oca.edge.pacing import Pacer
from oca.edge.request import BadRequest, Request, RequestReader
from oca.edge.state import State
from oca.edge.stored import only_if_cached, stored_only
from oca.edge.stream import Stream
from oca.edge.wire import Wire
from oca.edge.worker import Worker
from oca.ipc import Outcome

_PIPELINED: Final = 16
"""Requests read ahead of the one being answered; then we stop reading."""
_LINGER_S: Final = 1.0


# Reading a member off its class costs 0.1 us in Python 3.11, and a request does it ten times.
_IDLE, _LOCATING, _WAITING, _WARMING, _SENDING, _LINGERING, _CLOSED = State
_DONE: Final = Progress.DONE


class Connection:
    def __init__(self, worker: Worker, wire: Wire, address: str, network: Network) -> None:
        self.worker = worker
        self.network = network
        self._account = worker.ledger.open(address)
        self.state = _IDLE
        self.deadline = worker.now + worker.limits.idle_timeout_s
        self._reader = RequestReader(worker.limits)
        self._midway = False
        self._range_at = 0
        self._queue: deque[Request] = deque()
        self._request = Request()
        self._missed = False
        self._since = worker.now
        self._left = worker.limits.requests_per_connection
        self._pacer = Pacer(worker.pacing, wire) if worker.pacing is not None else None
        self._refusing = worker.draining  # it came when we had already asked for no more
        self._last = False  # no further request is read: the answers to those that came are the last
        self.address = address
        self.wire = wire
        self.secure = wire.secure
        self._plain = Delivery(wire)
        self._delivery = self._plain
        self.exchange: Exchange | None = None  # with the storekeeper, on a request of an HTTP origin
        wire.open(self)

    @property
    def idle(self) -> bool:
        """Whether nothing is lost by closing now: no answer is on its way, no request has begun."""
        return self.state is _IDLE and not self._midway and not self.wire.unread()

    # What comes in

    def received(self, data: bytes) -> None:
        if self.state is _LINGERING:
            return
        began = self._midway
        alone = not began and self.state is _IDLE
        if alone and self._again(data):
            return
        try:
            requests = self._reader.feed(data)
        except BadRequest as bad:
            self._refuse_input(bad)
            return
        self._midway = self._reader.midway
        if requests:
            if alone and len(requests) == 1 and not self._midway:
                requests[0].raw = data
            self._queue.extend(requests)
            if len(self._queue) > _PIPELINED:
                self.wire.pause()
            self.drive()
        elif not began and self.state is _IDLE:
            # From the first byte on, so that a byte now and then does not hold the connection.
            self.deadline = self.worker.now + self.worker.limits.header_timeout_s

    def ended(self) -> None:
        """The client sends no more; what it asked for it may still want."""
        self._last = True
        if self.state is _IDLE or self.state is _LINGERING:
            self.close()

    def failed(self) -> None:
        self.close()

    def writable(self) -> None:
        """There is room, or others have had their turn."""
        if self.state is _SENDING:
            self.drive()

    def _refuse_input(self, bad: BadRequest) -> None:
        """Answers the requests that came whole, then says what is wrong with the rest, then closes."""
        self._stop_reading()
        refused = Request(method=b"", keep_alive=False)
        refused.headers = {b"refused": bad.detail, b"problem": bad.problem.name}
        self._queue.extend((*bad.whole, refused))
        self.drive()

    def _stop_reading(self) -> None:
        self._last = True
        self.wire.pause()

    # One request after the other

    def drive(self) -> None:
        """Goes on as far as it goes without waiting. Every event of the connection ends here."""
        while True:
            if self.state is _IDLE:
                if not self._queue:
                    break
                self._begin(self._queue.popleft())
            if self.state is not _SENDING or not self._send():
                return
        if self._last:
            self._end()
        else:
            self.wire.read()
            self.deadline = self.worker.idle_until

    def _again(self, data: bytes) -> bool:
        """Answers a request that is known by heart; False for any other."""
        account, worker, delivery = self._account, self.worker, self._delivery
        found = worker.recall(account.lift(data) if account.tells else data, self._range_at)
        if found is None or self._over():
            return False
        repeat, file, status, head, span, self._range_at = found
        self._request, self._missed = repeat.request, False
        account.began, account.voter = monotonic(), repeat.session
        account.session = repeat.session or account.peer
        if account.tells:
            account.granted(repeat.session)
        if self._pacer is not None:
            self._pacer.answer(file.item.bitrate_bps, span[1] - span[0])
        if delivery.at_once(status, head, span, file, worker.now):
            account.sent(delivery, False, repeat.request)
            delivery.file = None
            self.deadline = worker.idle_until
            return True
        self._sending()
        worker.poller.defer(self.writable)
        return True

    def _over(self) -> bool:
        """Whether this request is one too many, of its connection or of its network; the long way says so."""
        self._left -= 1
        network = self.network
        network.requests += 1
        if self._left > 0 and network.requests <= self.worker.networks.requests:
            return False
        self._left += 1
        network.requests -= 1
        return True

    def _begin(self, request: Request) -> None:
        self._request, self._missed = request, False
        worker, target = self.worker, self._account.asks(request)
        if request.method == b"":
            self.answer(error(Problem[request.headers[b"problem"]], b"GET", request.headers[b"refused"]))
            return
        if self._refusing:
            self.answer(error(Problem.UNAVAILABLE, request.method, "draining: another appliance has it"))
            return
        if self._over():
            if self._left > 1:
                self.answer(error(Problem.RATE, request.method))
                return
            request.keep_alive = False  # the last of this connection
        if worker.shared is not None and worker.shared.begin(self, request, target):
            return
        if request.method == b"OPTIONS":
            self.answer(preflight())
            return
        if request.method not in {b"GET", b"HEAD"}:
            self.answer(error(Problem.METHOD, request.method))
            return
        route = self.route(request, target)
        if route is None:
            return
        found = worker.files.get(route.key)
        stored = self._account.copies = only_if_cached(request.headers)
        if found is not None:
            self._found(request, route, found)
            return
        self.state = _LOCATING
        self.deadline = worker.now + worker.wait_timeout_s
        worker.store.locate(route.key, lambda result: self._located(request, route, result), begin=not stored)

    def route(self, request: Request, target: bytes) -> Route | None:
        """The object that the request may have; None when it was refused, and that is its answer."""
        worker = self.worker
        # A token that was not seen before is worth the look while its network sends few bad ones.
        trusted = self.network.refusals < worker.networks.refusals
        try:
            route = worker.authoriser.route(
                target, request.headers, worker.clock, trusted, self._account.address
            )
        except Refused as refused:
            if refused.problem is not Problem.BAD_KEY:
                self.network.refusals += 1
                worker.ledger.refused(refused.problem, refused.detail)
            self.answer(error(refused.problem, request.method, refused.detail))
            return None
        self._account.granted(route.session)
        return route

    def _located(self, request: Request, route: Route, result: OpenFile | Outcome) -> None:
        if self.state is not _LOCATING or self._request is not request:
            return  # closed, or timed out, in the meantime
        if isinstance(result, Outcome):
            self.answer(error(PROBLEMS[result], request.method))
        else:
            self._found(request, route, result)
        self.drive()

    def _found(self, request: Request, route: Route, file: OpenFile) -> None:
        if request.raw and file.bitmap is None and not self._account.copies:
            self.worker.repeats.remember(request, route, self.worker.cors(request.headers))
        self._serve(file)

    def _serve(self, file: OpenFile) -> None:
        answer = answer_for(self._request.method, self._request.headers, file.representation)
        spans = [part for part in answer.parts if isinstance(part, tuple)]
        if file.bitmap is not None and self._account.copies:
            answer = stored_only(self._request.method, answer, spans, file)
        elif file.bitmap is not None:
            self._missed = any(file.ready_until(start, end) < end for start, end in spans)
        if answer.status < 400:
            answer.head += self.worker.miss if self._missed else self.worker.hit
        self.answer(answer, file)

    def answer(self, answer: Answer, file: OpenFile | None = None) -> None:
        worker, request = self.worker, self._request
        tail = worker.last_tail if self.ends(request) else worker.tail
        head = b"".join((answer.head, worker.cors(request.headers), tail))
        self._delivery.begin(answer.status, head, answer.parts, answer.body_bytes, file)
        if self._pacer is not None and file is not None and not self._account.copies:
            self._pacer.answer(file.item.bitrate_bps, answer.body_bytes)
        self._sending()

    def ends(self, request: Request) -> bool:
        """Whether the answer to ``request`` is the last of the connection; nothing more is read then."""
        if not request.keep_alive or self.worker.draining:
            self._stop_reading()
        return self._last and not self._queue

    # For `oca.edge.shared`: requests of HTTP origins

    def deliver(
        self,
        status: int,
        head: bytes,
        parts: Iterable[Part],
        count: int,
        file: OpenFile | None,
        *,
        missed: bool,
    ) -> None:
        """The answer, whose ``head`` is whole and whose body is there."""
        self._missed = missed
        self._delivery.begin(status, head, parts, count, file)
        self._sending()

    def stream(self, stream: Stream, *, missed: bool) -> None:
        """The answer, whose body still comes."""
        self._missed = missed
        self._delivery = stream
        self._sending()

    # What goes out

    def _sending(self) -> None:
        worker = self.worker
        self.state = _SENDING
        self._since = worker.now
        self.deadline = worker.now + worker.limits.send_timeout_s

    def _send(self) -> bool:
        """Sends on; True when the answer is out, False when something has to be waited for."""
        delivery, worker = self._delivery, self.worker
        try:
            progress = delivery.pump(worker.now)
        except DiskFault as fault:
            self._read_failed(fault)
            return False
        except OSError:
            self.close()
            return False
        if progress is _DONE:
            self._sent()
            return True
        self._account.waits(delivery, self._missed)
        if delivery.moved:
            self.deadline = self._must_move()
        if progress is Progress.FULL:
            self.wire.watch_room()
            return False
        if progress is Progress.YIELDED:
            worker.poller.defer(self.writable)
            return False
        assert delivery.file is not None
        if progress is Progress.COLD:
            self.state = _WARMING
            worker.ledger.counters.cold_reads += 1
            worker.warm(bring_in, delivery.file, *delivery.window(), self._warmed)
        else:
            self.state = _WAITING
            self.deadline = worker.now + worker.wait_timeout_s
            wanted = delivery.wanted()
            worker.store.want(delivery.file.item.key, wanted[0], wanted[-1], self)
        return False

    def _must_move(self) -> float:
        """Until when the client must have taken more: soon, and all of it at the lowest rate."""
        limits = self.worker.limits
        soon = self.worker.now + limits.send_timeout_s
        if not limits.min_rate_bps:
            return soon
        return min(
            soon, self._since + limits.send_timeout_s + self._delivery.body_bytes * 8 / limits.min_rate_bps
        )

    def _sent(self) -> None:
        delivery = self._delivery
        self._account.sent(delivery, self._missed, self._request)
        delivery.file, delivery.started = None, False
        self._delivery = self._plain
        if self.exchange is not None:
            self._leave()
        self.state = _IDLE

    def _leave(self) -> None:
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            exchange.leave()

    def _warmed(self, end: int, fault: OSError | None) -> None:
        if self.state is not _WARMING:
            return
        self.state = _SENDING
        if fault is not None:
            self._read_failed(DiskFault(fault.errno or 0))
            return
        self._delivery.warmed(end)
        self.worker.poller.defer(self.writable)

    def slices_arrived(self) -> None:
        file = self._delivery.file
        if self.state is not _WAITING or file is None or self._delivery.wanted():
            return
        self.worker.store.leave(file.item.key, self)
        self.state = _SENDING
        self.deadline = self.worker.now + self.worker.limits.send_timeout_s
        # In turns with all others: thousands may have waited for this slice.
        self.worker.poller.defer(self.writable)

    def slices_failed(self, outcome: Outcome, first: int, last: int) -> None:
        file = self._delivery.file
        if self.state is not _WAITING or file is None:
            return
        wanted = self._delivery.wanted()
        if not wanted or not first <= wanted[0] <= last:
            return
        self.worker.store.leave(file.item.key, self)
        self.fail(PROBLEMS[outcome])

    def _read_failed(self, fault: DiskFault) -> None:
        file = self._delivery.file
        assert file is not None
        self.worker.files.forget(file.item.key)
        self.worker.store.send(ipc.Fault(file.item.key, file.disk, fault.errno))
        self.fail(Problem.UNAVAILABLE)

    def fail(self, problem: Problem) -> None:
        """An error when the head is not out yet; otherwise all that is left is to cut the answer short."""
        if self._delivery.started:
            self.close()
            return
        self._leave()
        self._delivery = self._plain
        self.answer(error(problem, self._request.method))
        self.drive()

    # The end

    def expire(self) -> None:
        """The deadline has passed."""
        if self.state is _LOCATING:
            self.fail(Problem.UPSTREAM_SLOW)
        elif self.state is _WAITING and self._delivery.file is not None:
            self.worker.store.leave(self._delivery.file.item.key, self)
            self.fail(Problem.UPSTREAM_SLOW)
        elif self.state is _WARMING:
            # The thread cannot be called back from the disk. It tells us when it is.
            self.deadline = self.worker.now + self.worker.limits.send_timeout_s
        else:
            self.close()

    def _end(self) -> None:
        """Says that nothing more comes, and lets the client close first, within a bound."""
        try:
            self.wire.finish()
        except OSError:
            self.close()
            return
        self.state = _LINGERING
        self.deadline = self.worker.now + _LINGER_S
        self.wire.read()

    def close(self) -> None:
        if self.state is _CLOSED:
            return
        if self.state is _WAITING and self._delivery.file is not None:
            self.worker.store.leave(self._delivery.file.item.key, self)
        if self.state is not _IDLE and self.state is not _LINGERING:
            self._account.cut(self._delivery, self._missed, self._request)
            self.wire.reset()
        self._account.close()
        self._leave()
        self.state = _CLOSED
        self.wire.close()
        self._delivery.clear()
        self._queue.clear()
        self.worker.closed(self)
