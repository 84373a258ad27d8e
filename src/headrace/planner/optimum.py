"""The clairvoyant optimum: the least that a fleet can cost which knows all work in advance.

A linear program. Every simplification makes the fleet's life easier (replicas may be fractions, the fleet may begin at
any size for nothing, a slot's work may be done in the next one, that of the last slot after the end, a part may be
missed, boots and billing minima are rounded down to slots), so what it finds is a lower bound: no policy, however good,
is cheaper. `schedule` finds whole replicas that come near it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.errors import Invalid
from headrace.planner.program import Floats, Part, Program
from headrace.units import US_PER_HOUR, US_PER_S

SLOT_US: Final = 30 * US_PER_S
SLOTS_MAX: Final = 200_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """Replicas of one kind. `capacity` is work that one does, in seconds of the reference replica a second.

    `count` bounds how many there may be; None is no bound.
    """

    name: str
    nanousd_per_hour: int
    capacity: float = 1.0
    count: int | None = None
    boot_us: int = 0
    billing_min_us: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimum:
    """The least cost, nano-dollars rounded down, and replica-hours of each pool by name; `replicas` by slot.

    `nanousd` is proven by the program's dual, whatever the solver's tolerances.
    """

    nanousd: int
    hours: dict[str, float]
    replicas: dict[str, Floats]


def slots(arrival_us: NDArray[np.int64], work_us: Floats, span_us: int, slot_us: int = SLOT_US) -> Any:
    """Work that arrives in each slot, microseconds of the reference replica."""
    count = -(-span_us // slot_us)
    if count > SLOTS_MAX:
        raise Invalid(f"{count} slots of {slot_us // US_PER_S} s are more than {SLOTS_MAX}; take a part of the trace")
    return np.bincount(arrival_us // slot_us, weights=work_us, minlength=count)


def optimum(
    work_us: ArrayLike,
    pools: Sequence[Pool],
    *,
    slot_us: int = SLOT_US,
    missed: float = 0.01,
    late_us: int | None = None,
) -> Optimum:
    """The cheapest fleet for work that arrives in slots. Raises Invalid when no fleet can do it.

    `work_us` has a value for each slot, or a row for each pool with the same work in that pool's own microseconds.
    Work may wait up to `late_us`, one slot unless it is said.

    Formula: minimise sum p_k n_kt of the paid n_kt = v_kt + sum of starts x_k over the last boot, where those that
        serve are v_kt <= v_k(t-1) + x_k(t-boot); n_kt >= sum of x_k over the last billing minimum; backlog
        q_t >= q_(t-1) + a_t - z_t - slot sum c_kt v_kt, 0 <= q_t <= a_t + ... of as many slots as work may wait;
        sum z <= missed sum a.
    Units: a, q, z work in seconds; n, x, v replicas; p dollars a slot; c seconds of the reference replica a second.
    Source: own formulation; HiGHS (Huangfu and Hall 2018) solves it; the bound from its dual after Neumaier and
        Shcherbina (2004).
    Assumes: `missed` of the work need not be done; a start is paid for and does nothing while it boots; within a slot
        a pool gets the mean mix of requests.
    """
    fleet = Fleet(work_us, pools, slot_us=slot_us, missed=missed, late_us=late_us)
    found = fleet.program.solved()
    if not found.feasible:
        fleet.refuse()
    replicas = {pool.name: fleet.paid(place, found.values) for place, pool in enumerate(pools)}
    return Optimum(
        nanousd=max(0, int(found.bound * fleet.nanousd_a_unit * (1 - 1e-12))),
        hours={name: float(of.sum()) * slot_us / US_PER_HOUR for name, of in replicas.items()},
        replicas=replicas,
    )


class Fleet:
    """The program of a fleet. Columns: v and x of each pool (who serves, who is started), then q and z, each by slot.

    Who is paid is no column: v and x say it, and a program without it is a third of the size and solved as much sooner.
    With `strict`, durations are rounded up and nothing is left at the end, so that what is found can be run; else all
    is rounded the other way, and what is found is a bound. With `whole`, replicas are not divided.
    """

    def __init__(
        self,
        work_us: ArrayLike,
        pools: Sequence[Pool],
        *,
        slot_us: int,
        missed: float,
        late_us: int | None = None,
        strict: bool = False,
        whole: bool = False,
    ) -> None:
        work = np.atleast_2d(np.asarray(work_us, np.float64)) / slot_us  # in replicas: a slot's seconds a slot are one
        _check(work, pools, slot_us, missed)
        self.count, self.pools, self.slot_us, self.strict, self.whole = work.shape[1], pools, slot_us, strict, whole
        self.arriving: Floats = work[0]
        late = slot_us if late_us is None else late_us
        self.late = late // slot_us if strict else -(-late // slot_us)
        self.able = self._able(work)
        self.nanousd_a_unit = max(1.0, *(pool.nanousd_per_hour * slot_us / US_PER_HOUR for pool in pools))
        self.program = Program()
        self.v, self.x = self._columns()
        high = sum((_back(self.arriving, back) for back in range(self.late)), np.zeros(self.count))
        if strict:
            high[-1] = 0.0
        self.q = self.program.columns(self.count, high=high)
        self.z = self.program.columns(self.count, high=self.arriving)
        self._rows(missed)

    def window(self, duration_us: int) -> int:
        """A duration in slots."""
        return -(-duration_us // self.slot_us) if self.strict else duration_us // self.slot_us

    def paid(self, place: int, values: Floats) -> Floats:
        """Replicas of a pool that are paid for, booting ones included, by slot."""
        starts = values[self.x[place] : self.x[place] + self.count]
        booting = np.cumsum(starts)
        booting -= _back(booting, self.window(self.pools[place].boot_us))
        return values[self.v[place] : self.v[place] + self.count] + booting

    def _able(self, work: Floats) -> list[Floats]:
        """Work of the reference that one replica of each pool does in each slot: what waited has its own ratio."""
        better = np.fmin if self.strict else np.fmax
        found = []
        for pool, own in zip(self.pools, np.broadcast_to(work, (len(self.pools), self.count)), strict=True):
            own_ratio = np.divide(work[0], own, out=np.full(self.count, np.nan), where=own > 0)
            ratio = own_ratio.copy()
            for back in range(1, self.late + 1):
                ratio[back:] = better(ratio[back:], own_ratio[:-back])
            found.append(np.nan_to_num(ratio, nan=1.0) * pool.capacity)
        return found

    def _columns(self) -> tuple[list[int], list[int]]:
        """No replica is worth having that is never full, so all work over the capacity bounds how many there are."""
        v, x = [], []
        for pool, able in zip(self.pools, self.able, strict=True):
            high = self._most(pool, able)
            cost = pool.nanousd_per_hour * self.slot_us / US_PER_HOUR / self.nanousd_a_unit
            boots = np.minimum(self.window(pool.boot_us), self.count - np.arange(self.count))  # that are paid for
            v.append(self.program.columns(self.count, cost=cost, high=high, whole=self.whole))
            first = np.arange(self.count) == 0  # the fleet of the first slot is there for nothing
            x.append(
                self.program.columns(self.count, cost=cost * boots, high=np.where(first, 0.0, high), whole=self.whole)
            )
        return v, x

    def _most(self, pool: Pool, able: Floats) -> float:
        most = float(np.ceil(self.arriving.sum() / max(1e-9, float(able.min()))) + 1)
        return most if pool.count is None else min(most, pool.count)

    def _rows(self, missed: float) -> None:
        t, put = np.arange(self.count), self.program.rows
        done: list[Part] = [(t, self.q + t, 1.0), (t[1:], self.q + t[:-1], -1.0), (t, self.z + t, 1.0)]
        for pool, able, v, x in zip(self.pools, self.able, self.v, self.x, strict=True):
            boot, least = self.window(pool.boot_us), self.window(pool.billing_min_us)
            ready: list[Part] = [(t[:-1], v + t[1:], 1.0), (t[:-1], v + t[:-1], -1.0)]
            if boot < self.count:
                begun = t[max(1, boot) :]
                ready.append((begun - 1, x + begun - boot, -1.0))
            put(self.count - 1, ready, high=0.0)
            if least > boot:  # what boots is paid anyway
                put(self.count, [(t, v + t, 1.0), *_window(x, t, boot, least, -1.0)], low=0.0)
            if pool.count is not None and boot and pool.count < self._most(dataclasses.replace(pool, count=None), able):
                put(self.count, [(t, v + t, 1.0), *_window(x, t, 0, boot, 1.0)], high=float(pool.count))
            done.append((t, v + t, able))
        put(self.count, done, low=self.arriving)
        put(1, [(np.zeros_like(t), self.z + t, 1.0)], high=missed * float(self.arriving.sum()))

    def refuse(self) -> NoReturn:
        """No fleet can do it: say by how much it is too small."""
        able = sum(float(able.max()) * (pool.count or 0) for pool, able in zip(self.pools, self.able, strict=True))
        over = self.late + 1
        sums = np.convolve(self.arriving, np.ones(over))[: self.count]
        worst = float(sums.max()) / min(over, self.count)
        raise Invalid(
            f"the work needs up to {worst:.1f} replicas at once and the pools hold {able:.1f}; give them "
            f"{max(1, int(np.ceil(worst - able)))} more, or a part of the traffic to another cloud",
            status=422,
        )


def _check(work: Floats, pools: Sequence[Pool], slot_us: int, missed: float) -> None:
    if not pools:
        raise Invalid("there is no pool to plan with; name one at least")
    if len({pool.name for pool in pools}) < len(pools):
        raise Invalid("two pools have the same name; give each its own")
    if slot_us <= 0 or work.shape[1] == 0:
        raise Invalid(f"there are {work.shape[1]} slots of {slot_us} us; give one at least, longer than nothing")
    if work.shape[0] not in (1, len(pools)):
        raise Invalid(f"work has {work.shape[0]} rows for {len(pools)} pools; give one row, or one for each pool")
    if not np.isfinite(work).all() or work.min() < 0:
        raise Invalid("work holds a value below 0 or one that is no number; give microseconds from 0 on")
    if not 0 <= missed < 1:
        raise Invalid(f"missed is {missed}; give a share from 0 to less than 1")
    for pool in pools:
        if pool.nanousd_per_hour < 0 or not pool.capacity > 0 or min(pool.boot_us, pool.billing_min_us) < 0:
            raise Invalid(f"pool {pool.name}: price, boot and billing minimum are from 0 on, the capacity above 0")


def _window(first: int, t: NDArray[np.int64], low: int, high: int, value: float) -> list[Part]:
    """The sum over slots from `low` to `high` ago, `high` not included."""
    return [(t[back:], first + t[: len(t) - back], value) for back in range(low, min(high, len(t)))]


def _back(values: Floats, slots: int) -> Floats:
    return values if slots == 0 else np.concatenate([np.zeros(min(slots, len(values))), values[:-slots]])
