"""How long optima take to find, and how far whole schedules are from them. One JSON line a figure.

    .venv/bin/python bench/planner.py [--seed 1] [--search 20]

Work is generated: a day's wave (peak to trough 5.7 to 1) with gamma noise by slot, 4.5 replicas on average.
"""

import argparse
import dataclasses
import json
import time
from fractions import Fraction

import numpy as np

from headrace.planner.long_tail import Intervals, long_tail
from headrace.planner.optimum import Pool, optimum
from headrace.planner.pool_mix import Class, Device, Model, alternatives, pool_mix
from headrace.planner.schedule import schedule
from headrace.planner.whole import whole, whole_bound

S = 1_000_000
SLOT_S, DAYS = 30, 2
POOLS = [
    Pool(name="h200", nanousd_per_hour=3_500_000_000, boot_us=120 * S, billing_min_us=60 * S),
    Pool(name="l40s", nanousd_per_hour=1_000_000_000, capacity=0.27, boot_us=60 * S, billing_min_us=60 * S, count=12),
    Pool(name="a100", nanousd_per_hour=1_390_000_000, capacity=0.41, boot_us=300 * S, billing_min_us=60 * S),
]
TAIL_REQUESTS, TAIL_MODELS, TAIL_DAYS = 26_392, 79, 23


class Watch:
    """Time since it began, by the clock and of this process's CPU, which neighbours do not lengthen."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def told(self, figure: str, **values: object) -> None:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        print(json.dumps({"figure": figure, "seconds": round(wall, 2), "cpu_s": round(cpu, 2), **values}), flush=True)


def wave(rng: np.random.Generator) -> np.ndarray:
    at = np.arange(DAYS * 86_400 // SLOT_S) * SLOT_S
    mean = 4.5 * (1 + 0.7 * np.sin(2 * np.pi * (at / 86_400 - 0.3)))
    return rng.gamma(20, mean / 20) * SLOT_S * S


def tail(rng: np.random.Generator) -> Intervals:
    start = np.sort(rng.integers(0, TAIL_DAYS * 86_400 * S, TAIL_REQUESTS))
    length = rng.integers(S, 60 * S, TAIL_REQUESTS)
    return Intervals(start_us=start, end_us=start + length, model=rng.zipf(1.3, TAIL_REQUESTS) % TAIL_MODELS)


def mixed(rng: np.random.Generator) -> None:
    """10 models of 4 buckets on 5 kinds of device, over the hours of a day."""
    devices = [Device(name=f"d{at}", nanousd_per_hour=(at + 1) * 10**9) for at in range(5)]
    models = [
        Model(name=f"m{at}", share={f"d{on}": Fraction(1, 2 ** int(rng.integers(0, 3))) for on in range(at % 3, 5)})
        for at in range(10)
    ]
    hours = 1 + 0.7 * np.sin(np.arange(24) / 24 * 2 * np.pi)
    classes = [
        Class(
            model=model.name,
            bucket=f"b{bucket}",
            rates=tuple(float(one) for one in rng.uniform(0.1, 2) * hours),
            work_us={f"d{on}": S * (1 + 3 * bucket) / (1 + on) * rng.uniform(0.8, 1.2) for on in range(bucket, 5)},
        )
        for model in models
        for bucket in range(4)
    ]
    watch = Watch()
    found = pool_mix(classes, models, devices, limit_s=20)
    gap = 1 - found.bound_nanousd_per_hour / found.nanousd_per_hour
    watch.told("mix, 40 classes, 5 kinds, 24 hours", gap=round(gap, 4), devices=sum(found.devices.values()))
    watch = Watch()
    costs = [one.nanousd_per_hour for one in alternatives(classes, models, devices, limit_s=5)]
    watch.told("all on one kind, 5 kinds", of_the_mix=[c and round(c / found.nanousd_per_hour, 2) for c in costs])


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--search", type=float, default=20, help="seconds of search for whole schedules")
    given = words.parse_args()
    rng = np.random.default_rng(given.seed)
    work = wave(rng)
    for count in (1, 2, 3):
        for missed in (0.0, 0.01):
            watch = Watch()
            found = optimum(work, POOLS[:count], missed=missed)
            watch.told(
                "bound, two days", slots=len(work), pools=count, missed=missed, usd=round(found.nanousd / 1e9, 2)
            )
    for boot in (120, 30):
        pool = dataclasses.replace(POOLS[0], boot_us=boot * S)
        watch = Watch()
        least = whole_bound(work, pool)
        assert least is not None, "twelve replicas are not too many"
        watch.told("bound of whole replicas, two days", boot_s=boot, usd=round(least / 1e9, 2))
        watch = Watch()
        planned = whole(work, pool)
        assert planned is not None, "nor on the finer grid"
        watch.told(
            "whole schedule by dynamic program",
            boot_s=boot,
            usd=round(planned.nanousd / 1e9, 2),
            gap=round(planned.gap, 4),
        )
    for limit in (0.0, given.search):
        watch = Watch()
        plan = schedule(work, POOLS[:1], limit_s=limit)
        watch.told("whole schedule, two days", search_s=limit, usd=round(plan.nanousd / 1e9, 2), gap=round(plan.gap, 4))
    for boot in (82, 20):
        requests = tail(rng)
        watch = Watch()
        tailed = long_tail(requests, [3 * S] * TAIL_MODELS, boot_us=boot * S, nanousd_per_hour=10**9)
        over = round(tailed.device_us / tailed.busy_us, 3)
        watch.told("long tail", requests=TAIL_REQUESTS, boot_s=boot, of_busy=over, boots=tailed.boots)
    mixed(rng)


if __name__ == "__main__":
    main()
