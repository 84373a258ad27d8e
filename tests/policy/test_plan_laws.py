"""Properties of the slow brain on thousands of fleets."""

from collections.abc import Mapping

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy.actions import Plan
from headrace.policy.plan import plan
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.demand import Demand
from headrace.state.fleet import LIVE, Fleet, Replica
from tests.policy.cloud import GIB, S, asked, catalog, demand, device, fleet, running, spec

NOW = 1000 * S
KEYS = ("a@v1", "b@v1", "c@v1")
MOMENTS = st.sampled_from([1 * S, NOW - 200 * S, NOW - 30 * S, NOW])
Case = tuple[Catalog, Fleet, Mapping[str, Demand]]


@st.composite
def model(draw: st.DrawFn, key: str) -> ModelSpec:
    least = draw(st.integers(0, 2))
    return spec(
        key,
        memory_bytes=draw(st.integers(1, 4)) * GIB,
        pools=draw(st.sampled_from([("a",), ("b",), ("a", "b")])),
        source=draw(st.sampled_from(["file:///old", "file:///new"])),
        min_replicas=least,
        max_replicas=draw(st.integers(max(1, least), 3)),
        idle_to_zero_us=draw(st.sampled_from([None, 60 * S, 300 * S])),
    )


@st.composite
def case(draw: st.DrawFn) -> Case:
    """A catalog, devices, replicas that fit on them (old and new specs, all phases), and demand."""
    models = [draw(model(key)) for key in KEYS]
    devices = [device("d1", draw(st.integers(1, 8))), device("d2", draw(st.integers(1, 8)), "b")]
    free = {found.device: found.memory_bytes for found in devices}
    replicas: list[Replica] = []
    for number in range(draw(st.integers(0, 7))):
        base = draw(model(draw(st.sampled_from(KEYS))))
        same = next(found for found in models if found.key == base.key)
        of = draw(st.sampled_from([same, same, base]))
        home = draw(st.sampled_from(devices))
        phase = draw(st.sampled_from(["pending", "starting", "ready", "ready", "ready", "draining", "lost", "failed"]))
        if free[home.device] < of.memory_bytes:
            continue
        free[home.device] -= of.memory_bytes if phase in LIVE else 0
        ready_us = 0 if phase in ("pending", "starting") else draw(MOMENTS)
        place = {"device": home.device, "pool": home.pool, "phase": phase}
        replicas.append(running(of, number + 1, launched_us=draw(MOMENTS), ready_us=ready_us, **place))
    calls = [
        demand(key, in_flight=draw(st.integers(0, 9)), queued=draw(st.integers(0, 9)), last_us=draw(MOMENTS))
        if draw(st.booleans())
        else demand(key, last_us=draw(MOMENTS))
        for key in KEYS
        if draw(st.integers(0, 5))
    ]
    return catalog(*models), fleet(*devices, *replicas), asked(*calls)


def applied(wanted: Catalog, so: Fleet, made: Plan, *, drained: bool) -> Fleet:
    """The fleet after a plan: starts pending, stops draining or (drained) gone."""
    stopped = {stop.replica for stop in made.stops}
    replicas = []
    for replica in so.replicas:
        if replica.id not in stopped:
            replicas.append(replica)
        elif not drained and replica.phase != "failed":
            replicas.append(msgspec.structs.replace(replica, phase="draining"))
    for start in made.starts:
        found = wanted.model(f"{start.model}@{start.version}")
        assert found is not None
        place = {"id": start.replica, "device": start.device, "pool": start.pool, "phase": "pending"}
        replicas.append(running(found, launched_us=NOW, ready_us=0, **place))
    return fleet(*so.devices, *replicas)


@given(case())
@settings(max_examples=150, deadline=None)
def test_a_plan_carried_out_is_empty_when_made_again(given_case: Case) -> None:
    """But for its holds, which are words."""
    wanted, so, calls = given_case
    made = plan(wanted, so, calls, NOW)
    again = plan(wanted, applied(wanted, so, made, drained=False), calls, NOW)
    assert (again.starts, again.stops) == ((), ())


@given(case())
@settings(max_examples=150, deadline=None)
def test_never_more_than_fits_never_above_max_never_below_min(given_case: Case) -> None:
    """Round after round with all drains done at once, until nothing is left to do; and it comes to rest."""
    wanted, so, calls = given_case
    for _ in range(20):
        made = plan(wanted, so, calls, NOW)
        working = {found.key: _working(so, found) for found in wanted.models}
        after = applied(wanted, so, made, drained=False)
        for where in after.devices:
            assert after.free_bytes(where.node, where.device) >= 0
        for found in wanted.models:
            current = [r for r in _working(after, found) if r.digest == found.digest and r.pool in found.pools]
            assert len(current) <= found.scaling.max_replicas or not _starts(made, found)
            fell = len(working[found.key]) - len(_working(after, found))
            assert fell <= 0 or len(_working(after, found)) >= found.scaling.min_replicas or _replaced(made, found)
        so = applied(wanted, so, made, drained=True)
        if not made.starts and not made.stops:
            break
    else:
        raise AssertionError(f"no rest: {made}")
    for found in wanted.models:
        lacks = len(_working(so, found)) < found.scaling.min_replicas
        assert not lacks or found.key in {hold.model for hold in made.holds}


@given(case())
@settings(max_examples=80, deadline=None)
def test_the_same_state_gives_the_same_plan(given_case: Case) -> None:
    """Also when replicas and devices are told in another order."""
    wanted, so, calls = given_case
    turned = fleet(*reversed(so.devices), *reversed(so.replicas))
    first, second = plan(wanted, so, calls, NOW), plan(wanted, turned, calls, NOW)
    assert set(first.stops) == set(second.stops)
    assert first.starts == second.starts


def _working(so: Fleet, found: ModelSpec) -> list[Replica]:
    return [r for r in so.replicas if r.key == found.key and r.phase in ("pending", "starting", "ready", "lost")]


def _starts(made: Plan, found: ModelSpec) -> bool:
    return any(start.model == found.name for start in made.starts)


def _replaced(made: Plan, found: ModelSpec) -> bool:
    """Below its minimum for a while, because a changed model had no room for both."""
    return any(hold.model == found.key for hold in made.holds)
