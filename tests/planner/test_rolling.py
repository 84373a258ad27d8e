"""Ratios of what was paid: exact, by window, and never below one for what can be run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.planner.optimum import Pool
from headrace.planner.rolling import ratios
from headrace.planner.schedule import schedule

SLOT = 30_000_000
DOLLAR = Pool(name="a", nanousd_per_hour=120 * 10**9)  # a dollar a slot


def paid(*dollars: int) -> np.ndarray:
    return np.array(dollars, np.int64) * 10**9


def test_what_is_paid_twice_is_told():
    """Four slots of one replica, nothing late at the end: two dollars for each that was needed."""
    (found,) = ratios(np.array([1, 1, 1, 1, 0]) * SLOT, paid(2, 2, 2, 2, 0), [DOLLAR], missed=0)
    assert (found.first, found.end, found.paid_nanousd) == (0, 5, 8 * 10**9)
    assert found.optimum_nanousd == pytest.approx(4 * 10**9, abs=10)
    assert found.ppm == pytest.approx(2_000_000, abs=2)


def test_each_window_stands_by_itself_and_payments_add_up():
    found = ratios(np.ones(7) * SLOT, paid(1, 1, 1, 5, 5, 5, 9), [DOLLAR], window=3, missed=0)
    assert [(one.first, one.end) for one in found] == [(0, 3), (3, 6), (6, 7)]
    assert [one.paid_nanousd // 10**9 for one in found] == [3, 15, 9]
    assert found[1].ppm == 5 * found[0].ppm


def test_nothing_to_do_has_no_ratio():
    (found,) = ratios(np.zeros(3), paid(1, 1, 1), [DOLLAR])
    assert (found.optimum_nanousd, found.ppm) == (0, None)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.integers(0, 3), st.integers(1, 40))
def test_nobody_is_better_than_the_least(loads: list[int], boot: int, window: int):
    """A schedule that can be run costs at least the least, over all and in the sum of the windows' bounds."""
    work = np.array(loads) / 100 * SLOT
    pool = Pool(name="a", nanousd_per_hour=120 * 10**9, boot_us=boot * SLOT)
    plan = schedule(work, [pool], missed=0, limit_s=0)
    cost = paid(*plan.replicas["a"])
    (whole,) = ratios(work, cost, [pool], missed=0)
    assert whole.ppm is None or whole.ppm >= 1_000_000
    parts = ratios(work, cost, [pool], missed=0, window=window)
    assert sum(one.optimum_nanousd for one in parts) <= whole.optimum_nanousd + len(parts)
    assert sum(one.paid_nanousd for one in parts) == whole.paid_nanousd


def test_bad_input_is_named():
    with pytest.raises(Invalid, match="2 slots of work and 1 of payments"):
        ratios(np.ones(2), paid(1), [DOLLAR])
    with pytest.raises(Invalid, match="whole nano-dollars"):
        ratios(np.ones(1), np.ones(1), [DOLLAR])
    with pytest.raises(Invalid, match="window of 0"):
        ratios(np.ones(1), paid(1), [DOLLAR], window=0)
