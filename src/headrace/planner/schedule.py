"""A schedule of whole replicas that does all work, and how far it is at most from the best: what the bound leaves open.

The linear program is solved first, its serving replicas are rounded up, and the boots they need are put before them;
that can always be run. Then one stretch of slots after the other is solved anew with whole replicas, the rest held as
it is, which only makes it cheaper. What the solver finds in its time depends on the machine; the bound does not.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.planner.optimum import SLOT_US, Fleet, Pool, optimum
from headrace.planner.program import WHOLE_TOLERANCE, Floats
from headrace.units import US_PER_HOUR

Ints = NDArray[np.int64]
STRETCH: Final = 120  # slots that are solved together
STRETCH_LIMIT_S: Final = 2.0
ROUNDS_MAX: Final = 4
GAP: Final = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """Whole replicas of each pool by slot, booting ones included; what they cost, rounded up; the proven bound."""

    replicas: dict[str, Ints]
    nanousd: int
    bound_nanousd: int

    @property
    def gap(self) -> float:
        """By what share the best schedule is cheaper at most."""
        return 1 - self.bound_nanousd / self.nanousd if self.nanousd else 0.0


def schedule(
    work_us: ArrayLike,
    pools: Sequence[Pool],
    *,
    slot_us: int = SLOT_US,
    missed: float = 0.01,
    late_us: int | None = None,
    limit_s: float = 10.0,
) -> Schedule:
    """A cheap schedule of whole replicas, improved for up to `limit_s` seconds of solving; 0 only rounds.

    Arguments and errors are those of `optimum`, whose bound it carries. Durations are rounded up to slots, and nothing
    is left undone at the end but what may be missed.
    """
    bound = optimum(work_us, pools, slot_us=slot_us, missed=missed, late_us=late_us).nanousd
    fleet = Fleet(work_us, pools, slot_us=slot_us, missed=missed, late_us=late_us, strict=True)
    found = fleet.program.solved()
    if not found.feasible:
        fleet.refuse()
    values = _rounded(fleet, found.values)
    if limit_s > 0:
        whole = Fleet(work_us, pools, slot_us=slot_us, missed=missed, late_us=late_us, strict=True, whole=True)
        values = _improved(whole, values, limit_s)
    replicas = {pool.name: np.rint(fleet.paid(place, values)).astype(np.int64) for place, pool in enumerate(pools)}
    cost = sum(pool.nanousd_per_hour * int(replicas[pool.name].sum()) * slot_us for pool in pools)
    return Schedule(replicas=replicas, nanousd=-(-cost // US_PER_HOUR), bound_nanousd=bound)


def _rounded(fleet: Fleet, values: Floats) -> Floats:
    """The point with whole replicas."""
    made = values.copy()
    for pool, v, x in zip(fleet.pools, fleet.v, fleet.x, strict=True):
        boot = fleet.window(pool.boot_us)
        wanted = np.ceil(values[v : v + fleet.count] - WHOLE_TOLERANCE).astype(np.int64)
        replicas, begun = levels(wanted, boot, fleet.window(pool.billing_min_us))
        booting = np.cumsum(begun) - np.cumsum(np.concatenate([np.zeros(boot), begun])[: fleet.count])
        made[v : v + fleet.count], made[x : x + fleet.count] = replicas - booting, begun
    return made


def levels(wanted: Ints, boot: int, least: int) -> tuple[Ints, Ints]:
    """Replicas that are paid for, and those that are started, by slot, where so many are to serve.

    Level by level: the j-th replica serves where j or more are wanted, and is held where that is no dearer.
    """
    replicas, begun = np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.int64)
    for level in range(1, int(wanted.max(initial=0)) + 1):
        for first, end in _held(wanted >= level, boot, least):
            replicas[first:end] += 1
            begun[first] += first > 0
    return replicas, begun


def _held(wanted: NDArray[np.bool_], boot: int, least: int) -> Iterator[tuple[int, int]]:
    """From when to when one replica is paid for: boots before, minima after, and short gaps held."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], wanted.astype(int), [0]])))
    spans = [(max(0, int(first) - boot), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
    spans = [(first, max(end, min(first + least, len(wanted)) if first else end)) for first, end in spans]
    if not spans:
        return
    first, end = spans[0]
    for later, last in spans[1:]:
        if later > end:
            yield first, end
            first = later
        end = max(end, last)
    yield first, end


def _improved(fleet: Fleet, values: Floats, limit_s: float) -> Floats:
    """Stretch after stretch solved anew, until a whole round gains nothing or the time is over."""
    places = np.concatenate([[*fleet.v, *fleet.x, fleet.q, fleet.z]])
    for turn in range(ROUNDS_MAX):
        gained = False
        shift = turn % 2 * STRETCH // 2
        for first, end in itertools.pairwise([0, *range(STRETCH - shift, fleet.count, STRETCH), fleet.count]):
            if limit_s <= 0:
                return values
            free = np.zeros(fleet.program.column_count, bool)
            free[(places[:, None] + np.arange(first, end)[None, :]).ravel()] = True
            found = fleet.program.solved(limit_s=min(limit_s, STRETCH_LIMIT_S), gap=GAP, start=values, free=free)
            limit_s -= found.spent_s
            if len(found.values) and found.objective < fleet.program.cost(values) * (1 - 1e-9):
                values, gained = found.values, True
        if not gained:
            break
    return values
