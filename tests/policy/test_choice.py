"""The choice of a pool: the cheapest that keeps the promises, and no move that does not pay for itself."""

import re
from itertools import pairwise
from math import ceil

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy import lengths
from headrace.policy.choice import SETTLED_MAX_US, Choices
from headrace.policy.known import LOOK_US
from headrace.policy.lengths import Mix
from headrace.policy.options import Asked, option
from headrace.policy.performance import Performance, foretold
from headrace.policy.sizing import SLACK, ByWork, kept
from headrace.specs import shapes
from headrace.specs.catalog import Catalog, EngineSpec, ModelSpec, Objective, PoolSpec
from headrace.state.mix import Sizes, added, size_class
from headrace.units import US_PER_HOUR
from tests.policy.cloud import S, asked, demand, fleet, running, spec

GB = 10**9
SMALL = PoolSpec(
    name="small", accelerator="nvidia-l40s", count=16, memory_bytes=48 * GB, price_nanousd_per_hour=1_200_000_000
)
LARGE = PoolSpec(
    name="large", accelerator="nvidia-h100", count=16, memory_bytes=80 * GB, price_nanousd_per_hour=2_950_000_000
)
MODEL = spec(
    pools=("small", "large"),
    shape=shapes.KNOWN["llama-3.1-8b"],
    memory_bytes=44 * GB,
    engine=EngineSpec(kind="vllm", slots=64, context_tokens=16_384),
    objective=Objective(ttft_us=2 * S, tpot_us=50_000),
    max_replicas=16,
    min_replicas=1,
    idle_to_zero_us=None,
)
SHORT, LONG = (150, 100), (6_000, 100)


class Told(ByWork):
    """Sizing that is told how much work arrives, in replicas of the first pool."""

    def __init__(self, steady: float) -> None:
        super().__init__()
        self.is_steady = steady
        self.boot_us = {MODEL.key: 120 * S}

    def steady(self, key: str) -> float:
        return self.is_steady


class Hours:
    """A model's hours: looks every ten seconds, requests of some size at some rate, a fleet that does as is chosen."""

    def __init__(self, model: ModelSpec = MODEL, pools: tuple[PoolSpec, ...] = (SMALL, LARGE)) -> None:
        self.catalog = Catalog(pools=pools, models=(model,), tenants=())
        self.model, self.pools = model, pools
        self.choices = Choices(foretold)
        self.sizing = Told(0.0)
        self.now_us = 10**9
        self.sizes: Sizes = {}
        self.moves: list[tuple[int, str]] = []
        self.at = ""

    def pass_by(self, hours: float, rate: float, size: tuple[int, int], longest: int = 0) -> None:
        """`rate` requests a second, of which one in fifty is `longest` when that is given."""
        mix = Mix(1.0, *size, size[0], ((1.0, size[0]),))
        able, _ = lengths.serves(self.model, foretold(self.model, self.pools[0]), mix)  # type: ignore[arg-type]  # it has a shape
        self.sizing.is_steady = rate * 3600 / able
        for _ in range(round(hours * US_PER_HOUR / LOOK_US)):
            self.now_us += LOOK_US
            count = round(rate * LOOK_US / S)
            self._served(count, size)
            if longest:
                self._served(max(1, count // 50), (longest, size[1]))
            told = asked(demand(sizes=self.sizes, in_flight=1, asked_us=1))
            there = [running(self.model, pool=self.at)] if self.at else []
            wanted = self.choices.over(self.catalog, told, fleet(*there), self.sizing, self.now_us)
            self.at = wanted.models[0].pools[0]
            self.moves += [(self.now_us, why) for why in self.choices.moves.values()]

    def _served(self, count: int, size: tuple[int, int]) -> None:
        new = {size_class(size[0]): (count, count * size[0], count * size[1])}
        self.sizes = added([self.sizes, new])


def cost(pool: PoolSpec, rate: float, size: tuple[int, int]) -> float:
    mix = Mix(1.0, *size, size[0], ((1.0, size[0]),))
    found = option(
        MODEL, pool, lengths.serves(MODEL, foretold(MODEL, pool), mix), mix, Asked([rate * 3600], 0.0, 12), have=0
    )  # type: ignore[arg-type]  # it has a shape
    return found.nanousd if found.nanousd is not None else float("inf")


def test_short_prompts_live_on_the_small_gpu_and_long_ones_on_the_large() -> None:
    """Traffic drifts there and back, and the model goes with it: once each way, and each move says what it saves."""
    hours = Hours()
    for size, at in ((SHORT, "small"), (LONG, "large"), (SHORT, "small")):
        hours.pass_by(2, 4, size)
        assert hours.at == at
    assert len(hours.moves) == 2
    assert hours.moves[0][1].startswith("moves from small $")
    assert "saves $" in hours.moves[1][1]


@settings(max_examples=8, deadline=None)
@given(st.floats(0.2, 30), st.sampled_from([SHORT, (500, 300), (2_000, 150), LONG]))
def test_steady_traffic_ends_on_the_cheapest_and_stays(rate: float, size: tuple[int, int]) -> None:
    hours = Hours()
    hours.pass_by(1, rate, size)
    assert len(hours.moves) <= 1
    least = min(cost(pool, round(rate * 10) / 10, size) for pool in (SMALL, LARGE))
    here = cost(next(pool for pool in (SMALL, LARGE) if pool.name == hours.at), round(rate * 10) / 10, size)
    assert here <= least * 1.25 or here == least  # what is a little cheaper does not pay for a move


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.floats(0.02, 0.5), st.floats(0.5, 20), st.sampled_from([SHORT, LONG])), max_size=8))
def test_moves_are_far_apart_whatever_traffic_does(spells: list[tuple[float, float, tuple[int, int]]]) -> None:
    hours = Hours()
    for length, rate, size in spells:
        hours.pass_by(length, rate, size)
    moments = [at for at, _ in hours.moves]
    assert all(after - before >= SETTLED_MAX_US for before, after in pairwise(moments))


def test_a_load_that_swings_within_minutes_moves_nothing_to_and_fro() -> None:
    hours = Hours()
    for _ in range(15):
        for rate in (2, 9):
            hours.pass_by(1 / 12, rate, (800, 200))
    assert len(hours.moves) <= 1


def test_a_pool_that_cannot_keep_the_promise_is_left_though_it_is_cheaper() -> None:
    """A few prompts so long that their first token is late on the small one."""
    hours = Hours(pools=(msgspec.structs.replace(SMALL, price_nanousd_per_hour=1), LARGE))
    hours.pass_by(1, 4, SHORT)
    assert hours.at == "small"
    hours.pass_by(1, 4, SHORT, longest=30_000)
    assert hours.at == "large"
    assert re.search(r"small cannot: its promises would not be kept for \d+ tokens in", hours.moves[0][1])


def test_a_new_controller_leaves_a_model_where_it_is() -> None:
    """Nothing is known but the fleet: what stands there stays until moving pays."""
    hours = Hours()
    hours.at = "large"
    hours.pass_by(0.1, 4, SHORT)
    assert hours.at == "large"
    assert not hours.moves
    hours.pass_by(1, 4, SHORT)
    assert hours.at == "small"


def test_a_new_controller_chooses_nothing_for_a_model_in_two_pools_while_too_little_was_asked() -> None:
    """However long that takes: what stands in both stays until requests tell where they belong."""
    choices, sizing, now_us = Choices(foretold), Told(0.01), 10**9
    both = fleet(running(MODEL, 1, pool="small"), running(MODEL, 2, pool="large"))
    served = {size_class(150): (9, 9 * 150, 900)}
    for _ in range(200):
        now_us += LOOK_US
        told = asked(demand(sizes=served, in_flight=1, asked_us=1))
        choices.over(Catalog(pools=(SMALL, LARGE), models=(MODEL,), tenants=()), told, both, sizing, now_us)
        assert not choices.homes
        assert not choices.moves


@pytest.mark.parametrize(
    "changed",
    [{"by_cost": False}, {"pools": ("small",)}, {"task": "embed"}],
)
def test_who_has_no_choice_is_left_alone(changed: dict[str, object]) -> None:
    model = spec(**({"pools": ("small", "large"), "shape": MODEL.shape, "memory_bytes": MODEL.memory_bytes} | changed))
    catalog = Catalog(pools=(SMALL, LARGE), models=(model,), tenants=())
    sizing = ByWork()
    choices = Choices(foretold)
    assert choices.over(catalog, {}, fleet(), sizing, S) == catalog
    assert not choices.homes
    assert not sizing.able


def test_unknown_speeds_leave_the_order_of_the_file() -> None:
    def known(model: ModelSpec, pool: PoolSpec) -> Performance | None:
        return foretold(model, pool) if pool.name == "large" else None

    choices = Choices(known)
    catalog = Catalog(pools=(SMALL, LARGE), models=(MODEL,), tenants=())
    assert choices.over(catalog, {}, fleet(), ByWork(), S).models[0].pools == ("small", "large")


def test_what_sizing_is_told_follows_lengths_between_two_tellings_of_work() -> None:
    """Requests grow by a fourteenth, which is too little to tell their work anew: replicas are told to do less of it,
    so that as many are wanted for as many requests as a telling would have."""
    hours = Hours(pools=(LARGE, SMALL), model=msgspec.structs.replace(MODEL, pools=("large", "small")))
    hours.pass_by(1, 4, (6_000, 100))
    rate = hours.choices.rates[MODEL.key]
    hours.pass_by(0.5, 4, (6_430, 100))
    assert hours.choices.rates[MODEL.key] == rate
    mix = Mix(1.0, 6_430, 100, 6_430, ((1.0, 6_430),))
    able, _ = lengths.serves(MODEL, foretold(MODEL, LARGE), mix)  # type: ignore[arg-type]  # it has a shape
    needs = rate.work_us(6_430, 100) / US_PER_HOUR / hours.sizing.able[MODEL.key]  # replicas for a request an hour
    assert needs * able == pytest.approx(1, rel=0.01)


@given(st.lists(st.floats(0, 9), min_size=1, max_size=60), st.integers(1, 3), st.integers(1, 12))
def test_whole_replicas_are_kept_for_every_need(needs: list[float], least: int, calm: int) -> None:
    """Never fewer than a fifth less than is needed, never more than the most of the calm time needs, in whole ones."""
    for at, count in enumerate(kept(needs, least, calm)):
        assert count >= max(least, needs[at] - SLACK)
        assert count <= max(least, ceil(max(needs[max(0, at + 1 - calm) : at + 1]) + SLACK / 2))


def test_work_is_told_anew_when_requests_become_longer() -> None:
    """In time of the first pool: a long prompt is most of a request's work, and no more than it really takes."""
    hours = Hours()
    hours.pass_by(0.5, 4, SHORT)
    before = hours.choices.rates[MODEL.key]
    hours.pass_by(1, 4, LONG)
    after = hours.choices.rates[MODEL.key]
    speed = foretold(MODEL, SMALL)
    assert speed is not None
    assert after.fixed_ns + LONG[0] * after.input_ns == pytest.approx(speed.prefill_ns(LONG[0]), rel=0.02)
    assert before.work_us(*LONG) > 0.7 * speed.prefill_ns(LONG[0]) / 1000  # the first long ones are not overlooked
