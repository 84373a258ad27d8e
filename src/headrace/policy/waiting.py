"""Those that wait: the requests that one gateway worker holds, whichever version they are for. Called by `dispatch`.

Here they come to be held and cease to be: let out to a slot, moved to another version when a table says so, refused.
Whose turn it is, the `queue` of each lane knows.
"""

from collections.abc import Sequence

from headrace.policy import admission, routing
from headrace.policy.actions import Answer, Reject, Wait
from headrace.policy.lane import Lane, Ticket
from headrace.state.request import Request


class Waiting:
    """Held requests of all lanes: how many they are, and what becomes of them without a slot.

    `tickets` are those of the whole worker, held or running, by id of the request; it is shared with `dispatch`.
    """

    __slots__ = ("_tickets", "count")

    def __init__(self, tickets: dict[str, Ticket]) -> None:
        self._tickets = tickets
        self.count = 0

    def hold(self, ticket: Ticket) -> Wait:
        """Let it wait, and tell why."""
        lane = ticket.lane
        asleep = not lane.open and not any(seat.ready for seat in lane.seats)
        ahead = len(lane.queue)
        self._add(ticket)
        reason = routing.why_held(lane, ahead, asleep=asleep)
        # Told once: as long as something is held, the regular report says so.
        return Wait(ticket.request.id, lane.route.version, reason, wake=asleep and not ahead, cold=asleep)

    def let_out(self, ticket: Ticket) -> None:
        """It waits no more."""
        ticket.lane.unhold(ticket)
        self.count -= 1

    def refuse(self, ticket: Ticket, reject: Reject) -> Reject:
        """The end of a request that has no slot, in the words of `reject`; it need not be held any more."""
        if ticket.lane.queue.has(ticket):
            self.let_out(ticket)
        self._tickets.pop(ticket.request.id, None)
        ticket.lane.fair.left(ticket.request.tenant)
        ticket.lane.refused += 1
        return reject

    def make_place(self, lane: Lane, request: Request) -> Reject | None:
        """A full queue lets the last one of a lesser class go for one that comes before it."""
        victim = lane.queue.least(above=request.priority)
        return None if victim is None else self.refuse(victim, admission.gave_way(lane, victim))

    def rehome(self, lane: Lane, siblings: Sequence[Lane], answers: list[Answer]) -> None:
        """Those held for a version that is gone go to another of their model, or are refused if they named it."""
        for ticket in lane.queue.all():
            if not siblings or ticket.request.version:  # who asked for this version wants no other
                answers.append(self.refuse(ticket, admission.unknown(ticket.request)))
                continue
            self._move(ticket, admission.choose(siblings, ticket.request))

    def part(self, lane: Lane, siblings: Sequence[Lane], answers: list[Answer]) -> None:
        """Those held for a version that cannot be served, or gets no traffic any more, go to a sibling."""
        for ticket in lane.queue.all():
            other = lane if ticket.request.version or not siblings else admission.choose(siblings, ticket.request)
            if lane.route.fault and other.route.fault:
                answers.append(self.refuse(ticket, admission.faulty(lane, ticket.request)))
            elif other is not lane and not other.route.fault:
                self._move(ticket, other)

    def expire(self, lane: Lane, now_us: int, answers: list[Answer]) -> None:
        """Those whose deadline has passed are refused, and those for whom no replica came up in time."""
        cold_us = lane.route.start_timeout_us if not any(seat.ready for seat in lane.seats) else None
        for ticket in lane.queue.all():
            if ticket.request.deadline_us <= now_us:
                answers.append(self.refuse(ticket, admission.late(lane, ticket, now_us)))
            elif cold_us is not None and now_us - max(ticket.held_us, lane.cold_us) >= cold_us:
                answers.append(self.refuse(ticket, admission.cold(lane, ticket, now_us)))

    def _add(self, ticket: Ticket) -> None:
        ticket.lane.hold(ticket)
        self._tickets[ticket.request.id] = ticket
        self.count += 1

    def _move(self, ticket: Ticket, lane: Lane) -> None:
        tenant = ticket.request.tenant
        self.let_out(ticket)
        ticket.lane.fair.left(tenant)
        ticket.lane = lane
        lane.fair.came(tenant)
        self._add(ticket)
