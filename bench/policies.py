"""All policies on all traces, as a table: cost over the optimum, and how many first tokens and output tokens kept time.

python bench/policies.py [--hours 6] [--trace NAME=SOURCE ...]

Simulated, all in the same world: the example fleet of examples/h200.yaml, 30 s to boot, a round every 5 s. The optimum
knows the whole trace and may leave 1 % undone; it is a bound. SOURCE is what `headrace simulate --trace` takes; the
diurnal trace is a whole day.
"""

import argparse
from pathlib import Path

from headrace.policy import baselines
from headrace.specs.load import load_text
from headrace.twin import load
from headrace.twin.outcome import outcome
from headrace.twin.plans import planned
from headrace.twin.scenario import Options, scenario
from headrace.twin.world import World

CLOUD = (Path(__file__).parents[1] / "examples" / "h200.yaml").read_text()
POLICIES = ("headrace", "knative", "ray", "hpa:36", "idle:300", "static")
SIZES = "input=900,output=110"
TRACES = {
    "constant": f"generate:poisson,rate=20,{SIZES},seed=1",
    "diurnal": f"generate:diurnal,rate=25,swing=0.8,{SIZES},seed=2",
    "bursty": f"generate:bursty,rate=15,cv=4,{SIZES},seed=3",
    "on and off": f"generate:onoff,rate=12,on=600,off=900,{SIZES},seed=4",
}
OPTIONS = Options(boot_us=30_000_000, round_us=5_000_000)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--hours", type=float, default=6)
    words.add_argument("--trace", action="append", default=[], help="NAME=SOURCE, beside the generated ones")
    given = words.parse_args()
    traces = {name: f"{source},hours={24 if name == 'diurnal' else given.hours}" for name, source in TRACES.items()}
    traces |= dict(one.split("=", 1) for one in given.trace)
    catalog = load_text(CLOUD, "examples/h200.yaml", (1 << 40, 64))
    print("| trace | policy | cost / optimum | first tokens in 2 s | output tokens in 50 ms | starts |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, source in traces.items():
        trace = load.load(source, None, 0)
        least = planned(scenario(catalog, trace, options=OPTIONS), missed=0.01, simulate=False).nanousd
        for policy in POLICIES:
            made = scenario(catalog, trace, sizing=baselines.named(policy), options=OPTIONS)
            world = World(made, lambda *_: None)
            world.run()
            found = outcome(world, policy)
            (model,) = found.models
            print(
                f"| {name} | {policy} | {found.cost_nanousd / least:.2f} | {model.ttft.kept_ppm / 10_000:.2f} % | "
                f"{model.tpot.kept_ppm / 10_000:.1f} % | {model.starts} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
