"""Which of a model's pools are cheapest, what is lost with spot counted in, and on which its next replica goes. Pure.

On the cheapest spot pool that has room, evenly over those that cost about as much; and the last of several apart from
the others, so that a pool that is taken away as a whole does not take them all. Called by `spot` and `balance`.

Source: spread over zones by price and by who was lost, SkyServe (Z. Mao et al., EuroSys 2025).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.policy import performance
from headrace.policy.performance import TYPICAL_BATCH, TYPICAL_CONTEXT
from headrace.specs.catalog import ModelSpec, PoolSpec
from headrace.units import US_PER_DAY, format_us

NEAR_PERCENT: Final = 10  # dearer than the cheapest, and still as good: what a wider spread is worth
LESS_PERCENT: Final = 90  # of the work of a replica in the first pool; one that does less comes after all that do not
_PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """A replica on one pool: what it costs an hour, what losses cost included; `less`: it does clearly less work."""

    pool: str
    nanousd: int
    price_nanousd: int
    lost_us: int = 0  # of each day, in the mean
    less: bool = False

    def told(self) -> str:
        """In words."""
        text = f"{self.pool} at ${self.nanousd / 1e9:.4f} an hour"
        if self.lost_us:
            text += f" (${self.price_nanousd / 1e9:.4f}, and {format_us(self.lost_us)} a day lost)"
        return f"{text}, does less" if self.less else text


def costs(model: ModelSpec, pools: Sequence[PoolSpec], boot_us: int) -> tuple[Cost, ...]:
    """What a replica costs on each, the cheapest first; empty where a price is not known.

    Formula: p (1 + losses * (start + redone)); p = price of the device * memory of the replica / memory of the device;
        redone = half an answer at the promised pace.
    Units: nano-dollars an hour; losses a day; microseconds.
    Source: what a loss costs on spot is paid time without work: the successor's start, and what it does again.
    Assumes: replicas are counted alike wherever they stand, so one that does more is worth no more; a device that the
        table of accelerators does not know does as much as the first.
    Example: $1.32, 48 losses a day, starts of 60 s and answers of 25 s: 1.32 * (1 + 48 * 72.5 s / 86,400 s) = $1.373.
    """
    found = []
    for pool in pools:
        price = replica_nanousd(model, pool)
        if price is None:
            return ()
        redone_us = model.output_tokens_default * model.objective.tpot_us // 2
        lost_us = pool.loss_ppm_per_day * (boot_us + redone_us) // _PPM
        nanousd = price + price * lost_us // US_PER_DAY
        found.append(Cost(pool.name, nanousd, price, lost_us, less=_less(model, pools[0], pool)))
    return tuple(sorted(found, key=lambda one: (one.less, one.nanousd)))


def replica_nanousd(model: ModelSpec, pool: PoolSpec) -> int | None:
    """What one replica is charged an hour: its part of a device's memory."""
    if pool.price_nanousd_per_hour is None or not pool.memory_bytes:
        return None
    return min(pool.price_nanousd_per_hour, pool.price_nanousd_per_hour * model.memory_bytes // pool.memory_bytes)


def places(
    costs: Sequence[Cost], there: Mapping[str, int], room: Mapping[str, int], count: int
) -> list[tuple[tuple[str, ...], str]]:
    """For each of `count` replicas more, the pools in the order in which it tries them, and why the first.

    1. The cheapest with room; of those within `NEAR_PERCENT` of it the one with fewest.
    2. The last one, where all others stand in that pool: the next cheapest, apart from them.

    >>> a, b = Cost("a", 100, 100), Cost("b", 150, 150)
    >>> [order[0] for order, _ in places([a, b], {}, {"a": 9, "b": 9}, 3)]
    ['a', 'a', 'b']
    """
    have, left, found = dict(there), dict(room), []
    for number in range(count):
        able = [one for one in costs if left.get(one.pool, 0) > 0] or list(costs)
        near = [one for one in able if _near(able[0], one)]
        best = min(near, key=lambda one: have.get(one.pool, 0))
        others = sum(have.values())
        apart = number == count - 1 and 0 < others == have.get(best.pool, 0)
        why = ""
        if apart and (other := next((one for one in able if one is not best and not one.less), None)):  # 2.
            best, why = other, f", apart from those on {best.pool}"
        have[best.pool] = have.get(best.pool, 0) + 1
        left[best.pool] = left.get(best.pool, 0) - 1
        rest = [one for one in costs if one is not best]
        beside = "; ".join(one.told() for one in rest)
        order = (best.pool, *(one.pool for one in rest))
        found.append((order, f"on {best.told()}{why}" + (f"; {beside}" if beside else "")))
    return found


def _near(cheapest: Cost, one: Cost) -> bool:
    return one.less == cheapest.less and one.nanousd * 100 <= cheapest.nanousd * (100 + NEAR_PERCENT)


def _less(model: ModelSpec, first: PoolSpec, pool: PoolSpec) -> bool:
    """Whether a replica in this pool foreseeably does less than one in the first."""
    same = (first.accelerator, first.mig, first.grain_bytes) == (pool.accelerator, pool.mig, pool.grain_bytes)
    mine = None if same else performance.foretold(model, pool)
    theirs = None if mine is None else performance.foretold(model, first)
    if mine is None or theirs is None:
        return False
    steps = [found.step_ns(TYPICAL_BATCH, TYPICAL_CONTEXT) for found in (theirs, mine)]
    return steps[0] * 100 < steps[1] * LESS_PERCENT
