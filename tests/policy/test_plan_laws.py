"""Properties of the slow brain on thousands of fleets."""

from collections.abc import Mapping

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy.actions import Plan
from headrace.policy.plan import plan
from headrace.specs.catalog import Catalog, EngineSpec, ModelSpec, Sleep
from headrace.state.demand import Demand
from headrace.state.fleet import LIVE, Fleet, Replica
from tests.policy.cloud import GIB, S, asked, catalog, demand, device, fleet, running, spec

NOW = 1000 * S
KEYS = ("a@v1", "b@v1", "c@v1")
MOMENTS = st.sampled_from([1 * S, NOW - 200 * S, NOW - 30 * S, NOW])
WORKING = ("pending", "starting", "waking", "ready", "lost")
PHASES = (*WORKING, "ready", "ready", "draining", "failed", "dozing", "asleep", "asleep")
Case = tuple[Catalog, Fleet, Mapping[str, Demand]]


@st.composite
def model(draw: st.DrawFn, key: str) -> ModelSpec:
    least = draw(st.integers(0, 2))
    rest = draw(st.sampled_from([None, None, Sleep(kept_bytes=GIB // 4), Sleep(kept_bytes=GIB // 2, host_bytes=GIB)]))
    return spec(
        key,
        memory_bytes=draw(st.integers(1, 4)) * GIB,
        engine=EngineSpec(kind="llama_cpp", slots=2, sleep=rest),
        idle_to_sleep_us=draw(st.sampled_from([None, 20 * S, 100 * S])),
        sleep_auto=draw(st.booleans()),
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
    doomed = draw(st.sampled_from([(0, 0), (0, 0), (0, NOW + 120 * S), (NOW + 20 * S, 0), (NOW, NOW)]))
    ram = draw(st.integers(0, 2)) * GIB
    devices = [device("d1", draw(st.integers(1, 8))), device("d2", draw(st.integers(1, 8)), "b")]
    devices = [
        msgspec.structs.replace(found, doomed_us=at_us, host_bytes=ram)
        for found, at_us in zip(devices, doomed, strict=True)
    ]
    free = {found.device: found.memory_bytes for found in devices}
    left = {found.device: ram for found in devices}
    replicas: list[Replica] = []
    for number in range(draw(st.integers(0, 7))):
        base = draw(model(draw(st.sampled_from(KEYS))))
        same = next(found for found in models if found.key == base.key)
        of = draw(st.sampled_from([same, same, base]))
        home = draw(st.sampled_from(devices))
        phase = draw(st.sampled_from(PHASES))
        rest = of.engine.sleep
        if phase in ("dozing", "asleep", "waking"):
            if rest is None or left[home.device] < rest.host_bytes:
                continue
            left[home.device] -= rest.host_bytes
        held = rest.kept_bytes if rest is not None and phase == "asleep" else of.memory_bytes
        if free[home.device] < held:
            continue
        free[home.device] -= held if phase in LIVE else 0
        ready_us = 0 if phase in ("pending", "starting", "waking") else draw(MOMENTS)
        place = {"device": home.device, "pool": home.pool, "phase": phase, **kept(of)}
        replicas.append(running(of, number + 1, launched_us=draw(MOMENTS), ready_us=ready_us, **place))
    calls = [
        demand(key, in_flight=draw(st.integers(0, 9)), queued=draw(st.integers(0, 9)), last_us=draw(MOMENTS))
        if draw(st.booleans())
        else demand(key, last_us=draw(MOMENTS))
        for key in KEYS
        if draw(st.integers(0, 5))
    ]
    return catalog(*models), fleet(*devices, *replicas), asked(*calls)


def kept(of: ModelSpec) -> dict[str, int]:
    """What a replica keeps asleep."""
    rest = of.engine.sleep
    return {"kept_bytes": rest.kept_bytes, "host_bytes": rest.host_bytes} if rest else {}


def applied(wanted: Catalog, so: Fleet, made: Plan, *, drained: bool) -> Fleet:
    """The fleet after a plan: starts pending, stops draining or (drained) gone, sleepers dozing or (drained) asleep."""
    stopped, slept = {stop.replica for stop in made.stops}, {one.replica for one in made.sleeps}
    woken = {one.replica for one in made.wakes}
    replicas = []
    for replica in so.replicas:
        if replica.id in slept or (drained and replica.phase == "dozing"):
            replicas.append(msgspec.structs.replace(replica, phase="asleep" if drained else "dozing", launched_us=NOW))
        elif replica.id in woken:
            replicas.append(msgspec.structs.replace(replica, phase="waking", launched_us=NOW, ready_us=0))
        elif replica.id not in stopped:
            replicas.append(replica)
        elif not drained and replica.phase != "failed":
            replicas.append(replica.going())
    for start in made.starts:
        found = wanted.model(f"{start.model}@{start.version}")
        assert found is not None
        place = {"id": start.replica, "device": start.device, "pool": start.pool, "phase": "pending", **kept(found)}
        replicas.append(running(found, launched_us=NOW, ready_us=0, **place))
    return fleet(*so.devices, *replicas)


@given(case())
@settings(max_examples=150, deadline=None)
def test_a_plan_carried_out_is_empty_when_made_again(given_case: Case) -> None:
    """But for its holds, which are words."""
    wanted, so, calls = given_case
    made = plan(wanted, so, calls, NOW)
    again = plan(wanted, applied(wanted, so, made, drained=False), calls, NOW)
    assert (again.starts, again.stops, again.sleeps, again.wakes) == ((), (), (), ())


@given(case())
@settings(max_examples=150, deadline=None)
def test_never_more_than_fits_never_above_max_never_below_min(given_case: Case) -> None:
    """Round after round with all drains done at once, until nothing is left to do; and it comes to rest. Who will lose
    its device stays until there is another in its place, and is not counted.
    """
    wanted, so, calls = given_case
    staying = {one.device for one in so.devices if not one.doomed_us}
    for _ in range(20):
        made = plan(wanted, so, calls, NOW)
        working = {found.key: _working(so, found) for found in wanted.models}
        after = applied(wanted, so, made, drained=False)
        for where in after.devices:
            assert after.free_bytes(where.node, where.device) >= 0
            assert not any(start.device == where.device for start in made.starts) or not where.doomed_us
            rests = [one for one in after.replicas if one.device == where.device and one.rests]
            assert sum(one.host_bytes for one in rests) <= where.host_bytes
        for found in wanted.models:
            current = [r for r in _working(after, found) if r.digest == found.digest and r.pool in found.pools]
            current = [r for r in current if r.device in staying]
            assert len(current) <= found.scaling.max_replicas or not _starts(made, found)
            fell = len(working[found.key]) - len(_working(after, found))
            doomed = any(where.doomed_us for where in so.devices)
            assert (
                doomed
                or fell <= 0
                or len(_working(after, found)) >= found.scaling.min_replicas
                or _replaced(made, found)
            )
        so = applied(wanted, so, made, drained=True)
        if made.quiet:
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
    assert (set(first.sleeps), set(first.wakes)) == (set(second.sleeps), set(second.wakes))


def _working(so: Fleet, found: ModelSpec) -> list[Replica]:
    return [r for r in so.replicas if r.key == found.key and r.phase in WORKING]


def _starts(made: Plan, found: ModelSpec) -> bool:
    return any(start.model == found.name for start in made.starts)


def _replaced(made: Plan, found: ModelSpec) -> bool:
    """Below its minimum for a while, because a changed model had no room for both."""
    return any(hold.model == found.key for hold in made.holds)
