"""A second try of a short call, when the first has not answered by the time that nineteen of twenty have.

The fast brain says when and where. Whoever answers first wins; the other's connection is closed, which stops its
engine, and its time is booked as that of a try that came to nothing: an overhead, on nobody's bill. A second try that
fails changes nothing while the first is at work.
"""

import asyncio
from typing import Final, Protocol

from headrace.gateway import patience
from headrace.gateway.attempt import Attempt, attempt_at
from headrace.gateway.desk import Desk
from headrace.gateway.order import Order
from headrace.gateway.record import Record
from headrace.policy.actions import Assign

BODY_BYTES_MAX: Final = 16 << 20
_OWN_FAULT: Final = 500


class First(Protocol):
    """The exchange, as its second try sees it."""

    def second_won(self, attempt: Attempt, sent_us: int, body: bytes) -> None:
        """The second try has the answer."""
        ...

    def second_lost(self, reason: str) -> None:
        """The second try failed, and there is no first one any more."""
        ...


class Hedge:
    """The second try of one exchange, from the moment it may be made. `slow`: see `attempt.Trying`."""

    __slots__ = (
        "_alone", "_attempt", "_body", "_bytes", "_desk", "_first", "_order", "_record", "_sent_us", "_status",
        "_timer",
    )  # fmt: skip

    slow: Final = False  # what it is sent is kept here, and not for long

    def __init__(self, desk: Desk, first: First, order: Order, record: Record, after_us: int) -> None:
        self._desk, self._first, self._order, self._record = desk, first, order, record
        self._attempt: Attempt | None = None
        self._body: list[bytes] = []
        self._bytes = self._status = self._sent_us = 0
        self._alone = False  # the first try has failed
        self._timer = asyncio.get_running_loop().call_later(after_us / 1_000_000, self._ask)

    def carries_on(self, first: Assign, now_us: int) -> bool:
        """The first try has failed: whether a second is at work, which is the only one from now on."""
        self._timer.cancel()
        if self._attempt is not None:
            self._alone = True
            self._desk.act_all(self._desk.dispatch.parted(self._record.request_id, first.incarnation, now_us))
        return self._alone

    def over(self) -> None:
        """The request is over, or its first try has the answer: nothing more is wanted here."""
        self._timer.cancel()
        if self._attempt is not None:
            self._attempt.let_go()
            self._spent()

    def tick(self, now_us: int) -> None:
        """Time has passed: an engine that is silent for too long is given up."""
        if self._attempt is not None and now_us - self._sent_us > patience.TOTAL_US:
            self._attempt.let_go()
            self._fail(f"the engine was silent for {(now_us - self._sent_us) // 1_000_000} s", faulty=True)

    def _ask(self) -> None:
        self._sent_us = self._desk.clock.monotonic_us()
        assign = self._desk.dispatch.hedge(self._record.request_id, self._sent_us)
        if assign is not None:
            self._attempt = attempt_at(self._desk, self._order, self._record.call, assign, self)
            self._attempt.begin(self._desk.spawn)

    # --- what the engine says -----------------------------------------------------------------------------------

    def upstream_head(self, status: int, events: bool) -> None:
        """See `upstream.User`."""
        del events
        self._status, self._bytes, self._body = status, 0, []

    def upstream_data(self, data: bytes) -> None:
        """See `upstream.User`."""
        self._bytes += len(data)
        if self._bytes <= BODY_BYTES_MAX:
            self._body.append(data)
        elif self._attempt is not None:
            self._attempt.let_go()
            self._fail("the engine's answer is too large", faulty=True)

    def upstream_end(self) -> None:
        """See `upstream.User`."""
        attempt = self._attempt
        if attempt is None:
            return
        attempt.answered()
        if self._status != 200:
            self._fail(f"it answered {self._status}", faulty=self._status > _OWN_FAULT)
            return
        self._attempt = None
        self._first.second_won(attempt, self._sent_us, b"".join(self._body))

    def upstream_lost(self, reason: str, heard: bool) -> None:
        """See `upstream.User`."""
        attempt = self._attempt
        if attempt is None:
            return
        after_us = self._desk.clock.monotonic_us() - self._sent_us
        if not attempt.lost(self._desk.spawn, heard=heard, after_us=after_us):
            self._fail(reason, faulty=True)

    def unreachable(self, attempt: Attempt, reason: str) -> None:
        """See `attempt.Trying`."""
        if self._attempt is attempt:
            self._fail(reason, faulty=True)

    def _fail(self, reason: str, *, faulty: bool) -> None:
        attempt = self._attempt
        assert attempt is not None, "what does not run does not fail"
        if faulty:
            self._desk.faulty(attempt.assign)
        self._spent()
        if self._alone:
            self._first.second_lost(reason)
            return
        now_us, name = self._desk.clock.monotonic_us(), self._record.request_id
        self._desk.act_all(self._desk.dispatch.parted(name, attempt.assign.incarnation, now_us))

    def _spent(self) -> None:
        """Its time is nobody's work; its slot is free."""
        assert self._attempt is not None, "a try is over once"
        assign, self._attempt = self._attempt.assign, None
        self._body = []
        self._desk.counters.flying("replica:" + assign.replica, -1)
        self._record.wasted(assign, self._sent_us, self._desk.clock.monotonic_us())
