"""Where a model lives that has a choice: its pools in the order they are liked, and where it is cut by length. Pure.

Chosen by `choice`; `balance` keeps its replicas there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from headrace.policy import cuts
from headrace.policy.cuts import Cut
from headrace.policy.options import Option
from headrace.specs.catalog import ModelSpec
from headrace.state.table import RouteCut


@dataclass(frozen=True, slots=True)
class Home:
    """Where a model lives: its pools, the chosen one first; what a replica of each does, in replicas of the first.

    With a `cut` the first two are chosen, for prompts up to it and beyond; a minimum is shared out between
    them by `split`.
    """

    pools: tuple[str, ...]
    able: Mapping[str, float]
    reason: str
    cut: RouteCut | None = None
    split: tuple[int, int] = (1, 0)

    @property
    def stands(self) -> tuple[str, ...]:
        """The pools where replicas are wanted."""
        return self.pools[: 1 if self.cut is None else 2]

    @classmethod
    def of(
        cls, model: ModelSpec, options: Sequence[Option | Cut], chosen: Option | Cut, cut: RouteCut | None, reason: str
    ) -> Self:
        """The chosen pools, then those that keep the promises, the cheapest first, then others in the file's order."""
        singles = [one for one in options if isinstance(one, Option)]
        fit = sorted((one for one in singles if one.nanousd is not None), key=cuts.cost)
        ordered = dict.fromkeys([*chosen.pools, *(one.pool for one in fit), *model.pools])
        first = next(one for one in singles if one.pool == chosen.pools[0])
        able = {one.pool: one.able / first.able for one in singles}
        return cls(tuple(ordered), able, reason, cut)
