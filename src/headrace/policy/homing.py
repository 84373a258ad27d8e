"""A model's replicas against its home: what to start and stop where, so that a move is a drain and never a cut. Pure.

Replicas stand on the home pool; what it has no room for stands on the pools behind it. Those elsewhere go when as much
as they do is ready at home, and never before. It decides from the state, so a move that was interrupted just goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

_ENOUGH: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Level:
    """One pool: replicas there, how many of them are ready, how many more would fit; `able` in replicas of home."""

    pool: str
    able: float
    there: int
    ready: int
    room: int


def have(levels: Sequence[Level]) -> int:
    """Replicas of home that are there, for the load: those that are just being replaced count once."""
    home, *others = levels
    away = ceil(sum(one.able * one.there for one in others) - _ENOUGH)
    return home.ready + max(home.there - home.ready, away)


def split(count: int, levels: Sequence[Level]) -> list[int]:
    """How many more on each pool (fewer: less than 0), so that there is as much as `count` replicas of home do.

    Home is first; the last value is what has no room anywhere, in replicas of home.

    >>> home, away = Level("a", 1.0, 0, 0, 4), Level("b", 0.5, 4, 4, 9)
    >>> split(2, [home, away])  # two more at home, and nobody goes before they are ready
    [2, 0, 0]
    >>> split(2, [Level("a", 1.0, 2, 2, 2), away])
    [0, -4, 0]
    >>> split(2, [Level("a", 1.0, 0, 0, 1), Level("b", 0.5, 0, 0, 9)])  # home has room for one
    [1, 2, 0]
    """
    home, *others = levels
    changes = [min(count - home.there, home.room)]
    missing, gap = float(count - home.there - max(0, changes[0])), float(count - home.ready)
    for one in others:
        missing -= one.able * one.there
        more = max(0, min(one.room, ceil(missing / max(_ENOUGH, one.able) - _ENOUGH)))
        missing -= one.able * more
        keep = max(0, min(one.there, ceil(gap / max(_ENOUGH, one.able) - _ENOUGH)))
        gap -= one.able * keep
        changes.append(more or keep - one.there)
    return [*changes, max(0, ceil(missing - _ENOUGH))]
