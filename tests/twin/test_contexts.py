"""The whole twin prices steps by the contexts that are there: early and late in a trace whose lengths drift."""

import numpy as np
import pytest

from headrace.twin.behaviour import Behaviour
from headrace.twin.trace import Trace, trace_of
from headrace.twin.world import SERVED, World
from tests.twin.clouds import cloud, made

S = 1_000_000
COUNT = 400


def sized(tokens_in: list[int], tokens_out: int = 100) -> Trace:
    """One request a second, none beside another on a replica of its own."""
    return trace_of(
        {
            "arrival_us": np.arange(COUNT) * 10 * S,
            "input_tokens": np.array(tokens_in),
            "output_tokens": np.full(COUNT, tokens_out),
        },
        span_us=COUNT * 10 * S,
    )


def paces_us(trace: Trace) -> tuple[World, np.ndarray]:
    """Time per output token of each request."""
    world = World(made(trace, cloud(1, 1), warm={"big@v1": 1}))
    world.run()
    assert set(world.fate) == {SERVED}
    first, end = np.array(world.first_us), np.array(world.end_us)
    return world, (end - first) / (np.array(world.scenario.trace.output_tokens) - 1)


def test_short_ones_are_quicker_than_long_ones_in_the_same_trace():
    """Each at its own pace, wherever the mean lies."""
    world, found = paces_us(sized([200] * (COUNT // 2) + [20_000] * (COUNT // 2)))
    speed = world.scenario.speeds["big@v1", "gpus"]
    assert found[0] == pytest.approx(speed.step_ns(1, 250) / 1000, rel=1e-3)
    assert found[-1] == pytest.approx(speed.step_ns(1, 20_050) / 1000, rel=1e-3)
    assert found[-1] > 1.05 * found[0]


def test_of_one_length_all_is_as_the_mean_has_it():
    world, found = paces_us(sized([900] * COUNT))
    step_us = world.scenario.speeds["big@v1", "gpus"].step_ns(1, 950) / 1000
    assert found == pytest.approx(np.full(COUNT, step_us), rel=1e-3)


def test_what_requests_cost_is_the_time_of_replicas():
    """Shared out once, none lost, though long ones pay more of it."""
    world, _ = paces_us(sized([200, 20_000] * (COUNT // 2)))
    assert sum(world.share_us) == pytest.approx(sum(busy for _, busy in world.fleet.ended), rel=1e-9)


def test_requests_wait_in_a_replica_whose_cache_is_full():
    """Twenty that take a third of it each: three are at work at once, though there are slots for 96."""
    trace = trace_of(
        {
            "arrival_us": np.arange(20) * S // 100,
            "input_tokens": np.full(20, 32_000),
            "output_tokens": np.full(20, 400),
        },
        span_us=1000 * S,
    )
    scenario = made(trace, cloud(1, 1), warm={"big@v1": 1})
    world = World(scenario)
    world.run()
    behaviour: Behaviour = scenario.behaviours["big@v1", "gpus"]
    assert behaviour.slots == 96
    most = behaviour.kv_tokens // 32_400
    first, end = np.array(world.first_us), np.array(world.end_us)
    at_once = [int(((first <= moment) & (end > moment)).sum()) for moment in first.tolist()]
    assert max(at_once) == most
