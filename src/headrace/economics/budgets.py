"""Budgets: what may be spent in a period, how it is divided among gateways, and why it cannot be overshot.

The escrow grants each gateway slices of what is left; a gateway admits a request only when its own slices hold the
request's worst case. For each budget, at any moment:

    limit >= settled + sum over gateways of (granted - returned - settled by it)

so whatever gateways do with what they hold, the sum stays within the limit. Granted and returned only grow, so a
message that is repeated or late changes nothing. A gateway that died keeps its slices until its journal is settled.
"""

import datetime
from typing import Final, Literal

import msgspec

Period = Literal["day", "month", "total"]
AtLimit = Literal["refuse", "degrade", "notify"]
SLICE_PPM: Final = 20_000  # of the limit, at most, beyond what is asked for
_PPM: Final = 1_000_000


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A limit on what a scope may spend in each period. `scope` is `tenant:NAME`, `team:TENANT/NAME`, `key:ID`,
    or `model:NAME` for what all together are charged for a model: nothing is held in that one, and the model is out of
    service once it is spent, so that it may be passed by what was under way.

    `at_limit`: refuse; degrade (shorter answers as long as there is something left); notify (nothing is refused).
    `warn_percent`: at these the operator is told.
    """

    scope: str
    period: Period
    limit_nanousd: int
    at_limit: AtLimit = "refuse"
    warn_percent: tuple[int, ...] = (50, 80, 100)

    def id(self, now_us: int) -> str:
        """The budget of the period that a moment lies in.

        >>> Budget(scope="tenant:a", period="month", limit_nanousd=1).id(1_700_000_000_000_000)
        'tenant:a|month|2023-11'
        """
        return f"{self.scope}|{self.period}|{period_name(self.period, now_us)}"


def period_name(period: Period, now_us: int) -> str:
    """What the current period is called; periods begin at midnight UTC.

    >>> period_name("day", 1_700_000_000_000_000), period_name("total", 0)
    ('2023-11-14', 'ever')
    """
    if period == "total":
        return "ever"
    day = datetime.datetime.fromtimestamp(now_us // 1_000_000, datetime.UTC).date().isoformat()
    return day if period == "day" else day[:7]


class Holding(msgspec.Struct, kw_only=True):
    """What one gateway has of one budget, as the escrow knows it."""

    granted: int = 0
    returned: int = 0
    settled: int = 0

    @property
    def outstanding(self) -> int:
        """What it may still charge."""
        return self.granted - self.returned - self.settled


class Escrow:
    """One budget's money. `settled` is all that was ever charged to it, by whomever."""

    __slots__ = ("holdings", "limit", "settled")

    def __init__(self, limit: int, settled: int) -> None:
        self.limit = limit
        self.settled = settled
        self.holdings: dict[str, Holding] = {}

    @property
    def outstanding(self) -> int:
        """What gateways hold and have not charged."""
        return sum(max(0, holding.outstanding) for holding in self.holdings.values())

    @property
    def free(self) -> int:
        """What nobody holds; negative when the limit was lowered."""
        return self.limit - self.settled - self.outstanding

    def heard(self, gateway: str, granted: int, returned: int) -> Holding:
        """What a gateway says it was granted and gave back: a new controller learns it so."""
        holding = self.holdings.setdefault(gateway, Holding())
        holding.granted = max(holding.granted, granted)
        holding.returned = max(holding.returned, returned)
        return holding

    def settle(self, gateway: str, nanousd: int) -> None:
        """So much was charged by a gateway."""
        self.settled += nanousd
        if gateway in self.holdings:
            self.holdings[gateway].settled += nanousd

    def grant(self, gateway: str, wanted: int, gateways: int, *, part: bool = False) -> int:
        """Grant `wanted` more, or nothing (with `part`: what there is); a little ahead when there is plenty.

        Returns the whole granted so far, which the gateway is told.
        """
        holding = self.holdings.setdefault(gateway, Holding())
        free = self.free
        if wanted > free:
            if part and free > 0:
                holding.granted += free
            return holding.granted
        ahead = min(self.limit * SLICE_PPM // _PPM, free // (2 * max(1, gateways)))
        holding.granted += min(free, max(wanted, ahead))
        return holding.granted

    def gone(self, gateway: str) -> None:
        """A gateway is dead and its journal settled: what it held and did not charge is free again."""
        self.holdings.pop(gateway, None)


class Slice:
    """One gateway's part of one budget: what it may charge without asking anybody."""

    __slots__ = ("granted", "held", "returned", "spent")

    def __init__(self) -> None:
        self.granted = self.returned = self.spent = self.held = 0

    @property
    def free(self) -> int:
        """What may still be held."""
        return self.granted - self.returned - self.spent - self.held

    def hold(self, nanousd: int) -> bool:
        """Reserve the worst case of a request, if there is enough."""
        if nanousd > self.free:
            return False
        self.held += nanousd
        return True

    def settle(self, held: int, charge: int) -> None:
        """A request has ended: release what was held, and spend what it came to."""
        assert 0 <= charge <= held, "a charge never exceeds what was held for it"
        self.held -= held
        self.spent += charge

    def give_back(self) -> int:
        """Return what is not in use; how much that was."""
        free = max(0, self.free)
        self.returned += free
        return free
