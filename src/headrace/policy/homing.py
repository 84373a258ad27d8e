"""A model's replicas against its home: what to start and stop where, so that a move is a drain and never a cut. Pure.

Replicas stand on the pools where some are wanted: the home, or two of them where the model is cut by length. What those
have no room for stands on the others. Those that are too many where they are go when as much as they do is ready where
they are wanted, and never before. It decides from the state, so a move that was interrupted just goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
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


def have(levels: Sequence[Level], *, asked: bool = True) -> int:
    """Replicas of home that are there, for the load: those that are just being replaced count once.

    Of a model that is not asked for as many are kept as there are on the first of its pools that has any: who is
    replaced from there counts no more once one is there.

    >>> moving = [Level("a", 1.0, 1, 1, 9), Level("b", 5.0, 1, 1, 9)]
    >>> have(moving), have(moving, asked=False)
    (6, 1)
    """
    home, *others = levels
    if not asked:
        return home.there or next((floor(min(1.0, one.able) * one.there + _ENOUGH) for one in others if one.there), 0)
    away = floor(sum(one.able * one.there for one in others) + _ENOUGH)  # what is a part of one is grown where needed
    return home.ready + max(home.there - home.ready, away)


def split(wants: Sequence[int], levels: Sequence[Level]) -> list[int]:
    """How many more on each pool (fewer: less than 0), so that there is as much as `wants` replicas of each do.

    Pools beyond those wanted on want none. The last value is what has no room anywhere, in replicas of home.

    >>> home, away = Level("a", 1.0, 0, 0, 4), Level("b", 0.5, 4, 4, 9)
    >>> split([2], [home, away])  # two more at home, and nobody goes before they are ready
    [2, 0, 0]
    >>> split([2], [Level("a", 1.0, 2, 2, 2), away])
    [0, -4, 0]
    >>> split([2], [Level("a", 1.0, 0, 0, 1), Level("b", 0.5, 0, 0, 9)])  # home has room for one
    [1, 2, 0]
    >>> split([1, 1], [home, away])  # from b alone to one of each: two of b do what the missing one will
    [1, -1, 0]
    """
    counts = [*wants, *[0] * (len(levels) - len(wants))]
    changes = [max(0, min(want - one.there, one.room)) for want, one in zip(counts, levels, strict=True)]
    missing = gap = 0.0
    for want, one, change in zip(counts, levels, changes, strict=True):
        missing += one.able * max(0, want - one.there - change)
        gap += one.able * max(0, want - one.ready)
    for place, (want, one) in enumerate(zip(counts, levels, strict=True)):
        able, surplus = max(_ENOUGH, one.able), max(0, one.there - want)
        missing -= one.able * surplus
        more = max(0, min(one.room - changes[place], ceil(missing / able - _ENOUGH)))
        missing -= one.able * more
        keep = max(0, min(surplus, ceil(gap / able - _ENOUGH)))
        gap -= one.able * keep
        changes[place] += more or keep - surplus
    return [*changes, max(0, ceil(missing - _ENOUGH))]
