"""What was paid over the least that could have been: the one number of how good a fleet's policy was.

Of a recorded history: work by slot and what was paid, as the books say. A window's optimum begins with any fleet for
nothing, so each ratio stands by itself. A ratio says nothing without the share of work that missed its promise: give
the share that really did.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.errors import Invalid
from headrace.planner.optimum import SLOT_US, Pool, optimum
from headrace.planner.whole import whole_bound
from headrace.units import US_PER_HOUR

MILLION: Final = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Least:
    """What no fleet costs less than, nano-dollars; `whole`: no fleet of whole replicas, else not even of fractions."""

    nanousd: int
    whole: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ratio:
    """Slots from `first` up to `end`. `ppm` is paid over least in millionths, rounded down; None if least is 0.

    `whole` says that the least is that of whole replicas.
    """

    first: int
    end: int
    paid_nanousd: int
    optimum_nanousd: int
    missed: float
    whole: bool = False

    @property
    def ppm(self) -> int | None:
        """Paid over the least.

        >>> Ratio(first=0, end=1, paid_nanousd=3 * 10**9, optimum_nanousd=2 * 10**9, missed=0.01).ppm
        1500000
        """
        return self.paid_nanousd * MILLION // self.optimum_nanousd if self.optimum_nanousd else None


def ratios(
    work_us: ArrayLike,
    paid_nanousd: NDArray[np.int64],
    pools: Sequence[Pool],
    *,
    window: int | None = None,
    slot_us: int = SLOT_US,
    missed: float = 0.01,
) -> list[Ratio]:
    """One ratio for each window of that many slots, the last one shorter; one for all when `window` is None.

    `work_us` is as for `optimum`, `paid_nanousd` by slot. Raises Invalid when they do not fit, or no fleet can do it.

    Formula: rho = sum of paid / least(work of the window)
    Units: nano-dollars over nano-dollars.
    Source: competitive ratio (Sleator and Tarjan 1985), measured against the bound and so never too good.
    Assumes: what was paid is for these pools and this work, and nothing that arrived before.
    """
    work = np.atleast_2d(np.asarray(work_us, np.float64))
    count = work.shape[1]
    if len(paid_nanousd) != count:
        raise Invalid(f"there are {count} slots of work and {len(paid_nanousd)} of payments; give one payment a slot")
    if not np.issubdtype(np.asarray(paid_nanousd).dtype, np.integer):
        raise Invalid(f"payments are {np.asarray(paid_nanousd).dtype}; money is whole nano-dollars")
    if window is not None and window < 1:
        raise Invalid(f"a window of {window} slots holds nothing; give 1 at least")
    found = []
    for first in range(0, count, window or count or 1):
        end = min(count, first + (window or count))
        paid = sum(int(one) for one in paid_nanousd[first:end])
        best = least(work[:, first:end], pools, slot_us=slot_us, missed=missed, paid_nanousd=paid)
        found.append(
            Ratio(
                first=first, end=end, paid_nanousd=paid, optimum_nanousd=best.nanousd, missed=missed, whole=best.whole
            )
        )
    return found


def least(
    work_us: ArrayLike,
    pools: Sequence[Pool],
    *,
    slot_us: int = SLOT_US,
    missed: float = 0.01,
    paid_nanousd: int | None = None,
) -> Least:
    """The least to hold against what was paid: of whole replicas on one pool, else of fractions (`optimum`).

    Of fractions also where the fleet is too large for whole ones, and then a fraction is little; and where less was
    paid than whole replicas cost that come and go at the edges of slots: who comes for a moment can be cheaper.

    >>> pool = Pool(name="h100", nanousd_per_hour=3_600_000_000)
    >>> work = np.array([1.5, 1.5, 3, 1, 0]) * SLOT_US
    >>> least(work, [pool], missed=0)
    Least(nanousd=210000000, whole=True)
    """
    whole: int | None = None
    if len(pools) == 1:
        whole = whole_bound(work_us, pools[0], slot_us=slot_us, missed=missed)
        if whole is not None and paid_nanousd is not None and whole > paid_nanousd:
            whole = None
        if whole is not None and not _weak(whole, work_us, pools[0], slot_us, missed):
            return Least(nanousd=whole, whole=True)
    fractions = optimum(work_us, pools, slot_us=slot_us, missed=missed).nanousd
    if whole is not None and whole >= fractions:
        return Least(nanousd=whole, whole=True)
    return Least(nanousd=fractions, whole=False)


def _weak(nanousd: int, work_us: ArrayLike, pool: Pool, slot_us: int, missed: float) -> bool:
    """Whether the bound of whole replicas may be below that of fractions: it leaves long billing minima out, and its
    grid is too coarse for very little work, which shows where it is below the work alone.
    """
    work = np.atleast_2d(np.asarray(work_us, np.float64))[0]
    alone = ((1 - missed) * float(work.sum()) - float(work[-1])) / pool.capacity * pool.nanousd_per_hour / US_PER_HOUR
    return pool.billing_min_us > pool.boot_us + slot_us or nanousd < alone
