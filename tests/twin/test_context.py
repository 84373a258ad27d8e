"""Who asks for more than a model's context is refused as a cloud does, and answers end where it ends."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.specs.catalog import Catalog
from headrace.specs.load import load_text
from headrace.twin.deployment import parse
from headrace.twin.least import Leasts
from headrace.twin.mixes import mixed
from headrace.twin.outcome import Outcome, outcome
from headrace.twin.plans import work_of
from headrace.twin.scenario import Scenario
from headrace.twin.trace import Trace, trace_of
from headrace.twin.world import SERVED, TOO_LONG, World
from tests.twin.clouds import FILE, made, steady

S = 1_000_000
VLLM, LLAMA = "kind: vllm, slots: 96", "kind: llama_cpp, slots: 8"


def cloud(context: int, engine: str = VLLM, least: int = 0) -> Catalog:
    text = FILE.format(count=2, least=least).replace(
        "kind: vllm, slots: 96, context: 32768", f"{engine}, context: {context}"
    )
    assert f"context: {context}" in text
    return load_text(text)


def asked(*sizes: tuple[int, int]) -> Trace:
    """A request a second, of these tokens in and out."""
    into, out = zip(*sizes, strict=True)
    return trace_of(
        {"arrival_us": np.arange(len(sizes)) * S, "input_tokens": into, "output_tokens": out}, span_us=len(sizes) * S
    )


def ran(trace: Trace, catalog: Catalog, **options: Any) -> tuple[World, Outcome]:
    world = World(made(trace, catalog, **options))
    world.run()
    return world, outcome(world, "x")


def test_what_asks_for_more_than_the_context_is_refused_before_any_engine() -> None:
    """vLLM refuses prompt and answer together, at the last token that fits; nobody is started for it."""
    world, found = ran(asked((900, 100), (900, 101), (999, 1), (1000, 0), (1000, 1), (40_000, 5)), cloud(1000))
    assert list(world.fate) == [SERVED, TOO_LONG, SERVED, TOO_LONG, TOO_LONG, TOO_LONG]
    assert [world.by[at] == 0 for at in range(6)] == [False, True, False, True, True, True]
    (one,) = found.models
    assert (one.requests, one.served, one.refused, one.too_long, one.failed) == (6, 2, 4, 4, 0)
    assert one.context_tokens == 1000
    assert found.notes == (
        "4 of 6 requests of big have more tokens than its context of 1000 and are refused, as a cloud does "
        "(context_length_exceeded); raise models.big.engine.context, or leave them out.",
    )
    assert (
        one.ttft.kept_ppm == 1_000_000 * sum(us <= 2 * S for us in (world.first_us[0], world.first_us[2] - 2 * S)) // 2
    )  # of those who wait; it is no replica's fault that the others have nothing


def test_where_all_are_refused_nothing_is_started_and_nothing_paid() -> None:
    world, found = ran(asked((1000, 5), (2000, 5)), cloud(1000))
    assert set(world.fate) == {TOO_LONG}
    assert (found.cost_nanousd, found.models[0].starts, found.models[0].requests) == (0, 0, 2)
    assert work_of(world.scenario, world.scenario.catalog.models[0]).sum() == 0


def test_an_answer_ends_where_the_context_of_llama_cpp_does() -> None:
    """A prompt that leaves no room for a token is refused there, too."""
    world, found = ran(asked((900, 500), (999, 500), (1000, 500), (100, 50)), cloud(1000, LLAMA))
    assert list(world.fate) == [SERVED, SERVED, TOO_LONG, SERVED]
    assert found.models[0].output_tokens == 100 + 1 + 50
    assert found.notes == (
        "1 of 4 requests of big have more tokens than its context of 1000 and are refused, as a cloud does "
        "(context_length_exceeded); raise models.big.engine.context, or leave them out.",
        "2 of 4 answers of big end where its context of 1000 tokens ends, as in a cloud; raise "
        "models.big.engine.context, or leave them out.",
    )
    longer, _ = ran(asked((900, 500), (999, 500), (1000, 500), (100, 50)), cloud(2000, LLAMA))
    assert world.end_us[0] - world.first_us[0] < 0.3 * (longer.end_us[0] - longer.first_us[0])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=30),
    st.sampled_from([64, 1000, 2048]),
    st.sampled_from([VLLM, LLAMA]),
)
def test_nobody_is_served_beyond_a_context_and_nobody_refused_who_fits(
    sizes: list[tuple[int, int]], context: int, engine: str
) -> None:
    world, found = ran(asked(*sizes), cloud(context, engine, least=1), warm={"big@v1": 1})
    outputs = world.scenario.outputs.get("v1", world.scenario.trace.output_tokens)
    for (into, out), fate, answer in zip(sizes, world.fate, outputs.tolist(), strict=True):
        fits = into < context and (into + out <= context or engine == LLAMA)
        assert fate == (SERVED if fits else TOO_LONG)
        assert not fits or answer == min(out, context - into)
    (one,) = found.models
    assert (one.served, one.refused, one.too_long) == (one.requests - one.refused,) + (one.refused,) * 2
    assert sum(tenant.refused for tenant in one.tenants) == one.refused


def test_each_version_refuses_by_its_own_context() -> None:
    """Of a canary with half of it those that it gets and that do not fit; no other version's, and no error of it."""
    text = (
        FILE.format(count=4, least=1)
        + "    versions: {v1: {}, v2: {weight: 0, engine: {kind: vllm, slots: 96, context: 1000}}}\n"
    )
    world, found = ran(
        steady(2, 600), load_text(text), deployments=(parse("big@v2,at=1m,manual,first=50"),), warm={"big@v1": 1}
    )
    v1, v2 = found.models
    assert (v1.too_long, v2.too_long) == (0, v2.requests)
    assert v2.requests > 200
    assert v2.failed == v2.served == v1.refused == 0
    assert found.rollouts[0].phase == "canary"
    everywhere = dataclasses.replace(world.scenario.trace, input_tokens=np.full(len(world.by), 40_000, np.int32))
    told, _ = ran(everywhere, load_text(text), deployments=(parse("big@v2,at=1m,manual,first=50"),))
    assert not any(told.by), "whom no version takes is asked of none"


def test_the_least_is_of_what_can_be_served() -> None:
    """Runs with other contexts have a least of their own; of one that refuses all of them, nothing."""
    trace = asked(*[(1500, 100)] * 60)
    scenarios: list[Scenario] = []
    outcomes: list[Outcome] = []
    for context in (1000, 2000):
        world, found = ran(trace, cloud(context, least=1))
        scenarios.append(world.scenario)
        outcomes.append(found)
    leasts = Leasts(scenarios)
    small, large = (leasts.beside(scenario, found).optimum for scenario, found in zip(scenarios, outcomes, strict=True))
    assert small is not None
    assert large is not None
    assert small.least_nanousd == 0 < (large.least_nanousd or 0)


def test_a_mix_is_for_what_can_be_served() -> None:
    trace = asked(*[(500, 100), (1500, 100)] * 60)
    small = mixed(cloud(1000), trace, names={}, room=0.0)
    assert sum(route.requests for route in small.routes) == 60
    assert "60 of 120 requests of big have more tokens than its context of 1000" in small.notes[0]
    assert sum(route.requests for route in mixed(cloud(2000), trace, names={}, room=0.0).routes) == 120
    with pytest.raises(Invalid, match="nothing to buy devices for: 120 of 120 requests of big have more tokens"):
        mixed(cloud(256), trace, names={}, room=0.0)
