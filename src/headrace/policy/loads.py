"""Seats of one lane by how much they have at work: the least loaded is found without a look at each of them.

Called by `lane` with every change, and asked by `routing`. For each load a whole number has a bit for every open seat
that has so many tries at work and room for one more: bit n is `lane.open[n]`, the seat whose `bit` is `1 << n`. Whoever
changes a limit or what siblings have there makes it anew.
"""

from collections.abc import Iterable
from typing import Protocol


class Loaded(Protocol):
    """What is asked of a seat: its tries at work, here and by siblings, and how many it may have."""

    own: int
    others: int
    limit: int
    bit: int


class Loads:
    """Which seats have how much to do, of those with room."""

    __slots__ = ("_at", "_least")

    def __init__(self, seats: Iterable[Loaded]) -> None:
        seats = list(seats)
        self._at = [0] * max((seat.limit for seat in seats), default=0)
        self._least = 0  # no seat has a smaller load than this
        for seat in seats:
            load = seat.own + seat.others
            if load < seat.limit:
                self._at[load] |= seat.bit

    def rose(self, seat: Loaded) -> None:
        """It has one try more than before, and had room for it."""
        load = seat.own + seat.others
        self._at[load - 1] ^= seat.bit
        if load < seat.limit:
            self._at[load] ^= seat.bit

    def fell(self, seat: Loaded) -> bool:
        """It has one try less than before. Whether there is room now."""
        load = seat.own + seat.others
        if load >= seat.limit:
            return False
        bit = seat.bit
        self._at[load] ^= bit
        if load + 1 < seat.limit:
            self._at[load + 1] ^= bit
        if load < self._least:
            self._least = load
        return True

    def least(self, start: int) -> int:
        """The place of the least loaded seat, the first from `start` on and round again. One must have room."""
        at, load = self._at, self._least
        while not at[load]:
            load += 1
        self._least = load
        return _first(at[load], start)

    def least_beside(self, barred: int, start: int) -> int:
        """The same without the seats whose bits are `barred`; -1 when no other has room."""
        for seats in self._at:
            if seats & ~barred:
                return _first(seats & ~barred, start)
        return -1


def _first(seats: int, start: int) -> int:
    """The place of the first bit from `start` on, or of the first of all."""
    behind = seats >> start
    if behind:
        return start + (behind & -behind).bit_length() - 1
    return (seats & -seats).bit_length() - 1
