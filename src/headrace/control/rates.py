"""The work of a request of each model, as measured or foretold: for gateways to count, and for sizing.

Told in time of a replica of the first of its pools whose speed is known. A measured rate is told anew when half as many
more requests were seen: gateways get a new table with each change of it.
"""

import math
from collections.abc import Callable

from headrace.policy import lengths
from headrace.policy.lengths import TYPICAL
from headrace.policy.performance import Measured, Performance, Scaled
from headrace.specs.catalog import Catalog, ModelSpec, PoolSpec
from headrace.state.work import WorkRate


class Rates:
    """Rates by model version. `speed` tells how a model runs in a pool."""

    def __init__(self, speed: Callable[[ModelSpec, PoolSpec], Performance | None]) -> None:
        self._speed = speed
        self._told: dict[str, tuple[tuple[str, int], WorkRate | None]] = {}

    def of(self, model: ModelSpec, catalog: Catalog) -> WorkRate | None:
        """The work of a request; None for tasks without tokens, and while nobody knows."""
        known = self._known(model, catalog)
        if not known:
            return None
        pool, engine = known[0]
        age = (pool.name, _age(engine))
        told = self._told.get(model.key)
        if told is None or told[0] != age:
            told = self._told[model.key] = age, lengths.rate(model, engine, TYPICAL)
        return told[1]

    def able(self, model: ModelSpec, catalog: Catalog) -> dict[str, float]:
        """Work that a replica of each pool of known speed does, of the replica that work is told in."""
        found = {pool.name: lengths.serves(model, speed, TYPICAL)[0] for pool, speed in self._known(model, catalog)}
        return {name: able / next(iter(found.values())) for name, able in found.items()}

    def _known(self, model: ModelSpec, catalog: Catalog) -> list[tuple[PoolSpec, Performance]]:
        """Its pools of known speed, in order."""
        if model.task != "chat" or not model.owned:
            return []
        pools = (pool for name in model.pools if (pool := catalog.pool(name)) is not None)
        return [(pool, found) for pool in pools if (found := self._speed(model, pool)) is not None]


def _age(engine: Performance) -> int:
    """Changes when half as many more requests were seen; 0 for what was only foretold."""
    if isinstance(engine, Scaled):
        return _age(engine.of)
    return int(2 * math.log2(max(1, engine.work.samples))) if isinstance(engine, Measured) else 0
