"""Exclusive work from a trace: the optimum by hand, and the twin beside it."""

import numpy as np
import pytest

from headrace.errors import Invalid
from headrace.specs.load import load_text
from headrace.twin.scenario import Options, scenario
from headrace.twin.tails import tailed
from headrace.twin.trace import trace_of

S = 1_000_000
FILE = """
version: 1
pools: {gpus: {accelerator: nvidia-h100, count: 8, memory: 80GB, cpus: 8, price_per_hour: 3.60}}
models:
"""
MODEL = """
  NAME:
    task: chat
    engine: {kind: vllm, slots: 1, context: 8192}
    source: file:///w
    memory: 70GB
    shape: {like: llama-3.1-8b}
    objective: {ttft: 10s, tpot: 1s}
    scaling: {min: 0, max: 8}
"""
CLOUD = FILE + MODEL.replace("NAME", "a") + MODEL.replace("NAME", "b")


def made(moments_s: list[float], models: list[int], boot_s: int = 20):
    columns = {
        "arrival_us": np.array(moments_s) * S, "input_tokens": [100] * len(models), "output_tokens": [11] * len(models),
        "model": models,
    }  # fmt: skip
    trace = trace_of(columns, models=["a", "b"], span_us=1000 * S)
    return scenario(load_text(CLOUD), trace, options=Options(boot_us=boot_s * S))


def test_a_device_that_is_up_is_swapped_or_given_back():
    """A, then B ten seconds later on the same device for a swap; A again much later boots anew."""
    world = made([0, 10, 500], [0, 1, 0])
    found = tailed(world, swap_us=3 * S, simulate=False)
    (pool,) = found.pools
    assert (pool.boots, pool.reused, pool.requests, pool.models) == (2, 1, 3, 2)
    alone = world.behaviours["a@v1", "gpus"].alone_us(100, 11) + world.prompt_us["v1", "gpus"][0]
    assert pool.busy_us == pytest.approx(3 * alone, abs=3)
    # two boots of 20 s, and from the first end to the second beginning
    assert pool.device_us == pytest.approx(3 * alone + 2 * 20 * S + 10 * S - alone, abs=3)
    assert found.nanousd == pool.device_us  # 3.60 dollars an hour are a nano-dollar a microsecond


def test_the_twin_stands_beside_it_and_is_dearer():
    found = tailed(made([0, 10, 500], [0, 1, 0], boot_s=3), swap_us=3 * S, simulate=True)
    assert found.simulated_nanousd > found.nanousd
    assert found.soon_ppm == 1_000_000


def test_a_swap_longer_than_a_start_is_a_mistake():
    with pytest.raises(Invalid, match="lower --swap"):
        tailed(made([0], [0], boot_s=2), swap_us=3 * S, simulate=False)
