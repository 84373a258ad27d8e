"""How long the slow brain takes to plan: 1,000 replicas of 20 models on 125 machines of 8 devices, nothing to do.

python bench/plan.py [--replicas 1000] [--runs 20]
"""

import argparse
import statistics
import time

import msgspec

from headrace.policy.plan import plan
from headrace.policy.sizing import ByWork
from headrace.specs.catalog import Catalog, EngineSpec, ModelSpec, PoolSpec, Scaling
from headrace.state.demand import Demand
from headrace.state.fleet import Device, Fleet, Replica

GB = 10**9
S = 1_000_000


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--replicas", type=int, default=1000)
    words.add_argument("--runs", type=int, default=20)
    given = words.parse_args()
    pool = PoolSpec(
        name="gpus", accelerator="nvidia-h100", count=10_000, memory_bytes=80 * GB, price_nanousd_per_hour=1
    )
    models = tuple(
        ModelSpec(
            name=f"m{number:02}", version="v1", weight=1, task="chat", source="x", engine=EngineSpec(kind="vllm"),
            memory_bytes=70 * GB, pools=("gpus",), scaling=Scaling(max_replicas=10_000),
        )
        for number in range(20)
    )  # fmt: skip
    devices = tuple(
        Device(node=f"n{at // 8}", device=f"n{at // 8}-{at % 8}", pool="gpus", memory_bytes=80 * GB, cpus=8)
        for at in range(given.replicas + 100)
    )
    replicas = tuple(
        Replica(
            id=f"r{at}", model=models[at % 20].name, version="v1", digest=models[at % 20].digest, pool="gpus",
            node=devices[at].node, device=devices[at].device, memory_bytes=70 * GB, slots=8, phase="ready", ready_us=1,
        )
        for at in range(given.replicas)
    )  # fmt: skip
    catalog, fleet = (
        Catalog(pools=(pool,), models=models, tenants=()),
        Fleet(devices=devices, replicas=replicas, at_us=0),
    )
    each = given.replicas / 20
    sizing, demand = ByWork(), {}
    for second in range(0, 600, 5):
        demand = {
            model.key: Demand(
                model=model.name, version="v1", window_us=S, in_flight=9, last_us=second * S,
                asked_us=int((each - 0.5) * second * S) + 1,
            )
            for model in models
        }  # fmt: skip
        sizing.note(demand, second * S, second * S)
    for name, seen in (
        ("nothing to do", fleet),
        ("20 replicas lost", msgspec.structs.replace(fleet, replicas=replicas[20:])),
    ):
        times = []
        for _ in range(given.runs):
            began = time.perf_counter()
            made = plan(catalog, seen, demand, 600 * S, sizing)
            times.append(time.perf_counter() - began)
        print(
            f"{len(seen.replicas)} replicas, {name}: {1000 * statistics.median(times):.1f} ms, "
            f"{len(made.starts)} starts, {len(made.stops)} stops"
        )


if __name__ == "__main__":
    main()
