"""Quotes against final charges, on the real model: how far the expected charge is off, and whether the bound ever is.

    .venv/bin/python bench/quotes.py [--requests 100]

Prompts of 5 to 1,200 words after 30 requests from which the gateway learns; answers that end by their length only, so
that the output is known. Prints one JSON line.
"""

import argparse
import json
import random
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import ARTIFACTS, make
from tests.e2e.cloud import Cloud, running

WORDS = Path(__file__).parents[1].joinpath("docs", "economics.md").read_text().split()
LEARNED = 30


def ask(cloud: Cloud, body: dict[str, Any], *, dry: bool) -> tuple[dict[str, Any], int]:
    headers = {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json"}
    if dry:
        headers["x-headrace-dry-run"] = "quote"
    request = urllib.request.Request(f"{cloud.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read()), int((answer.headers["x-headrace-cost"] or "0").replace(".", ""))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--requests", type=int, default=100)
    given = words.parse_args()
    make("smollm2")
    rng, off, beyond = random.Random(6), [], 0
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "home", artifacts=ARTIFACTS, gateways=1) as cloud,
    ):
        for number in range(given.requests + LEARNED):
            at = rng.randrange(len(WORDS))
            text = " ".join((WORDS + WORDS)[at : at + rng.choice([5, 12, 30, 80, 200, 500])])
            body = {"model": "smollm2", "messages": [{"role": "user", "content": text}], "max_tokens": 4}
            quote, _ = ask(cloud, body, dry=True)
            answer, cost = ask(cloud, body, dry=False)
            if number >= LEARNED and answer["choices"][0]["finish_reason"] == "length":
                expected, worst = (int(quote[name].replace(".", "")) for name in ("expected", "worst_case"))
                off.append(abs(expected - cost) / cost)
                beyond += cost > worst
    off.sort()
    place = {name: round(off[int(part * (len(off) - 1))], 3) for name, part in (("p50", 0.5), ("p95", 0.95))}
    print(json.dumps({"quotes": len(off), **place, "max": round(off[-1], 3), "beyond the worst case": beyond}))


if __name__ == "__main__":
    main()
