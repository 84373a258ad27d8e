"""What will happen in a simulated world, soonest first; of one moment, in the order in which it was foreseen."""

import heapq

from headrace.twin.fleet import Running

STEP, READY, ROUND, DRAINED, FAULT, LOSS, RETURN, NOTICE, JUDGE = range(9)
Event = tuple[float, int, int, Running | None, int]  # moment, number, kind, of which replica, stamp


class Events:
    """A queue of them. `stamp` says what an event was foreseen from; who has gone on since then ignores it."""

    __slots__ = ("_number", "queue")

    def __init__(self) -> None:
        self.queue: list[Event] = []
        self._number = 0

    def push(self, at_us: float, kind: int, one: Running | None = None, stamp: int = 0) -> None:
        """It will happen then."""
        self._number += 1
        heapq.heappush(self.queue, (at_us, self._number, kind, one, stamp))

    def give(self, one: Running, request: int, work: tuple[float, int, int], now_us: int) -> None:
        """A replica is given a request: what its prompt takes, its tokens in and out. What it does next is foreseen."""
        stamp = one.engine.stamp
        one.engine.add(request, *work, now_us)
        if one.engine.stamp != stamp:
            self.push(one.engine.due_us, STEP, one, one.engine.stamp)

    def pop(self) -> Event:
        """The next one."""
        return heapq.heappop(self.queue)
