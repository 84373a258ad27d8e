"""How well the online fit foresees service times of requests it has not seen: the real small model, live, on a CPU.

    .venv/bin/python bench/fit.py [--requests 90] [--repeats 6] [--seconds 60]

Streams one at a time through a cloud. First `--requests` of prompts of 10 to 300 words and 16 to 96 tokens out, from
each of which the fit learns as the books do; then eight sizes in turn, `--repeats` times, which it foretells and does
not learn from. Twice, side by side: by the wall clock as the engine tells it, and by the CPU time of the engine's
process, which others on the machine lengthen less. Errors are told of single requests, beside how far requests of one
size are from their own median, which is the floor of any forecast, and of the medians of the sizes. Then `--seconds` of
Poisson load in company, from which the cloud learns by itself; its own residual is printed.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import ARTIFACTS, make
from tests.e2e.cloud import Cloud, running

from headrace.economics import work
from headrace.economics.work import Samples, WorkModel

WORDS = Path(__file__).parents[1].joinpath("docs", "economics.md").read_text().split()
SIZES = [(words, tokens) for words in (10, 50, 120, 300) for tokens in (24, 80)]  # words in, tokens out


@dataclass(frozen=True)
class Served:
    """One request that was alone: its size, and what reading and writing took, microseconds of CPU and of the wall."""

    fresh: int
    cached: int
    output: int
    size: tuple[int, int] | None
    cpu_us: tuple[int, int]
    wall_us: tuple[int, int]


def cpu_us(pids: list[int]) -> int:
    """CPU time of all threads of these processes."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) // 1000


def ask(cloud: Cloud, rng: random.Random, shape: tuple[int, int] | None = None, seen: Callable[[], None] = int) -> str:
    """One stream; `seen` is called when its first token is there. The request's id."""
    count, tokens = shape or (rng.choice([10, 20, 50, 100, 200, 300]), rng.randrange(16, 97))
    text = " ".join(rng.choice(WORDS) for _ in range(count))
    body = {
        "model": "smollm2", "messages": [{"role": "user", "content": text}], "max_tokens": tokens,
        "stream": True, "ignore_eos": True,
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{cloud.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=600) as answer:
        for line in answer:
            if b'"content":"' in line and b'"content":""' not in line:
                seen()
                break
        answer.read()
        return str(answer.headers["x-request-id"])


def alone(cloud: Cloud, sizes: list[tuple[int, int] | None], rng: random.Random) -> list[Served]:
    pids, marks = cloud.pids("engine"), {}
    for size in sizes:
        first: list[int] = []
        began = cpu_us(pids)
        name = ask(cloud, rng, size, lambda first=first: first.append(cpu_us(pids)))  # type: ignore[misc]
        marks[name] = (size, first[0] - began, cpu_us(pids) - first[0])
    found = []
    for name, (size, read_us, wrote_us) in marks.items():
        row = cloud.get(f"/headrace/v1/explain/{name}")["request"]
        wall_us = (row["engine_prefill_us"], row["engine_decode_us"])
        cached = row.get("cached_tokens", 0)
        found.append(
            Served(row["input_tokens"] - cached, cached, row["output_tokens"], size, (read_us, wrote_us), wall_us)
        )
    return found


def learned(served: list[Served], times: Callable[[Served], tuple[int, int]]) -> WorkModel:
    samples = Samples()
    for one in served:
        prefill_us, decode_us = times(one)
        samples = work.learn(
            samples, present=1, decode_us=decode_us, decode_tokens=one.output,
            prompt=work.Prompt(us=prefill_us, tokens=one.fresh, cached=one.cached),
        )  # fmt: skip
    return work.fitted(samples)


def report(name: str, model: WorkModel, held_out: list[Served], times: Callable[[Served], tuple[int, int]]) -> None:
    """Errors of single requests, of the medians of the sizes, and how far like requests are from each other."""
    ratio = {
        size: [sum(times(one)) / foretold_us(model, one) for one in held_out if one.size == size] for size in SIZES
    }
    single = [abs(1 / value - 1) for values in ratio.values() for value in values]
    middle = {size: statistics.median(values) for size, values in ratio.items()}
    floor = [abs(value / middle[size] - 1) for size, values in ratio.items() for value in values]
    of_middles = [abs(1 / value - 1) for value in middle.values()]
    mean, half = statistics.fmean(single), statistics.median(single)
    print(
        f"{name}: {len(single)} requests held out are {mean:.1%} off on average, {half:.1%} in the median; like ones "
        f"are {statistics.fmean(floor):.1%} from their own median; medians of {len(middle)} sizes are "
        f"{statistics.fmean(of_middles):.1%} off",
        flush=True,
    )


def foretold_us(model: WorkModel, one: Served) -> float:
    context = one.fresh + one.cached + one.output / 2
    return (model.reads_ns(one.fresh, one.cached) + one.output * model.step_ns(1, context)) / 1000


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--requests", type=int, default=90)
    words.add_argument("--repeats", type=int, default=6)
    words.add_argument("--seconds", type=float, default=60)
    given = words.parse_args()
    make("smollm2")
    rng = random.Random(5)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "home", artifacts=ARTIFACTS, gateways=1) as cloud,
    ):
        for _ in range(3):
            ask(cloud, rng)
        served = alone(cloud, [None] * given.requests, rng)
        held_out = alone(cloud, SIZES * given.repeats, rng)  # type: ignore[arg-type]  # none of them is None
        for name, times in (("CPU time", lambda one: one.cpu_us), ("wall clock", lambda one: one.wall_us)):
            report(name, learned(served, times), held_out, times)
        began, threads = time.monotonic(), []
        while time.monotonic() - began < given.seconds:
            time.sleep(rng.expovariate(0.5))
            threads.append(threading.Thread(target=ask, args=(cloud, random.Random(rng.random()))))
            threads[-1].start()
        for thread in threads:
            thread.join()
        time.sleep(12)  # until it is booked and learned
        now_us = time.time_ns() // 1000
        past = cloud.get(f"/headrace/v1/history?from={now_us - 3_600_000_000}&to={now_us}")["models"]["smollm2@v1"]
        for pool, found in past["work"].items():
            off = f"{found['residual_ppm'] / 10_000:.1f} %"
            print(f"in company, as the cloud learned on {pool}: steps are {off} off on average; {found}")


if __name__ == "__main__":
    main()
