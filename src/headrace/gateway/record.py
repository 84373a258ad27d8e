"""What one request leaves behind: the mark that it began, marks of its progress, and the one record of its end."""

import zlib
from typing import Final, NamedTuple

from headrace.gateway.bill import Bill, named
from headrace.gateway.sizes import Sizes
from headrace.policy.actions import Assign
from headrace.state.request import BATCH, INTERACTIVE, Request
from headrace.state.table import RouteKey, RouteModel
from headrace.state.usage import Begun, Outcome, Progress, Span, Usage
from headrace.wire.call import Call
from headrace.wire.sse import StreamMeter
from headrace.wire.usage import Counts, plausible

SHORT_TOKENS_MAX: Final = 64  # of a chat answer that is soon there
PATIENCE_US: Final = (0, 600_000_000, 600_000_000)  # by class: how long who is not in a hurry is held at least


class Name(NamedTuple):
    """What a request is called: by us, its id and that of the gateway's life it belongs to; by its client, a label."""

    request_id: str
    epoch: str
    label: str = ""


class Record:
    """The facts of one request as they come in. `*_us` without `wall` are of the clock that never goes back.

    `first_us`: first byte of the answer sent, 0 before. `busy_us`: how long it held its slots, over all attempts.
    `pieces`: events with content that were sent. `served_by`: the last replica that worked on it. `pinned`: `model` is
    asked as this version and no other. `stood_in`: who stands in for the model that was asked, empty for nobody.
    """

    __slots__ = (
        "arrived_us", "attempts", "bill", "busy_us", "call", "cold", "counted", "epoch", "failed", "first_us", "key",
        "label", "left_us", "model", "pieces", "pinned", "queue_us", "request_id", "sent_us", "served_by", "sizes",
        "stood_in", "wall_us", "why",
    )  # fmt: skip

    def __init__(
        self, name: Name, key: RouteKey, model: RouteModel, call: Call, bill: Bill, sizes: Sizes | None = None
    ) -> None:
        self.request_id, self.epoch, self.label = name
        self.key = key
        self.model = model
        self.call = call
        self.bill = bill
        self.sizes = sizes
        self.arrived_us = self.wall_us = 0
        self.queue_us = self.first_us = self.sent_us = self.left_us = self.busy_us = 0
        self.failed: tuple[Span, ...] = ()
        self.attempts = self.pieces = 0
        self.pinned = call.model == f"{model.name}@{model.version}"
        self.cold = self.counted = False
        self.served_by: Assign | None = None
        self.why = self.stood_in = ""

    def arriving(self, output_max: int) -> Request:
        """What the fast brain sees of it; `model@version` asks for that version and no other."""
        call, model, key = self.call, self.model, self.key
        return Request(
            id=self.request_id,
            tenant=key.tenant,
            key=key.id,
            model=model.name,
            task=model.task,
            input_tokens=call.input_tokens,
            output_tokens_max=output_max,
            arrived_us=self.arrived_us,
            deadline_us=self.arrived_us + (call.patience_us or max(model.start_timeout_us, PATIENCE_US[call.priority])),
            prefix_hash=zlib.crc32(call.prefix, zlib.crc32(key.tenant.encode())) if call.prefix else 0,
            version=model.version if self.pinned else "",
            priority=call.priority,
            strict=call.patience_us > 0,
            short=model.hedge and _short(call, model.task, output_max),
        )

    def assigned(self, assign: Assign, now_us: int) -> None:
        """A replica takes it."""
        if not self.attempts:
            self.queue_us = now_us - self.arrived_us
        self.attempts += 1
        self.served_by = assign
        self.sent_us = now_us
        self.bill.served_by(f"{self.model.name}@{assign.version}")
        self.why = f"{assign.reason}; before that: {self.why}" if self.why else assign.reason

    def stands_in_for(self, name: str, model: str, why: str) -> None:
        """Another model or version, called `name`, is asked, because the one that was could not serve it."""
        told = f"{name} stands in for {model} ({why})"
        self.why = f"{told}; before that: {self.why}" if self.why else told
        self.stood_in = name
        self.bill.note = f"{name} stood in for {model}"

    def released(self, now_us: int, *, failed: bool = False) -> None:
        """The replica has it no more. What a failed attempt took is nobody's work."""
        if not failed:
            self.busy_us += now_us - self.sent_us
            self.left_us = now_us
        elif self.served_by is not None:
            self.wasted(self.served_by, self.sent_us, now_us)

    def wasted(self, assign: Assign, sent_us: int, now_us: int) -> None:
        """A replica worked on it for nothing."""
        span = Span(
            replica=assign.replica,
            incarnation=assign.incarnation,
            start_us=self._wall(sent_us),
            end_us=self._wall(now_us),
        )
        self.failed = (*self.failed, span)

    def decode_us(self) -> int:
        """From the first token that was sent to the last, of who was promised a pace; 0 where nobody saw them."""
        if not self.call.stream or not self.first_us or self.call.priority == BATCH:
            return 0
        return max(0, self.left_us - self.first_us)

    def fresh_tokens(self, counts: Counts) -> int:
        """Tokens of the prompt that were worked off; 0 for batch work, which no replica is started for."""
        return 0 if self.call.priority == BATCH else max(0, counts.input_tokens - counts.cached_tokens)

    def _wall(self, moment_us: int) -> int:
        return self.wall_us + moment_us - self.arrived_us

    def so_far(self, meter: StreamMeter | None) -> Counts:
        """What was worked on and delivered of an answer that does not come to its end."""
        if meter is not None:
            self.pieces = meter.pieces
        return Counts(
            input_tokens=self.call.input_tokens if self.attempts else 0,
            output_tokens=self.pieces if self.call.task == "chat" else 0,
            items=meter.items if meter is not None else 0,
        )

    def believe(
        self, counts: Counts | None, output_max: int, sent_bytes: int, *, pieces: int = 0, output_bytes: int = 0
    ) -> Counts:
        """The engine's counts where they fit what was seen, else the gateway's own. Only texts come in tokens."""
        self.pieces = pieces
        seen = pieces if self.call.task == "chat" else 0
        if counts is not None and plausible(
            counts, pieces=seen, choices=self.call.n, input_bytes=sent_bytes, output_max=output_max
        ):
            self.counted = True
            if self.sizes is not None:
                self.sizes.learn(self.call, counts.input_tokens)
            return counts
        return self.call.guess(pieces=pieces) if pieces else self.call.guess(output_bytes=output_bytes)

    def headers(self, now_us: int) -> bytes:
        """What a whole answer tells of its way, as header lines."""
        served, total_us = self.served_by, now_us - self.arrived_us
        replica, version = (served.replica, served.version) if served else ("", "")
        overhead_us = max(0, total_us - self.queue_us - (self.busy_us or now_us - self.sent_us))
        return (
            f"openai-processing-ms: {total_us // 1_000}\r\nx-headrace-replica: {replica}\r\n"
            f"x-headrace-model-version: {version}\r\nx-headrace-queue-ms: {self.queue_us // 1_000}\r\n"
            f"x-headrace-overhead-ms: {overhead_us // 1_000}\r\n"
            + (f"x-headrace-fallback: {self.stood_in}\r\n" if self.stood_in else "")
        ).encode()

    def begun(self) -> Begun:
        """The mark at admission."""
        return Begun(
            request=self.request_id,
            epoch=self.epoch,
            tenant=self.key.tenant,
            key=self.key.id,
            model=self.model.name,
            task=self.model.task,
            arrived_us=self.wall_us,
            stream=self.call.stream,
            team=self.key.team,
            label=self.label,
        )

    def progress(self, now_us: int) -> Progress:
        """The mark a dead gateway's request is settled at."""
        served = self.served_by
        return Progress(
            request=self.request_id,
            output_tokens=self.pieces,
            at_us=self.wall_us + now_us - self.arrived_us,
            replica=served.replica if served else "",
            version=served.version if served else "",
            incarnation=served.incarnation if served else "",
        )

    def usage(self, outcome: Outcome, status: int, counts: Counts, now_us: int, code: str, error: str) -> Usage:
        """The record of the end."""
        served, bill = self.served_by, self.bill
        bill.settle(self.model.task, outcome, counts, began=self.first_us > 0, busy_us=self.busy_us)
        return Usage(
            request=self.request_id,
            epoch=self.epoch,
            tenant=self.key.tenant,
            key=self.key.id,
            model=self.model.name,
            task=self.model.task,
            outcome=outcome,
            status=status,
            arrived_us=self.wall_us,
            ended_us=self.wall_us + now_us - self.arrived_us,
            version=served.version if served else "",
            replica=served.replica if served else "",
            incarnation=served.incarnation if served else "",
            stream=self.call.stream,
            code=code,
            input_tokens=counts.input_tokens,
            cached_tokens=counts.cached_tokens,
            output_tokens=counts.output_tokens,
            items=counts.items,
            counted="engine" if self.counted else "gateway",
            queue_us=self.queue_us if served else now_us - self.arrived_us,
            first_us=self.first_us - self.arrived_us if self.first_us else 0,
            busy_us=self.busy_us,
            engine_prefill_us=counts.prefill_us,
            engine_decode_us=counts.decode_us,
            attempts=self.attempts,
            events=self.pieces,
            cold=self.cold,
            why=self.why,
            error=error,
            team=self.key.team,
            sent_us=self._wall(self.sent_us) if self.left_us else 0,
            left_us=self._wall(self.left_us) if self.left_us else 0,
            failed=self.failed,
            charge_nanousd=bill.charge,
            price=bill.price.id if bill.price is not None else "",
            held_nanousd=bill.bound if bill.held_in else 0,
            budgets=(*bill.budgets, *named(self.model.budgets, self.wall_us)) if self.model.budgets else bill.budgets,
            note=bill.note,
            label=self.label,
            agent_steps=self.call.agent_steps,
        )


def _short(call: Call, task: str, output_max: int) -> bool:
    """Whether a call is answered whole and soon, by somebody who waits for it."""
    if call.stream or call.priority != INTERACTIVE:
        return False
    return task in ("embed", "rerank") or (task == "chat" and output_max <= SHORT_TOKENS_MAX)
