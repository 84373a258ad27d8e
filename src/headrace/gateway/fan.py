"""One request that takes several calls of engines: choices side by side over the replicas, and answers asked again.

It is priced, held, counted and recorded once, under one id. Its parts are requests of their own to the fast brain, so
that each takes a slot wherever one is free, and a part that fails is tried again by the rules for all. When one fails
for good the others are called off, and the whole request has failed. What each part took stands in the one record.
"""

from collections.abc import Sequence

import msgspec

from headrace.errors import HeadraceError, Refused
from headrace.gateway import codes
from headrace.gateway.asked import Asked
from headrace.gateway.client import Client
from headrace.gateway.desk import Desk
from headrace.gateway.directory import StandIn
from headrace.gateway.exchange import ANSWER_BYTES_MAX, COMMENT_US, FIRST_COMMENT_US
from headrace.gateway.order import Order
from headrace.gateway.part import Failure, Part
from headrace.gateway.record import Record
from headrace.gateway.reply import Reply
from headrace.policy.actions import Answer
from headrace.state.table import RouteModel
from headrace.state.usage import Outcome, Progress, Span, Stay, Usage
from headrace.wire import choices, fault, instructed
from headrace.wire.call import Asking, Call
from headrace.wire.usage import Counts


def asking(call: Call, model: RouteModel, others: Sequence[StandIn]) -> Asking:
    """The most calls of engines that it may come to, whichever of the models answers; ONCE needs no fan."""
    most = call.asking(model.ability)
    for other in others:
        most = Asking(*map(max, most, call.asking(other.model.ability)))
    return most


class _Split(Order):
    """What is asked of engines: of what is split, its first part, the others being like it."""

    __slots__ = ()

    def render(self, upstream_model: str) -> tuple[str, bytes]:
        """See `Order.render`."""
        model = self._record.model
        part = self._record.call.parts(model.ability)[0]
        return part.render(model.ability, upstream_model, model.output_tokens_default, model.context_tokens)


class Fan(Asked):
    """One request at work, as `Exchange` is. `_tries` are its parts, by place in the answer and in order of time."""

    __slots__ = ("_asked", "_before", "_commented_us", "_earlier", "_round", "_stopping", "_tries")

    def __init__(
        self, worker: Desk, client: Client, reply: Reply, record: Record, others: Sequence[StandIn] = ()
    ) -> None:
        record.bill.asking = asking(record.call, record.model, others)
        super().__init__(worker, client, reply, record, _Split(record, others))
        self._tries: list[list[Part]] = []
        self._earlier: tuple[Span, ...] = ()  # of models that were asked before another one stood in
        self._before = ""  # why another model stands in
        self._asked = self._round = 0
        self._stopping = False
        self._commented_us = record.arrived_us + FIRST_COMMENT_US

    # --- admission ----------------------------------------------------------------------------------------------

    def admitted(self) -> None:
        """See `hold.Holder`: all parts are asked for at once."""
        self._worker.journal.append(self._record.begun())
        self._begin()

    def act(self, answer: Answer) -> None:
        """See `desk.Acting`: it is the parts that wait and are assigned."""

    def _begin(self) -> None:
        calls = self._record.call.parts(self._record.model.ability)
        self._tries = [[] for _ in calls]
        self._round = here = self._round + 1
        for place, call in enumerate(calls):
            self._ask(place, call)
            if self._settled or self._round != here:
                return  # it was refused at once, or another model stands in

    def _ask(self, place: int, call: Call) -> None:
        self._asked += 1
        name, tries = f"{self._record.request_id}-{self._asked}", self._tries[place]
        part = Part(self, self._worker, self._record, call, name, len(tries) + 1)
        tries.append(part)
        part.start()

    # --- what parts say -----------------------------------------------------------------------------------------

    def part_said(self, part: Part, events: bytes) -> None:
        """See `part.Whole`."""
        record = self._record
        name = choices.named(record.call.endpoint, record.request_id)
        out = choices.relabel(events, part.place, name, record.wall_us // 1_000_000)
        if not out or self._settled:
            return
        self._commented_us = self._worker.clock.monotonic_us() + COMMENT_US
        if not record.first_us:
            record.first_us = self._worker.clock.monotonic_us()
            self._gather()
            self._reply.headers += record.headers(record.first_us)
        self._reply.events(out)

    def part_went_on(self, mark: Progress) -> None:
        """See `part.Whole`."""
        pieces = sum(each.record.pieces for each in self._parts())
        mark = msgspec.structs.replace(mark, request=self._record.request_id, output_tokens=pieces)
        self._worker.journal.append(mark)

    def part_over(self, part: Part) -> None:
        """See `part.Whole`: it is asked for again, or it is there and the answer may be whole; or all has failed."""
        if self._settled or self._stopping:
            return
        if part.failure is not None:
            self._lost(part, part.failure)
            return
        try:
            more = part.call.again(part.body) if part.body else None
        except Refused as error:
            self._lost(part, Failure(error.code, error.message))
            return
        if more is not None:
            self._ask(part.place, more)
        elif sum(len(each.body) for each in self._parts()) > ANSWER_BYTES_MAX:
            self._lost(part, Failure("upstream_invalid", ""))
        elif all(tries and tries[-1].done for tries in self._tries):
            self._finish()

    # --- ends ---------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """1. A stream of the parts' own; 2. a stream made of whole parts; 3. a whole answer."""
        record, call, reply = self._record, self._record.call, self._reply
        streamed, created_s = self._tries[0][0].call.stream, record.wall_us // 1_000_000
        if not record.first_us:
            record.first_us = self._worker.clock.monotonic_us()
            self._gather()
            reply.headers += record.headers(record.first_us)
        self._gather()
        counts = self._counts()
        record.bill.settle(record.model.task, "finished", counts, began=True, busy_us=record.busy_us)
        asked = call.stream and call.include_usage
        shown = msgspec.structs.replace(counts, bill=record.bill.shown()) if asked else counts
        if streamed:  # 1.
            last = choices.tail(call.endpoint, record.request_id, created_s, call.model, shown if asked else None)
            self._settle("finished", 200, counts, lambda: reply.end_events(last, broken=False))
            return
        answers = [(tries[-1].call, tries[-1].body) for tries in self._tries]
        try:
            made = call.join(answers, record.request_id, created_s, shown)
        except HeadraceError:
            record.bill.reopen()
            record.first_us = 0
            self._end_without(Failure("upstream_invalid", ""), "failed", "the parts of the answer do not fit together")
            return
        if call.stream:  # 2.
            *events, last = made.events
            reply.events(b"".join(events))
            self._settle("finished", 200, counts, lambda: reply.end_events(last, broken=False))
        else:  # 3.
            said = lambda: reply.whole(made.body, record.bill.header())  # noqa: E731 - as in `Exchange`
            reply.keep(made.body, lambda: self._settle("finished", 200, counts, said))

    def _lost(self, part: Part, failure: Failure) -> None:
        """One part failed for good, and so has all, unless another model stands in."""
        record, usage = self._record, part.usage
        if part.attempt > 1 and failure.code == "context_length_exceeded":
            error = instructed.unmet("there is no room in the context to ask once more")
            failure = Failure(error.code, error.message)
        reason = (usage.error if usage else "") or failure.message
        self._call_off()
        if failure.code in codes.ELSEWHERE and not record.first_us and self._stood_in(f"{failure.code}: {reason}"):
            return
        outcome: Outcome = "refused" if failure.code in codes.REFUSALS and not self._stays() else "failed"
        self._end_without(failure, outcome, reason)

    def _stood_in(self, why: str) -> bool:
        """Ask another model for all of it, if there is one. What was done so far is nobody's work."""
        record = self._record
        self._gather()
        stays = [
            Span(replica=stay.replica, incarnation=stay.incarnation, start_us=stay.start_us, end_us=stay.end_us)
            for stay in self._stays()
        ]
        if not self._order.stand_in(why):
            return False
        self._earlier, self._before = (*record.failed, *stays), record.why
        if not self._reply.started:
            self._reply.headers += b"x-headrace-fallback: %b\r\n" % record.model.name.encode()
        self._stopping = False
        self._begin()
        return True

    def _end_without(self, failure: Failure, outcome: Outcome, reason: str) -> None:
        """The end without an answer, or with what of it had been sent."""
        record, reply = self._record, self._reply
        self._gather()
        counts = Counts()
        if record.first_us and reply.started:
            counts = Counts(input_tokens=record.call.input_tokens, output_tokens=self._counts().output_tokens)
        else:
            record.first_us = 0
        headers = failure.headers
        if failure.code in codes.HOPELESS and b"x-should-retry" not in headers:
            headers += b"x-should-retry: false\r\n"

        def said() -> None:
            if failure.last and reply.started:
                reply.end_events(failure.last, broken=True)
            else:
                reply.error(failure.code, failure.message, failure.param, headers)

        self._settle(outcome, fault.status(failure.code), counts, said, failure.code, reason)

    def fail(self, code: str, message: str, *, retry_after_us: int | None = None) -> None:
        """See `hold.Holder`: no budget covers it."""
        headers = b"" if retry_after_us is None else b"retry-after: %d\r\n" % -(-retry_after_us // 1_000_000)
        self._end_without(Failure(code, message, headers=headers), "refused", message)

    def client_gone(self) -> None:
        """The client hung up: all parts are called off, and what they had done is charged; or they go on."""
        if self._settled or self._reply.run.outlives:
            return
        self._hold.cancel()
        self._reply.abandoned()
        self._call_off()
        self._gather()
        self._settle("cancelled", 499, self._counts(), None, "client_closed")

    def hold(self, paused: bool) -> None:
        """The client reads too slowly, or again."""
        for part in self._parts():
            if not part.done:
                part.hold(paused)

    def tick(self, now_us: int) -> None:
        """Now and then: a comment in a stream that has been silent."""
        if self._record.call.stream and self._tries and now_us >= self._commented_us:
            self._commented_us = now_us + COMMENT_US
            self._reply.comment(b"waiting for %b" % self._record.model.name.encode())

    # --- settling -----------------------------------------------------------------------------------------------

    def _parts(self) -> list[Part]:
        return [part for tries in self._tries for part in tries]

    def _call_off(self) -> None:
        self._stopping = True
        for part in sorted(self._parts(), key=lambda part: part.record.served_by is not None):
            if not part.done:  # those that wait first, lest they get the slots of those at work
                part.call_off()

    def _counts(self) -> Counts:
        prompts = max(1, self._record.call.items)
        return choices.total(([part.counts for part in tries] for tries in self._tries), prompts)

    def _stays(self) -> tuple[Stay, ...]:
        return tuple(stay for part in self._parts() if (stay := part.stay()) is not None)

    def _gather(self) -> None:
        """What the parts came to, into the record of all."""
        record = self._record
        asked = [part.record for part in self._parts() if part.record.served_by is not None]
        record.failed = (*self._earlier, *(span for each in asked for span in each.failed))
        if not asked:
            return
        first = asked[0].served_by
        assert first is not None, "only those were taken"
        record.served_by = first
        record.bill.served_by(f"{record.model.name}@{first.version}")
        record.queue_us = min(each.queue_us for each in asked)
        record.sent_us = min(each.sent_us for each in asked)
        record.left_us = max(each.left_us for each in asked)
        record.busy_us = sum(each.busy_us for each in asked)
        record.attempts = sum(each.attempts for each in asked)
        record.pieces = sum(each.pieces for each in asked)
        record.cold = any(each.cold for each in asked)
        record.counted = all(each.counted for each in asked)
        places = {each.served_by.replica for each in asked if each.served_by is not None}
        told = f"{len(asked)} calls of {len(places)} replica{'s' if len(places) > 1 else ''}"
        record.why = f"{told}; before that: {self._before}" if self._before else told

    def _ended(self, usage: Usage, counts: Counts) -> Usage:  # noqa: ARG002 - the parts have told of theirs
        return msgspec.structs.replace(usage, parts=self._stays())
