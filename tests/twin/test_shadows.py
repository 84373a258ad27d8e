"""Shadows in virtual time: whom a gateway would copy is copied, nobody is answered or delayed by it, and it costs."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy import shadowing
from headrace.twin.deployment import parse
from headrace.twin.outcome import Outcome, outcome
from headrace.twin.rolled import Copied
from headrace.twin.shadows import ANSWERED, FAILED
from headrace.twin.world import SERVED, World
from tests.twin.clouds import cloud, made, steady

S = 1_000_000


def ran(
    said: str = "", *, rate: float = 4, seconds: float = 900, count: int = 8, **options: Any
) -> tuple[World, Outcome]:
    deployments = (parse(said),) if said else ()
    trace = steady(rate, seconds, seed=options.pop("trace_seed", 1))
    options = {"boot_us": 30 * S, "warm": {"big@v1": 1}, **options}
    world = World(made(trace, cloud(count, 1), deployments=deployments, **options))
    world.run()
    return world, outcome(world, "x")


def copied(found: Outcome) -> Copied:
    one = found.rollouts[0].copied
    assert one is not None
    return one


def test_who_is_copied_is_whom_a_gateway_would_copy() -> None:
    """From when a replica of the version is ready, by the same hash of the request, to that version alone."""
    world, found = ran("big@v2,at=5m,shadow=20%")
    (one,) = found.rollouts
    assert [(step.phase, step.share) for step in one.steps] == [("warming", 0), ("shadow", 0)]
    since_us, arrived = one.steps[1].at_us, world.scenario.trace.arrival_us
    assert since_us == 330 * S
    turns = [at for at in range(len(arrived)) if arrived[at] > since_us and shadowing.its_turn(str(at), 20)]
    assert [copy.at for copy in world.shadows.made.values()] == turns
    assert copied(found).made == len(turns) > 100
    assert copied(found).left_out == {}
    assert copied(found).answered == copied(found).pairs == len(turns)
    assert one.verdict.startswith(f"{len(turns)} requests were copied to it, and nobody was answered by it")


def test_nobody_is_answered_or_delayed_by_it() -> None:
    """Every request is what it is without the shadow, to the microsecond; what the version did is no answer."""
    (world, found), (without, plain) = ran("big@v2,at=5m,shadow=100%,output=2"), ran()
    assert world.first_us == without.first_us
    assert world.end_us == without.end_us
    assert set(world.by) == {world.numbers["v1"]}
    v1, v2 = found.models
    assert (v2.requests, v2.served, v2.refused, v2.failed, v2.output_tokens) == (0, 0, 0, 0, 0)
    assert v1.requests == found.requests == plain.requests
    assert v1.cost_nanousd == plain.cost_nanousd


def test_it_costs_what_its_replicas_cost() -> None:
    """Which start for it, and are there to the end; of their time at work the copies bear what they took."""
    world, found = ran("big@v2,at=5m,shadow=50")
    v1, v2 = found.models
    assert copied(found).cost_nanousd == v2.cost_nanousd > 0
    assert found.cost_nanousd == v1.cost_nanousd + v2.cost_nanousd
    assert v2.cost_nanousd == pytest.approx(3.5e9 * 600 / 3600, rel=0.05)
    (lease,) = [one for one in world.fleet.ended if one[0].version == "v2"]
    assert sum(copy.share_us for copy in world.shadows.made.values()) == pytest.approx(lease[1], rel=0.001)


def test_it_is_compared_with_the_originals_of_its_copies() -> None:
    """Half as fast, and answers a third longer: so says the comparison of the same requests."""
    (_, same), (_, slow) = ran("big@v2,at=2m,shadow=100%"), ran("big@v2,at=2m,shadow=100%,speed=0.5,output=1.3")
    alike, found = copied(same), copied(slow)
    assert alike.pace.tpot.p50_us == pytest.approx(alike.original.tpot.p50_us, rel=0.05)
    assert alike.pace.ttft.p50_us == pytest.approx(alike.original.ttft.p50_us, rel=0.2)
    assert alike.pace.tokens == alike.original.tokens
    assert found.pairs == found.answered > 1_000
    assert found.pace.tokens / found.original.tokens == pytest.approx(1.3, rel=0.01)
    assert found.pace.tpot.p50_us > 1.5 * found.original.tpot.p50_us
    assert found.pace.ttft.p50_us > 1.5 * found.original.ttft.p50_us


def test_at_most_so_many_are_under_way_and_the_others_are_left_out() -> None:
    world, found = ran("big@v2,at=2m,shadow=100%,speed=0.05")
    copies = world.shadows.made.values()
    moments = sorted([(copy.asked_us, 1) for copy in copies] + [(copy.end_us, -1) for copy in copies if copy.end_us])
    under_way, most = 0, 0
    for _, change in moments:
        under_way += change
        most = max(most, under_way)
    assert most == shadowing.AT_ONCE_MAX
    one = copied(found)
    assert set(one.left_out) == {shadowing.FULL}
    since_us = found.rollouts[0].steps[1].at_us
    came = int((world.scenario.trace.arrival_us > since_us).sum())
    assert one.made + one.left_out[shadowing.FULL] == came
    assert set(world.fate) == {SERVED}


def test_one_that_only_fails_is_told_and_nothing_goes_back() -> None:
    world, found = ran("big@v2,at=2m,shadow=100%,errors=100%")
    (one,) = found.rollouts
    assert (one.phase, one.ended_us) == ("shadow", 0)
    assert copied(found).failed == copied(found).made
    assert (copied(found).pairs, one.versions[1].failed, one.versions[1].served) == (0, copied(found).made, 0)
    assert {copy.fate for copy in world.shadows.made.values()} == {FAILED}
    assert set(world.fate) == {SERVED}


def test_without_a_device_for_it_nothing_is_copied_and_nobody_gives_way() -> None:
    world, found = ran("big@v2,at=2m,shadow=100%", count=1)
    assert (copied(found).made, copied(found).cost_nanousd) == (0, 0)
    assert found.rollouts[0].phase == "warming" or found.rollouts[0].phase == "rolled_back"
    assert set(world.fate) == {SERVED}
    assert {lease.version for lease, _ in world.fleet.ended} == {"v1"}


@settings(max_examples=6, deadline=None)
@given(
    st.sampled_from([5, 50, 100]),
    st.sampled_from(["", ",errors=20%", ",speed=0.3", ",output=2"]),
    st.sampled_from([0.0, 0.05]),
    st.integers(0, 3),
)
def test_whatever_fails_copies_are_accounted_for_and_the_same_seed_gives_the_same(
    percent: int, said: str, mtbf_hours: float, seed: int
) -> None:
    """Replicas that die every few minutes included: each copy has one end, and who asked is somebody else."""
    (world, first), (_, again) = (
        ran(f"big@v2,at=1m,shadow={percent}{said}", seconds=600, mtbf_hours=mtbf_hours, seed=seed) for _ in range(2)
    )
    assert first == again
    one = copied(first)
    assert one.made == one.answered + one.failed + one.under_way == len(world.shadows.made)
    for copy in world.shadows.made.values():
        assert copy.fate != ANSWERED or copy.asked_us < copy.first_us <= copy.end_us
    assert sum(model.requests for model in first.models) == first.requests
    assert first.models[1].requests == 0
    assert first.cost_nanousd == sum(world.fleet.cost_nanousd(lease) for lease, _ in world.fleet.ended)
