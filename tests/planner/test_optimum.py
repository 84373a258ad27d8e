"""The clairvoyant optimum: a bound that no schedule beats, and what can be worked out by hand."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.planner.optimum import Pool, optimum, slots

S = 1_000_000
SLOT = 30 * S
DOLLAR = Pool(name="a", nanousd_per_hour=120 * 10**9)  # a dollar a slot


def work(*replicas: float) -> np.ndarray:
    return np.array(replicas) * SLOT


def test_steady_work_costs_its_replicas():
    """What arrives in the last slot may be done after it, when nobody looks any more."""
    found = optimum(work(2, 2, 2, 2, 0), [DOLLAR], missed=0)
    assert found.nanousd == pytest.approx(8e9, rel=1e-6)
    assert found.hours["a"] == pytest.approx(8 * 30 / 3600)
    assert optimum(work(2, 2, 2, 2), [DOLLAR], missed=0).nanousd == pytest.approx(6e9, rel=1e-6)


def test_a_part_may_be_missed_and_is_not_paid_for():
    assert optimum(work(2, 2, 2, 2, 0), [DOLLAR], missed=0.25).nanousd == pytest.approx(6e9, rel=1e-6)


def test_a_boot_is_paid_for():
    """A rise that is foreseen costs two slots of booting for each replica more, where nothing may be missed."""
    pool = Pool(name="a", nanousd_per_hour=120 * 10**9, boot_us=2 * SLOT)
    steady = optimum(work(1, 1, 1, 1, 3, 3, 3, 3), [pool], missed=0).nanousd
    instant = optimum(work(1, 1, 1, 1, 3, 3, 3, 3), [DOLLAR], missed=0).nanousd
    assert steady > instant


def test_the_cheapest_work_is_bought_and_counts_bound_it():
    """A replica of twice the capacity at one and a half times the price is taken first, and there is one of it; it works on in the next slot."""
    big = Pool(name="b", nanousd_per_hour=180 * 10**9, capacity=2.0, count=1)
    found = optimum(work(3, 3, 3, 0), [DOLLAR, big], missed=0)
    assert found.hours["b"] == pytest.approx(4 * 30 / 3600)
    assert found.nanousd == pytest.approx(4 * 1.5e9 + 1e9, rel=1e-6)


def test_too_few_devices_are_told_with_how_many_more():
    with pytest.raises(Invalid, match="give them 3 more"):
        optimum(work(5, 5, 5), [Pool(name="a", nanousd_per_hour=1, count=2)], missed=0)
    with pytest.raises(Invalid, match="no pool"):
        optimum(work(1), [])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=5), st.integers(0, 2), st.integers(0, 3))
def test_no_schedule_is_cheaper(loads: list[int], boot: int, least: int):
    """Every whole schedule of up to four replicas that does the work in its slot, tried out."""
    pool = Pool(name="a", nanousd_per_hour=120 * 10**9, boot_us=boot * SLOT, billing_min_us=least * SLOT)
    bound = optimum(work(*loads), [pool], missed=0).nanousd
    best = min(
        (sum(plan) for plan in itertools.product(range(5), repeat=len(loads)) if serves(plan, loads, boot, least)),
        default=None,
    )
    assert best is None or bound <= best * 10**9


def serves(plan: tuple[int, ...], loads: list[int], boot: int, least: int) -> bool:
    """Whether whole replicas do each slot's work in it; the first slot's are there for nothing."""
    starts = [0, *(max(0, after - before) for before, after in itertools.pairwise(plan))]
    for slot, load in enumerate(loads):
        booting = sum(starts[max(0, slot - boot + 1) : slot + 1]) if boot else 0
        kept = sum(starts[max(0, slot - least + 1) : slot + 1]) if least else 0
        if plan[slot] - booting < load or plan[slot] < kept:
            return False
    return True


def test_work_is_put_into_its_slots():
    found = slots(np.array([0, 29 * S, 31 * S]), np.array([1.0, 2.0, 4.0]), 95 * S)
    assert found.tolist() == [3.0, 4.0, 0.0, 0.0]
    with pytest.raises(Invalid, match="more than"):
        slots(np.array([0]), np.array([1.0]), 10**15, 1000)


POOLS = st.builds(
    Pool,
    name=st.just("a"),
    nanousd_per_hour=st.integers(0, 10**12),
    capacity=st.sampled_from([0.25, 1.0, 3.0]),
    boot_us=st.integers(0, 4 * SLOT),
    billing_min_us=st.integers(0, 4 * SLOT),
)
LOADS = st.lists(st.integers(0, 5), min_size=1, max_size=12).map(lambda loads: work(*loads))


@settings(max_examples=40)
@given(LOADS, POOLS, st.integers(0, 3 * SLOT), st.sampled_from([0.0, 0.01, 0.2]))
def test_less_freedom_is_never_cheaper(loads: np.ndarray, pool: Pool, more_us: int, missed: float):
    """A longer boot, a longer minimum, a higher price, nothing missed, no waiting; and another pool never hurts."""
    least = optimum(loads, [pool], missed=missed).nanousd
    slack = 1 + least // 10**6  # of the solver
    for harder in (
        dataclasses.replace(pool, boot_us=pool.boot_us + more_us),
        dataclasses.replace(pool, billing_min_us=pool.billing_min_us + more_us),
        dataclasses.replace(pool, nanousd_per_hour=pool.nanousd_per_hour + more_us),
    ):
        assert least <= optimum(loads, [harder], missed=missed).nanousd + slack
    assert least <= optimum(loads, [pool], missed=0).nanousd + slack
    assert least <= optimum(loads, [pool], missed=missed, late_us=0).nanousd + slack
    other = dataclasses.replace(pool, name="b", nanousd_per_hour=pool.nanousd_per_hour // 2 + 1)
    assert optimum(loads, [pool, other], missed=missed).nanousd <= least + slack


def test_parts_of_a_slot_are_rounded_in_the_fleets_favour():
    """A boot of 20 s costs nothing at slots of 30 s: else the bound could be above what a real fleet pays."""
    rise = work(1, 1, 4, 4, 1, 0)
    for part in ({"boot_us": 20 * S}, {"billing_min_us": 29 * S}):
        pool = dataclasses.replace(DOLLAR, **part)
        assert optimum(rise, [pool], missed=0).nanousd == optimum(rise, [DOLLAR], missed=0).nanousd


def test_work_may_differ_from_pool_to_pool_and_slot_to_slot():
    """The second pool is twice as fast on the first half, at the same price, and half as fast on the second."""
    rows = np.stack([work(2, 2, 2, 2, 0), work(1, 1, 4, 4, 0)])
    other = dataclasses.replace(DOLLAR, name="b")
    found = optimum(rows, [DOLLAR, other], missed=0, late_us=0)
    assert found.nanousd == pytest.approx(6e9, rel=1e-6)
    assert found.replicas["b"].tolist() == pytest.approx([1, 1, 0, 0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("loads", "pools", "given", "says"),
    [
        (work(1), [DOLLAR, DOLLAR], {}, "same name"),
        (work(), [DOLLAR], {}, "0 slots"),
        (np.array([1.0, -1.0]), [DOLLAR], {}, "below 0"),
        (np.array([np.nan]), [DOLLAR], {}, "no number"),
        (work(1), [DOLLAR], {"missed": 1.0}, "missed is 1.0"),
        (np.ones((3, 2)), [DOLLAR], {}, "3 rows for 1 pools"),
        (work(1), [dataclasses.replace(DOLLAR, capacity=0.0)], {}, "pool a"),
    ],
)
def test_bad_input_is_named(loads: np.ndarray, pools: list[Pool], given: dict, says: str):
    with pytest.raises(Invalid, match=says):
        optimum(loads, pools, **given)
