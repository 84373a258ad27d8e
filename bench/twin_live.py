"""The twin beside a live run: the real small model under a Poisson load, then the same requests in virtual time.

    .venv/bin/python bench/twin_live.py [--rate 1.0] [--seconds 120]

Streams of 16 to 96 tokens with prompts of 10 to 200 words that share no beginning; after 60 requests from which the
cloud learns its speed. Prints what `headrace simulate --trace ledger --compare` says, and how well the work model
foresaw the steps of each request before it learned from it: the mean relative error of its time per output token.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import ARTIFACTS, make
from tests.e2e.cloud import Cloud, running

WORDS = Path(__file__).parents[1].joinpath("docs", "economics.md").read_text().split()


def ask(cloud: Cloud, rng: random.Random) -> None:
    text = " ".join(rng.choice(WORDS) for _ in range(rng.choice([10, 20, 50, 100, 200])))
    body = {
        "model": "smollm2", "messages": [{"role": "user", "content": text}], "max_tokens": rng.randrange(16, 97),
        "stream": True, "ignore_eos": True,
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{cloud.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as answer:
        answer.read()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rate", type=float, default=1.0)
    words.add_argument("--seconds", type=float, default=120)
    given = words.parse_args()
    make("smollm2")
    rng = random.Random(5)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "home", artifacts=ARTIFACTS, gateways=1) as cloud,
    ):
        cloud.post(
            "/v1/chat/completions", {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}]}, timeout=300
        )
        for together in (*[1] * 12, 2, 4, 2, 4, 8, 8, 8):  # alone and in company, to tell a step's parts apart
            threads = [threading.Thread(target=ask, args=(cloud, random.Random(rng.random()))) for _ in range(together)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        time.sleep(12)  # until it is booked and learned
        began, threads = time.monotonic(), []
        while time.monotonic() - began < given.seconds:
            time.sleep(rng.expovariate(given.rate))
            thread = threading.Thread(target=ask, args=(cloud, random.Random(rng.random())))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        lasted_s = int(time.monotonic() - began) + 1
        time.sleep(8)
        command = ["simulate", "--trace", "ledger", "--last", f"{lasted_s + 8}s", "--compare", "--warm", "1"]
        print(cloud.run(*command).stdout)
        now_us = time.time_ns() // 1000
        past = cloud.get(f"/headrace/v1/history?from={now_us - 3_600_000_000}&to={now_us}")["models"]["smollm2@v1"]
        work = past["work"]["local"]
        print(f"online fit: {work['residual_ppm'] / 10_000:.1f} % off on average, {work['samples']} requests; {work}")


if __name__ == "__main__":
    main()
