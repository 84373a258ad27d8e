"""Who of those that wait is forgone when not all can be in time: as few as can be, the longest prompts first.

They wait behind their tenant's others, whose promise can still be kept; for a request that is late is not made better
by others that are late as well. Called by `dispatch` alone, whenever slots are given out.
"""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Final, TypeVar

from headrace.policy.lane import Lane
from headrace.policy.prompts import alone_us
from headrace.policy.queue import Held
from headrace.policy.routing import is_long

LOOK_US: Final = 20_000  # how often it is worth to see who has become late,
LOOK_EACH_US: Final = 100  # or for each that waits, so that looking takes one part in a hundred of the time
OVERDUE: Final = 16  # objectives, after which one that is late waits behind nobody who came later
HELD: Final = 0.75  # of the objective: who was held for so long is late, where nobody knows what prompts take
DUE: Final = 0.9  # of the objective, by which a first token is planned

T = TypeVar("T", bound=Held)


def sift(lane: Lane, now_us: int) -> None:
    """Put those behind who cannot be in time; batch work has no promise, and a model without an objective neither."""
    ttft_us, queue = lane.route.ttft_us, lane.queue
    if not ttft_us or now_us - queue.sifted_us < max(LOOK_US, LOOK_EACH_US * len(queue)):
        return
    queue.sifted_us, queue.overdue_us = now_us, now_us - OVERDUE * ttft_us
    if not all(seat.there for seat in lane.open) or not lane.open:
        for line in queue.timely(lane.fair.served):
            queue.defer([ticket for ticket in line if ticket.held_us < now_us - ttft_us * HELD])
        return
    for long in (False, True) if lane.cut is not None else (None,):
        _part(lane, long, now_us)


def _part(lane: Lane, long: bool | None, now_us: int) -> None:
    """The seats and requests of a part of a model that is cut by length; None is all of one that is not."""
    seats = [seat for seat in lane.open if long is None or seat.long == long] or lane.open
    free_us = now_us + sum(seat.clear_us - now_us for seat in seats if seat.clear_us > now_us) / len(seats)
    scale, there, within_us = lane.prompt_scale / len(seats), seats[0].there, lane.route.ttft_us * DUE
    assert there is not None, "all are known"
    for line in lane.queue.timely(lane.fair.served):
        mine = line if long is None else [ticket for ticket in line if is_long(lane, ticket) == long]
        late, free_us = forgone(mine, lambda ticket: alone_us(there, ticket.request) * scale, free_us, within_us)
        lane.queue.defer(late)


def forgone(
    line: Iterable[T], takes_us: Callable[[T], float], free_us: float, within_us: float
) -> tuple[list[T], float]:
    """Those of a line without whom all others are begun in time, and when these are over.

    Formula: in order of deadlines each is taken; when one would be over after its own, the longest of those taken is
        forgone. No choice is in time with more.
    Units: microseconds; free_us is when the first can begin, a deadline is held_us + within_us.
    Source: J. M. Moore, An n job, one machine sequencing algorithm for minimizing the number of late jobs, 1968.
    Assumes: replicas are like one that is as fast as all; nobody comes later; the line is in order of its deadlines.
    """
    taken: list[tuple[float, int, T]] = []
    late: list[T] = []
    for ticket in line:
        took_us = takes_us(ticket)
        free_us += took_us
        heappush(taken, (-took_us, -ticket.seq, ticket))
        if free_us > ticket.held_us + within_us:
            longest_us, _, one = heappop(taken)
            free_us += longest_us
            late.append(one)
    return late, free_us
