"""A cloud of two kinds of GPU, and requests of two lengths: where which is cheaper depends on the traffic."""

import numpy as np

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


def two_lengths(short: float, long: float, seed: int = 1, hours: float = 2) -> Trace:
    """So many requests a second of either length, at random moments."""
    rng = np.random.default_rng(seed)
    span_us = int(hours * 3600) * S
    count = int((short + long) * hours * 3600)
    is_long = rng.random(count) < long / (short + long)
    return trace_of(
        {
            "arrival_us": np.sort(rng.integers(0, span_us, count)),
            "input_tokens": np.where(is_long, rng.integers(4_000, 8_000, count), rng.integers(50, 200, count)),
            "output_tokens": rng.integers(60, 140, count),
        },
        span_us=span_us,
    )
