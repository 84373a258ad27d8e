"""What `loads` and `queue` stand for, as plainly as it can be said: everyone is looked at, each time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from headrace.state.request import BATCH


class PlainLoads:
    """Seats by how much they have at work."""

    def __init__(self, seats: Iterable[Any]) -> None:
        self._seats = list(seats)

    def rose(self, seat: Any) -> None: ...

    def fell(self, seat: Any) -> bool:
        return bool(seat.own + seat.others < seat.limit)

    def least(self, start: int) -> int:
        return self.least_beside(0, start)

    def least_beside(self, barred: int, start: int) -> int:
        count = len(self._seats)
        places = [(start + step) % count for step in range(count)]
        free = [at for at in places if self.fell(self._seats[at]) and not barred >> at & 1]
        return min(free, key=lambda at: self._seats[at].own + self._seats[at].others, default=-1)


class PlainQueue:
    """Held ones: whose turn it is follows from class, what the tenant was served, its name, whether it can still be in
    time, and the order of arrival.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[int, str], list[Any]] = {}
        self.sifted_us = self.overdue_us = -(1 << 62)

    def __len__(self) -> int:
        return len(self.all())

    def has(self, ticket: Any) -> bool:
        return ticket in self.all()

    def add(self, ticket: Any) -> None:
        ticket.late = False
        line = self._lines.setdefault((ticket.request.priority, ticket.request.tenant), [])
        late, timely = [one for one in line if one.late], [one for one in line if not one.late]
        line[:] = [*late, *sorted([*timely, ticket], key=lambda ticket: ticket.seq)]

    def remove(self, ticket: Any) -> None:
        place = ticket.request.priority, ticket.request.tenant
        self._lines[place].remove(ticket)
        if not self._lines[place]:
            del self._lines[place]

    def timely(self, served: Mapping[str, int]) -> list[list[Any]]:
        order = sorted(self._lines, key=lambda place: (place[0], served[place[1]], place[1]))
        return [[one for one in self._lines[place] if not one.late] for place in order if place[0] != BATCH]

    def defer(self, tickets: Sequence[Any]) -> None:
        for ticket in tickets:
            ticket.late = True
            self._lines[ticket.request.priority, ticket.request.tenant].sort(key=lambda one: (not one.late, one.seq))

    def all(self) -> list[Any]:
        return sorted((ticket for line in self._lines.values() for ticket in line), key=lambda ticket: ticket.seq)

    def turns(self, served: Mapping[str, int]) -> Iterator[Any]:
        order = sorted(self._lines, key=lambda place: (place[0], served[place[1]], place[1]))
        return iter([ticket for place in order for ticket in self._in_turn(self._lines[place])])

    def _in_turn(self, line: list[Any]) -> list[Any]:
        late, timely = [one for one in line if one.late], [one for one in line if not one.late]
        return late + timely if late and late[0].held_us < self.overdue_us else timely + late

    def ahead(self, priority: int) -> int:
        return len(list(self.before(priority)))

    def before(self, priority: int) -> Iterator[Any]:
        return (ticket for ticket in self.all() if ticket.request.priority <= priority)

    def least(self, above: int) -> Any:
        lowest = max((ticket.request.priority for ticket in self.all()), default=0)
        last = [line[-1] for place, line in self._lines.items() if place[0] == lowest > above]
        return max(last, key=lambda ticket: ticket.seq, default=None)

    def oldest_us(self) -> int:
        firsts = [next(one for one in line if one.late is late) for line in self._lines.values()
                  for late in {one.late for one in line}]  # fmt: skip
        return min(one.held_us for one in firsts)

    def count(self, priority: int) -> int:
        return sum(ticket.request.priority == priority for ticket in self.all())
