"""A fan-out over replicas: four calls of a CPU-bound stage side by side against one after the other.

`python bench/fan_out.py [--replicas 2] [--rounds 5]`: a real cloud whose chat model has so many replicas of one slot
and one thread each. Only the ratio within a round is told, since others may use the machine too."""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.conftest import ARTIFACTS, SMOLLM2, make  # noqa: E402 - found by the path above
from tests.e2e.cloud import Cloud, running  # noqa: E402 - as above

PIPELINE = """
name: fan
limits: {{cost: 0.1, time: 10m, width: {width}}}
steps:
  part: {{n: 4, seed: 1, chat: smollm2, prompt: Count from one to one hundred., max_tokens: 96}}
output: "{{{{ part }}}}"
"""
CLOUD = """
version: 1
pools: {{local: {{accelerator: cpu, count: 1, memory: auto, cpus: auto, price_per_hour: 0.08}}}}
models:
  smollm2:
    task: chat
    source: {source}
    engine: {{kind: llama_cpp, slots: 1, context: 1024, threads: 1, quantise: Q4_0}}
    memory: 700MiB
    placement: [local]
    scaling: {{min: {replicas}, max: {replicas}}}
    price: {{input_tokens: 0.05, output_tokens: 0.40}}
tenants: {{default: {{}}}}
"""


def took_s(cloud: Cloud, width: int) -> float:
    run = cloud.post("/headrace/v1/runs", {"text": PIPELINE.format(width=width)})["id"]
    at = f"/headrace/v1/runs/{run}"
    found = cloud.until(lambda: (s := cloud.get(at))["phase"] != "running" and s, 300, "the run to end")
    assert found["phase"] == "finished", found
    return (found["ended_us"] - found["started_us"]) / 1e6


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--replicas", type=int, default=2)
    words.add_argument("--rounds", type=int, default=5)
    given = words.parse_args()
    make("smollm2")
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "cloud.yaml"
        spec.write_text(CLOUD.format(source=SMOLLM2, replicas=given.replicas))
        with running(Path(folder) / "home", artifacts=ARTIFACTS, spec=spec) as cloud:
            cloud.until(lambda: len(cloud.pids("engine")) == given.replicas, 120, "the replicas")
            took_s(cloud, 4)  # warm
            ratios = []
            for number in range(given.rounds):
                serial, wide = took_s(cloud, 1), took_s(cloud, 4)
                ratios.append(wide / serial)
                print(
                    f"round {number + 1}: serial {serial:.2f} s, side by side {wide:.2f} s, {ratios[-1]:.2f}",
                    flush=True,
                )
    print(f"{given.replicas} replicas: median {statistics.median(ratios):.2f} of the serial time")


if __name__ == "__main__":
    main()
