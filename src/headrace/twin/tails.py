"""Work that has a device to itself, and its exact optimum: what a trace of many models that are seldom asked can cost.

A request takes as long as it does alone on its model's first pool. Devices of a pool are alike, and models of different
pools share none.
"""

from itertools import starmap
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid
from headrace.planner.long_tail import Intervals, long_tail
from headrace.specs.catalog import ModelSpec
from headrace.twin.outcome import outcome
from headrace.twin.plans import answers_of, rows_taken
from headrace.twin.scenario import Scenario
from headrace.twin.world import SERVED, TOO_LONG, World

SOON_US: Final = 10_000_000


class Exclusive(msgspec.Struct, frozen=True, kw_only=True):
    """One pool's devices in the cheapest cover of its requests, times in microseconds of devices."""

    pool: str
    models: int
    requests: int
    nanousd: int
    device_us: int
    busy_us: int
    boots: int
    reused: int


class Tailed(msgspec.Struct, frozen=True, kw_only=True):
    """All pools, and what the twin makes of the same requests; `soon_ppm` were begun within ten seconds there."""

    nanousd: int
    pools: tuple[Exclusive, ...]
    simulated_nanousd: int | None = None
    soon_ppm: int = 0


def tailed(scenario: Scenario, *, swap_us: int, simulate: bool) -> Tailed:
    """The exact optimum. A start from nothing takes the scenario's time; another model takes `swap_us` of it.

    Raises Invalid where a swap takes longer than a start, or requests are too many.
    """
    by_pool: dict[str, list[ModelSpec]] = {}
    for model in scenario.catalog.models:
        by_pool.setdefault(model.pools[0], []).append(model)
    pools = tuple(_exclusive(scenario, pool, models, swap_us) for pool, models in by_pool.items())
    least = sum(one.nanousd for one in pools)
    if not simulate:
        return Tailed(nanousd=least, pools=pools)
    world = World(scenario)
    world.run()
    first, fate = np.frombuffer(world.first_us, np.int64), np.frombuffer(world.fate, np.uint8)
    soon = ((fate == SERVED) & (first - scenario.trace.arrival_us <= SOON_US))[fate != TOO_LONG]
    cost, soon_ppm = outcome(world, "headrace").cost_nanousd, int(1_000_000 * soon.mean()) if len(soon) else 1_000_000
    return Tailed(nanousd=least, pools=pools, simulated_nanousd=cost, soon_ppm=soon_ppm)


def _exclusive(scenario: Scenario, name: str, models: list[ModelSpec], swap_us: int) -> Exclusive:
    pool = scenario.catalog.pool(name)
    assert pool is not None, "the scenario was checked"
    assert pool.price_nanousd_per_hour is not None, "and so were prices"
    boot_us = max(scenario.boot_us[model.key] for model in models)
    if swap_us > boot_us:
        raise Invalid(f"a swap of {swap_us} us takes longer than a start of {boot_us} us; lower --swap or raise --boot")
    parts = [_alone(scenario, model, name, place) for place, model in enumerate(models)]
    asked = Intervals(
        start_us=np.concatenate([part.start_us for part in parts]),
        end_us=np.concatenate([part.end_us for part in parts]),
        model=np.concatenate([part.model for part in parts]),
    )
    best = long_tail(
        asked, [swap_us] * len(models), boot_us=boot_us - swap_us, nanousd_per_hour=pool.price_nanousd_per_hour
    )
    return Exclusive(
        pool=name,
        models=len(models),
        requests=len(asked.start_us),
        nanousd=best.nanousd,
        device_us=best.device_us,
        busy_us=best.busy_us,
        boots=best.boots,
        reused=best.reused,
    )


def _alone(scenario: Scenario, model: ModelSpec, pool: str, place: int) -> Intervals:
    """A model's requests as they run with nobody beside them."""
    trace, rows = scenario.trace, rows_taken(scenario, model)
    start: NDArray[np.int64] = trace.arrival_us[rows]
    sizes = zip(trace.input_tokens[rows].tolist(), answers_of(scenario, model)[rows].tolist(), strict=True)
    writing_us = np.array(list(starmap(scenario.behaviours[model.key, pool].alone_us, sizes)))
    took = scenario.prompt_us[model.version, pool][rows] + writing_us
    end = start + np.maximum(1, np.rint(took)).astype(np.int64)
    return Intervals(start_us=start, end_us=end, model=np.full(len(start), place, np.int64))
