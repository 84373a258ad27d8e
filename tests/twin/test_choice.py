"""The choice of GPU type in the twin: traffic drifts from short to long prompts, and the fleet goes with it."""

import numpy as np
import pytest

from headrace.specs.catalog import Catalog
from headrace.specs.load import load_text
from headrace.twin.outcome import Outcome, outcome
from headrace.twin.scenario import Options, scenario
from headrace.twin.trace import Trace, trace_of
from headrace.twin.world import World

S = 1_000_000
CLOUD = """\
version: 1
pools:
  l40s: {accelerator: nvidia-l40s, count: 16, memory: 48GB, cpus: 8, price_per_hour: 1.20}
  h100: {accelerator: nvidia-h100, count: 16, memory: 80GB, cpus: 8, price_per_hour: 2.95}
models:
  m:
    task: chat
    source: file:///w
    engine: {kind: vllm, slots: 64, context: 16384}
    memory: 44GB
    shape: {like: llama-3.1-8b}
    placement: PLACEMENT
    objective: {ttft: 2s, tpot: 50ms}
    scaling: {min: 1, max: 16, idle_to_zero: never, queue: 10000}
tenants: {default: {}}
"""


def cloud(*pools: str) -> Catalog:
    return load_text(CLOUD.replace("PLACEMENT", str(list(pools))), "test", (1 << 40, 64))


def drifting(hours: int = 6, rate: float = 6, seed: int = 1) -> Trace:
    """Short prompts for a third of the time, long ones for the last third, in between from the one to the other."""
    rng = np.random.default_rng(seed)
    count = int(rate * hours * 3600)
    at_us = np.sort(rng.integers(0, hours * 3600 * S, count))
    part = np.clip(3 * at_us / (hours * 3600 * S) - 1, 0, 1)
    long = rng.random(count) < part
    return trace_of(
        {
            "arrival_us": at_us,
            "input_tokens": np.where(long, rng.integers(4_000, 8_000, count), rng.integers(50, 200, count)),
            "output_tokens": rng.integers(60, 140, count),
        },
        span_us=hours * 3600 * S,
    )


def ran(catalog: Catalog, trace: Trace) -> tuple[World, Outcome]:
    world = World(scenario(catalog, trace, options=Options(boot_us=120 * S, warm={"m@v1": 2})))
    world.run()
    return world, outcome(world, "headrace")


@pytest.fixture(scope="module")
def runs() -> dict[str, tuple[World, Outcome]]:
    trace = drifting()
    placements = {"both": ("l40s", "h100"), "l40s": ("l40s",), "h100": ("h100",)}
    return {name: ran(cloud(*pools), trace) for name, pools in placements.items()}


@pytest.fixture(scope="module")
def steady() -> dict[str, Outcome]:
    trace = drifting(hours=4, rate=5)
    placements = {"both": ("l40s", "h100"), "l40s": ("l40s",), "h100": ("h100",)}
    return {name: ran(cloud(*pools), trace)[1] for name, pools in placements.items()}


def test_it_moves_to_the_other_gpu_and_costs_less_than_either(runs: dict[str, tuple[World, Outcome]]) -> None:
    cost = {name: found.cost_nanousd for name, (_, found) in runs.items()}
    assert cost["both"] < 0.95 * min(cost["l40s"], cost["h100"])
    moves = [why for _, what, _, why in runs["both"][0].log if what == "move"]
    assert len(moves) == 1
    assert moves[0].startswith("moves from l40s ")
    assert "moving costs $" in moves[0]


def test_where_one_is_enough_it_costs_no_more_than_the_best_that_stays(steady: dict[str, Outcome]) -> None:
    """Five requests a second: one H100 takes all of it, and the choice costs at most its moves more."""
    cost = {name: found.cost_nanousd for name, found in steady.items()}
    assert cost["both"] < 1.02 * min(cost["l40s"], cost["h100"])
    assert all(found.models[0].ttft.kept_ppm > 990_000 for found in steady.values())


def test_moving_drains_and_never_cuts(runs: dict[str, tuple[World, Outcome]]) -> None:
    """All are served, and the first tokens that are late are no more than on the dearest of the fleets that stay."""
    (model,) = runs["both"][1].models
    assert model.served == model.requests
    assert model.ttft.kept_ppm > 980_000


def test_every_start_says_what_the_other_gpu_would_cost(runs: dict[str, tuple[World, Outcome]]) -> None:
    starts = [why for at, what, _, why in runs["both"][0].log if what == "start" and at > 60 * S]
    assert starts
    assert all("l40s $" in why and "h100 $" in why for why in starts)
