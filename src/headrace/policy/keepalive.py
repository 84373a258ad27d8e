"""How long a model that is not asked for is kept awake, and when it is woken ahead of being asked, by cost.

For models with `idle_to_zero: auto`. A second awake costs its share of a device; a wake costs that share while it
starts, and its user's wait, at a declared price. From the gaps between uses so far, the times are chosen that would
have cost least. Both the loop and the twin ask this object; it is told all moments.
"""

from bisect import bisect_left as bisect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec

from headrace.policy import scaling
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.demand import Demand
from headrace.state.gaps import BINS, EDGES_US, Gaps
from headrace.units import US_PER_HOUR, US_PER_S, format_us

SAMPLES: Final = 8.0  # gaps before they are believed
BOOT_US: Final = 30 * US_PER_S  # until one was measured
GAP_MIN_US: Final = US_PER_S  # a shorter silence is none
KEEP_MIN_US: Final = US_PER_S
UNPRICED_US: Final = 300 * US_PER_S  # where nobody said what a device costs
SLEEP_MIN_US: Final = 60 * US_PER_S  # nothing is stopped to be started again sooner
BETTER: Final = 0.95  # of the cost of just keeping awake, before anything is woken ahead


@dataclass(frozen=True, slots=True)
class Keep:
    """Awake for `until_us` after the last use; awake again from `warm_from_us` to `warm_until_us`, 0 for never.

    `reason` in words; costs in nano-dollars a gap.
    """

    until_us: int
    warm_from_us: int = 0
    warm_until_us: int = 0
    reason: str = ""


class Keepalive:
    """The gaps of every model version, and what follows of them."""

    def __init__(self) -> None:
        self.gaps: dict[str, Gaps] = {}
        self._last_us: dict[str, int] = {}
        self.woken: dict[str, str] = {}  # models that are being kept awake ahead of being asked, and why

    def over(self, catalog: Catalog, demand: Mapping[str, Demand], boots_us: Mapping[str, int], now_us: int) -> Catalog:
        """The catalog with the times that hold now; told once a round what is asked for."""
        self.woken = {}
        if not any(model.scaling.idle_auto for model in catalog.models):
            return catalog
        models = tuple(self._model(model, catalog, demand, boots_us, now_us) for model in catalog.models)
        return msgspec.structs.replace(catalog, models=models)

    def keep(self, model: ModelSpec, catalog: Catalog, boot_us: int) -> Keep:
        """The times for one model."""
        idle_nanousd = _idle_nanousd_per_hour(model, catalog)
        if not idle_nanousd:
            return Keep(UNPRICED_US, reason="no price of a device is known")
        wait = model.scaling.wait_nanousd_per_s
        wake = boot_us * idle_nanousd // US_PER_HOUR + boot_us * wait // US_PER_S
        return choose(self.gaps.get(model.key, Gaps()), idle_nanousd, wake, boot_us)

    def _model(
        self, model: ModelSpec, catalog: Catalog, demand: Mapping[str, Demand], boots_us: Mapping[str, int], now_us: int
    ) -> ModelSpec:
        limits, asked = model.scaling, demand.get(model.key)
        if not limits.idle_auto or asked is None:
            return model
        busy = scaling.busy(asked)
        used_us = now_us if busy else asked.last_us
        quiet_us = now_us - used_us
        self._see(model.key, used_us)
        found = self.keep(model, catalog, boots_us.get(model.key, BOOT_US))
        least = limits.min_replicas
        if found.warm_until_us and found.warm_from_us <= quiet_us < found.warm_until_us:
            self.woken[model.key] = found.reason
            least = max(1, least)
        changed = msgspec.structs.replace(limits, idle_to_zero_us=found.until_us, min_replicas=least)
        return msgspec.structs.replace(model, scaling=changed)

    def _see(self, key: str, used_us: int) -> None:
        before = self._last_us.get(key)
        self._last_us[key] = used_us
        if before is not None and used_us - before >= GAP_MIN_US:
            self.gaps[key] = self.gaps.get(key, Gaps()).seen(used_us - before)


@lru_cache(maxsize=1024)
def choose(gaps: Gaps, idle_nanousd_per_hour: int, wake_nanousd: int, boot_us: int) -> Keep:
    """The cheapest times for gaps like those.

    Formula: keeping awake until T costs c E[min(g, T)] + W P(g > T); sleeping until S - boot and being awake until T
        costs c E[boot + min(g, T) - S; g > S - boot] + W P(g <= S or g > T). Too few gaps: T = W / c.
    Units: c nano-dollars a microsecond awake, W nano-dollars a wake, g microseconds between two uses.
    Source: keep-alive by the distribution of idle times, M. Shahrad et al., Serverless in the Wild, USENIX ATC 2020;
        T = W / c is the ski-rental rule, which never costs more than twice the least (Karlin et al. 1988).
    Assumes: gaps to come are like those that were, newer ones more; a wake is paid whenever a use finds it asleep.

    >>> choose(Gaps(), 3_600_000_000, 60_000_000, 1_000_000).until_us  # a dollar a thousand seconds; six cents a wake
    60000000
    """
    each = idle_nanousd_per_hour / US_PER_HOUR
    break_even_us = max(KEEP_MIN_US, round(wake_nanousd / each))
    if gaps.count < SAMPLES:
        return Keep(break_even_us, reason=f"too few gaps are known: break-even is {format_us(break_even_us)}")
    middle = [(EDGES_US[place] + (EDGES_US[place - 1] if place else 0)) // 2 for place in range(BINS)]
    seen = [(middle[place], weight / gaps.count) for place, weight in enumerate(gaps.weights) if weight]
    ends = [KEEP_MIN_US, *(edge for edge in EDGES_US if edge > KEEP_MIN_US)]
    keep = min((_kept(seen, each, wake_nanousd, end), end) for end in ends)
    told = f"a gap costs {keep[0] / 1e9:.6f} dollars on average when it is kept awake for {format_us(keep[1])}"
    ahead = _ahead(seen, each, wake_nanousd, boot_us)
    if ahead is None or ahead[0] >= BETTER * keep[0]:
        return Keep(keep[1], reason=told)
    cost, from_us, until_us = ahead
    reason = (
        f"uses come {format_us(from_us)} to {format_us(until_us)} after the one before: awake then, a gap costs "
        f"{cost / 1e9:.6f} dollars, {keep[0] / 1e9:.6f} when it is just kept awake for {format_us(keep[1])}"
    )
    return Keep(KEEP_MIN_US, max(KEEP_MIN_US, from_us - boot_us), until_us, reason)


def _kept(seen: list[tuple[int, float]], each: float, wake: int, end_us: int) -> float:
    return sum(part * (each * min(gap, end_us) + (wake if gap > end_us else 0)) for gap, part in seen)


def _ahead(seen: list[tuple[int, float]], each: float, wake: int, boot_us: int) -> tuple[float, int, int] | None:
    """The cheapest window to be awake in, from one bin's beginning to another's end; None when there is no room."""
    bins = [bisect(EDGES_US, gap) for gap, _ in seen]
    best: tuple[float, int, int] | None = None
    for from_us in (EDGES_US[place - 1] for place in bins if place):
        if from_us - boot_us < SLEEP_MIN_US:
            continue
        for until_us in (EDGES_US[min(place, BINS - 1)] for place in bins if EDGES_US[min(place, BINS - 1)] > from_us):
            cost = 0.0
            for gap, part in seen:
                awake_us = boot_us + min(gap, until_us) - from_us if gap > from_us - boot_us else 0
                late = wake if gap <= from_us or gap > until_us else 0
                cost += part * (each * (KEEP_MIN_US + max(0, awake_us)) + late)
            if best is None or cost < best[0]:
                best = cost, from_us, until_us
    return best


def _idle_nanousd_per_hour(model: ModelSpec, catalog: Catalog) -> int:
    """What an idle replica costs: its part of a device of its first pool; 0 when that is not known."""
    pool = catalog.pool(model.pools[0]) if model.pools else None
    if pool is None or not pool.price_nanousd_per_hour or not pool.memory_bytes:
        return 0
    return min(pool.price_nanousd_per_hour, pool.price_nanousd_per_hour * model.memory_bytes // pool.memory_bytes)
