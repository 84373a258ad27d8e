"""Spot: losing one replica keeps the objective, one always stays where there is a minimum, and all comes to rest."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy.plan import plan
from headrace.policy.scaling import Want
from headrace.policy.spot import Pools, Split, There, split
from headrace.specs.catalog import Catalog, EngineSpec, ModelSpec, PoolSpec, Scaling
from headrace.specs.shapes import KNOWN
from headrace.state.demand import Demand
from headrace.state.fleet import Fleet, Replica
from tests.policy.cloud import GIB, S, catalog, device, fleet, running, spec
from tests.policy.test_plan_laws import applied

NOW = 1000 * S
KINDS = Pools(spot=("s",), firm=("f",), spot_nanousd=380, firm_nanousd=1000)
PLENTY = There(spot_room=10, firm_room=10)


class Fixed:
    """So many replicas, whatever is asked."""

    def __init__(self, count: int) -> None:
        self.count = count

    def note(self, demand: Mapping[str, Demand], now_us: int, wall_us: int) -> None:
        raise NotImplementedError("a plan asks, it does not tell")

    def desired(
        self, model: ModelSpec, have: int, replicas: Sequence[Replica], demand: Demand | None, now_us: int
    ) -> Want:
        return Want(self.count, "asked for")


def pools(**changed: object) -> tuple[PoolSpec, PoolSpec]:
    both = {"accelerator": "nvidia-h100", "count": 9, "memory_bytes": 4 * GIB}
    spot = PoolSpec(name="s", interruptible=True, loss_ppm_per_day=150_000, price_nanousd_per_hour=380, **both)
    return msgspec.structs.replace(spot, **changed), PoolSpec(name="f", price_nanousd_per_hour=1000, **both)


def cloud(least: int = 1, most: int = 6, names: tuple[str, ...] = ("s", "f"), **changed: object) -> Catalog:
    model = spec(pools=names, memory_bytes=4 * GIB, min_replicas=least, max_replicas=most)
    return msgspec.structs.replace(catalog(model), pools=pools(**changed))


def machines(spot: int, firm: int) -> list:
    return [*(device(f"s{n}", pool="s") for n in range(spot)), *(device(f"f{n}", pool="f") for n in range(firm))]


def rested(wanted: Catalog, so: Fleet, count: int) -> Fleet:
    """Round after round, starts ready and drains done at once, until nothing is left to do."""
    for _ in range(12):
        made = plan(wanted, so, {}, NOW, Fixed(count))
        if not made.starts and not made.stops:
            return so
        so = applied(wanted, so, made, drained=True)
        ready = [msgspec.structs.replace(one, phase="ready", ready_us=NOW) for one in so.replicas]
        so = fleet(*so.devices, *ready)
    raise AssertionError(f"no rest: {made}")


def by_pool(so: Fleet) -> tuple[int, int]:
    return sum(one.pool == "s" for one in so.replicas), sum(one.pool == "f" for one in so.replicas)


@pytest.mark.parametrize(
    ("least", "count", "expected"),
    [(0, 0, (0, 0)), (0, 1, (1, 0)), (0, 3, (4, 0)), (1, 1, (0, 1)), (1, 2, (2, 1)), (1, 3, (3, 1)), (1, 6, (5, 1))],
)
def test_spot_carries_the_load_and_one_more(least: int, count: int, expected: tuple[int, int]) -> None:
    """One of a model with a minimum stays; one that may sleep has no spare for its only replica; never above max."""
    found = rested(cloud(least), fleet(*machines(9, 9)), count)
    assert by_pool(found) == expected


def test_what_spot_lost_stands_elsewhere_meanwhile_and_comes_back_when_it_returns() -> None:
    """Never less than the load is ready, and those that stayed go only when spot is ready again."""
    wanted = cloud()
    full = rested(wanted, fleet(*machines(4, 4)), 3)
    assert by_pool(full) == (3, 1)
    lost = fleet(*machines(1, 4), *[one for one in full.replicas if one.pool == "f" or one.device == "s0"])
    short = plan(wanted, lost, {}, NOW, Fixed(3))
    assert [start.pool for start in short.starts] == ["f", "f"]
    assert "spot (s) has room for 1 of 3" in short.starts[0].reason
    meanwhile = rested(wanted, lost, 3)
    assert by_pool(meanwhile) == (1, 3)
    back = fleet(*machines(4, 4), *meanwhile.replicas)
    made = plan(wanted, back, {}, NOW, Fixed(3))
    assert ([start.pool for start in made.starts], made.stops) == (["s", "s"], ())
    assert "3 on spot, so that 3 are left when one is lost" in made.starts[0].reason
    assert by_pool(rested(wanted, back, 3)) == (3, 1)


def test_spot_that_is_dear_is_left_and_not_begun() -> None:
    """It is begun when the spare pays, and left when one costs more than one that stays."""
    assert split(Scaling(max_replicas=9), KINDS, PLENTY, 3).start_spot == 4
    assert by_pool(rested(cloud(0, price_nanousd_per_hour=800), fleet(*machines(9, 9)), 3)) == (0, 3)
    there = rested(cloud(0), fleet(*machines(9, 9)), 3)
    assert by_pool(rested(cloud(0, price_nanousd_per_hour=900), there, 3)) == (4, 0)
    assert by_pool(rested(cloud(0, price_nanousd_per_hour=1100), there, 3)) == (0, 3)
    first = plan(cloud(0, price_nanousd_per_hour=1_100_000_000), there, {}, NOW, Fixed(3))
    assert ([start.pool for start in first.starts], len(first.stops)) == (["f", "f", "f"], 1)  # the spare goes first
    assert "spot is dear: $1.1002 an hour a replica and one to spare, against $0.0000" in first.starts[0].reason
    assert "spot is dear" in first.stops[0].reason


def test_a_placement_that_names_spot_alone_is_believed() -> None:
    found = rested(cloud(1, names=("s",)), fleet(*machines(9, 9)), 2)
    assert by_pool(found) == (3, 0)


def test_a_file_that_prefers_what_stays_has_its_way() -> None:
    """Spot is where what does not fit goes, and nothing is spare."""
    assert by_pool(rested(cloud(1, names=("f", "s")), fleet(*machines(9, 2)), 3)) == (1, 2)


def test_a_replica_that_failed_on_spot_bars_its_device_and_nothing_else() -> None:
    wanted = cloud(0)
    model = wanted.models[0]
    failed = running(model, phase="failed", reason="gone", device="s0", pool="s", launched_us=NOW - S)
    made = plan(wanted, fleet(*machines(1, 1), failed), {}, NOW, Fixed(1))
    assert [start.pool for start in made.starts] == ["f"]
    alone = plan(wanted, fleet(*machines(1, 0), failed), {}, NOW, Fixed(1))
    assert (alone.starts, [hold.model for hold in alone.holds]) == ((), ["m@v1"])


def several(prices: Sequence[int], least: int = 0, **changed: object) -> Catalog:
    """Spot pools s0, s1, ... at these prices, and f, which stays, at 1000."""
    spot, firm = pools()
    many = [msgspec.structs.replace(spot, name=f"s{n}", price_nanousd_per_hour=price) for n, price in enumerate(prices)]
    names = (*(pool.name for pool in many), "f")
    model = spec(pools=names, memory_bytes=4 * GIB, min_replicas=least, max_replicas=9, **changed)
    return msgspec.structs.replace(catalog(model), pools=(*many, firm))


def spread(so: Fleet) -> dict[str, int]:
    return dict(sorted(Counter(one.pool for one in so.replicas if one.phase in ("ready", "starting")).items()))


def racks(*counts: int, firm: int = 9) -> list:
    """So many devices in each spot pool."""
    spot = [device(f"s{pool}-{n}", pool=f"s{pool}") for pool, count in enumerate(counts) for n in range(count)]
    return [*spot, *(device(f"f{n}", pool="f") for n in range(firm))]


def test_the_cheapest_spot_pool_is_filled_and_one_stands_apart() -> None:
    """Whatever the order in the file; one that is near in price shares evenly; `choose: order` spreads over all."""
    assert spread(rested(several([700, 400, 600]), fleet(*racks(9, 9, 9)), 4)) == {"s1": 4, "s2": 1}
    assert spread(rested(several([700, 400, 430]), fleet(*racks(9, 9, 9)), 3)) == {"s1": 2, "s2": 2}
    assert spread(rested(several([700, 400, 600], by_cost=False), fleet(*racks(9, 9, 9)), 5)) == {
        "s0": 2, "s1": 2, "s2": 2,
    }  # fmt: skip
    assert spread(rested(several([700, 400]), fleet(*racks(9, 2)), 4)) == {"s0": 3, "s1": 2}


def test_spot_that_costs_more_than_what_stays_is_a_last_resort() -> None:
    assert spread(rested(several([400, 1100]), fleet(*racks(2, 9)), 4)) == {"f": 3, "s0": 2}
    assert spread(rested(several([400, 1100]), fleet(*racks(2, 9, firm=1)), 4)) == {"f": 1, "s0": 2, "s1": 1}


def test_what_losses_cost_is_in_the_price() -> None:
    """288 losses a day, each of a start of 30 s and half an answer of 102 s: a quarter of the time is lost."""
    model = spec(pools=("s", "calm"), memory_bytes=4 * GIB, min_replicas=0, max_replicas=9)
    spot, _ = pools(loss_ppm_per_day=288_000_000, price_nanousd_per_hour=500_000_000)
    calm = msgspec.structs.replace(spot, name="calm", loss_ppm_per_day=0, price_nanousd_per_hour=550_000_000)
    wanted = msgspec.structs.replace(catalog(model), pools=(spot, calm))
    both = [*machines(9, 0), *(device(f"c{n}", pool="calm") for n in range(9))]
    made = plan(wanted, fleet(*both), {}, NOW, Fixed(3))
    assert sorted(start.pool for start in made.starts) == ["calm", "calm", "calm", "s"]
    assert "; on calm at $0.5500 an hour; s at $0.6353 an hour ($0.5000, and 6.5 h a day lost)" in made.starts[0].reason
    assert ", apart from those on calm" in made.starts[-1].reason


def test_a_pool_whose_replicas_do_less_comes_last() -> None:
    """By the table of accelerators: an L4 for a third of the price does a tenth."""
    shaped = {"shape": KNOWN["llama-3.1-8b"], "engine": EngineSpec(kind="vllm")}
    wanted = several([300, 100], **shaped)
    cheap = [msgspec.structs.replace(one, accelerator="nvidia-l4") if one.name == "s1" else one for one in wanted.pools]
    assert spread(rested(wanted, fleet(*racks(9, 9)), 3)) == {"s0": 1, "s1": 3}
    slower = msgspec.structs.replace(wanted, pools=tuple(cheap))
    assert spread(rested(slower, fleet(*racks(9, 9)), 3)) == {"s0": 4}


def test_who_goes_first_stood_dearest_but_one_stays_apart() -> None:
    wanted = several([400, 600])
    full = rested(wanted, fleet(*racks(3, 9)), 5)
    assert spread(full) == {"s0": 3, "s1": 3}
    assert spread(rested(wanted, full, 3)) == {"s0": 3, "s1": 1}
    assert spread(rested(wanted, full, 2)) == {"s0": 2, "s1": 1}
    assert spread(rested(wanted, full, 1)) == {"s0": 1}


@st.composite
def markets(draw: st.DrawFn) -> tuple[Catalog, Fleet, int]:
    """Several spot pools at any prices, with replicas anywhere."""
    prices = draw(st.lists(st.integers(200, 1300), min_size=2, max_size=3))
    wanted = several(prices, draw(st.integers(0, 1)), by_cost=draw(st.booleans()))
    there = racks(*(draw(st.integers(0, 4)) for _ in prices), firm=draw(st.integers(0, 4)))
    held = [
        running(wanted.models[0], number, device=one.device, pool=one.pool, ready_us=NOW - S)
        for number, one in enumerate(there)
        if draw(st.booleans())
    ]
    return wanted, fleet(*there, *held), draw(st.integers(1, 6))


@given(markets())
@settings(max_examples=200, deadline=None)
def test_several_pools_come_to_rest_with_enough_and_nothing_dear_without_need(
    case: tuple[Catalog, Fleet, int],
) -> None:
    """Nothing starts on spot that is dearer than what stays while that, or cheaper spot, has room."""
    wanted, so, count = case
    made = plan(wanted, so, {}, NOW, Fixed(count))
    again = plan(wanted, applied(wanted, so, made, drained=False), {}, NOW, Fixed(count))
    assert (again.starts, again.stops) == ((), ())
    dear = {pool.name for pool in wanted.pools if pool.name != "f" and (pool.price_nanousd_per_hour or 0) > 1000}
    after = applied(wanted, so, made, drained=False)
    used = {one.device for one in after.replicas}
    free = [one for one in so.devices if one.device not in used and one.pool not in dear]
    if wanted.models[0].by_cost and len(dear) < len(wanted.pools) - 1:
        assert not free or not any(start.pool in dear for start in made.starts)
    found = rested(wanted, so, count)
    assert len(found.replicas) >= min(count, len(so.devices))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Catalog, Fleet, int]:
    """A model with replicas anywhere, in any phase, on as many devices of either kind as there happen to be."""
    least = draw(st.integers(0, 2))
    wanted = cloud(
        least,
        draw(st.integers(max(1, least), 6)),
        names=draw(st.sampled_from([("s", "f"), ("s",)])),
        price_nanousd_per_hour=draw(st.sampled_from([300, 800, 1100])),
    )
    model = wanted.models[0]
    there = machines(draw(st.integers(0, 5)), draw(st.integers(0, 4)))
    held = [
        running(
            model, number, device=one.device, pool=one.pool, phase=phase, ready_us=NOW - S if phase == "ready" else 0
        )
        for number, one in enumerate(there)
        if (phase := draw(st.sampled_from(["", "ready", "ready", "starting", "draining", "lost", "failed"])))
    ]
    return wanted, fleet(*there, *held), draw(st.integers(least, model.scaling.max_replicas))


@given(cases())
@settings(max_examples=200, deadline=None)
def test_a_plan_carried_out_is_empty_when_made_again(case: tuple[Catalog, Fleet, int]) -> None:
    wanted, so, count = case
    made = plan(wanted, so, {}, NOW, Fixed(count))
    again = plan(wanted, applied(wanted, so, made, drained=False), {}, NOW, Fixed(count))
    assert (again.starts, again.stops) == ((), ())


@given(cases())
@settings(max_examples=200, deadline=None)
def test_what_is_ready_never_falls_below_the_load_by_a_plan(case: tuple[Catalog, Fleet, int]) -> None:
    """Nor are there ever more than max, nor two on one device."""
    wanted, so, count = case
    made = plan(wanted, so, {}, NOW, Fixed(count))
    after = applied(wanted, so, made, drained=False)
    ready = sum(one.phase == "ready" for one in so.replicas)
    left = sum(one.phase == "ready" for one in after.replicas)
    assert left >= min(count, ready)
    phases = ("pending", "starting", "ready", "lost")
    working = [one for one in after.replicas if one.phase in phases and one.pool in wanted.models[0].pools]
    assert len(working) <= wanted.models[0].scaling.max_replicas or not made.starts
    assert all(after.free_bytes(one.node, one.device) >= 0 for one in after.devices)


@given(cases())
@settings(max_examples=200, deadline=None)
def test_at_rest_one_loss_leaves_enough_and_one_stays(case: tuple[Catalog, Fleet, int]) -> None:
    """Where there are devices and numbers enough for that; then it is as if it had always been there."""
    wanted, so, count = case
    left = [one for one in so.replicas if one.phase not in ("failed", "draining")]
    healthy = fleet(*so.devices, *[msgspec.structs.replace(one, phase="ready", ready_us=NOW) for one in left])
    found = rested(wanted, healthy, count)
    scaling = wanted.models[0].scaling
    on_spot, firm = by_pool(found)
    total = on_spot + firm
    assert total >= min(count, len([one for one in so.devices if one.pool in wanted.models[0].pools]))
    assert total <= count + 1
    named = wanted.models[0].pools
    if scaling.min_replicas and named == ("s", "f") and any(one.pool == "f" for one in so.devices) and count:
        assert firm >= 1 or total == scaling.max_replicas  # there it could not be started beside
    spare_wanted = (
        on_spot and (count > 1 or scaling.min_replicas) and count > (1 if firm and scaling.min_replicas else 0)
    )
    room = total < len([one for one in so.devices if one.pool in named]) and total < scaling.max_replicas
    if spare_wanted and room:
        assert total - 1 >= count


def test_nothing_wanted_leaves_nothing() -> None:
    assert split(Scaling(max_replicas=4), KINDS, There(spot=2, firm=1), 0) == Split(stop_spot=2, stop_firm=1)
