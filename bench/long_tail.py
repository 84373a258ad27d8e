"""Eighty models that are seldom asked, on a shared pool: their cost over the exact optimum, with and without sleep.

python bench/long_tail.py [--hours 4] [--models 80] [--rate 0.08] [--wait-price 0.001] [--boot 3] [--wake 3]
                          [--devices 80] [--kept 3.5]

Simulated: each model takes a whole device and one request at a time; a device is paid for while a replica has it. The
optimum knows all requests and is exact (minimum-cost flow); it lets no request wait, which a policy may. It swaps
models in 3 s, however long a start takes here. Asleep, a replica is paid for the part of a device that it keeps, beside
one that is awake and paid for all of it.
"""

import argparse

import numpy as np

from headrace.planner.long_tail import Intervals, long_tail
from headrace.specs.load import load_text
from headrace.twin import load
from headrace.twin.outcome import outcome
from headrace.twin.scenario import Options, scenario
from headrace.twin.trace import Trace
from headrace.twin.world import SERVED, World

SWAP_US = 3_000_000
PRICE_NANOUSD = 2_000_000_000
SOON_US = 10_000_000
IDLES = ("auto", "30s", "5m")
POOL = "{{accelerator: nvidia-h100, count: {devices}, memory: 80GB, cpus: 8, price_per_hour: 2.00, host_memory: 200GB}}"
SHAPE = "{like: llama-3.1-8b}"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--hours", type=float, default=4)
    words.add_argument("--models", type=int, default=80)
    words.add_argument("--rate", type=float, default=0.08)
    words.add_argument("--wait-price", type=float, default=0.001)
    words.add_argument("--boot", type=float, default=3, help="seconds of a start")
    words.add_argument("--wake", type=float, default=3, help="seconds of a wake from sleep")
    words.add_argument("--devices", type=int, default=80)
    words.add_argument("--kept", type=float, default=3.5, help="GB of its device that a replica keeps asleep")
    words.add_argument("--idle", nargs="+", default=IDLES, help="times for idle_to_zero")
    given = words.parse_args()
    source = (
        f"generate:longtail,rate={given.rate},hours={given.hours},models={given.models},input=900,output=1200,"
        "on=120,off=1800,seed=1"
    )
    trace = load.load(source, None, 0)
    least = 0
    for idle, sleep in ((idle, sleep) for idle in given.idle for sleep in ("never", "auto")):
        world = _run(trace, given, idle, sleep)
        if not least:
            least, busy = _least(world)
            print(f"{len(trace)} requests, {busy:.1f} h of work; exact optimum {least / 1e9:.2f} dollars")
        found = outcome(world, idle)
        wakes = sum(model.wakes for model in found.models)
        first = np.frombuffer(world.first_us, np.int64)
        served = np.frombuffer(world.fate, np.uint8) == SERVED
        soon = (served & (first - trace.arrival_us <= SOON_US)).sum() / len(trace)
        starts = sum(model.starts for model in found.models)
        print(
            f"idle {idle:>4}, sleep {sleep:>5}: {found.cost_nanousd / 1e9:8.2f} dollars, "
            f"{found.cost_nanousd / least:6.2f} of the optimum, {100 * soon:5.1f} % begun within 10 s, "
            f"{starts} starts, {wakes} wakes"
        )


def _run(trace: Trace, given: argparse.Namespace, idle: str, sleep: str) -> World:
    lines = [
        f"  model-{number}: {{task: chat, source: file:///w, memory: 70GB, shape: {SHAPE}, "
        f"engine: {{kind: vllm, slots: 1, context: 8192, sleep_memory: {given.kept}GB}}, "
        f"objective: {{ttft: 10s, tpot: 1s}}, "
        f"scaling: {{min: 0, max: 8, idle_to_zero: {idle}, wait_price: {given.wait_price}, "
        f"idle_to_sleep: {sleep}, wake: {given.wake}s}}}}"
        for number in range(given.models)
    ]
    pool = POOL.format(devices=given.devices)
    text = f"version: 1\npools:\n  gpus: {pool}\nmodels:\n" + "\n".join(lines) + "\ntenants: {default: {}}\n"
    catalog = load_text(text, "bench", (1 << 40, 64))
    made = scenario(catalog, trace, options=Options(boot_us=round(given.boot * 1e6), round_us=1_000_000))
    world = World(made, lambda *_: None)
    world.run()
    return world


def _least(world: World) -> tuple[int, float]:
    """The exact optimum of the same requests, each begun when it is asked."""
    trace = world.scenario.trace
    first, end = (np.frombuffer(column, np.int64) for column in (world.first_us, world.end_us))
    served = np.frombuffer(world.fate, np.uint8) == SERVED
    prompt = np.concatenate([np.asarray(one)[None] for one in world.scenario.prompt_us.values()]).max(axis=0)
    took = (end - first + prompt).astype(np.int64)[served]
    start = trace.arrival_us[served]
    asked = Intervals(start_us=start, end_us=start + np.maximum(1, took), model=trace.model[served].astype(np.int64))
    loads = [SWAP_US] * len(trace.models)
    return long_tail(asked, loads, boot_us=0, nanousd_per_hour=PRICE_NANOUSD).nanousd, float(took.sum() / 3.6e9)


if __name__ == "__main__":
    main()
