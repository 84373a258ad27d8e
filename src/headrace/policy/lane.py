"""What the fast brain remembers between two events: tickets (requests) and lanes (model versions); `seat` is a replica.

Mutable on purpose, with `__slots__`: these records are changed some 100,000 times a second. They decide nothing; only
`dispatch`, `routing`, `admission` and `health` touch them, and no shell ever sees one. All moments are
CLOCK_MONOTONIC microseconds.
"""

from collections import OrderedDict
from typing import Final

from headrace.policy.fairness import Fairness, Front
from headrace.policy.hedging import Quick
from headrace.policy.loads import Loads
from headrace.policy.queue import Queue
from headrace.policy.retries import Retries
from headrace.policy.seat import Seat
from headrace.state.demand import Demand
from headrace.state.mix import Sizes, size_class
from headrace.state.request import BATCH, Request
from headrace.state.table import RouteModel

_ANY: Final = 1 << 62


class Ticket:
    """One request from its arrival to its end. `seat` is None while it is held; `seq` is its place in the order.

    `avoid` is the incarnation that failed under it, not to be tried again before `avoid_until_us`.
    `second` works on it beside `seat`, since `second_us`, when it is hedged; `since_us` is when its first try began.
    `charged_us` is what its tenant was charged for the try under way. `late`: it waits behind others, for it cannot be
    in time. `needs` are the tokens that it and its answer may have. `alone_us` is what its prompt takes by its length,
    0 when that is over or not known, `prompt_us` what was foretold of it, and `clear_us` when it was to be over, before
    its seat's `moved_us`.
    """

    __slots__ = (
        "alone_us",
        "attempts",
        "avoid",
        "avoid_until_us",
        "began_us",
        "charged_us",
        "clear_us",
        "crashes",
        "held_us",
        "lane",
        "late",
        "needs",
        "prompt_us",
        "request",
        "seat",
        "second",
        "second_us",
        "seq",
        "since_us",
    )

    def __init__(self, request: Request, lane: "Lane", seq: int, now_us: int) -> None:
        self.request = request
        self.lane = lane
        self.late = False
        self.needs = request.input_tokens + min(request.output_tokens_max, lane.route.output_tokens_default)
        self.seq = seq
        self.seat: Seat | None = None
        self.second: Seat | None = None
        self.second_us = self.since_us = 0
        self.held_us = now_us
        self.began_us = 0
        self.charged_us = 0
        self.alone_us = self.prompt_us = self.clear_us = 0.0
        self.attempts = request.attempt - 1
        self.crashes = 0
        self.avoid = ""
        self.avoid_until_us = 0

    def front(self) -> Front:
        """What siblings are told of it."""
        return Front(self.request.priority, self.request.tenant, self.held_us)

    @property
    def careful(self) -> bool:
        """Whether there may be seats that it must not go to."""
        return bool(self.avoid or self.request.excluded or self.needs > self.lane.holds_least)

    def bars(self, seat: Seat, now_us: int) -> bool:
        """Whether this request must not go to that seat now: it failed there before, or has no room there."""
        if seat.holds and self.needs > seat.holds:
            return True
        if self.avoid == seat.incarnation and now_us < self.avoid_until_us:
            return True
        return seat.id in self.request.excluded


class Lane:
    """One model version: its seats, its queue, its memory of prefixes and what it has to report.

    `open` are the seats that may take work, `capacity` their slots, `room` those that are free, `loads` who has how
    much to do. `affine` tells whether the last pick followed a prefix. `queue` holds who waits, `fair` what each tenant
    had, `spare` counts requests of the batch class at work. `balance_us` is the sum of ends less the sum of beginnings
    of work, so that `balance_us + running * now_us` is all slot time used up to now. `readmit_us` is when the next
    ejected seat may be tried again, 0 when none is. `cut` divides prompts by length between seats, `longs` being
    the bits of the open ones for the longer ones and `shorts` those of the others; `long_ns` is what of `asked_ns` the
    longer ones asked for. `holds_least` is what every open seat has room for, tokens of a request with its answer, and
    `holds_most` what any seat has.
    """

    __slots__ = (
        "affine",
        "arrivals",
        "asked_ns",
        "balance_us",
        "begun",
        "capacity",
        "cold_us",
        "cut",
        "fair",
        "holds_least",
        "holds_most",
        "last_us",
        "late",
        "loads",
        "long_ns",
        "longs",
        "mean_output",
        "mean_us",
        "mean_work_ns",
        "measured",
        "open",
        "paced",
        "prefixes",
        "prompt_scale",
        "prompts_told",
        "queue",
        "quick",
        "readmit_us",
        "refused",
        "reported_us",
        "retries",
        "room",
        "rotation",
        "route",
        "running",
        "seats",
        "shorts",
        "sizes",
        "slow",
        "spare",
        "work_us",
    )

    def __init__(self, route: RouteModel, now_us: int, fair: Fairness | None = None) -> None:
        self.route = route
        self.seats: list[Seat] = []
        self.open: list[Seat] = []
        self.capacity = self.room = 0
        self.loads = Loads(())
        self.queue: Queue[Ticket] = Queue()
        self.fair = fair or Fairness()
        self.retries = Retries(now_us)
        self.quick = Quick()
        self.spare = 0
        self.prefixes: OrderedDict[int, Seat] = OrderedDict()
        self.prompt_scale = 1.0
        self.prompts_told = False
        self.affine = False
        self.readmit_us = 0
        self.rotation = 0
        self.cold_us = now_us
        self.running = 0
        self.mean_us = 0
        self.mean_output = -1  # tokens in 1/16, not known
        self.mean_work_ns = 0
        self.asked_ns = self.long_ns = 0
        self.cut = route.cut
        self.longs = self.shorts = 0
        self.holds_least = self.holds_most = _ANY
        self.measured = 0
        self.paced = self.slow = self.begun = self.late = 0
        self.sizes: Sizes = {}
        self.arrivals = 0
        self.refused = 0
        self.last_us = 0
        self.balance_us = 0
        self.work_us = 0
        self.reported_us = now_us

    @property
    def key(self) -> str:
        """`name@version`."""
        return f"{self.route.name}@{self.route.version}"

    def reopen(self, now_us: int) -> None:
        """Work out again which seats are open; forget when the lane became cold if it is warm."""
        was_warm = any(seat.ready for seat in self.seats)
        cut, rate = self.cut, self.route.rate
        for seat in self.seats:
            seat.open = seat.ready and now_us >= seat.ejected_until_us
            seat.bit = 0
            seat.long = cut is not None and seat.pool == cut.pool
            seat.there = cut.rate if cut is not None and seat.long else rate.there if rate is not None else None
        self.open = [seat for seat in self.seats if seat.open]
        for place, seat in enumerate(self.open):
            seat.bit = 1 << place
        self.longs = sum(seat.bit for seat in self.open if seat.long)
        self.shorts = (1 << len(self.open)) - 1 - self.longs
        self.holds_least = min((seat.holds or _ANY for seat in self.open), default=_ANY)
        self.holds_most = max((seat.holds or _ANY for seat in self.seats), default=_ANY)
        self.readmit_us = min((seat.ejected_until_us for seat in self.seats if seat.ready and not seat.open), default=0)
        self.recount()
        if was_warm:
            self.cold_us = now_us

    def recount(self) -> None:
        """Work out again how many slots there are and are free: seats, their limits or others' work have changed."""
        capacity = room = 0
        for seat in self.open:
            capacity += seat.limit
            free = seat.limit - seat.own - seat.others
            if free > 0:
                room += free
        self.capacity, self.room = capacity, room
        self.loads = Loads(self.open)

    def occupy(self, seat: Seat, now_us: int) -> None:
        """A try takes a slot there: it is open and had room, or it had not been picked."""
        seat.own += 1
        self.room -= 1
        self.loads.rose(seat)
        self.running += 1
        self.balance_us -= now_us

    def leave(self, seat: Seat, now_us: int) -> None:
        """A try gives its slot back."""
        assert seat.own > 0, "a slot is given back once"
        seat.own -= 1
        if seat.open and self.loads.fell(seat):
            self.room += 1
        self.running -= 1
        self.balance_us += now_us

    def hold(self, ticket: Ticket) -> None:
        """It waits; siblings hear of the first one at once."""
        self.queue.add(ticket)
        if self.fair.shared and len(self.queue) == 1:
            self.fair.tell(ticket.front(), self.waiting(), ticket.held_us)

    def unhold(self, ticket: Ticket) -> None:
        """It waits no more."""
        self.queue.remove(ticket)
        if self.fair.shared and not self.queue:
            self.fair.tell(None, 0, 0)

    def meet(self, now_us: int) -> None:
        """Tell siblings who goes next, of those that may go to any seat, and hear what they served."""
        turns = self.queue.turns(self.fair.served) if self.queue else ()
        first = next((one for one in turns if not (one.avoid or one.request.excluded)), None)
        self.fair.meet(None if first is None else first.front(), self.waiting(), now_us)

    def waiting(self) -> int:
        """How many are held, without batch work."""
        held = len(self.queue)
        return held - self.queue.count(BATCH) if held else 0

    def learn(self, took_us: int) -> None:
        """Fold the time one request held a slot into the running mean (1/16 each, the plain mean at first)."""
        self.measured += 1
        self.mean_us += (took_us - self.mean_us) // min(self.measured, 16)

    def ask(self, request: Request) -> None:
        """Count the work of an arrival: what is put in is known, what will come out is like the answers before.

        Batch work is left out: it uses what is there, and no replica is started for more of it.
        """
        self.retries.arrived()
        rate = self.route.rate
        if rate is None:
            return
        output = self.mean_output >> 4 if self.mean_output >= 0 else self.route.output_tokens_default
        if output > request.output_tokens_max:
            output = request.output_tokens_max
        work_ns = rate.fixed_ns + request.input_tokens * rate.input_ns + output * rate.output_ns
        if request.priority != BATCH:
            self.asked_ns += work_ns
            if self.cut is not None and request.input_tokens > self.cut.upto_tokens:
                self.long_ns += work_ns
        self.mean_work_ns += (work_ns - self.mean_work_ns) >> 6 if self.mean_work_ns else work_ns

    def _long_backlog_us(self) -> int:
        """The work of prompts beyond the cut that are held."""
        rate, cut = self.route.rate, self.cut
        if rate is None or cut is None:
            return 0
        output = self.mean_output >> 4 if self.mean_output >= 0 else self.route.output_tokens_default
        held = (one.request.input_tokens for one in self.queue.before(BATCH - 1))
        return sum(rate.work_us(tokens, output) for tokens in held if tokens > cut.upto_tokens)

    def answered(self, output_tokens: int, decode_us: int, input_tokens: int) -> None:
        """Fold the length of an answer into the running mean, 1/16 each, and see whether it kept its pace."""
        if input_tokens:
            place = size_class(input_tokens)
            requests, into, out = self.sizes.get(place, (0, 0, 0))
            self.sizes[place] = (requests + 1, into + input_tokens, out + output_tokens)
        if decode_us and output_tokens > 1 and self.route.tpot_us:
            self.paced += 1
            self.slow += decode_us > (output_tokens - 1) * self.route.tpot_us
        if self.mean_output < 0:
            self.mean_output = output_tokens << 4
        else:
            self.mean_output += output_tokens - (self.mean_output >> 4)

    def report(self, now_us: int) -> Demand:
        """What was asked for since the last report; `work_us` is slot time used within that window."""
        work_us = self.balance_us + self.running * now_us
        held, waiting = len(self.queue), self.waiting()
        demand = Demand(
            model=self.route.name,
            version=self.route.version,
            window_us=max(0, now_us - self.reported_us),
            arrivals=self.arrivals,
            refused=self.refused,
            in_flight=self.running,
            queued=held,
            oldest_wait_us=now_us - self.queue.oldest_us() if held else 0,
            work_us=work_us - self.work_us,
            last_us=self.last_us,
            asked_us=self.asked_ns // 1000,
            backlog_us=waiting * self.mean_work_ns // 1000,
            batch=held - waiting + self.spare,
            paced=self.paced,
            slow=self.slow,
            begun=self.begun,
            late=self.late,
            sizes=dict(self.sizes),
            long_asked_us=self.long_ns // 1000,
            long_backlog_us=self._long_backlog_us() if self.cut is not None and waiting else 0,
        )
        self.arrivals = self.refused = 0
        self.work_us = work_us
        self.reported_us = now_us
        return demand
