"""Where each microsecond of a device went: to a request, or to a named overhead; exact to the nano-dollar.

A device costs P nano-dollars an hour. What it cost from a to b is floor(P b / H) - floor(P a / H), H microseconds an
hour, so that any partition of a time adds up to the whole (the sums telescope). The time between two bookings is cut
wherever something begins or ends; each piece is split by the leases' shares of the device, what no lease holds is free
capacity, and a lease's piece goes to the requests present (`sharing`) or to the cause of their absence:

    load    from start to ready: a cold start      idle    ready, and nobody there
    drain   nobody there any more, and told to go  failed  an attempt that came to nothing
    sleep   its process kept, at what it holds of the device
    free    nobody's share of the device           fragment  what is left beside others, too little for any model

Pieces are split in 2^-20 nano-dollars and added up by party, then cut to whole nano-dollars by cumulative floors: every
party is off by less than one nano-dollar, and the sum by nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from headrace.economics import sharing
from headrace.economics.sharing import Member
from headrace.economics.work import WorkModel
from headrace.units import US_PER_HOUR

FINE_BITS: Final = 20
WHOLE_PPM: Final = 1_000_000
Cause = Literal["request", "load", "idle", "drain", "failed", "free", "fragment", "sleep"]
_DEFAULT_MODEL: Final = WorkModel()


class Tenure(msgspec.Struct, frozen=True, kw_only=True):
    """A lease as the books see it; moments in microseconds, 0 for what has not happened."""

    name: str  # replica/incarnation
    model: str  # name@version
    share_ppm: int
    start_us: int
    ready_us: int
    end_us: int
    drain_us: int = 0
    asleep: bool = False
    members: tuple[Member, ...] = ()


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one party bore of a device in one booking. `subject` is a request, a lease, or the device itself.

    `own_nanousd` of it is a request's own work, the rest its share of the fixed part. `time_us` is device time in
    microseconds times the share held: all parts of a booking add up to the time booked, to the microsecond.
    """

    cause: Cause
    subject: str
    lease: str
    model: str
    nanousd: int
    own_nanousd: int = 0
    time_us: int = 0


def cost_nanousd(rate_nanousd_per_hour: int, from_us: int, to_us: int) -> int:
    """What a device costs from one moment to another; parts of a time add up to the whole.

    >>> whole = cost_nanousd(2_950_000_000, 0, 3_600_000_000)
    >>> whole, sum(cost_nanousd(2_950_000_000, t, t + 7) for t in range(0, 70, 7)) == cost_nanousd(2_950_000_000, 0, 70)
    (2950000000, True)
    """
    return rate_nanousd_per_hour * to_us // US_PER_HOUR - rate_nanousd_per_hour * from_us // US_PER_HOUR


def book(
    rate_nanousd_per_hour: int,
    from_us: int,
    to_us: int,
    tenures: Sequence[Tenure],
    models: Mapping[str, WorkModel],
    device: str,
    least_ppm: int = 0,
) -> list[Part]:
    """The parts of one device's cost between two moments; they add up to `cost_nanousd` exactly.

    `least_ppm` is the smallest share of the device that a model could use: less than that, left beside others, is a
    fragment.

    Everybody who was there before `to_us` must be known: who is still at work is waited for.
    """
    if to_us <= from_us:
        return []
    ledger = _Shares(from_us, least_ppm)
    for tenure in tenures:
        ledger.take(tenure, models.get(tenure.model, _DEFAULT_MODEL))
    cuts = sorted({from_us, to_us, *(cut for cut in ledger.cuts if from_us < cut < to_us)})
    rate, before_us, before = rate_nanousd_per_hour, from_us, _fine(rate_nanousd_per_hour, from_us)
    for at_us in cuts[1:]:
        now = _fine(rate, at_us)
        ledger.piece(before_us, at_us, now - before, device)
        before_us, before = at_us, now
    return ledger.parts(_fine(rate, from_us))


def _fine(rate: int, moment_us: int) -> int:
    return ((rate * moment_us) << FINE_BITS) // US_PER_HOUR


class _Stay:
    """One member's stay, its rates worked out."""

    __slots__ = ("key", "member", "reading", "writing")

    def __init__(self, member: Member, tenure: Tenure, model: WorkModel) -> None:
        self.member = member
        self.reading, self.writing = sharing.rates(member, model)
        cause: Cause = "failed" if member.failed else "request"
        self.key = (cause, member.request, tenure.name, tenure.model)


class _Shares:
    """Adds up what each party bears, piece by piece, in order of time."""

    def __init__(self, from_us: int, least_ppm: int) -> None:
        self._least_ppm = least_ppm
        self.cuts: set[int] = set()
        self._tenures: list[tuple[Tenure, list[_Stay]]] = []
        self._present: list[list[_Stay]] = []
        self._next: list[int] = []
        self._from_us = from_us
        self._cost: dict[tuple[Cause, str, str, str], int] = {}
        self._own: dict[tuple[Cause, str, str, str], int] = {}
        self._time: dict[tuple[Cause, str, str, str], int] = {}
        self._turn = 0

    def take(self, tenure: Tenure, model: WorkModel) -> None:
        stays = [_Stay(member, tenure, model) for member in tenure.members if member.end_us > member.start_us]
        stays.sort(key=lambda stay: stay.member.start_us)
        self._tenures.append((tenure, stays))
        self._present.append([])
        self._next.append(0)
        self.cuts.update((tenure.start_us, tenure.ready_us, tenure.end_us, tenure.drain_us))
        for stay in stays:
            self.cuts.update((stay.member.start_us, stay.member.first_us, stay.member.end_us))

    def piece(self, from_us: int, to_us: int, cost: int, device: str) -> None:
        """Split one piece of time in which nothing changes."""
        live = [
            number
            for number, (tenure, _) in enumerate(self._tenures)
            if tenure.start_us <= from_us and (not tenure.end_us or tenure.end_us >= to_us)
        ]
        held = sum(self._tenures[number][0].share_ppm for number in live)
        free = max(0, WHOLE_PPM - held)
        self._turn += 1
        by = [self._tenures[number][0].share_ppm for number in live] + [free]
        costs, times = sharing.split(cost, by, self._turn), sharing.split(to_us - from_us, by, self._turn)
        if free or not live:
            cause: Cause = "fragment" if live and free < self._least_ppm else "free"
            self._add((cause, device, "", ""), costs[-1], 0, times[-1])
        for place, number in enumerate(live):
            self._lease(number, from_us, to_us, costs[place], times[place])

    def _lease(self, number: int, from_us: int, to_us: int, cost: int, time: int) -> None:
        tenure, stays = self._tenures[number]
        if tenure.asleep:
            self._add(("sleep", tenure.name, tenure.name, tenure.model), cost, 0, time)
            return
        if not tenure.ready_us or tenure.ready_us > from_us:
            self._add(("load", tenure.name, tenure.name, tenure.model), cost, 0, time)
            return
        present = [stay for stay in self._present[number] if stay.member.end_us >= to_us]
        at = self._next[number]
        while at < len(stays) and stays[at].member.start_us <= from_us:
            if stays[at].member.end_us >= to_us:
                present.append(stays[at])
            at += 1
        self._present[number], self._next[number] = present, at
        if not present:
            cause: Cause = "drain" if tenure.drain_us and tenure.drain_us <= from_us else "idle"
            self._add((cause, tenure.name, tenure.name, tenure.model), cost, 0, time)
            return
        if len(present) == 1:
            stay = present[0]
            own = min(sharing.SCALE, stay.reading if from_us < stay.member.first_us else stay.writing)
            self._add(stay.key, cost, cost * own // sharing.SCALE, time)
            return
        self._share(present, from_us, cost, time)

    def _share(self, present: list[_Stay], from_us: int, cost: int, time: int) -> None:
        shares = sharing.weights([stay.reading if from_us < stay.member.first_us else stay.writing for stay in present])
        by = [own + fixed for own, fixed in shares]
        costs, times = sharing.split(cost, by, self._turn), sharing.split(time, by, self._turn)
        for stay, (own, fixed), part, time_part in zip(present, shares, costs, times, strict=True):
            self._add(stay.key, part, part * own // (own + fixed) if own else 0, time_part)

    def _add(self, key: tuple[Cause, str, str, str], cost: int, own: int, time: int) -> None:
        self._cost[key] = self._cost.get(key, 0) + cost
        self._time[key] = self._time.get(key, 0) + time
        if own:
            self._own[key] = self._own.get(key, 0) + own

    def parts(self, fine_before: int) -> list[Part]:
        """Whole nano-dollars for each party."""
        found, running = [], fine_before
        for key, fine in self._cost.items():
            whole_before = running >> FINE_BITS
            running += fine
            nanousd = (running >> FINE_BITS) - whole_before
            cause, subject, lease, model = key
            found.append(
                Part(
                    cause=cause,
                    subject=subject,
                    lease=lease,
                    model=model,
                    nanousd=nanousd,
                    own_nanousd=min(nanousd, self._own.get(key, 0) >> FINE_BITS),
                    time_us=self._time[key],
                )
            )
        return found


def residual(parts: Iterable[Part], rate_nanousd_per_hour: int, from_us: int, to_us: int) -> int:
    """What the parts of a booking miss of its cost, in nano-dollars: always 0, and checked before it is posted."""
    return cost_nanousd(rate_nanousd_per_hour, from_us, to_us) - sum(part.nanousd for part in parts)
