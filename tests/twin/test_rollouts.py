"""Rollouts in virtual time: what a version does is what becomes of it, nobody is cut by it, and the same by the same seed."""

import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy.rollout import SAMPLES
from headrace.specs.load import load_text
from headrace.twin.deployment import parse
from headrace.twin.outcome import Outcome, outcome
from headrace.twin.world import FAILED, REFUSED, SERVED, World
from tests.twin.clouds import cloud, made, steady
from tests.twin.test_deployment import TWO

S = 1_000_000


def ran(said: str, *, rate: float = 2, seconds: float = 1800, count: int = 8, **options: Any) -> tuple[World, Outcome]:
    trace = steady(rate, seconds, seed=options.pop("trace_seed", 1))
    world = World(made(trace, cloud(count, 1), boot_us=30 * S, deployments=(parse(said),), **options))
    world.run()
    return world, outcome(world, "x")


def shares(found: Outcome) -> list[int]:
    return [step.share for step in found.rollouts[0].steps]


def test_a_good_version_takes_every_step_and_is_promoted() -> None:
    """Warming until its replica has booted, fifty requests at each share, and nobody failed or refused by it."""
    world, found = ran("big@v2,at=5m")
    (one,) = found.rollouts
    assert shares(found) == [0, 5, 25, 50, 100, 100]
    assert one.phase == "promoted"
    assert one.steps[1].at_us == one.began_us + 30 * S == 330 * S
    assert "requests at 100 %, errors 0 of" in one.verdict
    assert all(step.reason in why for step, (_, what, _, why) in zip(
        one.steps, [entry for entry in world.log if entry[1].startswith("rollout.")], strict=True))  # fmt: skip
    assert set(world.fate) == {SERVED}
    old, new = one.versions
    assert new.requests >= 4 * SAMPLES
    assert new.ttft.p50_us == pytest.approx(old.ttft.p50_us, rel=0.2)
    v1, v2 = found.models
    assert v1.requests + v2.requests == found.requests
    assert v1.cost_nanousd + v2.cost_nanousd == found.cost_nanousd
    after = [at for at, by in enumerate(world.by) if world.scenario.trace.arrival_us[at] > one.ended_us]
    assert {world.by[at] for at in after} == {world.numbers["v2"]}


@pytest.mark.parametrize(
    ("said", "why", "requests"),
    [("errors=40%", "more errors", 20), ("speed=0.3", "dear tokens", 10), ("errors=100%", "more errors", 8)],
)
def test_a_worse_version_goes_back_early_and_says_why(said: str, why: str, requests: int) -> None:
    world, found = ran(f"big@v2,at=10m,{said}")
    (one,) = found.rollouts
    assert one.phase == "rolled_back"
    assert why in one.verdict
    assert shares(found) == [0, 5, 0]
    assert one.versions[1].requests < requests
    failed = {at for at, fate in enumerate(world.fate) if fate == FAILED}
    assert all(world.by[at] == world.numbers["v2"] and world.scenario.broken["v2"][at] for at in failed)
    assert sum(model.failed for model in found.models) == len(failed) == one.versions[1].failed
    assert not any(fate == REFUSED for fate in world.fate)


def test_a_worse_one_goes_back_sooner_the_worse_it_is() -> None:
    ends = [ran(f"big@v2,at=5m,errors={percent}%")[1].rollouts[0].versions[1].requests for percent in (15, 40, 100)]
    assert ends == sorted(ends, reverse=True)


def test_too_few_requests_decide_nothing() -> None:
    """Some fail, and the trace is over before it is known that they do so oftener."""
    _, found = ran("big@v2,at=5m,errors=20%", rate=0.5, seconds=900)
    (one,) = found.rollouts
    assert 0 < one.versions[1].failed < one.versions[1].requests < 20
    assert (one.phase, one.ended_us) == ("canary", 0)
    assert one.verdict.startswith("not decided when the run was over: ")


def test_longer_answers_of_the_same_pace_are_not_dearer_by_the_token() -> None:
    """They cost more by the request, and have more tokens."""
    (plain,), (longer,) = (ran(f"big@v2,at=5m,output={factor}")[1].rollouts for factor in (1, 1.3))
    assert longer.phase == "promoted"
    each = [one.versions[1].tokens / one.versions[1].served for one in (plain, longer)]
    assert each[1] / each[0] == pytest.approx(1.3, rel=0.02)


@pytest.mark.parametrize("count", [12, 5])
def test_where_much_is_asked_a_good_version_is_promoted_and_nobody_is_late_by_it(count: int) -> None:
    """Four replicas of twelve devices, and of five: no step outruns its replicas, none is dropped with the promotion."""
    _, found = ran("big@v2,at=10m", rate=25, seconds=1500, count=count, warm={"big@v1": 4})
    _, without = ran("big@v2,at=24m", rate=25, seconds=1500, count=count, warm={"big@v1": 4})
    assert found.rollouts[0].phase == "promoted"
    assert all(model.failed == model.refused == 0 for model in found.models)
    new = found.models[1]
    assert new.requests > 8_000
    assert new.ttft.kept_ppm >= 995_000
    assert found.cost_nanousd < 1.25 * without.cost_nanousd


def test_an_operator_takes_the_steps_of_a_manual_one() -> None:
    _, found = ran("big@v2,at=5m,manual,first=20")
    assert shares(found) == [0, 20]
    assert "waits for an operator" in found.rollouts[0].verdict
    assert found.rollouts[0].versions[1].requests == pytest.approx(0.2 * found.requests * 24.5 / 30, rel=0.15)


def test_the_canary_is_who_a_gateway_would_choose() -> None:
    """By the weights of the table and a hash of the request, as everywhere."""
    world, found = ran("big@v2,at=5m,manual,first=20")
    since_us = found.rollouts[0].steps[1].at_us
    came = [at for at in range(len(world.by)) if world.scenario.trace.arrival_us[at] > since_us]
    chosen = [zlib.crc32(str(at).encode()) % 100 >= 80 for at in came]
    assert [world.by[at] == world.numbers["v2"] for at in came] == chosen


@pytest.mark.parametrize(
    ("said", "ends"), [("", "promoted"), (",errors=60%", "rolled_back"), (",speed=0.3", "rolled_back")]
)
def test_without_a_spare_device_it_takes_the_only_place_and_nobody_is_cut(said: str, ends: str) -> None:
    """What runs there ends there, what comes is held until it is ready, and the one before comes back by itself."""
    world, found = ran(f"big@v2,at=10m{said}", count=1)
    (one,) = found.rollouts
    assert one.phase == ends
    assert "no spare device" in one.steps[1].reason
    assert [step.share for step in one.steps] == [0, 100, 100 if ends == "promoted" else 0]
    failed = {at for at, fate in enumerate(world.fate) if fate == FAILED}
    assert all(world.scenario.broken["v2"][at] for at in failed)
    assert not any(fate == REFUSED for fate in world.fate)
    assert not any(what == "died" for _, what, _, _ in world.log)
    assert max(have for _, _, have, _ in world.counts) == 1
    served = {lease.version for lease, _ in world.fleet.ended if lease.started_us > one.ended_us}
    assert served == (set() if ends == "promoted" else {"v1"})


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(["", ",errors=5%", ",speed=0.5", ",output=2", ",first=100", ",boot=200s", ",manual", ",shadow=50"]),
    st.integers(0, 3),
    st.sampled_from([1, 2, 6]),
)
def test_whatever_is_rolled_out_books_add_up_and_the_same_seed_gives_the_same(said: str, seed: int, count: int) -> None:
    """Only what a version itself fails has failed; steps follow each other; every request is of one version."""
    (world, first), (_, again) = (ran(f"big@v2,at=3m{said}", seconds=900, count=count, seed=seed) for _ in range(2))
    assert first == again
    (one,) = first.rollouts
    assert [step.at_us for step in one.steps] == sorted(step.at_us for step in one.steps)
    assert sum(model.requests for model in first.models) == first.requests
    assert sum(model.failed for model in first.models) == sum(
        world.scenario.broken["v2"][at] and by == world.numbers["v2"] for at, by in enumerate(world.by)
    )
    assert first.cost_nanousd == sum(world.fleet.cost_nanousd(lease) for lease, _ in world.fleet.ended)
    for model in first.models:
        assert model.served + model.failed + model.refused == model.requests
        assert sum(tenant.cost_nanousd for tenant in model.tenants) in (0, model.causes_nanousd["work"])


def test_without_a_rollout_a_version_of_no_weight_sleeps_and_costs_nothing() -> None:
    world = World(made(steady(2, 300), load_text(TWO), boot_us=30 * S))
    world.run()
    one, two = outcome(world, "x").models
    assert (two.requests, two.cost_nanousd, two.starts) == (0, 0, 0)
    assert one.requests == len(world.scenario.trace)
