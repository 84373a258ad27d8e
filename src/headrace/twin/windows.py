"""What a simulated fleet cost over the least it could have, window by window: where a policy loses its money."""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.planner.optimum import SLOT_US
from headrace.planner.rolling import ratios
from headrace.specs.catalog import ModelSpec
from headrace.twin.plans import pools_of, rows_taken, work_of
from headrace.twin.world import SERVED, World
from headrace.units import US_PER_HOUR

_MILLION: Final = 1_000_000


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model. `ratio_ppm` is paid over least, None where nothing had to be; `kept_ppm` first tokens in time.

    `whole` says that the least is that of whole replicas.
    """

    model: str
    from_us: int
    to_us: int
    requests: int
    paid_nanousd: int
    least_nanousd: int
    ratio_ppm: int | None
    kept_ppm: int
    whole: bool


def windows(world: World, length_us: int, *, missed: float) -> tuple[Window, ...]:
    """A world that has run, by windows of at least a slot. Each window's least begins with any fleet for nothing."""
    scenario = world.scenario
    count = max(1, length_us // SLOT_US)
    return tuple(one for model in scenario.catalog.models for one in _of(world, model, count, missed))


def _of(world: World, model: ModelSpec, count: int, missed: float) -> list[Window]:
    scenario, trace = world.scenario, world.scenario.trace
    rows = rows_taken(scenario, model)
    first, fate = np.frombuffer(world.first_us, np.int64), np.frombuffer(world.fate, np.uint8)
    kept = rows & (fate == SERVED) & (first - trace.arrival_us <= model.objective.ttft_us)
    work = work_of(scenario, model)
    found = ratios(work, _paid(world, model, len(work)), pools_of(scenario, model), window=count, missed=missed)
    made = []
    for one in found:
        from_us, to_us = one.first * SLOT_US, min(one.end * SLOT_US, trace.span_us)
        here = (trace.arrival_us >= from_us) & (trace.arrival_us < to_us)
        asked = int((rows & here).sum())
        made.append(
            Window(
                model=model.key,
                from_us=from_us,
                to_us=to_us,
                requests=asked,
                paid_nanousd=one.paid_nanousd,
                least_nanousd=one.optimum_nanousd,
                ratio_ppm=one.ppm,
                kept_ppm=_MILLION * int((kept & here).sum()) // asked if asked else _MILLION,
                whole=one.whole,
            )
        )
    return made


def _paid(world: World, model: ModelSpec, count: int) -> NDArray[np.int64]:
    """What a model's leases cost in each slot; what is paid after the trace is over is left out."""
    by_price: dict[int, NDArray[np.int64]] = {}
    for lease, _ in world.fleet.ended:
        pool = world.scenario.catalog.pool(lease.pool)
        if f"{lease.model}@{lease.version}" != model.key or pool is None or pool.price_nanousd_per_hour is None:
            continue
        end_us = max(lease.ended_us, lease.started_us + world.scenario.billing_min_us)
        price = pool.price_nanousd_per_hour * lease.share_ppm
        held = by_price.setdefault(price, np.zeros(count, np.int64))
        low, high = lease.started_us // SLOT_US, min(count, -(-end_us // SLOT_US))
        edges = np.clip(np.arange(low, high + 1) * SLOT_US, lease.started_us, end_us)
        held[low:high] += np.diff(edges)
    paid = np.zeros(count, np.int64)
    for price, held in by_price.items():
        paid += np.array([price * us // (US_PER_HOUR * _MILLION) for us in held.tolist()], np.int64)
    return paid
