"""The slow brain, case by case; its properties are in test_plan_laws.py."""

import msgspec
import pytest

from headrace.policy.actions import Plan
from headrace.policy.home import Home
from headrace.policy.plan import plan
from headrace.policy.planning import Learned, replica_id
from headrace.specs.catalog import EngineSpec, Scaling
from tests.policy.cloud import GIB, S, asked, catalog, demand, device, fleet, running, spec

NOW = 1000 * S


def started(made: Plan) -> list[str]:
    return [start.replica for start in made.starts]


def stopped(made: Plan) -> list[str]:
    return [stop.replica for stop in made.stops]


def held(made: Plan) -> list[str]:
    return [hold.model for hold in made.holds]


def test_a_sleeping_model_without_demand_is_left_asleep() -> None:
    """min 0, nobody asks: nothing to do."""
    assert Plan() == plan(catalog(spec()), fleet(device()), {}, NOW)


def test_a_held_request_starts_one_replica() -> None:
    """The reason names what is held and for how long."""
    model = spec()
    made = plan(catalog(model), fleet(device()), asked(demand(queued=1, oldest_wait_us=5000)), NOW)
    assert [f"m-v1-{model.digest[:6]}-1"] == started(made)
    assert made.starts[0].reason == "0 requests at work, 1 held for 5 ms on 2 slots each: 1 wanted (min 0, max 3)"
    assert (made.starts[0].node, made.starts[0].device, made.starts[0].pool) == ("n", "d1", "a")


@pytest.mark.parametrize(("load", "expected"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (50, 3)])
def test_the_number_follows_the_load_to_the_maximum(load: int, expected: int) -> None:
    """Two slots filled to 80 %: ceil(load / 1.6), at most 3."""
    made = plan(catalog(spec()), fleet(device()), asked(demand(queued=load)), NOW)
    assert expected == len(started(made))


def test_a_starting_replica_counts() -> None:
    """Demand that one starting replica will carry starts no second one."""
    model = spec()
    there = fleet(device(), running(model, phase="starting", ready_us=0))
    assert Plan() == plan(catalog(model), there, asked(demand(queued=1)), NOW)


def test_an_idle_model_goes_to_zero_after_its_time_and_not_before() -> None:
    """300 s since the last request ended; a request at work forbids it."""
    model = spec()
    there = fleet(device(), running(model))
    last = NOW - 300 * S
    assert [running(model).id] == stopped(plan(catalog(model), there, asked(demand(last_us=last)), NOW))
    assert Plan() == plan(catalog(model), there, asked(demand(last_us=last + 1)), NOW)
    assert Plan() == plan(catalog(model), there, asked(demand(last_us=last, in_flight=1)), NOW)


def test_a_replica_that_became_ready_late_counts_from_then() -> None:
    """Nobody waited for the start to end: the idle time begins when it was ready."""
    model = spec()
    there = fleet(device(), running(model, ready_us=NOW - S))
    assert Plan() == plan(catalog(model), there, asked(demand(last_us=1)), NOW)


def test_never_to_zero_keeps_one() -> None:
    """idle_to_zero None: what is awake stays awake."""
    model = spec(idle_to_zero_us=None)
    assert Plan() == plan(catalog(model), fleet(device(), running(model)), asked(demand(last_us=1)), NOW)


def test_without_reports_nothing_is_stopped() -> None:
    """A controller that has just started knows no demand and must not end what runs."""
    model = spec()
    assert Plan() == plan(catalog(model), fleet(device(), running(model), running(model, 2)), {}, NOW)


def test_surplus_is_stopped_oldest_first_once_settled() -> None:
    """One at work of three replicas: half of two slots would do; young replicas are kept for a minute."""
    model = spec()
    replicas = [running(model, n, launched_us=n * S, ready_us=n * S) for n in (1, 2, 3)]
    light = asked(demand(in_flight=1))
    assert [replicas[0].id, replicas[1].id] == stopped(plan(catalog(model), fleet(device(), *replicas), light, NOW))
    fresh = running(model, 3, ready_us=NOW - 59 * S)
    assert Plan() == plan(catalog(model), fleet(device(), *replicas[:2], fresh), light, NOW)


def test_what_is_in_no_catalog_is_stopped() -> None:
    """A removed model is drained."""
    made = plan(catalog(), fleet(device(), running(spec())), {}, NOW)
    assert [running(spec()).id] == stopped(made)


def test_servers_of_others_are_left_alone() -> None:
    """An engine of kind openai is neither started nor stopped."""
    model = spec(engine=EngineSpec(kind="openai", slots=2, url="http://localhost:1"), min_replicas=1)
    assert Plan() == plan(catalog(model), fleet(device(), running(model)), asked(demand(queued=9)), NOW)


def test_a_changed_model_starts_its_successor_first() -> None:
    """With room: start; the old one goes when the new one is ready."""
    old, new = spec(min_replicas=1), spec(min_replicas=1, source="file:///other")
    made = plan(catalog(new), fleet(device(), running(old)), asked(demand()), NOW)
    assert ([f"m-v1-{new.digest[:6]}-1"], []) == (started(made), stopped(made))
    starting = fleet(device(), running(old), running(new, phase="starting", ready_us=0))
    assert Plan() == plan(catalog(new), starting, asked(demand()), NOW)
    made = plan(catalog(new), fleet(device(), running(old), running(new)), asked(demand()), NOW)
    assert ([], [running(old).id]) == (started(made), stopped(made))


def test_a_changed_model_without_room_drains_first() -> None:
    """No room for both: stop, wait, start."""
    old, new = spec(min_replicas=1), spec(min_replicas=1, source="file:///other")
    made = plan(catalog(new), fleet(device(gib=1), running(old)), asked(demand()), NOW)
    assert ([], [running(old).id], ["m@v1"]) == (started(made), stopped(made), held(made))
    made = plan(catalog(new), fleet(device(gib=1), running(old, phase="draining")), asked(demand()), NOW)
    assert (started(made), stopped(made), held(made)) == ([], [], ["m@v1"])


def test_a_changed_model_nobody_asks_for_just_goes() -> None:
    """min 0 and idle: the old one is dropped, nothing is started."""
    old, new = spec(), spec(source="file:///other")
    made = plan(catalog(new), fleet(device(), running(old)), asked(demand(last_us=1)), NOW)
    assert ([], [running(old).id]) == (started(made), stopped(made))


def test_the_least_recently_used_idle_replica_makes_room() -> None:
    """b was used longer ago than c; only b goes, and a waits for its memory."""
    a, b, c = spec("a@v1"), spec("b@v1"), spec("c@v1")
    there = fleet(device(gib=2), running(b), running(c))
    calls = asked(demand("a@v1", queued=1), demand("b@v1", last_us=NOW - 9 * S), demand("c@v1", last_us=NOW - S))
    made = plan(catalog(a, b, c), there, calls, NOW)
    assert ([], [running(b).id], ["a@v1"]) == (started(made), stopped(made), held(made))
    assert made.stops[0].reason.startswith("makes room: a@v1 needs 1.0 GiB on d1")


def test_a_replica_at_its_minimum_or_at_work_makes_no_room() -> None:
    """The hold names the need, what is free, and the fix."""
    a, b, c = spec("a@v1"), spec("b@v1", min_replicas=1), spec("c@v1")
    there = fleet(device(gib=2), running(b), running(c))
    calls = asked(demand("a@v1", queued=1), demand("b@v1"), demand("c@v1", in_flight=1))
    made = plan(catalog(a, b, c), there, calls, NOW)
    assert (started(made), stopped(made), held(made)) == ([], [], ["a@v1"])
    assert "needs 1.0 GiB and the most that is free on one device of a is 0 B of 2.0 GiB" in made.holds[0].reason


def test_one_for_each_comes_before_two_for_any() -> None:
    """A busy model's second replica drains for a model that nobody serves."""
    a, b = spec("a@v1"), spec("b@v1")
    there = fleet(device(gib=2), running(b), running(b, 2, launched_us=20 * S, ready_us=21 * S))
    made = plan(catalog(a, b), there, asked(demand("a@v1", queued=1), demand("b@v1", in_flight=4)), NOW)
    assert [running(b).id] == stopped(made)


def test_a_failed_replica_holds_its_model_for_a_minute() -> None:
    """Then it is cleared and tried again; a changed spec is tried at once."""
    model = spec()
    failed = running(model, phase="failed", reason="no such file", launched_us=NOW - 59 * S)
    made = plan(catalog(model), fleet(device(), failed), asked(demand(queued=1)), NOW)
    assert (started(made), stopped(made), held(made)) == ([], [], ["m@v1"])
    assert "no such file; tried again in 1.00 s" in made.holds[0].reason
    made = plan(catalog(model), fleet(device(), failed), asked(demand(queued=1)), NOW + S)
    assert ([f"m-v1-{model.digest[:6]}-2"], [failed.id]) == (started(made), stopped(made))
    changed = spec(source="file:///other")
    made = plan(catalog(changed), fleet(device(), failed), asked(demand(queued=1)), NOW)
    assert ([f"m-v1-{changed.digest[:6]}-1"], [failed.id]) == (started(made), stopped(made))


def test_names_hold_letters_digits_dots_and_dashes() -> None:
    """Anything else becomes a dash; the smallest free number is taken."""
    model = spec("Big Model/7B@v1.0")
    stem = f"big-model-7b-v1.0-{model.digest[:6]}"
    assert f"{stem}-2" == replica_id(model, {f"{stem}-1", f"{stem}-3"})


def test_the_fullest_device_that_fits_is_taken() -> None:
    """Pools in order of preference; within a pool large holes stay large."""
    model = spec(pools=("b", "a"), memory_bytes=2 * GIB, min_replicas=1)
    there = fleet(device("small", 3), device("big", 8, "b"), device("near", 2, "b"), device("tiny", 1, "b"))
    assert [start.device for start in plan(catalog(model), there, {}, NOW).starts] == ["near"]


def test_replicas_of_one_model_are_spread_over_machines_and_then_devices() -> None:
    """Four replicas on two machines of two devices stand on four devices; one machine that dies takes two of them."""
    model = spec(scaling=Scaling(min_replicas=4, max_replicas=4), memory_bytes=GIB)
    places = [msgspec.structs.replace(device(f"d{n}"), node=f"n{n % 2}") for n in range(4)]
    made = plan(catalog(model), fleet(*places), {}, NOW)
    assert sorted((start.node, start.device) for start in made.starts) == sorted((p.node, p.device) for p in places)
    assert [start.node for start in made.starts] == ["n0", "n1", "n0", "n1"]


def test_different_models_still_share_a_device_so_that_large_holes_stay_large() -> None:
    models = [spec(f"{name}@v1", scaling=Scaling(min_replicas=1), memory_bytes=GIB) for name in "abc"]
    made = plan(catalog(*models), fleet(device("d1"), device("d2")), {}, NOW)
    assert len({start.device for start in made.starts}) == 1


# --- homes ------------------------------------------------------------------------------------------------------


def housed(*pools: str) -> Learned:
    """The pools of `m@v1`, the chosen one first; a replica elsewhere does half as much."""
    able = {pool: 1.0 if pool == pools[0] else 0.5 for pool in pools}
    return Learned(homes={"m@v1": Home(pools, able, "on a at $1; b $2")})


def test_a_model_that_moves_has_its_successors_ready_before_anybody_goes() -> None:
    """Two on b do what one on a does: one starts on a, both stay; when it is ready both are drained."""
    model = spec(pools=("a", "b"), min_replicas=1, idle_to_zero_us=None)
    devices = (device("d1"), device("d2", pool="b"))
    old = [running(model, number, pool="b", device="d2") for number in (1, 2)]
    now = catalog(model)
    first = plan(now, fleet(*devices, *old), asked(demand(in_flight=1)), NOW, learned=housed("a", "b"))
    assert [(start.pool, start.reason.endswith("; on a at $1; b $2")) for start in first.starts] == [("a", True)]
    assert not first.stops
    starting = running(model, 3, phase="starting", ready_us=0)
    there = fleet(*devices, *old, starting)
    assert plan(now, there, asked(demand(in_flight=1)), NOW, learned=housed("a", "b")) == Plan()
    there = fleet(*devices, *old, running(model, 3))
    last = plan(now, there, asked(demand(in_flight=1)), NOW, learned=housed("a", "b"))
    assert sorted(stopped(last)) == sorted(replica.id for replica in old)
    assert all(stop.drain_us == model.scaling.drain_us for stop in last.stops)


def test_what_the_chosen_pool_has_no_room_for_stands_on_the_next() -> None:
    """Three wanted, one fits on a: the work of two takes four on b, of which three fit."""
    model = spec(pools=("a", "b"), max_replicas=8)
    devices = (device("d1", gib=1), device("d2", gib=3, pool="b"))
    made = plan(catalog(model), fleet(*devices), asked(demand(queued=4)), NOW, learned=housed("a", "b"))
    assert sorted(start.pool for start in made.starts) == ["a", "b", "b", "b"]
    assert held(made) == ["m@v1"]
