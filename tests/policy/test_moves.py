"""Idle replicas move together so that what is free lies on one device: drained, and once for who waits."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy.actions import Plan
from headrace.policy.plan import plan
from headrace.policy.planning import Learned
from headrace.specs.catalog import Catalog, PoolSpec
from headrace.state.fleet import Fleet
from tests.policy.cloud import GIB, S, asked, catalog, demand, device, fleet, running, spec
from tests.policy.test_plan_laws import applied

NOW = 1000 * S
A, B = (spec(f"{name}@v1", memory_bytes=2 * GIB, min_replicas=1) for name in "ab")
C = spec("c@v1", memory_bytes=4 * GIB)
PRICED = PoolSpec(name="a", accelerator="x", count=2, memory_bytes=4 * GIB, price_nanousd_per_hour=3_600_000_000)


def split_up(**changed: object) -> Fleet:
    """Half of each of two devices is free."""
    return fleet(device("d1"), device("d2"), running(A, device="d1"), running(B, **{"device": "d2", **changed}))


def wants(**changed: int) -> dict:
    return asked(demand("a@v1", last_us=S), demand("b@v1", last_us=S, **changed), demand("c@v1", queued=1))


def test_one_moves_to_the_other_and_who_waits_gets_the_device() -> None:
    """Stop and start in one plan; the reason says for whom, how long its start takes and what that costs."""
    wanted = msgspec.structs.replace(catalog(A, B, C), pools=(PRICED,))
    made = plan(wanted, split_up(), wants(), NOW, learned=Learned({"a@v1": 12 * S}))
    assert [stop.replica for stop in made.stops] == [running(A).id]
    assert [(start.model, start.device) for start in made.starts] == [("a", "d2")]
    assert made.stops[0].drain_us == A.scaling.drain_us
    told = "moves from d1 to d2, so that c@v1 (4.0 GiB) fits: its start takes 12.00 s and costs $0.006000 of its device"
    assert made.starts[0].reason == told
    assert [hold.model for hold in made.holds] == ["c@v1"]
    assert made.holds[0].reason == "waits for 4.0 GiB on d1, which is being freed"
    after = applied(wanted, split_up(), made, drained=True)
    assert [(start.model, start.device) for start in plan(wanted, after, wants(), NOW + S).starts] == [("c", "d1")]


def test_who_is_at_work_or_has_just_come_stays() -> None:
    """Then the other moves; with both so, nobody does."""
    made = plan(catalog(A, B, C), split_up(), wants(in_flight=1), NOW)
    assert [start.model for start in made.starts] == ["a"]
    young = fleet(
        device("d1"), device("d2"), running(A, device="d1", ready_us=NOW - S), running(B, device="d2", ready_us=NOW - S)
    )
    assert not plan(catalog(A, B, C), young, wants(), NOW).starts


def test_nobody_moves_where_it_would_not_be_enough_or_somebody_may_sleep_instead() -> None:
    big = spec("c@v1", memory_bytes=5 * GIB)
    assert not plan(catalog(A, B, big), split_up(), wants(), NOW).stops
    sleepy = spec("b@v1", memory_bytes=2 * GIB)
    there = fleet(device("d1"), device("d2"), running(A, device="d1"), running(sleepy, device="d2"))
    made = plan(catalog(A, sleepy, C), there, wants(), NOW)
    assert ([stop.replica for stop in made.stops], made.starts) == ([running(sleepy).id], ())


@st.composite
def scattered(draw: st.DrawFn) -> tuple[Catalog, Fleet, dict]:
    """Models of all sizes that never sleep, anywhere on a few devices, and some that are asked for and asleep."""
    places = [device(f"d{n}", draw(st.integers(4, 8))) for n in range(draw(st.integers(2, 4)))]
    free = {one.device: one.memory_bytes for one in places}
    models, replicas, calls = [], [], []
    for number in range(draw(st.integers(1, 6))):
        model = spec(f"m{number}@v1", memory_bytes=draw(st.integers(1, 4)) * GIB, min_replicas=1)
        home = draw(st.sampled_from(places)).device
        if free[home] >= model.memory_bytes:
            free[home] -= model.memory_bytes
            models.append(model)
            replicas.append(running(model, device=home))
            calls.append(demand(model.key, last_us=S, in_flight=draw(st.sampled_from([0, 0, 1]))))
    for number in range(draw(st.integers(1, 3))):
        model = spec(f"w{number}@v1", memory_bytes=draw(st.integers(2, 8)) * GIB, max_replicas=1)
        models.append(model)
        calls.append(demand(model.key, queued=1))
    return catalog(*models), fleet(*places, *replicas), asked(*calls)


@given(scattered())
@settings(max_examples=150, deadline=None)
def test_it_comes_to_rest_and_nobody_moves_twice_for_the_same(case: tuple[Catalog, Fleet, dict]) -> None:
    """Each plan carried out is empty when made again; no device is overfull; who never sleeps is always there or coming."""
    wanted, so, calls = case
    moved: list[tuple[str, str]] = []
    for turn in range(60):
        now_us = NOW + turn * 5 * S
        made = plan(wanted, so, calls, now_us)
        after = applied(wanted, so, made, drained=False)
        again = plan(wanted, after, calls, now_us)
        assert (again.starts, again.stops) == ((), ())
        assert all(after.free_bytes(one.node, one.device) >= 0 for one in after.devices)
        moved += _moved(made)
        so = applied(wanted, so, made, drained=True)
        ready = [
            msgspec.structs.replace(one, phase="ready", ready_us=now_us) if one.phase == "pending" else one
            for one in so.replicas
        ]
        so = fleet(*so.devices, *ready)
        for model in wanted.models:
            assert len(so.of(model.key)) >= model.scaling.min_replicas
    assert len(moved) == len(set(moved))
    assert not made.starts
    assert not made.stops


def _moved(made: Plan) -> list[tuple[str, str]]:
    """Who moves, and for whom."""
    moves = [start for start in made.starts if start.reason.startswith("moves from")]
    return [(move.model, move.reason.partition("so that ")[2].partition(" ")[0]) for move in moves]
