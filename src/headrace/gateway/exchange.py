"""One request's life: admitted, held, assigned, sent, relayed, settled.

The usage of a request is on disk before its last byte leaves: a whole answer, and the end of a stream, wait for the
journal. An answer of which nothing was sent may be tried once more elsewhere; a stream that has begun ends with an
error event. However it ends, `_settle` runs exactly once, and it is the only place that writes a record.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from headrace.errors import HeadraceError, Invalid, Transient
from headrace.gateway import codes, patience
from headrace.gateway.asked import Asked
from headrace.gateway.attempt import Attempt, attempt_at
from headrace.gateway.client import Client
from headrace.gateway.desk import Desk
from headrace.gateway.directory import StandIn
from headrace.gateway.hedge import Hedge
from headrace.gateway.order import Order
from headrace.gateway.record import Record
from headrace.gateway.reply import Reply
from headrace.policy.actions import Answer, Assign, Wait
from headrace.state.usage import Outcome, Usage
from headrace.wire import fault
from headrace.wire.sse import EventScanner, StreamMeter
from headrace.wire.usage import Counts

ANSWER_BYTES_MAX: Final = 64 << 20
ERROR_BYTES_MAX: Final = 64 << 10
FIRST_COMMENT_US, COMMENT_US = 1_000_000, 5_000_000
PROGRESS_PIECES: Final = 64
_OWN_FAULT: Final = 500  # may be the request's own doing, so it says nothing about the replica


class Exchange(Asked):
    """One request at work in one gateway worker. Moments are of the clock that never goes back, microseconds."""

    __slots__ = (
        "_answer", "_answer_bytes", "_arrived", "_attempt", "_commented_us", "_heard_us", "_hedge", "_meter",
        "_scanner", "_status",
    )  # fmt: skip

    def __init__(
        self, worker: Desk, client: Client, reply: Reply, record: Record, others: Sequence[StandIn] = ()
    ) -> None:
        super().__init__(worker, client, reply, record, Order(record, others))
        self._attempt: Attempt | None = None
        self._hedge: Hedge | None = None
        self._scanner: EventScanner | None = None
        self._meter: StreamMeter | None = None
        self._answer: list[bytes] = []
        self._answer_bytes = self._status = self._heard_us = self._commented_us = 0
        self._arrived = False

    # --- admission ----------------------------------------------------------------------------------------------

    def admitted(self) -> None:
        """See `hold.Holder`: the fast brain decides."""
        record, worker = self._record, self._worker
        self._arrived = True
        worker.journal.append(record.begun())
        self._ask(record.arrived_us)

    def _ask(self, now_us: int) -> None:
        worker = self._worker
        worker.look_around(now_us)
        self.act(worker.dispatch.arrive(self._record.arriving(self._order.bounds), now_us))
        if worker.dispatch.shed:
            shed, worker.dispatch.shed = worker.dispatch.shed, []
            worker.act_all(shed)

    def act(self, answer: Answer) -> None:
        """Carry out what the fast brain decided."""
        if isinstance(answer, Assign):
            self._assign(answer)
        elif isinstance(answer, Wait):
            self._record.why = f"{self._record.why}; {answer.reason}" if self._record.why else answer.reason
            self._record.cold = self._record.cold or answer.cold
            self._commented_us = self._worker.clock.monotonic_us() + FIRST_COMMENT_US
            if answer.wake:
                self._worker.link.report_now()
        else:
            self.fail(answer.code, answer.reason, retry_after_us=answer.retry_after_us)

    def _assign(self, assign: Assign) -> None:
        worker = self._worker
        self._heard_us = worker.clock.monotonic_us()
        self._record.assigned(assign, self._heard_us)
        self._attempt = attempt_at(worker, self._order, self._record.call, assign, self)
        if assign.hedge_us:
            self._hedge = Hedge(worker, self, self._order, self._record, assign.hedge_us)
        self._attempt.begin(worker.spawn)

    @property
    def slow(self) -> bool:
        """See `attempt.Trying`."""
        return self._client.slow

    def unreachable(self, attempt: Attempt, reason: str) -> None:
        """See `attempt.Trying`."""
        if self._attempt is attempt:
            self._worker.faulty(attempt.assign)
            self._lost(reason)

    # --- what the engine says -----------------------------------------------------------------------------------

    def upstream_head(self, status: int, events: bool) -> None:
        """See `upstream.User`."""
        record, self._status = self._record, status
        self._heard_us = self._worker.clock.monotonic_us()
        self._answer, self._answer_bytes = [], 0
        if status == 200 and events and record.call.stream and not record.call.buffered:
            self._scanner = EventScanner()
            self._meter = record.call.meter(record.model.ability.dialect, record.request_id, record.wall_us)

    def upstream_data(self, data: bytes) -> None:
        """See `upstream.User`."""
        if self._meter is not None:
            self._relay(self._meter, data)
            return
        self._answer_bytes += len(data)
        if self._answer_bytes <= (ANSWER_BYTES_MAX if self._status == 200 else ERROR_BYTES_MAX):
            self._answer.append(data)
        elif self._status == 200:
            self._disbelieve("the engine's answer is too large")

    def _relay(self, meter: StreamMeter, data: bytes) -> None:
        if self._settled or self._scanner is None:
            return
        record = self._record
        self._heard_us = self._worker.clock.monotonic_us()
        try:
            block = self._scanner.feed(data)
        except Transient as error:
            self._disbelieve(error.message)
            return
        if not block:
            return
        out = meter.feed(block)
        if out:
            if not record.first_us:
                record.first_us = self._heard_us
                self._reply.headers += record.headers(self._heard_us)
                self._worker.act_all(self._worker.dispatch.begun(record.request_id, self._heard_us))
            self._reply.events(out)
        if meter.failed:
            self._disbelieve(meter.failed)
        elif meter.done:
            self._finish_stream(meter)
        elif meter.pieces - record.pieces >= PROGRESS_PIECES:
            record.pieces = meter.pieces
            self._worker.journal.append(record.progress(self._heard_us))

    def upstream_end(self) -> None:
        """See `upstream.User`."""
        attempt = self._attempt
        if self._settled or attempt is None:
            return
        attempt.answered()
        if self._meter is not None:
            self._disbelieve("the engine's stream ended before its end")
            return
        body = b"".join(self._answer)
        self._answer = []
        if self._status == 200:
            self._finish_whole(body)
            return
        error = fault.of_upstream(self._status, body, ours=self._record.model.ability.dialect == "headrace")
        if isinstance(error, Invalid):
            self._release(ok=True)
            self.fail(error.code, error.message, error.param)
            return
        if self._status != _OWN_FAULT:
            self._worker.faulty(attempt.assign)
        self._lost(error.message)

    def upstream_lost(self, reason: str, heard: bool) -> None:
        """See `upstream.User`."""
        attempt, worker = self._attempt, self._worker
        if self._settled or attempt is None:
            return
        after_us = worker.clock.monotonic_us() - self._record.sent_us
        if not attempt.lost(worker.spawn, heard=heard, after_us=after_us):
            worker.faulty(attempt.assign)
            self._lost(reason, crashed=True)

    # --- ends ---------------------------------------------------------------------------------------------------

    def _finish_stream(self, meter: StreamMeter) -> None:
        self._detach()
        self._release(ok=True)
        counts = self._record.believe(meter.counts, self._order.bounds, self._order.sent_bytes, pieces=meter.pieces)
        tail = meter.tail(self._billed(counts, self._record.busy_us))
        self._settle("finished", 200, counts, lambda: self._reply.end_events(tail, broken=False))

    def _finish_whole(self, body: bytes) -> None:
        call, record, now_us = self._record.call, self._record, self._worker.clock.monotonic_us()
        counted = call.counts(body, record.model.ability.dialect)
        counts = record.believe(counted, self._order.bounds, self._order.sent_bytes, output_bytes=len(body))
        shown = self._billed(counts, now_us - record.sent_us)
        try:
            if call.stream:
                *events, last = call.finish_stream(body, record.request_id, record.wall_us // 1_000_000, shown)
            else:
                events, last = [], call.finish(body, record.request_id, counts)
        except HeadraceError as error:
            self._disbelieve(error.message)
            return
        record.first_us = now_us
        self._release(ok=True, now_us=now_us)  # the moment that was billed
        if self._hedge is not None:
            self._hedge.over()
        self._reply.headers += record.headers(record.first_us)
        if events:
            record.pieces = len(events)
            self._reply.events(b"".join(events))
        if call.stream:
            self._settle("finished", 200, counts, lambda: self._reply.end_events(last, broken=False))
        else:
            said = lambda: self._reply.whole(last, record.bill.header())  # noqa: E731 - said once, twice as clear
            self._reply.keep(last, lambda: self._settle("finished", 200, counts, said))

    def _billed(self, counts: Counts, busy_us: int) -> Counts:
        """The charge is fixed now; what the stream shows of it, if its client asked for usage."""
        record = self._record
        record.bill.settle(record.model.task, "finished", counts, began=True, busy_us=busy_us)
        if not (record.call.stream and record.call.include_usage):
            return counts
        return msgspec.structs.replace(counts, bill=record.bill.shown())

    def _disbelieve(self, reason: str) -> None:
        """The engine cannot be trusted with this request: its connection ends, and so does the attempt."""
        self._detach()
        if self._attempt is not None:
            self._worker.faulty(self._attempt.assign)
        self._lost(reason)

    def _lost(self, reason: str, *, crashed: bool = False) -> None:
        """The attempt failed: another one if the client has seen nothing of an answer, else the end."""
        record = self._record
        meter, self._meter, self._scanner, self._answer = self._meter, None, None, []
        if record.first_us and meter is not None:
            counts = record.so_far(meter)
            self._release(ok=False)
            message = "The model's server failed while it worked on the request; what came before is all there is."
            broken = lambda: self._reply.end_events(meter.broken("upstream_failed", message), broken=True)  # noqa: E731 - said once, twice as clear
            self._settle("failed", 502, counts, broken, "upstream_failed", reason)
            return
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        now_us, replica = self._worker.clock.monotonic_us(), attempt.assign.replica
        record.bill.reopen()
        record.released(now_us, failed=True)
        record.why = f"attempt {record.attempts} on {replica} failed: {reason}"
        self._worker.counters.flying("replica:" + replica, -1)
        if self._hedge is None or not self._hedge.carries_on(attempt.assign, now_us):
            self._hedge = None
            self.act(self._worker.dispatch.lost(record.request_id, now_us, crashed=crashed))

    def second_won(self, attempt: Attempt, sent_us: int, body: bytes) -> None:
        """See `hedge.First`."""
        record, worker, now_us = self._record, self._worker, self._worker.clock.monotonic_us()
        first, self._attempt = self._attempt, attempt
        if first is not None:
            first.let_go()
            record.released(now_us, failed=True)
            worker.counters.flying("replica:" + first.assign.replica, -1)
            worker.act_all(worker.dispatch.parted(record.request_id, first.assign.incarnation, now_us))
        record.assigned(attempt.assign, sent_us)
        self._status, self._hedge = 200, None
        self._finish_whole(body)

    def second_lost(self, reason: str) -> None:
        """See `hedge.First`."""
        self._hedge, self._record.why = None, f"{reason}; before that: {self._record.why}"
        self.act(self._worker.dispatch.lost(self._record.request_id, self._worker.clock.monotonic_us()))

    def fail(self, code: str, message: str, param: str | None = None, retry_after_us: int | None = None) -> None:
        """The end without an answer, unless another model stands in."""
        record = self._record
        if code in codes.ELSEWHERE and not record.first_us and self._order.stand_in(f"{code}: {message}"):
            self._ask(self._worker.clock.monotonic_us())
            return
        headers = b"" if retry_after_us is None else b"retry-after: %d\r\n" % -(-retry_after_us // 1_000_000)
        headers += b"x-should-retry: false\r\n" if code in codes.HOPELESS else b""
        outcome: Outcome = "refused" if code in codes.REFUSALS else "failed"
        said = lambda: self._reply.error(code, message, param, headers)  # noqa: E731 - as above
        self._settle(outcome, fault.status(code), Counts(), said, code, message)

    def client_gone(self) -> None:
        """The client hung up: free the slot, and record how far it came; or go on, if it will ask for the answer."""
        if self._settled or self._reply.run.outlives:
            return
        record = self._record
        self._detach()
        counts = record.so_far(self._meter)
        self._hold.cancel()
        self._reply.abandoned()
        if self._attempt is not None:
            self._release(ok=False)
        elif self._arrived:
            self._worker.act_all(self._worker.dispatch.left(record.request_id, self._worker.clock.monotonic_us()))
        self._settle("cancelled", 499, counts, None, "client_closed")

    def hold(self, paused: bool) -> None:
        """The client reads too slowly: let the engine's socket fill."""
        self._heard_us = self._worker.clock.monotonic_us()
        if self._attempt is not None:
            self._attempt.hold(paused)

    def tick(self, now_us: int) -> None:
        """Now and then: a comment to who waits in a stream, an end to what takes too long."""
        record = self._record
        if self._hedge is not None:
            self._hedge.tick(now_us)
        if self._attempt is None:
            if record.call.stream and self._arrived and now_us >= self._commented_us:
                self._commented_us = now_us + COMMENT_US
                self._reply.comment(b"waiting for %b" % record.model.name.encode())
            return
        # Of a client that is slow its own deadline runs.
        if not self._client.slow and patience.at_end(record, self._heard_us, now_us):
            self._disbelieve(f"the engine was silent for {(now_us - self._heard_us) // 1_000_000} s")

    # --- settling -----------------------------------------------------------------------------------------------

    def _detach(self) -> None:
        """Let go of the connection, if it is still ours: closing it is what stops the engine."""
        if self._attempt is not None:
            self._attempt.let_go(complete=self._meter is not None and self._meter.done)

    def _release(self, *, ok: bool, now_us: int = 0) -> None:
        """Give the slot back; held requests may go."""
        attempt, self._attempt, worker = self._attempt, None, self._worker
        if attempt is None:
            return
        now_us = now_us or worker.clock.monotonic_us()
        self._record.released(now_us)
        worker.counters.flying("replica:" + attempt.assign.replica, -1)
        worker.act_all(worker.dispatch.ended(self._record.request_id, now_us, ok))

    def _ended(self, usage: Usage, counts: Counts) -> Usage:
        self._answer = []
        if self._hedge is not None:
            self._hedge.over()
        record = self._record
        size = (counts.output_tokens, usage.outcome == "finished", record.decode_us(), record.fresh_tokens(counts))
        self._worker.dispatch.answered(usage.model, usage.version, *size)
        return usage
