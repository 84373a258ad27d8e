"""The fast brain: what happens to this request now. Called by each gateway worker, later by the twin.

It is told what happens (a table, an arrival, an end, a fault, a tick) and answers with actions, each with its reason.
Deterministic: no clock, no chance; the same events give the same answers. All moments are CLOCK_MONOTONIC
microseconds, which all processes of a machine share, so that `Demand.last_us` compares with the slow brain's `now_us`.
It never sees a prompt, and never gives a replica more requests than it has slots, as far as it was told of siblings.
"""

from collections.abc import Mapping

from headrace.policy import admission, health, prompts, routing, triage
from headrace.policy.actions import Answer, Assign
from headrace.policy.admission import DispatchLimits
from headrace.policy.lane import Lane, Ticket
from headrace.policy.seat import Seat
from headrace.policy.seating import Seating
from headrace.policy.sharing import Rows, SharedFairness
from headrace.policy.waiting import Waiting
from headrace.state.demand import Demand
from headrace.state.request import BATCH, Request
from headrace.state.table import Table
from headrace.units import format_us

DEFAULT_LIMITS = DispatchLimits()


class Dispatch:
    """Admission, queues and routing of one gateway worker. Every arrival ends in one Assign or Reject, or leaves."""

    __slots__ = ("_lanes", "_limits", "_rows", "_seats", "_seq", "_tickets", "_versions", "_waiting", "shed")

    def __init__(self, limits: DispatchLimits = DEFAULT_LIMITS, rows: Rows | None = None) -> None:
        self._limits = limits
        self._rows = rows  # what sibling gateways tell each other
        self._lanes: dict[str, Lane] = {}
        self._versions: dict[str, tuple[Lane, ...]] = {}
        self._seats = Seating()
        self._tickets: dict[str, Ticket] = {}
        self._waiting = Waiting(self._tickets)
        self._seq = 0
        self.shed: list[Answer] = []  # what the last arrival pushed out; who calls takes it away

    @property
    def held(self) -> int:
        """How many requests wait here for a slot."""
        return self._waiting.count

    def update(self, table: Table, now_us: int) -> list[Answer]:
        """Take a new table: answers for held requests whose replicas came, or whose model cannot be served."""
        before = self._lanes
        lanes: dict[str, Lane] = {}
        versions: dict[str, list[Lane]] = {}
        for model in table.models:
            key = f"{model.name}@{model.version}"
            lane = before.get(key) or Lane(model, now_us, SharedFairness(key, self._rows) if self._rows else None)
            lane.route, lane.cut = model, model.cut
            lanes[key] = lane
            versions.setdefault(model.name, []).append(lane)
        removed = [lane for key, lane in before.items() if key not in lanes]
        self._lanes = lanes | {lane.key: lane for lane in removed if lane.running or lane.queue}
        self._versions = {name: tuple(group) for name, group in versions.items()}
        weights = {one.name: one.weight for one in table.tenants if one.weight != 1}
        for lane in self._lanes.values():
            lane.fair.weights = weights
        self._seats.take(table.replicas, self._lanes, now_us)
        answers: list[Answer] = []
        for lane in removed:
            self._waiting.rehome(lane, self._versions.get(lane.route.name, ()), answers)
        for lane in self._lanes.values():
            if lane.queue and (lane.route.fault or not lane.route.weight):
                self._waiting.part(lane, self._versions.get(lane.route.name, ()), answers)
        for lane in self._lanes.values():
            self._drain(lane, now_us, answers)
        return answers

    def arrive(self, request: Request, now_us: int) -> Answer:
        """Decide about a new request; its id must be new."""
        lanes = self._versions.get(request.model)
        if lanes is None:
            return admission.unknown(request)
        lane = lanes[0] if len(lanes) == 1 else admission.choose(lanes, request)
        assert request.id not in self._tickets, "a request arrives once"
        lane.arrivals += 1
        lane.last_us = now_us
        lane.ask(request)
        if lane.route.fault:
            lane.refused += 1
            return admission.faulty(lane, request)
        if lane.readmit_us and now_us >= lane.readmit_us:
            lane.reopen(now_us)
        self._seq += 1
        ticket = Ticket(request, lane, self._seq, now_us)
        seat = routing.pick(lane, ticket, now_us)
        free = seat is not None and not (lane.fair.shared and lane.fair.gives_way(ticket.front(), now_us))
        if seat is not None and free and (not lane.queue or self._passes(lane, ticket, seat, now_us)):
            lane.fair.came(request.tenant)
            return self._assign(ticket, seat, now_us)
        if len(lane.queue) >= lane.route.queue_max:
            victim = self._waiting.make_place(lane, request)
            if victim is not None:
                self.shed.append(victim)
        refusal = admission.refusal(self._limits, lane, ticket, now_us)
        if refusal is not None:
            lane.refused += 1
            return refusal
        lane.fair.came(request.tenant)
        return self._waiting.hold(ticket)

    def lost(self, request_id: str, now_us: int, *, crashed: bool = False) -> Answer:
        """Its replica failed under it before anything was sent on: another one, a wait, or the end.

        `crashed` says that the connection broke after the request had been sent, so that the request itself may be
        the cause; a replica that the table has meanwhile dropped counts as crashed too. A request under which
        replicas died `crashes_max` times is refused with `engine_crash`.
        """
        ticket = self._tickets.get(request_id)
        if ticket is None or ticket.seat is None:
            return admission.unheard(request_id)
        lane, seat = ticket.lane, ticket.seat
        prompts.gone(ticket, seat, now_us, whole=False)
        self._release(ticket, now_us, 0)
        if crashed or self._seats.get(seat.id) is not seat or not seat.ready:
            ticket.crashes += 1
        refusal = admission.lost(self._limits, lane, ticket)
        if refusal is None and lane.route.fault:
            refusal = admission.faulty(lane, ticket.request)
        if refusal is None and ticket.request.deadline_us <= now_us:
            refusal = admission.late(lane, ticket, now_us)
        if refusal is None and not lane.retries.take(lane.capacity, now_us):
            refusal = admission.no_retry(lane, ticket)
        if refusal is not None:
            return self._waiting.refuse(ticket, refusal)
        ticket.avoid, ticket.avoid_until_us = seat.incarnation, now_us + self._limits.avoid_us
        ticket.held_us = now_us
        other = routing.pick(lane, ticket, now_us)
        if other is not None:
            return self._assign(ticket, other, now_us)
        return self._waiting.hold(ticket)

    def hedge(self, request_id: str, now_us: int) -> Assign | None:
        """A second replica for a short call that takes long, None without one. `Assign.hedge_us` said when to ask.

        Whoever answers first ends the request (`ended`); a try that is over before that has `parted`.
        """
        ticket = self._tickets.get(request_id)
        if ticket is None or ticket.seat is None or ticket.second is not None:
            return None
        lane = ticket.lane
        seat = routing.second(lane, ticket, now_us)
        if seat is None or not lane.retries.take(lane.capacity, now_us):
            return None
        reason = f"a second replica: {ticket.seat.id} has not answered for {format_us(now_us - ticket.since_us)}"
        lane.occupy(seat, now_us)
        ticket.second, ticket.second_us = seat, now_us
        ticket.attempts += 1
        return Assign(request_id, seat.id, seat.incarnation, lane.route.version, reason)

    def parted(self, request_id: str, incarnation: str, now_us: int) -> list[Answer]:
        """One of the two replicas of a request works on it no more, the other does; answers as those of `ended`."""
        ticket = self._tickets.get(request_id)
        if ticket is None or ticket.seat is None or ticket.second is None:
            return []
        gone = ticket.second
        if ticket.seat.incarnation == incarnation:
            gone, ticket.seat, ticket.began_us = ticket.seat, ticket.second, ticket.second_us
            prompts.gone(ticket, gone, now_us, whole=False)
        ticket.second = None
        return self._vacate(ticket.lane, gone, now_us)

    def begun(self, request_id: str, now_us: int) -> list[Answer]:
        """The first token of a request was seen, which tells when its replica has time for others' prompts."""
        ticket = self._tickets.get(request_id)
        if ticket is None or ticket.seat is None or ticket.second is not None:
            return []
        lane, answers, alone_us = ticket.lane, list[Answer](), ticket.alone_us
        prompts.begun(lane, ticket, ticket.seat, now_us)
        if lane.route.ttft_us and ticket.request.priority != BATCH:
            lane.begun += 1
            late = now_us - ticket.request.arrived_us > lane.route.ttft_us
            lane.late += late and alone_us <= lane.route.ttft_us  # who takes longer alone is late everywhere
        if lane.queue:
            self._drain(lane, now_us, answers)
        return answers

    def ended(self, request_id: str, now_us: int, ok: bool = True) -> list[Answer]:
        """A request that ran is over; answers for held ones that get its slot. `ok` False is no proof of health."""
        ticket = self._tickets.pop(request_id, None)
        if ticket is None:
            return []
        lane, seat = ticket.lane, ticket.seat
        lane.fair.left(ticket.request.tenant)
        if seat is None:
            self._waiting.let_out(ticket)
            return []
        prompts.gone(ticket, seat, now_us, whole=ok)
        self._release(ticket, now_us, now_us - ticket.began_us)
        answers: list[Answer] = []
        if ticket.second is not None:
            other, ticket.second = ticket.second, None
            answers += self._vacate(lane, other, now_us)
        if ok:
            lane.learn(now_us - ticket.began_us)
            if ticket.request.short:
                lane.quick.took(now_us - ticket.since_us)
            if seat.faults or seat.half_open:
                health.success(seat)
                lane.recount()
        if lane.queue:
            self._drain(lane, now_us, answers, seat)
        return answers

    def answered(
        self, model: str, version: str, output_tokens: int, whole: bool = True, decode_us: int = 0, fresh: int = 0
    ) -> None:
        """How long an answer was: the next ones are expected to be like it, if it was whole.

        `decode_us` is from its first token to its last, 0 where nobody saw them; `fresh` are tokens of its prompt
        that were worked off, 0 for batch work, which tells nothing of what replicas are started for.
        """
        lane = self._lanes.get(f"{model}@{version}")
        if lane is not None and whole:
            lane.answered(output_tokens, decode_us, fresh)

    def left(self, request_id: str, now_us: int) -> list[Answer]:
        """The client went away, while its request was held or ran."""
        return self.ended(request_id, now_us, ok=False)

    def fault(self, replica: str, incarnation: str, now_us: int) -> None:
        """A replica could not be reached. Late news of an earlier incarnation is ignored."""
        seat = self._seats.get(replica)
        if seat is None or seat.incarnation != incarnation:
            return
        for lane in self._lanes.values():
            if seat in lane.seats:
                if health.fault(lane, seat, now_us):
                    lane.reopen(now_us)
                return

    def others(self, in_flight: Mapping[str, int]) -> None:
        """What sibling gateways have in flight, per replica. Slots they freed are used at the next tick."""
        self._seats.others(in_flight)
        for lane in self._lanes.values():
            lane.recount()

    def meet(self, now_us: int) -> None:
        """Tell sibling gateways who waits here and hear who waits there; to be called every `sharing.MEET_US`."""
        for lane in self._lanes.values():
            lane.meet(now_us)

    def tick(self, now_us: int) -> list[Answer]:
        """Let time pass: refuse what waited too long, try ejected replicas again, use slots that siblings freed."""
        answers: list[Answer] = []
        for lane in self._lanes.values():
            if lane.readmit_us and now_us >= lane.readmit_us:
                lane.reopen(now_us)
            if lane.queue:
                self._waiting.expire(lane, now_us, answers)
                self._drain(lane, now_us, answers)
        return answers

    def demand(self, now_us: int) -> tuple[Demand, ...]:
        """What was asked for since the last call, per model version that is served or still has work."""
        found = tuple(lane.report(now_us) for lane in self._lanes.values())
        for key in [key for key, lane in self._lanes.items() if not (lane.running or lane.queue)]:
            lane = self._lanes[key]
            if lane not in self._versions.get(lane.route.name, ()):
                del self._lanes[key]
        return found

    def in_flight(self) -> Mapping[str, int]:
        """This worker's requests in flight, per replica of the table."""
        return self._seats.in_flight()

    # --- leaves ---------------------------------------------------------------------------------------------------

    def _assign(self, ticket: Ticket, seat: Seat, now_us: int) -> Assign:
        lane, request = ticket.lane, ticket.request
        reason = routing.reason(lane, seat, ticket)
        if ticket.held_us != now_us:
            reason = f"{reason}; held {format_us(now_us - ticket.held_us)}"
        if ticket.avoid:
            reason = f"{reason}; try {ticket.attempts + 1}"
        lane.occupy(seat, now_us)
        prompts.sent(lane, ticket, seat, now_us)
        lane.spare += request.priority == BATCH
        ticket.seat = seat
        ticket.began_us = ticket.since_us = now_us
        ticket.charged_us = lane.fair.sent(request.tenant, lane.mean_us or 1)
        ticket.attempts += 1
        self._tickets[request.id] = ticket
        hedge_us = lane.quick.after_us() if request.short and lane.route.hedge and len(lane.open) > 1 else 0
        return Assign(request.id, seat.id, seat.incarnation, lane.route.version, reason, hedge_us)

    def _vacate(self, lane: Lane, seat: Seat, now_us: int) -> list[Answer]:
        """A seat that worked on a hedged request is free; whoever waits may have it."""
        lane.leave(seat, now_us)
        answers: list[Answer] = []
        if lane.queue:
            self._drain(lane, now_us, answers, seat)
        return answers

    def _release(self, ticket: Ticket, now_us: int, took_us: int) -> None:
        """Give the slot back; `took_us` is what its tenant answers for."""
        seat, lane = ticket.seat, ticket.lane
        assert seat is not None, "who is held has no slot to give back"
        lane.leave(seat, now_us)
        lane.spare -= ticket.request.priority == BATCH
        lane.fair.took(ticket.request.tenant, ticket.charged_us, took_us)
        lane.last_us = now_us
        ticket.seat = None

    def _passes(self, lane: Lane, newcomer: Ticket, seat: Seat, now_us: int) -> bool:
        """Whether a newcomer may take a seat past the queue: only when no one of its class could use that seat."""
        return all(
            ticket.bars(seat, now_us) or not routing.suits(lane, ticket, seat, now_us)
            for ticket in lane.queue.before(newcomer.request.priority)
        )

    def _drain(self, lane: Lane, now_us: int, answers: list[Answer], freed: Seat | None = None) -> None:
        """Give free slots to the held, in turn; one that must avoid the free replica lets others pass."""
        triage.sift(lane, now_us)
        cut = lane.cut
        while lane.queue and lane.room > 0:
            full: bool | None = None  # the part of a model that is cut for which nothing is left over
            for ticket in lane.queue.turns(lane.fair.served):
                long = cut is not None and routing.is_long(lane, ticket)
                if long is full:
                    continue
                seat = routing.pick(lane, ticket, now_us, freed)
                if seat is not None:
                    break
                if not ticket.careful:
                    if cut is None or full is not None:
                        return  # nothing is left over for those behind it either
                    full = long
            else:
                return
            if lane.fair.shared and lane.fair.gives_way(ticket.front(), now_us):
                return
            self._waiting.let_out(ticket)
            answers.append(self._assign(ticket, seat, now_us))
