"""Whole replicas on one pool: the bound is below every schedule there is, the schedule above it, and they are close."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.planner import whole as subject
from headrace.planner.optimum import Fleet, Pool, optimum
from headrace.planner.whole import whole, whole_bound

S = 1_000_000
SLOT = 30 * S
DOLLAR_A_SLOT = 120 * 10**9
MOST = 3  # replicas that are tried out


def work(*replicas: float) -> np.ndarray:
    return np.array(replicas) * SLOT


def pool(boot: int = 0, least: int = 0, **more: object) -> Pool:
    given = {"name": "a", "nanousd_per_hour": DOLLAR_A_SLOT, "boot_us": boot * SLOT, "billing_min_us": least * SLOT}
    return Pool(**{**given, **more})


def left_out(serving: tuple[int, ...], loads: list[float], late: int, *, end: bool) -> float:
    """What is missed by whole replicas that take the oldest first; with `end`, what is left then, too."""
    queue: list[list[float]] = []
    missed = 0.0
    for slot, (able, load) in enumerate(zip(serving, loads, strict=True)):
        queue.append([float(slot), load])
        left = float(able)
        for one in queue:
            done = min(one[1], left)
            one[1], left = one[1] - done, left - done
        missed += sum(one[1] for one in queue if one[0] <= slot - late)
        queue = [one for one in queue if one[0] > slot - late]
    return missed + (sum(one[1] for one in queue) if end else 0.0)


def dollars(serving: tuple[int, ...], boot: int) -> float:
    """Slots that are paid; infinite where a replica serves that nobody could have booted."""
    grown = [max(0, after - before) for before, after in itertools.pairwise(serving)]
    return np.inf if any(grown[:boot]) else sum(serving) + boot * sum(grown)


cases = st.tuples(
    st.lists(st.integers(0, 3 * 4).map(lambda quarters: quarters / 4), min_size=1, max_size=5),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from([0.0, 0.05, 0.3]),
)


@settings(max_examples=60, deadline=None)
@given(cases, st.sampled_from([1, 4, 32]))
def test_the_bound_is_below_and_the_schedule_above_all_there_are(case, parts: int):
    """Every path of up to three replicas, tried out."""
    loads, boot, late, missed = case
    allowed = missed * sum(loads) + 1e-9
    plans = [(one, dollars(one, boot)) for one in itertools.product(range(MOST + 1), repeat=len(loads))]
    loose = min(cost for one, cost in plans if left_out(one, loads, late, end=False) <= allowed)
    strict = min(cost for one, cost in plans if left_out(one, loads, late, end=True) <= allowed)
    given = {"missed": missed, "late_us": late * SLOT, "parts": parts}
    assert whole_bound(work(*loads), pool(boot), **given) <= loose * 10**9
    found = whole(work(*loads), pool(boot), **given)
    assert found.bound_nanousd <= loose * 10**9
    assert found.nanousd >= strict * 10**9
    if not missed:
        assert found.nanousd == strict * 10**9 or parts < 4  # in quarters nothing is rounded


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, 2), st.sampled_from([0.0, 0.02, 0.1]))
def test_a_mixed_integer_program_says_the_same(seed: int, boot: int, late: int, missed: float):
    """A formulation of its own, with starts as columns and billing minima in rows, solved to the end."""
    rng = np.random.default_rng(seed)
    loads = rng.gamma(2, rng.uniform(0.2, 1), int(rng.integers(3, 20))) * SLOT
    one = pool(boot, int(rng.integers(0, boot + 2)), capacity=float(rng.choice([0.4, 1.0])))
    told = {"slot_us": SLOT, "missed": missed, "late_us": late * SLOT}
    fleet = Fleet(loads, [one], **told, whole=True)
    solved = fleet.program.solved(gap=1e-9)
    best = solved.objective * fleet.nanousd_a_unit
    found = whole(loads, one, **told)
    assert found.bound_nanousd <= best + 1000
    assert found.bound_nanousd >= 0.8 * best - 3 * 10**9
    hard = Fleet(loads, [one], **told, whole=True, strict=True)
    assert found.nanousd >= hard.program.solved(gap=1e-9).objective * hard.nanousd_a_unit - 1000


@pytest.mark.parametrize("missed", [0.0, 0.01])
@pytest.mark.parametrize("boot", [0, 1, 4])
def test_a_day_of_three_replicas_is_known_to_half_a_percent(boot: int, missed: float):
    """And it can be run: counts, minima and what is missed hold, and what is paid is what is said."""
    rng = np.random.default_rng(boot)
    at = np.arange(1440)
    loads = rng.gamma(20, (3 + 2 * np.sin(at / 1440 * 2 * np.pi)) / 20)
    found = whole(loads * SLOT, pool(boot, min(2, boot + 1), count=9), missed=missed)
    assert found.gap < (0.005 if missed else 0.01)
    plan = found.replicas["a"]
    assert found.nanousd == int(plan.sum()) * 10**9
    assert plan.max() <= 9
    serving, since = [], []
    for slot, count in enumerate(plan.tolist()):  # the oldest goes first
        assert all(slot - first >= min(2, boot + 1) for first in since[: max(0, len(since) - count)])
        since = since[max(0, len(since) - count) :]
        since += [slot or -99] * (count - len(since))
        serving.append(sum(slot - first >= boot for first in since))
    assert left_out(tuple(serving), loads.tolist(), 1, end=True) <= missed * loads.sum() + 1e-6


def test_a_longer_minimum_is_paid_though_the_bound_leaves_it_out():
    """A peak of one slot over a steady replica: the one who is there goes, and who was started for it stays."""
    loads = work(*[1] * 10, 2, *[1] * 10)
    assert whole(loads, pool(1, 6), missed=0, late_us=0).nanousd == 23 * 10**9  # the peak's slot and its boot
    twice = work(*[1] * 10, 3, *[1] * 10)  # two are started, and one is too many for five slots more
    found = whole(twice, pool(1, 7), missed=0, late_us=0)
    assert (found.nanousd, found.bound_nanousd) == (30 * 10**9, 25 * 10**9)
    assert optimum(twice, [pool(1, 7)], missed=0, late_us=0).nanousd == pytest.approx(30e9, rel=1e-6)
    assert whole(work(0, 2, 0), pool(0, 9), missed=0, late_us=0).nanousd == 4 * 10**9  # paid on to the end
    few = whole(twice, pool(1, 7, count=3), missed=0, late_us=0)
    assert few.nanousd == 30 * 10**9
    assert few.replicas["a"].max() == 3


def test_little_work_is_told_finely():
    """A twentieth of a slot's work in each fifth slot: parts of a replica alone would hold one or two of it."""
    loads = np.where(np.arange(500) % 5 == 0, 0.05, 0.0) * SLOT
    found = whole(loads, pool(1), missed=0.1)
    assert found.bound_nanousd > 0.97 * found.nanousd > 80 * 10**9


def test_nothing_to_do_costs_nothing_and_a_free_pool_neither():
    found = whole(work(0, 0, 0), pool())
    assert (found.nanousd, found.bound_nanousd, found.gap) == (0, 0, 0.0)
    assert whole_bound(work(1, 2), pool(nanousd_per_hour=0)) == 0


def test_what_no_fleet_can_do_is_told():
    for ask in (whole, whole_bound):
        with pytest.raises(Invalid, match="give them 2 more"):
            ask(work(5, 5, 5), pool(count=3), missed=0)
        with pytest.raises(Invalid, match="missed is 1"):
            ask(work(1), pool(), missed=1.0)


def test_what_is_too_large_is_left_to_fractions(monkeypatch: pytest.MonkeyPatch):
    """A coarser grid first, then none; and traces of very many slots."""
    loads = work(*[40.0] * 60)
    fine = whole_bound(loads, pool(), parts=32)
    monkeypatch.setattr(subject, "CELLS_MAX", 60 * 82 * 41 * 2)
    coarse = whole_bound(loads, pool(), parts=32)
    assert fine is not None
    assert coarse is not None
    assert 0.97 * fine < coarse <= fine
    monkeypatch.setattr(subject, "CELLS_MAX", 1000)
    assert whole_bound(loads, pool()) is None
    assert whole(loads, pool()) is None
    assert whole_bound(np.ones(subject.SLOTS_MAX + 1), pool()) is None
