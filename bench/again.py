"""A trace several times over: what sizing makes of bursts that it has seen before, by how long starts take.

python bench/again.py FILE [--times 4] [--boot 30 120] [--warm 3]

Simulated: the example fleet of examples/h200.yaml. FILE is what `headrace simulate --trace` takes.
"""

import argparse
from pathlib import Path

import numpy as np

from headrace.specs.load import load_text
from headrace.twin import load
from headrace.twin.outcome import outcome
from headrace.twin.scenario import Options, scenario
from headrace.twin.trace import Trace, trace_of
from headrace.twin.world import World
from headrace.units import US_PER_S

CLOUD = (Path(__file__).parents[1] / "examples" / "h200.yaml").read_text()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("file")
    words.add_argument("--times", type=int, default=4)
    words.add_argument("--boot", type=int, nargs="+", default=[30, 120])
    words.add_argument("--warm", type=int, default=3)
    given = words.parse_args()
    catalog = load_text(CLOUD, "examples/h200.yaml", (1 << 40, 64))
    trace = again(load.load(given.file), given.times)
    for boot_s in given.boot:
        options = Options(boot_us=boot_s * US_PER_S, warm={catalog.models[0].key: given.warm})
        world = World(scenario(catalog, trace, options=options))
        world.run()
        found = outcome(world, "headrace")
        (model,) = found.models
        print(
            f"starts of {boot_s} s: ${found.cost_nanousd / 1e9 / given.times:.2f} each time, first token in time "
            f"{model.ttft.kept_ppm / 1e4:.2f} %, pace kept {model.tpot.kept_ppm / 1e4:.1f} %, {model.starts} starts",
            flush=True,
        )


def again(trace: Trace, times: int) -> Trace:
    """The same requests, one time after the other."""
    columns = {
        "arrival_us": np.concatenate([trace.arrival_us + turn * trace.span_us for turn in range(times)]),
        "input_tokens": np.tile(trace.input_tokens, times),
        "output_tokens": np.tile(trace.output_tokens, times),
    }
    return trace_of(columns, span_us=times * trace.span_us)


if __name__ == "__main__":
    main()
