"""What the choice of GPU type costs beside each type alone: lengths that drift, and two lengths at once.

python bench/choices.py [--seed 1]

Simulated: an 8B model, first token within 2 s, 50 ms a token, starts of 120 s, L40S at $1.20 and H100 at $2.95 an hour,
two replicas warm. Prompts are of 50 to 200 tokens or of 4,000 to 8,000, answers of 60 to 140. Where lengths drift, all
are short for a third of the time and long for the last third.
"""

import argparse
from typing import Final

import numpy as np

from headrace.specs.load import load_text
from headrace.twin.mixes import mixed
from headrace.twin.outcome import outcome
from headrace.twin.scenario import Options, scenario
from headrace.twin.trace import Trace, trace_of
from headrace.twin.world import World

S: Final = 1_000_000
DRIFTS: Final = ((5, 4), (6, 6), (12, 4), (12, 6))  # requests a second, hours
PAIRS: Final = ((14, 4.5), (24, 4), (10, 10), (28, 9), (40, 4))  # short and long ones a second
PAIR_HOURS: Final = 3
CLOUD: Final = """
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
"""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seed", type=int, default=1)
    rng = np.random.default_rng(words.parse_args().seed)
    for rate, hours in DRIFTS:
        trace = traced(rng, hours, rate, lambda at: np.clip(3 * at - 1, 0, 1))
        told(f"drifting, {rate}/s for {hours} h", trace, hours, [["l40s", "h100"], ["h100"], ["l40s"]])
    for short, long in PAIRS:
        trace = traced(rng, PAIR_HOURS, short + long, lambda at, part=long / (short + long): np.full(len(at), part))
        told(f"{short} short and {long} long a second", trace, PAIR_HOURS, [["h100", "l40s"], ["h100"]])
        least = mixed(catalog(["l40s", "h100"]), trace, names={}, room=0.1)
        print(f"  the optimum with 10 % room is ${least.nanousd_per_hour / 1e9:.2f} an hour")


def traced(rng: np.random.Generator, hours: float, rate: float, part: object) -> Trace:
    """Requests at random moments; `part` says what part is long at a share of the time."""
    count, span_us = int(rate * hours * 3600), int(hours * 3600 * S)
    at_us = np.sort(rng.integers(0, span_us, count))
    long = rng.random(count) < part(at_us / span_us)  # type: ignore[operator]
    columns = {
        "arrival_us": at_us,
        "input_tokens": np.where(long, rng.integers(4_000, 8_000, count), rng.integers(50, 200, count)),
        "output_tokens": rng.integers(60, 140, count),
    }
    return trace_of(columns, span_us=span_us)


def catalog(pools: list[str]):
    """The model in these pools, work being told in the first."""
    return load_text(CLOUD.replace("PLACEMENT", str(pools)), "bench", (1 << 40, 64))


def told(name: str, trace: Trace, hours: float, placements: list[list[str]]) -> None:
    """Each placement in a line."""
    print(name)
    for pools in placements:
        world = World(scenario(catalog(pools), trace, options=Options(boot_us=120 * S, warm={"m@v1": 2})))
        world.run()
        found = outcome(world, "headrace")
        (model,) = found.models
        moves = [at // S for at, what, _, _ in world.log if what == "move"]
        cost = found.cost_nanousd / 1e9
        print(
            f"  {' or '.join(pools)}: ${cost:.2f} (${cost / hours:.2f} an hour), first token in time "
            f"{model.ttft.kept_ppm / 1e4:.2f} %, pace kept {model.tpot.kept_ppm / 1e4:.1f} %, moves at {moves} s"
        )


if __name__ == "__main__":
    main()
