"""Held requests of one model version, and whose turn it is: class first, then the tenant that was served least.

Within a tenant's line the order is that of arrival, of those who can still be in time first (`triage` says who).
Mutable, as the lane it belongs to; it knows no clock.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Generic, Protocol, TypeVar

from headrace.state.request import BATCH, CLASSES, Request


class Held(Protocol):
    """What a queue needs to know of one that waits: its request, its place in the order, since when, and whether it
    waits behind others.
    """

    request: Request
    seq: int
    held_us: int
    late: bool


T = TypeVar("T", bound=Held)
Lines = dict[tuple[int, str], "OrderedDict[str, T]"]
_NOBODY: Final[dict[str, Any]] = {}


class Queue(Generic[T]):
    """Lines by class and tenant; `len` is all that are held. Of each class `_tenants` are in order of names.

    `_late` are those that were deferred: behind their tenant's others, or before them when they have waited since
    before `overdue_us`. `sifted_us` is when somebody last looked who is to be.
    """

    __slots__ = ("_count", "_counts", "_late", "_lines", "_tenants", "overdue_us", "sifted_us")

    def __init__(self) -> None:
        self._lines: Lines[T] = {}
        self._late: Lines[T] = {}
        self._tenants: tuple[list[str], ...] = tuple([] for _ in CLASSES)
        self._counts = [0 for _ in CLASSES]
        self._count = 0
        self.sifted_us = self.overdue_us = -(1 << 62)

    def __len__(self) -> int:
        return self._count

    def has(self, ticket: T) -> bool:
        """Whether it is held here."""
        request = ticket.request
        lines = self._late if ticket.late else self._lines
        return request.id in lines.get((request.priority, request.tenant), ())

    def add(self, ticket: T) -> None:
        """In order of arrival: one that comes back after a failure has its place before those who came later."""
        ticket.late = False
        request = ticket.request
        place = priority, tenant = request.priority, request.tenant
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = OrderedDict()
            if place not in self._late:
                insort(self._tenants[priority], tenant)
        last_seq = next(reversed(line.values())).seq if line else 0
        line[request.id] = ticket
        self._count += 1
        self._counts[priority] += 1
        if last_seq > ticket.seq:
            self._lines[place] = OrderedDict(sorted(line.items(), key=lambda item: item[1].seq))

    def remove(self, ticket: T) -> None:
        """It is held no more."""
        request = ticket.request
        place = priority, tenant = request.priority, request.tenant
        mine, other = (self._late, self._lines) if ticket.late else (self._lines, self._late)
        line = mine[place]
        del line[request.id]
        self._count -= 1
        self._counts[priority] -= 1
        if not line:
            del mine[place]
            if place not in other:
                del self._tenants[priority][bisect_left(self._tenants[priority], tenant)]

    def timely(self, served: Mapping[str, int]) -> Iterator[Iterable[T]]:
        """Lines of those that have a promise and were not deferred, in order of their turns; one may be deferred of
        while it is looked at.
        """
        for priority, tenants in enumerate(self._tenants):
            if priority != BATCH:
                for tenant in sorted(tenants, key=served.__getitem__):
                    yield self._lines.get((priority, tenant), _NOBODY).values()

    def defer(self, tickets: Sequence[T]) -> None:
        """Those of one line wait behind its others."""
        if not tickets:
            return
        place = tickets[0].request.priority, tickets[0].request.tenant
        line, late = self._lines[place], self._late.get(place, _NOBODY)
        for ticket in tickets:
            ticket.late = True
            del line[ticket.request.id]
        if not line:
            del self._lines[place]
        behind = sorted(chain(late.values(), tickets), key=lambda ticket: ticket.seq)  # nearly so already
        self._late[place] = OrderedDict((ticket.request.id, ticket) for ticket in behind)

    def all(self) -> list[T]:
        """Everyone, in order of arrival."""
        lines = chain(self._late.values(), self._lines.values())
        return sorted((ticket for line in lines for ticket in line.values()), key=lambda ticket: ticket.seq)

    def turns(self, served: Mapping[str, int]) -> Iterator[T]:
        """Everyone in the order of their turns; `served` is what each tenant had. Nothing may change meanwhile."""
        had = served.__getitem__
        for priority, tenants in enumerate(self._tenants):
            if not tenants:
                continue
            first = min(tenants, key=had)  # of equals the first by name
            yield from self._of(priority, first)  # nearly always its first one
            for tenant in sorted(tenants, key=had):
                if tenant != first:
                    yield from self._of(priority, tenant)

    def _of(self, priority: int, tenant: str) -> Iterable[T]:
        place = priority, tenant
        if not self._late or place not in self._late:
            return self._lines[place].values()
        late, line = self._late[place].values(), self._lines.get(place, _NOBODY).values()
        return chain(late, line) if next(iter(late)).held_us < self.overdue_us else chain(line, late)

    def ahead(self, priority: int) -> int:
        """How many are held of this class and those before it."""
        return sum(self._counts[: priority + 1])

    def before(self, priority: int) -> Iterator[T]:
        """Those of this class and those before it."""
        for lines in (self._late, self._lines):
            for place, line in lines.items():
                if place[0] <= priority:
                    yield from line.values()

    def least(self, above: int) -> T | None:
        """The one that came last of the least class, if that comes after `above`."""
        for lowest in range(len(CLASSES) - 1, above, -1):
            if self._counts[lowest]:
                lines = [
                    self._lines.get((lowest, tenant)) or self._late[lowest, tenant] for tenant in self._tenants[lowest]
                ]
                return max((next(reversed(line.values())) for line in lines), key=lambda ticket: ticket.seq)
        return None

    def _last(self, place: tuple[int, str]) -> T:
        return next(reversed((self._lines.get(place) or self._late[place]).values()))

    def oldest_us(self) -> int:
        """Since when the one that is held longest is."""
        return min(next(iter(line.values())).held_us for lines in (self._late, self._lines) for line in lines.values())

    def count(self, priority: int) -> int:
        """How many of this class."""
        return self._counts[priority]
