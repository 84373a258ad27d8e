"""The books under fire: real requests to the real models, clients that leave, cold starts, kill -9; then the sums.

    .venv/bin/python bench/live_books.py [--requests 10000] [--kills 50]

Run from the repository. Embeddings make most of the requests, chat some, streamed and whole; every twentieth client
leaves early; a process of the cloud is killed again and again: gateways, controller, replicas. What clients were told
is compared with the ledger at the end. Prints one JSON line.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import ARTIFACTS, make
from tests.e2e.cloud import Cloud, running

THREADS = 12


class Clients:
    """Who asks, and what each was told it cost."""

    def __init__(self, cloud: Cloud, count: int) -> None:
        self.cloud = cloud
        self.left = count
        self.told: dict[str, int] = {}
        self.sent = self.cut = self.failed = 0
        self.lock = threading.Lock()

    def work(self, seed: int) -> None:
        rng = random.Random(seed)
        while True:
            with self.lock:
                if self.left <= 0:
                    return
                self.left -= 1
                self.sent += 1
            try:
                self.one(rng)
            except (OSError, http.client.HTTPException, ValueError):
                self.failed += 1  # its gateway was killed, or its replica while it streamed
                time.sleep(0.01)

    def one(self, rng: random.Random) -> None:
        chat, leave = rng.random() < 0.06, rng.random() < 0.05
        stream = chat and rng.random() < 0.5
        if chat:
            path = "/v1/chat/completions"
            body = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
            body |= {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        else:
            path, body = "/v1/embeddings", {"model": "minilm", "input": f"text {rng.random()}"}
        line = http.client.HTTPConnection("127.0.0.1", self.cloud.port, timeout=60)
        with contextlib.closing(line):
            headers = {"Authorization": f"Bearer {self.cloud.key}", "Content-Type": "application/json"}
            line.request("POST", path, json.dumps(body), headers)
            if leave:
                self.cut += 1
                return
            answer = line.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                self.failed += 1
                return
            if stream:
                last = [json.loads(row[6:]) for row in text.splitlines() if row.startswith("data: {")][-1]
                cost = last["usage"]["headrace"]["cost"]
            else:
                cost = answer.headers["x-headrace-cost"]
            self.told[answer.headers["x-request-id"]] = int(cost.replace(".", ""))


def killer(cloud: Cloud, kills: int, clients: Clients) -> int:
    rng, done, total = random.Random(3), 0, clients.left
    while done < kills and clients.left > 0:
        if clients.sent < total * (done + 1) // (kills + 1):
            time.sleep(0.005)
            continue
        pids = cloud.pids(rng.choice(["gateway", "gateway", "controller", "engine"]))
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(pids), signal.SIGKILL)
                done += 1
    return done


def rows(cloud: Cloud) -> dict[str, int]:
    """Every usage record's charge."""
    found, before_us = {}, time.time_ns() // 1000 + 10**9
    while True:
        page = cloud.get(f"/headrace/v1/usage?limit=1000&before_us={before_us}")["usage"]
        new = {row["request"]: row for row in page}
        found |= {name: row["charge_nanousd"] for name, row in new.items()}
        if len(page) < 1000:
            return found
        before_us = min(row["ended_us"] for row in page) + 1


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--requests", type=int, default=10_000)
    words.add_argument("--kills", type=int, default=50)
    given = words.parse_args()
    for name in ("smollm2", "minilm"):
        make(name)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "home", artifacts=ARTIFACTS) as cloud:
        clients = Clients(cloud, given.requests)
        threads = [threading.Thread(target=clients.work, args=(seed,)) for seed in range(THREADS)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        killed = killer(cloud, given.kills, clients)
        for thread in threads:
            thread.join()
        seconds, ended_us = time.monotonic() - began, time.time_ns() // 1000
        statement = cloud.until(
            lambda: (s := cloud.get("/headrace/v1/cost/statement"))["booked_until_us"] > ended_us and s, 90, "the books"
        )
        audit = cloud.until(lambda: cloud.get("/headrace/v1/cost/verify"), 60)
        kept = rows(cloud)
        wrong = [name for name, cost in clients.told.items() if kept.get(name) != cost]
        print(
            json.dumps(
                {
                    "requests": clients.sent,
                    "answered": len(clients.told),
                    "left early": clients.cut,
                    "failed": clients.failed,
                    "kills": killed,
                    "seconds": round(seconds, 1),
                    "records": len(kept),
                    "acknowledged and lost, or told another cost": len(wrong),
                    "residual, nano-dollars": statement["residual_nanousd"],
                    "charged beyond the records": statement["charged_nanousd"] - sum(kept.values()),
                    "audit": audit["ok"],
                    "entries": audit["entries"],
                    "found": audit["found"],
                }
            )
        )


if __name__ == "__main__":
    main()
