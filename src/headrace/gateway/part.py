"""One call of an engine, as part of a request that takes several.

It has an exchange of its own, so that it waits, is assigned, is tried again and is given up like any request. What an
exchange would tell its client, the journal, the limits and the budgets, a part tells the request that it belongs to.
"""

import copy
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from headrace.errors import HeadraceError
from headrace.gateway.client import Client
from headrace.gateway.desk import Desk
from headrace.gateway.exchange import Exchange
from headrace.gateway.limits import Meter
from headrace.gateway.record import Name, Record
from headrace.gateway.reply import Reply
from headrace.policy.actions import Answer, Assign
from headrace.ports import Journal
from headrace.state.request import Request
from headrace.state.table import RouteKey
from headrace.state.usage import Entry, Progress, Stay, Usage
from headrace.wire import fault
from headrace.wire.call import ONCE, Call
from headrace.wire.usage import Counts

if TYPE_CHECKING:
    import asyncio


class Whole(Protocol):
    """The request that a part belongs to."""

    def part_said(self, part: "Part", events: bytes) -> None:
        """Whole events of its stream."""
        ...

    def part_went_on(self, mark: Progress) -> None:
        """The stream of one of its parts has come so far."""
        ...

    def part_over(self, part: "Part") -> None:
        """It has ended; its `usage` is there, and its `body` or why there is none."""
        ...


class Failure(NamedTuple):
    """Why a part came to nothing, as a client would be told. `last` is the event that ends a stream that had begun."""

    code: str
    message: str
    param: str | None = None
    headers: bytes = b""
    last: bytes = b""


class Part:
    """One call. `place` is which choice it is for, `attempt` the number of this try at it, from 1."""

    __slots__ = (
        "_client", "_desk", "_exchange", "_whole", "attempt", "body", "call", "failure", "place", "record", "usage",
    )  # fmt: skip

    def __init__(self, whole: Whole, desk: Desk, parent: Record, call: Call, name: str, attempt: int) -> None:
        self._whole = whole
        self.call = call
        self.place = call.place or 0
        self.attempt = attempt
        self.body = b""
        self.failure: Failure | None = None
        self.usage: Usage | None = None
        self.record = _Record(name, parent, call)
        self._client = _Front()
        self._desk = _Desk(self, desk)
        self._exchange = Exchange(self._desk, self._client, _Reply(self), self.record)
        if attempt == 1:  # one that is asked again comes when it comes: the deadline for a beginning was met
            self.record.arrived_us, self.record.wall_us = parent.arrived_us, parent.wall_us

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.usage is not None or self.failure is not None

    @property
    def counts(self) -> Counts:
        """What it used, by the engine's account or the gateway's."""
        row = self.usage
        if row is None:
            return Counts()
        return Counts(
            input_tokens=row.input_tokens,
            cached_tokens=row.cached_tokens,
            output_tokens=row.output_tokens,
            prefill_us=row.engine_prefill_us,
            decode_us=row.engine_decode_us,
        )

    def start(self) -> None:
        """Ask for it."""
        try:
            self._exchange.start()
        except HeadraceError as error:
            self.failure = Failure(*fault.told(error)[1:])
            self._desk.exchanges.pop(self.record.request_id, None)
            self._whole.part_over(self)

    def call_off(self) -> None:
        """Nobody wants it any more."""
        self._exchange.client_gone()

    def hold(self, paused: bool) -> None:
        """The client reads too slowly, or again."""
        self._client.slow = paused
        self._exchange.hold(paused)

    def stay(self) -> Stay | None:
        """Where it held a slot; None when it never did."""
        row = self.usage
        if row is None or not row.left_us:
            return None
        first_us = row.arrived_us + row.first_us if row.first_us else row.left_us
        return Stay(
            choice=self.place,
            attempt=self.attempt,
            replica=row.replica,
            incarnation=row.incarnation,
            start_us=row.sent_us,
            first_us=min(max(first_us, row.sent_us), row.left_us),
            end_us=row.left_us,
            input_tokens=row.input_tokens,
            cached_tokens=row.cached_tokens,
            output_tokens=row.output_tokens,
            why=row.why,
        )

    # --- what its exchange says -----------------------------------------------------------------------------------

    def said(self, events: bytes) -> None:
        """Events for the client."""
        self._whole.part_said(self, events)

    def append(self, entry: Entry, committed: Callable[[bool], None] | None = None) -> None:
        """An entry that a request of its own would leave in the journal; see `Journal.append`."""
        if isinstance(entry, Progress):
            self._whole.part_went_on(entry)
        if isinstance(entry, Usage):
            self.usage = entry
        if committed is not None:
            committed(True)
        if isinstance(entry, Usage):
            self._whole.part_over(self)

    async def close(self) -> None:
        """See `Journal.close`."""


class _Record(Record):
    """The facts of a part. All parts of a request go to one version, whose price is that of the whole."""

    __slots__ = ("_group",)

    def __init__(self, name: str, parent: Record, call: Call) -> None:
        bill = copy.copy(parent.bill)  # the prices that are pinned
        sizes = parent.sizes if bill.asking.tries == 1 else None  # what its model is told beside is no size to learn
        bill.held_in, bill.cap, bill.asking = (), None, ONCE  # the whole request holds for all of its parts
        super().__init__(Name(name, parent.epoch), parent.key, parent.model, call, bill, sizes)
        self.pinned, self._group = parent.pinned, parent.request_id

    def arriving(self, output_max: int) -> Request:
        """See `Record.arriving`."""
        return msgspec.structs.replace(super().arriving(output_max), group=self._group)


class _Front(Client):
    """The client as a part sees it: it may be slow, and it never goes by itself."""

    __slots__ = ()

    def __init__(self) -> None:
        self.work = None
        self.slow = False


class _Reply(Reply):
    """What a part's exchange would answer."""

    __slots__ = ("_part",)

    def __init__(self, part: Part) -> None:
        super().__init__(_Front(), b"", chunked=True)
        self._part = part

    def events(self, data: bytes) -> None:
        """A piece of a stream."""
        self.started = True
        self._part.said(data)

    def end_events(self, last: bytes, *, broken: bool) -> None:
        """Its end; the whole stream has one of its own."""
        if broken:
            self._part.failure = Failure("upstream_failed", "", last=last)

    def whole(self, body: bytes, headers: bytes = b"") -> None:  # noqa: ARG002 - the charge is that of the whole request
        """The engine's answer."""
        self._part.body = body

    def error(self, code: str, message: str, param: str | None = None, headers: bytes = b"") -> None:
        """There is none."""
        self._part.failure = Failure(code, message, param, headers)


class _Unlimited(Meter):
    """The whole request has been counted in."""

    def __init__(self) -> None:
        pass

    def admit(self, key: RouteKey, tokens: int, now_us: int, priority: int = 0) -> bytes:  # noqa: ARG002 - as above
        """See `Meter.admit`."""
        return b""

    def done(self, key: RouteKey, correction: int, arrived_us: int, now_us: int, priority: int = 0) -> None:
        """See `Meter.done`."""


class _Desk:
    """The worker as a part's exchange sees it: all of it, but for what the whole request keeps account of."""

    def __init__(self, part: Part, desk: Desk) -> None:
        self.clock, self.counters, self.directory = desk.clock, desk.counters, desk.directory
        self.dispatch, self.epoch, self.exchanges = desk.dispatch, desk.epoch, desk.exchanges
        self.link, self.wallet = desk.link, desk.wallet
        self.journal: Journal = part
        self.meter: Meter = _UNLIMITED
        self._desk = desk

    def act_all(self, found: Iterable[Answer]) -> None:
        """See `Desk.act_all`."""
        self._desk.act_all(found)

    def look_around(self, now_us: int) -> None:
        """See `Desk.look_around`."""
        self._desk.look_around(now_us)

    def faulty(self, assign: Assign) -> None:
        """See `Desk.faulty`."""
        self._desk.faulty(assign)

    def stored(self, done: bool) -> None:
        """Nothing of a part is stored by itself."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """See `Desk.spawn`."""
        return self._desk.spawn(work)


_UNLIMITED: Final = _Unlimited()
