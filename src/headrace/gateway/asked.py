"""One request as its client knows it: counted in and held for when it begins, recorded once when it ends.

What lies between is an exchange with one engine (`exchange`), or several (`fan`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from headrace.gateway.client import Client
from headrace.gateway.desk import Desk
from headrace.gateway.hold import Hold
from headrace.gateway.order import Order
from headrace.gateway.record import Record
from headrace.gateway.reply import Reply
from headrace.policy.actions import Answer
from headrace.state.usage import Outcome, Usage
from headrace.wire import fault
from headrace.wire.usage import Counts

_NOT_RECORDED: Final = fault.CATALOGUE["storage_unavailable"][2]


class Asked(ABC):
    """Moments are of the clock that never goes back, microseconds. `_estimate` is of all tokens, in and out."""

    __slots__ = ("_client", "_estimate", "_hold", "_order", "_record", "_reply", "_settled", "_worker")

    def __init__(self, worker: Desk, client: Client, reply: Reply, record: Record, order: Order) -> None:
        self._worker, self._client, self._reply, self._record = worker, client, reply, record
        record.arrived_us, record.wall_us = worker.clock.monotonic_us(), worker.clock.now_us()
        self._order = order
        self._estimate = order.tokens
        self._hold = Hold(worker.wallet, record.bill)
        self._settled = False

    def start(self) -> None:
        """Check what can be checked before an engine, count the request in, and hold its worst case. May raise."""
        record, worker = self._record, self._worker
        self._order.check()
        self._reply.headers += worker.meter.admit(record.key, self._estimate, record.arrived_us, record.call.priority)
        self._client.work = self
        worker.exchanges[record.request_id] = self
        self._hold.take(self, record.arrived_us)

    def shorten(self, nanousd: int) -> bool:
        """See `hold.Holder`."""
        return self._order.shorten(nanousd)

    @abstractmethod
    def admitted(self) -> None:
        """See `hold.Holder`."""

    @abstractmethod
    def fail(self, code: str, message: str, *, retry_after_us: int | None = None) -> None:
        """See `hold.Holder`."""

    @abstractmethod
    def act(self, answer: Answer) -> None:
        """See `desk.Acting`."""

    @abstractmethod
    def tick(self, now_us: int) -> None:
        """See `desk.Acting`."""

    @abstractmethod
    def client_gone(self) -> None:
        """See `client.Work`."""

    @abstractmethod
    def hold(self, paused: bool) -> None:
        """See `client.Work`."""

    @abstractmethod
    def _ended(self, usage: Usage, counts: Counts) -> Usage:
        """The record as it is written; what else follows from the end."""

    def _settle(
        self,
        outcome: Outcome,
        status: int,
        counts: Counts,
        last_words: Callable[[], None] | None,
        code: str = "",
        error: str = "",
    ) -> None:
        """Write the one record; the last words are said when it is on disk."""
        assert not self._settled, "a request is settled once"
        self._settled = True
        record, worker = self._record, self._worker
        del worker.exchanges[record.request_id]
        now_us = worker.clock.monotonic_us()
        more = counts.input_tokens + counts.output_tokens - self._estimate
        worker.meter.done(record.key, more, record.arrived_us, now_us, record.call.priority)
        usage = self._ended(record.usage(outcome, status, counts, now_us, code, error), counts)

        def committed(done: bool) -> None:
            worker.stored(done)
            self._hold.settle(record.bill.charge if done else 0)
            if last_words is None:
                return
            if done:  # also when it hung up meanwhile: what was paid for is kept for who sends it again
                last_words()
            else:
                self._reply.error("storage_unavailable", _NOT_RECORDED)

        worker.journal.append(usage, committed)
