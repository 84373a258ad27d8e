"""A linear or mixed-integer program, built from numpy arrays and solved by HiGHS. Knows nothing of fleets.

Columns and rows come in blocks; a row is written as triples of row, column and value. Both are only ever added, and
the whole is handed to the solver at once, as a sparse matrix by rows. The solver is imported when it is first needed.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace.errors import Permanent

INFINITY: Final = float("inf")
WHOLE_TOLERANCE: Final = 1e-6  # how far from a whole number the solver's whole columns may be
Floats = NDArray[np.float64]
Part = tuple[Any, Any, ArrayLike]  # row within its block, column, value: arrays of one length, or a value for all


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What was found. `bound` is proven: no feasible point costs less. `values` is empty when none was found.

    `optimal` is False when the time limit came first; `feasible` is False when it is known that there is no solution.
    `spent_s` is what the solver took.
    """

    values: Floats
    objective: float
    bound: float
    optimal: bool
    feasible: bool
    spent_s: float = 0.0


class Program:
    """Minimises cost over columns between bounds, subject to rows between bounds.

    >>> program = Program()
    >>> cakes = program.columns(2, cost=[3.0, 2.0], high=4.0)
    >>> program.rows(1, [([0, 0], cakes + np.arange(2), [1.0, 1.0])], low=6.0)
    >>> program.solved().objective
    14.0
    """

    def __init__(self) -> None:
        self._columns: list[tuple[Floats, Floats, Floats, NDArray[np.bool_]]] = []  # cost, low, high, whole
        self._rows: list[tuple[Floats, Floats]] = []  # low, high
        self._entries: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]] = []
        self.column_count = 0
        self.row_count = 0

    def columns(
        self,
        count: int,
        *,
        cost: ArrayLike = 0.0,
        low: ArrayLike = 0.0,
        high: ArrayLike = INFINITY,
        whole: bool = False,
    ) -> int:
        """Add `count` columns; the index of the first."""
        first = self.column_count
        self._columns.append((_spread(cost, count), _spread(low, count), _spread(high, count), np.full(count, whole)))
        self.column_count += count
        return first

    def rows(
        self, count: int, parts: Sequence[Part], *, low: ArrayLike = -INFINITY, high: ArrayLike = INFINITY
    ) -> None:
        """Add `count` rows: the sum of the parts' values times columns, between `low` and `high`."""
        for row, column, value in parts:
            rows = np.asarray(row, np.int64)
            self._entries.append((rows + self.row_count, np.asarray(column, np.int64), _spread(value, len(rows))))
        self._rows.append((_spread(low, count), _spread(high, count)))
        self.row_count += count

    def solved(
        self,
        *,
        limit_s: float = INFINITY,
        gap: float = 1e-4,
        start: Floats | None = None,
        free: NDArray[np.bool_] | None = None,
    ) -> Solution:
        """The best point within `limit_s` seconds, to a relative `gap` where columns are whole.

        `start` is a feasible point to begin with; with `free`, the other columns stay as they are in it, and the bound
        is one of that part alone. Raises Permanent when the solver gives up for another reason.
        """
        import highspy  # large, and wanted here alone

        made = self._made()
        if free is not None and start is not None:
            low, high = np.where(free, made.low, start), np.where(free, made.high, start)
            made = dataclasses.replace(made, low=low, high=high)
        solver: Any = highspy.Highs.__base__()  # the class above it prints a banner to stdout before it can be silenced
        solver.setOptionValue("output_flag", False)
        whole = bool(made.whole.any())
        if not whole:
            solver.setOptionValue("solver", "ipm")  # steady: simplex takes from a third to fifteen times its time here
        if limit_s < INFINITY:
            solver.setOptionValue("time_limit", limit_s)
        solver.setOptionValue("mip_rel_gap", gap)
        solver.passModel(made.passed(highspy))
        if start is not None:
            known = highspy.HighsSolution()
            known.col_value = start.tolist()
            solver.setSolution(known)
        solver.run()
        status, found = solver.getModelStatus(), highspy.HighsModelStatus
        if status in (found.kInfeasible, found.kUnboundedOrInfeasible):
            return Solution(np.zeros(0), INFINITY, INFINITY, optimal=True, feasible=False)
        if status not in (found.kOptimal, found.kTimeLimit):
            raise Permanent(f"the solver stopped without an answer: {solver.modelStatusToString(status)}")
        info, point = solver.getInfo(), solver.getSolution()
        bound = info.mip_dual_bound if whole else made.proven(np.array(point.row_dual))
        if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return Solution(np.zeros(0), INFINITY, float(bound), False, True, solver.getRunTime())
        values, best = np.array(point.col_value), status == found.kOptimal
        return Solution(values, float(made.cost @ values), float(bound), best, True, solver.getRunTime())

    def cost(self, values: Floats) -> float:
        """What a point costs."""
        return float(np.concatenate([cost for cost, _, _, _ in self._columns]) @ values)

    def _made(self) -> "_Made":
        cost, low, high, whole = (np.concatenate(given) for given in zip(*self._columns, strict=True))
        row_low, row_high = (np.concatenate(given) for given in zip(*self._rows, strict=True))
        row, column, value = (np.concatenate(given) for given in zip(*self._entries, strict=True))
        order = np.lexsort((column, row))
        starts = np.searchsorted(row[order], np.arange(self.row_count + 1))
        return _Made(cost, low, high, whole, row_low, row_high, starts, column[order], value[order])


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """The whole program as arrays; the matrix by rows."""

    cost: Floats
    low: Floats
    high: Floats
    whole: NDArray[np.bool_]
    row_low: Floats
    row_high: Floats
    starts: NDArray[np.int64]
    index: NDArray[np.int64]
    value: Floats

    def passed(self, highspy: Any) -> Any:
        """As the solver takes it."""
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = len(self.cost), len(self.row_low)
        program.col_cost_, program.col_lower_, program.col_upper_ = self.cost, self.low, self.high
        program.row_lower_, program.row_upper_ = self.row_low, self.row_high
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_, program.a_matrix_.index_ = self.starts, self.index
        program.a_matrix_.value_ = self.value
        if self.whole.any():
            kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
            program.integrality_ = [kinds[int(one)] for one in self.whole]
        return program

    def proven(self, duals: Floats) -> float:
        """A lower bound that rests on arithmetic alone, not on the solver's tolerances.

        Formula: for any y, min c x >= sum of y_i (y_i > 0 ? low_i : high_i) + sum of d_j (d_j > 0 ? low_j : high_j),
            with d = c - A^T y.
        Units: those of the cost.
        Source: Neumaier and Shcherbina, Safe bounds in linear and mixed-integer programming (2004).
        Assumes: rounding of the sums, some 1e-13 of them, is not followed.
        """
        if not len(duals):
            return -INFINITY
        away = ((duals > 0) & np.isinf(self.row_low)) | ((duals < 0) & np.isinf(self.row_high))
        y = np.where(away, 0.0, duals)
        rows = np.repeat(np.arange(len(y)), np.diff(self.starts))
        reduced = self.cost - np.bincount(self.index, weights=self.value * y[rows], minlength=len(self.cost))
        return _least(y, self.row_low, self.row_high) + _least(reduced, self.low, self.high)


def _least(price: Floats, low: Floats, high: Floats) -> float:
    """The least that the sum of price times what lies between bounds can be; a price of nothing is nothing."""
    at = np.select([price > 0, price < 0], [low, high], 0.0)
    return float((price * at).sum())


def _spread(given: ArrayLike, count: int) -> Floats:
    return np.array(np.broadcast_to(np.asarray(given, np.float64), count))
