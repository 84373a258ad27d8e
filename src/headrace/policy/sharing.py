"""One tenant's share is one share over all gateway workers of a lane, wherever its requests happen to arrive.

Each worker tells what it served each tenant, and who of its held requests would go next; each adds up what all tell.
A counter is `max(lifts) + sum(served)`: sums and maxima of what one worker each writes, so that no lock is needed and
nothing is counted twice when two workers see a tenant come back in the same moment. A free slot is left to the sibling
whose first held request comes before ours; it takes it at its next look.

Bound: between two tenants that always have requests held, each at any of the workers, the difference of what all
workers served them, each divided by its weight, never exceeds `TOLERANCE_US` + 3 * slots * longest request
+ 3 * slots * `MEET_US`. Units: microseconds of one slot at weight 1. Assumes: each worker that holds a request looks
every `MEET_US`.
Source: `policy.fairness`; counters as state-based replicated data types, M. Shapiro et al., SSS 2011.
"""

import zlib
from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple, Protocol

from headrace.policy.fairness import TENANTS_MAX, Fairness, Front

MEET_US: Final = 20_000  # how often workers hear of each other, at most
TOLERANCE_US: Final = 250_000  # of slot time, or of waiting: nobody gives way for less, so slots seldom change hands
FRESH_US: Final = 100_000  # what a sibling said longer ago is not believed: it may have died
GIVE_US: Final = 100_000  # a free slot is not left for longer to a sibling that does not take it

Row = tuple[int, int, int, int, int, int, int]  # the first cell is 0 when its worker has nothing there


class Rows(Protocol):
    """Named rows of integers, one a worker and name. A worker that starts again finds its own, first cells cleared."""

    def put(self, name: str, row: Row) -> None:
        """Tell all siblings."""
        ...

    def own(self, name: str) -> Row | None:
        """What this worker, or the one before it, told last."""
        ...

    def others(self, name: str, *, present: bool = False) -> Sequence[Row]:
        """What each sibling that knows the name told last; `present`: those rows whose first cell is not 0."""
        ...


class Rival(NamedTuple):
    """A sibling's front as it told it: `tag` stands for the tenant, `counter` is what that was served."""

    priority: int
    tag: int
    counter: int
    since_us: int
    told_us: int


class _Account:
    """One tenant as this worker counts it: what it served it here, and the lift it gave it."""

    __slots__ = ("at_work", "lift", "name", "own")

    def __init__(self, name: str, row: Row | None) -> None:
        self.name = name
        self.at_work = 0
        _, self.own, self.lift, *_ = row or (0, 0, 0)

    def row(self) -> Row:
        return self.at_work, self.own, self.lift, 0, 0, 0, 0


class SharedFairness(Fairness):
    """Counters of one lane of which siblings have their own."""

    __slots__ = ("_accounts", "_asked_us", "_gave_to", "_gave_us", "_lane", "_rows")

    shared: ClassVar[bool] = True

    def __init__(self, lane: str, rows: Rows) -> None:
        super().__init__()
        self._lane = lane
        self._rows = rows
        self._accounts: dict[str, _Account] = {}
        self._gave_us = self._asked_us = 0
        self._gave_to = 0, 0

    def came(self, tenant: str) -> None:
        """See `Fairness`. Who is at work nowhere else starts at the least counter of those that are served."""
        there = self._at_work.get(tenant, 0)
        self._at_work[tenant] = there + 1
        if there:
            return
        account = self._account(tenant)
        account.at_work = 1
        if not self._read(account, tenant):
            counters = [self.served[other] for other in self._at_work if other != tenant]
            counters += [rival.counter for rival in self._rivals()]
            if not counters:
                counters = [max([self._now, *(row[5] for row in self._rows.others(self._lane))])]
            least = min(counters)
            if self.served[tenant] < least:
                account.lift = least - self._total(account)
                self.served[tenant] = least
        self._rows.put(account.name, account.row())
        if len(self.served) > TENANTS_MAX:
            self.served = {name: self.served[name] for name in self._at_work}
            self._accounts = {name: self._accounts[name] for name in self._at_work}

    def sent(self, tenant: str, expected_us: int) -> int:
        """See `Fairness`."""
        charged_us = super().sent(tenant, expected_us)
        self._charge(tenant, charged_us)
        return charged_us

    def took(self, tenant: str, charged_us: int, real_us: int) -> int:
        """See `Fairness`."""
        more_us = super().took(tenant, charged_us, real_us)
        self._charge(tenant, more_us)
        return more_us

    def left(self, tenant: str) -> None:
        """See `Fairness`."""
        super().left(tenant)
        if tenant not in self._at_work:
            account = self._accounts[tenant]
            account.at_work = 0
            self._rows.put(account.name, account.row())

    def tell(self, front: Front | None, waiting: int, now_us: int) -> None:
        """See `Fairness`; at once when the first request is held, and when none is any more."""
        told = 0, 0, 0, 0
        if front is not None:
            told = front.priority + 1, _tag(front.tenant), self.served[front.tenant], front.since_us
        self._rows.put(self._lane, (*told, now_us, self._now, waiting))

    def meet(self, front: Front | None, waiting: int, now_us: int) -> None:
        """Read again what siblings served our tenants and how many wait there, and tell them who goes next here."""
        if front is not None:
            for tenant in self._at_work:
                self._read(self._accounts[tenant], tenant)
        self.tell(front, waiting, now_us)
        rows = self._rows.others(self._lane, present=True)
        self.elsewhere = sum(row[6] for row in rows if now_us - row[4] < FRESH_US)

    def gives_way(self, front: Front, now_us: int) -> bool:
        """Whether a free slot is a sibling's: it holds a request of a better class or of a tenant that had less.

        Between requests of one tenant it is the one that was held longer. No circle of siblings gives way to each
        other: from one to the next the class is better, or the counter less, or the counter equal and the wait longer.
        """
        rival = next((one for one in self._rivals() if self._before(one, front, now_us)), None)
        if rival is None:
            return False
        to = rival.tag, rival.counter
        if to != self._gave_to or now_us - self._asked_us > 2 * MEET_US:
            self._gave_to, self._gave_us = to, now_us  # it has been served meanwhile
        self._asked_us = now_us
        if now_us - self._gave_us < GIVE_US:
            return True
        self._gave_us = now_us  # nobody took it
        return False

    def _before(self, rival: Rival, front: Front, now_us: int) -> bool:
        if now_us - rival.told_us >= FRESH_US or rival.priority > front.priority:
            return False
        if rival.priority < front.priority:
            return True
        if rival.tag == _tag(front.tenant):
            return rival.since_us + TOLERANCE_US < front.since_us
        if front.tenant not in self._at_work:
            self._read(self._account(front.tenant), front.tenant)
        return rival.counter + TOLERANCE_US < self.served[front.tenant]

    def _rivals(self) -> list[Rival]:
        rows = self._rows.others(self._lane, present=True)
        return [Rival(row[0] - 1, *row[1:5]) for row in rows] if rows else []

    def _account(self, tenant: str) -> _Account:
        account = self._accounts.get(tenant)
        if account is None:
            name = f"{self._lane} {tenant}"
            account = self._accounts[tenant] = _Account(name, self._rows.own(name))
        return account

    def _charge(self, tenant: str, us: int) -> None:
        account = self._accounts[tenant]
        account.own += us
        self._rows.put(account.name, account.row())

    def _read(self, account: _Account, tenant: str) -> bool:
        """Its counter over all workers, as they tell it now; whether it is at work at another one."""
        served, lift, elsewhere = account.own, account.lift, False
        for row in self._rows.others(account.name):
            elsewhere = elsewhere or row[0] > 0
            served += row[1]
            lift = max(lift, row[2])
        self.served[tenant] = lift + served
        return elsewhere

    def _total(self, account: _Account) -> int:
        return account.own + sum(row[1] for row in self._rows.others(account.name))


def _tag(tenant: str) -> int:
    return zlib.crc32(tenant.encode())
