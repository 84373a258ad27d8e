"""The clairvoyant optimum: the least that a fleet can cost which knows all work in advance.

A linear program, solved by HiGHS. Every simplification makes the fleet's life easier (replicas may be fractions, the
fleet may begin at any size for nothing, a slot's work may be done in the next one, that of the last slot after the end,
a part may be missed), so what it finds is a lower bound: no policy, however good, is cheaper.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid, Permanent
from headrace.units import US_PER_HOUR, US_PER_S

SLOT_US: Final = 30 * US_PER_S
SLOTS_MAX: Final = 200_000
INFINITY: Final = float("inf")


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
    """The least cost, nano-dollars rounded down, and replica-hours of each pool by name; `replicas` by slot."""

    nanousd: int
    hours: dict[str, float]
    replicas: dict[str, NDArray[np.float64]]


def slots(arrival_us: NDArray[np.int64], work_us: NDArray[np.float64], span_us: int, slot_us: int = SLOT_US) -> Any:
    """Work that arrives in each slot, microseconds of the reference replica."""
    count = -(-span_us // slot_us)
    if count > SLOTS_MAX:
        raise Invalid(f"{count} slots of {slot_us // US_PER_S} s are more than {SLOTS_MAX}; take a part of the trace")
    return np.bincount(arrival_us // slot_us, weights=work_us, minlength=count)


def optimum(
    work_us: NDArray[np.float64], pools: Sequence[Pool], *, slot_us: int = SLOT_US, missed: float = 0.01
) -> Optimum:
    """The cheapest fleet for work that arrives in slots. Raises Invalid when no fleet can do it.

    Formula: minimise sum p_k n_kt, with starts x_kt >= n_kt - n_k(t-1); n_kt >= sum of x_k over the last billing
        minimum; serving v_kt = n_kt - sum of x_k over the last boot >= 0; done u_t <= slot sum c_k v_kt; backlog
        q_t = q_(t-1) + a_t - u_t - z_t <= a_t; sum z <= missed sum a.
    Units: a, u, q, z work in seconds; n, x, v replicas; p dollars a slot.
    Source: own formulation; HiGHS (Huangfu and Hall 2018) solves it.
    Assumes: `missed` of the work need not be done; a start is paid for and does nothing while it boots.
    """
    if not pools:
        raise Invalid("there is no pool to plan with; name one at least")
    arriving = np.asarray(work_us, np.float64) / slot_us  # in replicas: slot seconds of work a slot are one
    made = _Model(arriving, pools, slot_us, missed)
    values, cost = made.solved()
    hours_a_slot = slot_us / US_PER_HOUR
    replicas = {
        pool.name: values[made.at(place, 0) : made.at(place, 0) + made.count] for place, pool in enumerate(pools)
    }
    return Optimum(
        nanousd=int(cost * (1 - 1e-9)),
        hours={name: float(found.sum()) * hours_a_slot for name, found in replicas.items()},
        replicas=replicas,
    )


class _Model:
    """Columns and rows of the program. Columns: n and x of each pool, then u, q and z, each by slot."""

    def __init__(self, arriving: NDArray[np.float64], pools: Sequence[Pool], slot_us: int, missed: float) -> None:
        self.count = len(arriving)
        self._arriving = arriving
        self._pools = pools
        self._slot_us = slot_us
        self._missed = missed
        self._rows: list[tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]] = []  # row, column, value
        self._low: list[NDArray[np.float64]] = []
        self._high: list[NDArray[np.float64]] = []
        self._number = 0

    def at(self, pool: int, part: int) -> int:
        """The first column of n (0) or x (1) of a pool; of u (0), q (1) or z (2) of the last one's successor."""
        return (2 * pool + part) * self.count

    def solved(self) -> tuple[NDArray[np.float64], float]:
        """All columns, and the cost in nano-dollars."""
        t = np.arange(self.count)
        last = len(self._pools)
        serving: list[tuple[Any, ...]] = [(self.at(last, 0), t, t, 1.0)]
        for place, pool in enumerate(self._pools):
            n, x = self.at(place, 0), self.at(place, 1)
            boot = round(pool.boot_us / self._slot_us)
            self._put([(n, t[1:], t[1:], 1.0), (n, t[1:], t[1:] - 1, -1.0), (x, t[1:], t[1:], -1.0)], -INFINITY, 0.0, 1)
            window = max(boot, -(-pool.billing_min_us // self._slot_us))  # the longer says what the shorter would
            if window:
                self._put([(n, t, t, 1.0), *self._window(x, window, -1.0)], 0.0, INFINITY)
            serving += [(n, t, t, -pool.capacity), *self._window(x, boot, pool.capacity)]
        u, q, z = (self.at(last, part) for part in range(3))
        self._put(serving, -INFINITY, 0.0)
        self._put(
            [(u, t, t, 1.0), (q, t, t, 1.0), (q, t[1:], t[1:] - 1, -1.0), (z, t, t, 1.0)],
            self._arriving,
            self._arriving,
        )
        self._put([(z, np.zeros(self.count, int), t, 1.0)], -INFINITY, self._missed * self._arriving.sum(), rows=1)
        return self._run()

    def _window(self, first: int, length: int, value: float) -> list[tuple[int, NDArray[Any], NDArray[Any], Any]]:
        t = np.arange(self.count)
        return [(first, t[back:], t[back:] - back, value) for back in range(length)]

    def _put(self, parts: list[tuple[Any, ...]], low: Any, high: Any, skip: int = 0, rows: int = 0) -> None:
        """Rows of the program: (first column, row, column within, value)."""
        count = rows or self.count
        for first, row, column, value in parts:
            values = np.broadcast_to(np.asarray(value, np.float64), len(row))
            self._rows.append((row + self._number, first + column, values))
        for kept, given in ((self._low, low), (self._high, high)):
            bounds = np.array(np.broadcast_to(np.asarray(given, np.float64), count))
            if skip:  # the first row says nothing
                bounds[:skip] = -INFINITY if kept is self._low else INFINITY
            kept.append(bounds)
        self._number += count

    def _run(self) -> tuple[NDArray[np.float64], float]:
        import highspy  # large, and wanted here alone

        columns = (2 * len(self._pools) + 3) * self.count
        cost, most = np.zeros(columns), np.full(columns, INFINITY)
        for place, pool in enumerate(self._pools):
            n = self.at(place, 0)
            cost[n : n + self.count] = pool.nanousd_per_hour * self._slot_us / US_PER_HOUR
            if pool.count is not None:
                most[n : n + self.count] = pool.count
        q = self.at(len(self._pools), 1)
        most[q : q + self.count] = self._arriving
        row, column, value = (np.concatenate([part[place] for part in self._rows]) for place in range(3))
        order = np.lexsort((column, row))
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = columns, self._number
        program.col_cost_, program.col_lower_, program.col_upper_ = cost, np.zeros(columns), most
        program.row_lower_, program.row_upper_ = np.concatenate(self._low), np.concatenate(self._high)
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = np.searchsorted(row[order], np.arange(self._number + 1))
        program.a_matrix_.index_, program.a_matrix_.value_ = column[order], value[order]
        solver = highspy._core._Highs()  # the wrapper around it prints a banner to standard output
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("solver", "ipm")  # several times as fast here as the simplex; crossover makes it exact
        solver.passModel(program)
        solver.run()
        status = solver.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            self._refuse()
        if status != highspy.HighsModelStatus.kOptimal:
            raise Permanent(f"the optimum was not found: {solver.modelStatusToString(status)}")
        return np.array(solver.getSolution().col_value), float(solver.getInfo().objective_function_value)

    def _refuse(self) -> None:
        """No fleet can do it: say by how much it is too small."""
        able = sum(pool.capacity * (pool.count or 0) for pool in self._pools)
        worst = (
            float((self._arriving[:-1] + self._arriving[1:]).max() / 2)
            if self.count > 1
            else float(self._arriving.max())
        )
        raise Invalid(
            f"the work needs up to {worst:.1f} replicas at once and the pools hold {able:.1f}; give them "
            f"{max(1, int(np.ceil(worst - able)))} more, or a part of the traffic to another cloud",
            status=422,
        )
