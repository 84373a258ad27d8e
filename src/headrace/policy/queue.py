"""Held requests of one model version, and whose turn it is: class first, then the tenant that was served least.

Within a tenant's line the order is that of arrival. Mutable, as the lane it belongs to; it knows no clock.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from headrace.state.request import CLASSES, Request


class Held(Protocol):
    """What a queue needs to know of one that waits: its request, its place in the order, and since when."""

    request: Request
    seq: int
    held_us: int


T = TypeVar("T", bound=Held)


class Queue(Generic[T]):
    """Lines by class and tenant; `len` is all that are held. Of each class `_tenants` are in order of names."""

    __slots__ = ("_count", "_counts", "_lines", "_tenants")

    def __init__(self) -> None:
        self._lines: dict[tuple[int, str], OrderedDict[str, T]] = {}
        self._tenants: tuple[list[str], ...] = tuple([] for _ in CLASSES)
        self._counts = [0 for _ in CLASSES]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def has(self, ticket: T) -> bool:
        """Whether it is held here."""
        request = ticket.request
        return request.id in self._lines.get((request.priority, request.tenant), ())

    def add(self, ticket: T) -> None:
        """In order of arrival: one that comes back after a failure has its place before those who came later."""
        request = ticket.request
        place = priority, tenant = request.priority, request.tenant
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = OrderedDict()
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
        line = self._lines[place]
        del line[request.id]
        self._count -= 1
        self._counts[priority] -= 1
        if not line:
            del self._lines[place]
            del self._tenants[priority][bisect_left(self._tenants[priority], tenant)]

    def all(self) -> list[T]:
        """Everyone, in no order that matters."""
        return [ticket for line in self._lines.values() for ticket in line.values()]

    def turns(self, served: Mapping[str, int]) -> Iterator[T]:
        """Everyone in the order of their turns; `served` is what each tenant had. Nothing may change meanwhile."""
        had = served.__getitem__
        for priority, tenants in enumerate(self._tenants):
            if not tenants:
                continue
            first = min(tenants, key=had)  # of equals the first by name
            yield from self._lines[priority, first].values()  # nearly always its first one
            for tenant in sorted(tenants, key=had):
                if tenant != first:
                    yield from self._lines[priority, tenant].values()

    def ahead(self, priority: int) -> int:
        """How many are held of this class and those before it."""
        return sum(self._counts[: priority + 1])

    def before(self, priority: int) -> Iterator[T]:
        """Those of this class and those before it."""
        for place, line in self._lines.items():
            if place[0] <= priority:
                yield from line.values()

    def least(self, above: int) -> T | None:
        """The one that came last of the least class, if that comes after `above`."""
        for lowest in range(len(CLASSES) - 1, above, -1):
            if self._counts[lowest]:
                last = [next(reversed(self._lines[lowest, tenant].values())) for tenant in self._tenants[lowest]]
                return max(last, key=lambda ticket: ticket.seq)
        return None

    def oldest_us(self) -> int:
        """Since when the one that is held longest is."""
        return min(next(iter(line.values())).held_us for line in self._lines.values())

    def count(self, priority: int) -> int:
        """How many of this class."""
        return self._counts[priority]
