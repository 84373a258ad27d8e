"""Clouds and traces for tests of the twin."""

from typing import Any

import numpy as np

from headrace.specs.catalog import Catalog
from headrace.specs.load import load_text
from headrace.twin.scenario import Options, Scenario, scenario
from headrace.twin.trace import Trace, trace_of

FILE = """
version: 1
pools:
  gpus: {{accelerator: nvidia-h200, count: {count}, memory: 141GB, cpus: 8, price_per_hour: 3.50}}
models:
  big:
    task: chat
    engine: {{kind: vllm, slots: 96, context: 32768}}
    source: hf://Qwen/Qwen3-32B
    memory: 120GB
    shape: {{like: qwen3-32b}}
    objective: {{ttft: 2s, tpot: 50ms}}
    scaling: {{min: {least}, max: {count}, queue: 100000, idle_to_zero: 60s}}
"""


def cloud(count: int = 12, least: int = 0) -> Catalog:
    return load_text(FILE.format(count=count, least=least))


def steady(rate: float, seconds: float, seed: int = 1, tokens: tuple[int, int] = (900, 110)) -> Trace:
    """Poisson arrivals of requests of one size."""
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1e6 / rate, int(rate * seconds)))
    full = np.full(len(arrival), 1)
    return trace_of(
        {"arrival_us": arrival.astype(np.int64), "input_tokens": full * tokens[0], "output_tokens": full * tokens[1]},
        span_us=max(int(seconds * 1e6), int(arrival[-1]) + 1),
    )


def made(trace: Trace, catalog: Catalog | None = None, sizing: Any = None, **options: Any) -> Scenario:
    return scenario(catalog or cloud(), trace, sizing=sizing, options=Options(**options))
