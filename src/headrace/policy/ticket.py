"""Seats and tickets: one incarnation of a replica, and one request, as the fast brain remembers them.

Mutable on purpose, with `__slots__`; see `lane`.
"""

from typing import TYPE_CHECKING

from headrace.state.request import Request
from headrace.state.table import RouteReplica

if TYPE_CHECKING:
    from headrace.policy.lane import Lane


class Seat:
    """One incarnation of one replica: how much it may take, and how much it has.

    `own` is what this gateway has in flight there, `others` what its siblings last said. `limit` is the slots it may
    fill: all, or one while it is tried again after an ejection (`half_open`). `ready` is the table's word, `open`
    means that it may be given work.
    """

    __slots__ = (
        "ejected_until_us",
        "ejections",
        "faults",
        "half_open",
        "id",
        "incarnation",
        "limit",
        "open",
        "others",
        "own",
        "ready",
        "slots",
    )

    def __init__(self, route: RouteReplica, others: int) -> None:
        self.id = route.id
        self.incarnation = route.incarnation
        self.slots = route.slots
        self.limit = route.slots
        self.own = 0
        self.others = others
        self.ready = False
        self.open = False
        self.faults = 0
        self.ejections = 0
        self.ejected_until_us = 0
        self.half_open = False


class Ticket:
    """One request from its arrival to its end. `seat` is None while it is held; `seq` is its place in the order.

    `avoid` is the incarnation that failed under it, not to be tried again before `avoid_until_us`.
    `charged_us` is what its tenant was charged for the try under way.
    """

    __slots__ = (
        "attempts",
        "avoid",
        "avoid_until_us",
        "began_us",
        "charged_us",
        "crashes",
        "held_us",
        "lane",
        "request",
        "seat",
        "seq",
    )

    def __init__(self, request: Request, lane: "Lane", seq: int, now_us: int) -> None:
        self.request = request
        self.lane = lane
        self.seq = seq
        self.seat: Seat | None = None
        self.held_us = now_us
        self.began_us = 0
        self.charged_us = 0
        self.attempts = request.attempt - 1
        self.crashes = 0
        self.avoid = ""
        self.avoid_until_us = 0

    def bars(self, seat: Seat, now_us: int) -> bool:
        """Whether this request must not go to that seat now, because it failed there before."""
        if self.avoid == seat.incarnation and now_us < self.avoid_until_us:
            return True
        return seat.id in self.request.excluded
