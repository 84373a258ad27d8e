"""How long a model that is not asked for is kept awake, and when it is woken ahead of being asked, by cost.

For models with `idle_to_zero: auto`, and those that sleep with their process alive. A second awake costs its share of a
device; a wake costs that share while it starts, and its user's wait, at a declared price. From the gaps between uses so
far, the times are chosen that would have cost least. Both the loop and the twin ask this object; it is told moments.
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
NONE: Final[Mapping[str, int]] = {}
BETTER: Final = 0.95  # of the cost of just keeping awake, before anything is woken ahead


@dataclass(frozen=True, slots=True)
class Keep:
    """Awake for `until_us` after the last use; awake again from `warm_from_us` to `warm_until_us`, 0 for never.

    `reason` in words; costs in nano-dollars a gap. One that can sleep does after `sleep_us`, and goes after `until_us`.
    """

    until_us: int
    warm_from_us: int = 0
    warm_until_us: int = 0
    reason: str = ""
    sleep_us: int | None = None


class Keepalive:
    """The gaps of every model version, and what follows of them."""

    def __init__(self) -> None:
        self.gaps: dict[str, Gaps] = {}
        self._last_us: dict[str, int] = {}
        self.woken: dict[str, str] = {}  # models that are being kept awake ahead of being asked, and why

    def over(
        self,
        catalog: Catalog,
        demand: Mapping[str, Demand],
        boots_us: Mapping[str, int],
        now_us: int,
        wakes_us: Mapping[str, int] = NONE,
    ) -> Catalog:
        """The catalog with the times that hold now; told once a round what is asked for, and how long starts and wakes
        from sleep take.
        """
        self.woken = {}
        if not any(model.scaling.idle_auto or model.scaling.sleep_auto for model in catalog.models):
            return catalog
        models = tuple(
            self._model(
                model,
                catalog,
                demand,
                boots_us.get(model.key, BOOT_US),
                wakes_us.get(model.key, model.scaling.wake_us),
                now_us,
            )
            for model in catalog.models
        )
        return msgspec.structs.replace(catalog, models=models)

    def keep(self, model: ModelSpec, catalog: Catalog, boot_us: int, wake_us: int = 0) -> Keep:
        """The times for one model: awake and gone; between them asleep, where that is cheaper.

        Formula: awake until T, asleep until Z, then gone: c E[min(g, T)] + s E[min(g, Z) - min(g, T)] + W P(T < g <= Z)
            + B P(g > Z) is one question of T at c - s and W, and one of Z at s and B - W: `choose` answers both.
        Units: as there; s nano-dollars a microsecond asleep, W a wake from sleep, B a start.
        Source: S. Irani, S. Shukla, R. Gupta, Online strategies for dynamic power management in systems with multiple
            power-saving states, ACM TECS 2003: the lower envelope costs at most twice the least, whatever comes.
        Assumes: T <= Z; where that is not so, sleep is dearer than one of the others at any time, and is left out.
        """
        idle_nanousd, rest = _idle_nanousd_per_hour(model, catalog), model.engine.sleep
        limits, gaps = model.scaling, self.gaps.get(model.key, Gaps())
        if not idle_nanousd:
            return Keep(UNPRICED_US, reason="no price of a device is known")
        boot = _wake_nanousd(boot_us, idle_nanousd, limits.wait_nanousd_per_s)
        gone = choose(gaps, idle_nanousd, boot, boot_us)
        resting = limits.sleep_auto or limits.idle_to_sleep_us is not None
        if rest is None or not resting or not 0 < rest.kept_bytes < model.memory_bytes or wake_us >= boot_us:
            return gone
        kept_nanousd = max(1, idle_nanousd * rest.kept_bytes // model.memory_bytes)
        wake = _wake_nanousd(wake_us, idle_nanousd, limits.wait_nanousd_per_s)
        first = choose(gaps, max(1, idle_nanousd - kept_nanousd), wake, wake_us)
        sleep_us = first.until_us if limits.sleep_auto else limits.idle_to_sleep_us or 0
        last_us = limits.idle_to_zero_us
        if limits.idle_auto:
            last_us = choose(gaps, kept_nanousd, boot - wake, boot_us, ahead=False).until_us
        if last_us is not None and last_us <= sleep_us:
            return gone
        reason = f"awake for {format_us(sleep_us)} after a use, then asleep: {first.reason}"
        return Keep(last_us or UNPRICED_US, first.warm_from_us, first.warm_until_us, reason, sleep_us)

    def _model(
        self,
        model: ModelSpec,
        catalog: Catalog,
        demand: Mapping[str, Demand],
        boot_us: int,
        wake_us: int,
        now_us: int,
    ) -> ModelSpec:
        limits, asked = model.scaling, demand.get(model.key)
        if not (limits.idle_auto or limits.sleep_auto) or asked is None:
            return model
        busy = scaling.busy(asked)
        used_us = now_us if busy else asked.last_us
        quiet_us = now_us - used_us
        self._see(model.key, used_us)
        found = self.keep(model, catalog, boot_us, wake_us)
        least = limits.min_replicas
        ahead = limits.idle_auto or found.sleep_us is not None
        if ahead and found.warm_until_us and found.warm_from_us <= quiet_us < found.warm_until_us:
            self.woken[model.key] = found.reason
            least = max(1, least)
        changed = msgspec.structs.replace(
            limits,
            idle_to_zero_us=found.until_us if limits.idle_auto else limits.idle_to_zero_us,
            idle_to_sleep_us=found.sleep_us if limits.sleep_auto else limits.idle_to_sleep_us,
            min_replicas=least,
        )
        return msgspec.structs.replace(model, scaling=changed)

    def _see(self, key: str, used_us: int) -> None:
        before = self._last_us.get(key)
        self._last_us[key] = used_us
        if before is not None and used_us - before >= GAP_MIN_US:
            self.gaps[key] = self.gaps.get(key, Gaps()).seen(used_us - before)


@lru_cache(maxsize=1024)
def choose(gaps: Gaps, idle_nanousd_per_hour: int, wake_nanousd: int, boot_us: int, *, ahead: bool = True) -> Keep:
    """The cheapest times for gaps like those; `ahead` says whether it may be woken before it is asked.

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
    window = _ahead(seen, each, wake_nanousd, boot_us) if ahead else None
    if window is None or window[0] >= BETTER * keep[0]:
        return Keep(keep[1], reason=told)
    cost, from_us, until_us = window
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


def _wake_nanousd(time_us: int, idle_nanousd_per_hour: int, wait_nanousd_per_s: int) -> int:
    """What a start or a wake costs that takes so long: its share of the device, and its user's wait."""
    return time_us * idle_nanousd_per_hour // US_PER_HOUR + time_us * wait_nanousd_per_s // US_PER_S


def _idle_nanousd_per_hour(model: ModelSpec, catalog: Catalog) -> int:
    """What an idle replica costs: its part of a device of its first pool; 0 when that is not known."""
    pool = catalog.pool(model.pools[0]) if model.pools else None
    if pool is None or not pool.price_nanousd_per_hour or not pool.memory_bytes:
        return 0
    return min(pool.price_nanousd_per_hour, pool.price_nanousd_per_hour * model.memory_bytes // pool.memory_bytes)
