"""Ratios of what was paid: exact, by window, and never below one for what can be run."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.planner.optimum import Pool, optimum
from headrace.planner.rolling import Least, least, ratios
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
    assert sum(one.optimum_nanousd for one in parts) <= plan.nanousd
    assert sum(one.paid_nanousd for one in parts) == whole.paid_nanousd


def test_one_pool_is_held_against_whole_replicas_and_several_against_fractions():
    """One and a half replicas for four slots, of which the last one's work may be done later."""
    work = np.full(4, 1.5) * SLOT
    assert least(work, [DOLLAR], missed=0) == Least(nanousd=5 * 10**9, whole=True)
    other = dataclasses.replace(DOLLAR, name="b", nanousd_per_hour=DOLLAR.nanousd_per_hour * 2)
    found = least(work, [DOLLAR, other], missed=0)
    assert (found.nanousd, found.whole) == (pytest.approx(4.5e9, rel=1e-6), False)
    whole, both = (ratios(work, paid(2, 2, 2, 2), pools, missed=0)[0] for pools in ([DOLLAR], [DOLLAR, other]))
    assert (whole.ppm, whole.whole) == (1_600_000, True)
    assert (both.ppm, both.whole) == (pytest.approx(1_777_778, abs=2), False)


def test_who_comes_for_less_than_a_slot_is_held_against_fractions():
    """A tenth of a slot's work, and a tenth of a dollar paid for it: not a tenth of the least."""
    work = np.array([0, 0.1, 0, 0]) * SLOT
    found = least(work, [DOLLAR], missed=0, paid_nanousd=10**8)
    assert (found.nanousd, found.whole) == (pytest.approx(10**8, rel=1e-6), False)
    assert least(work, [DOLLAR], missed=0, paid_nanousd=10**9).whole


def test_a_long_billing_minimum_counts():
    """Three more are started for two slots, and two of them are paid on: the bound of whole replicas leaves that out."""
    pool = dataclasses.replace(DOLLAR, boot_us=SLOT, billing_min_us=12 * SLOT)
    work = np.array([1] * 10 + [4, 4] + [1] * 10) * SLOT
    found = least(work, [pool], missed=0)
    assert not found.whole
    assert found.nanousd == optimum(work, [pool], missed=0).nanousd > least(work, [DOLLAR], missed=0).nanousd


def test_bad_input_is_named():
    with pytest.raises(Invalid, match="2 slots of work and 1 of payments"):
        ratios(np.ones(2), paid(1), [DOLLAR])
    with pytest.raises(Invalid, match="whole nano-dollars"):
        ratios(np.ones(1), np.ones(1), [DOLLAR])
    with pytest.raises(Invalid, match="window of 0"):
        ratios(np.ones(1), paid(1), [DOLLAR], window=0)
