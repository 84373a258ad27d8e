"""Cost over the least it could have been: a figure, what it is held against, and how that is said."""

from collections.abc import Sequence

import msgspec


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """Of a run or a model of it. `ratio_ppm` is cost over least, None where nothing had to be done or `why` says more.

    `whole` are the models whose least is that of whole replicas; of the others replicas may be fractions. `missed_ppm`
    of the work need not be done for the least.
    """

    least_nanousd: int | None
    ratio_ppm: int | None
    whole: tuple[str, ...]
    missed_ppm: int
    why: str = ""


def label(models: Sequence[str], whole: Sequence[str]) -> str:
    """What a ratio is of.

    >>> label(["a"], ["a"]), label(["a"], []), label(["a", "b"], ["b"])
    ('of the least with whole replicas', 'of the least', 'of the least, with whole replicas of b')
    """
    if not whole:
        return "of the least"
    if len(whole) == len(models):
        return "of the least with whole replicas"
    return f"of the least, with whole replicas of {', '.join(whole)}"
