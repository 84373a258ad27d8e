"""A model that stands in two pools, its requests cut by length: what a controller leaves to its successor."""

import msgspec

from headrace.state.table import RouteCut
from headrace.state.work import WorkRate


class Divided(msgspec.Struct, frozen=True, kw_only=True):
    """Its `pools`, that of the short prompts first, then that of the long ones, then the others.

    `able` is what a replica of each pool does, in replicas of the first; `parts` the same of the model and its parts,
    in replicas that work is told in, by `Demand.of`. `rate` is the work of a request.
    """

    pools: tuple[str, ...]
    able: dict[str, float]
    parts: dict[str, float]
    cut: RouteCut
    rate: WorkRate
