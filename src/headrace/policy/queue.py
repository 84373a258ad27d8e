"""Held requests of one model version, and whose turn it is: class first, then the tenant that was served least.

Within a tenant's line the order is that of arrival. Mutable, as the lane it belongs to; it knows no clock.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from headrace.state.request import BATCH, Request


class Held(Protocol):
    """What a queue needs to know of one that waits: its request, its place in the order, since when, and whether
    that is too long for its promise.
    """

    request: Request
    seq: int
    held_us: int
    late: bool


T = TypeVar("T", bound=Held)


class Queue(Generic[T]):
    """Lines by class, tenant, and whether their promise can still be kept. `len` is all that are held."""

    __slots__ = ("_count", "_lines", "_overdue_us")

    def __init__(self) -> None:
        self._lines: dict[tuple[int, str, bool], OrderedDict[str, T]] = {}
        self._count = 0
        self._overdue_us = 0

    def __len__(self) -> int:
        return self._count

    def has(self, ticket: T) -> bool:
        """Whether it is held here."""
        line = self._lines.get(_line(ticket))
        return line is not None and ticket.request.id in line

    def add(self, ticket: T) -> None:
        """In order of arrival: one that comes back after a failure has its place before those who came later."""
        ticket.late = False
        place = _line(ticket)
        line = self._lines.setdefault(place, OrderedDict())
        last = next(reversed(line.values()), None)
        line[ticket.request.id] = ticket
        self._count += 1
        if last is not None and last.seq > ticket.seq:
            self._lines[place] = OrderedDict(sorted(line.items(), key=lambda item: item[1].seq))

    def remove(self, ticket: T) -> None:
        """It is held no more."""
        place = _line(ticket)
        line = self._lines[place]
        del line[ticket.request.id]
        self._count -= 1
        if not line:
            del self._lines[place]

    def age(self, before_us: int, overdue_us: int) -> None:
        """Those held since before that moment wait behind their tenant's others, whose promise can still be kept; but
        not those held since before `overdue_us`, who come first.
        """
        self._overdue_us = overdue_us
        for priority, tenant, late in list(self._lines):
            line = self._lines[priority, tenant, late]
            if late or priority == BATCH or next(iter(line.values())).held_us >= before_us:
                continue
            behind = self._lines.setdefault((priority, tenant, True), OrderedDict())
            while line and (first := next(iter(line.values()))).held_us < before_us:
                first.late = True
                behind[first.request.id] = line.pop(first.request.id)
            if not line:
                del self._lines[priority, tenant, False]

    def all(self) -> list[T]:
        """Everyone, in no order that matters."""
        return [ticket for line in self._lines.values() for ticket in line.values()]

    def turns(self, served: Mapping[str, int]) -> Iterator[T]:
        """Everyone in the order of their turns; `served` is what each tenant had. Nothing may change meanwhile."""
        if len(self._lines) == 1:
            yield from next(iter(self._lines.values())).values()
            return
        order = [(place[0], served.get(place[1], 0), place[1], self._rank(place), place[2]) for place in self._lines]
        first = min(order)
        yield next(iter(self._lines[first[0], first[2], first[4]].values()))  # nearly always the one
        order.sort()
        for place in order:
            line = iter(self._lines[place[0], place[2], place[4]].values())
            if place == first:
                next(line)
            yield from line

    def _rank(self, place: tuple[int, str, bool]) -> int:
        if not place[2]:
            return 1
        return 0 if next(iter(self._lines[place].values())).held_us < self._overdue_us else 2

    def ahead(self, priority: int) -> int:
        """How many are held of this class and those before it."""
        return sum(len(line) for place, line in self._lines.items() if place[0] <= priority)

    def before(self, priority: int) -> Iterator[T]:
        """Those of this class and those before it."""
        for place, line in self._lines.items():
            if place[0] <= priority:
                yield from line.values()

    def least(self, above: int) -> T | None:
        """The one that came last of the least class, if that comes after `above`."""
        if not self._lines:
            return None
        lowest = max(place[0] for place in self._lines)
        if lowest <= above:
            return None
        last = [next(reversed(line.values())) for place, line in self._lines.items() if place[0] == lowest]
        return max(last, key=lambda ticket: ticket.seq)

    def oldest_us(self) -> int:
        """Since when the one that is held longest is."""
        return min(next(iter(line.values())).held_us for line in self._lines.values())

    def count(self, priority: int) -> int:
        """How many of this class."""
        return sum(len(line) for place, line in self._lines.items() if place[0] == priority)


def _line(ticket: Held) -> tuple[int, str, bool]:
    request = ticket.request
    return request.priority, request.tenant, ticket.late
