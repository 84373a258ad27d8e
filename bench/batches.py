"""A batch of embeddings: how long it takes when nobody asks, and what it does to the first tokens of those who do.

    .venv/bin/python bench/batches.py [--lines 10000] [--seconds 30]

On a cloud of its own: a batch alone; then one person who streams chats and one who asks for embeddings, each with a
pause of 100 ms after an answer, without a batch and beside another one, in turn, twice for --seconds each. Prints one
JSON line: seconds and lines a second alone and beside people, milliseconds of first tokens and of embeddings without
and with the batch, the rise of each p95, and the first batch's cost.
"""

import argparse
import http.client
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import openai

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import ARTIFACTS, make
from tests.e2e.cloud import Cloud, running

PAUSE_S = 0.1


class Person(threading.Thread):
    """Asks, waits for the first bytes of the answer, pauses, asks again; `seen` are milliseconds by phase."""

    def __init__(self, cloud: Cloud, path: str, body: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.cloud, self.path, self.body = cloud, path, json.dumps(body)
        self.phase, self.done = "", False
        self.seen: dict[str, list[float]] = {}

    def run(self) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self.cloud.port, timeout=120)
        headers = {"Authorization": f"Bearer {self.cloud.key}", "Content-Type": "application/json"}
        while not self.done:
            phase, began = self.phase, time.monotonic()
            line.request("POST", self.path, self.body, headers)
            answer = line.getresponse()
            while b'"content":""' in (piece := answer.readline()):  # the stream's opening is no token
                answer.readline()
            took_ms = 1_000 * (time.monotonic() - began)
            assert answer.status == 200, piece
            answer.read()
            if phase == self.phase:
                self.seen.setdefault(phase, []).append(took_ms)
            time.sleep(PAUSE_S)


def quantiles(seen: list[float]) -> dict[str, float]:
    seen = sorted(seen)
    return {"n": len(seen), **{f"p{part}": round(seen[int(part / 100 * (len(seen) - 1))], 1) for part in (50, 95)}}


def lines(count: int) -> bytes:
    words = Path(__file__).parents[1].joinpath("docs", "economics.md").read_text().split()
    texts = (" ".join((words + words)[at % len(words) :][:24]) for at in range(count))
    made = ({"custom_id": f"l{n}", "method": "POST", "url": "/v1/embeddings",
             "body": {"model": "minilm", "input": f"{n} {text}"}} for n, text in enumerate(texts))  # fmt: skip
    return b"".join(json.dumps(line).encode() + b"\n" for line in made)


def measure(cloud: Cloud, count: int, seconds: float) -> dict[str, Any]:
    chat = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "stream": True}
    short = {"model": "minilm", "input": "a short question"}
    people = {
        "first token": Person(cloud, "/v1/chat/completions", chat), "embedding": Person(cloud, "/v1/embeddings", short)
    }  # fmt: skip
    client = openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=5)
    file = client.files.create(file=("in.jsonl", lines(count)), purpose="batch")
    cloud.chat()
    cloud.post("/v1/embeddings", {"model": "minilm", "input": "awake"})

    def done(name: str) -> int:
        return client.batches.retrieve(name).request_counts.completed

    def begun() -> str:
        name = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h").id
        cloud.until(lambda: done(name), 120, "the batch to flow")
        return name

    def call_off(name: str) -> None:
        client.batches.cancel(name)
        cloud.until(lambda: client.batches.retrieve(name).status == "cancelled", 120, "the batch to end")

    def phase(name: str) -> None:
        for person in people.values():
            person.phase = name

    began = time.monotonic()
    first = begun()
    whole = cloud.until(lambda: (b := client.batches.retrieve(first)).status == "completed" and b, 3_600, "the batch")
    took_s = time.monotonic() - began
    beside: list[float] = []
    for person in people.values():
        person.start()
    for _ in range(2):
        other = begun()
        phase("with the batch")
        before = done(other)
        time.sleep(seconds)
        beside.append((done(other) - before) / seconds)
        phase("")
        call_off(other)
        phase("alone")
        time.sleep(seconds)
        phase("")
    for person in people.values():
        person.done = True
        person.join()
    found: dict[str, Any] = {
        "lines": count, "seconds": round(took_s, 1), "lines/s alone": round(count / took_s, 1),
        "lines/s beside people": round(sum(beside) / 2, 1), "cost": whole.model_extra["headrace"]["cost"],
    }  # fmt: skip
    for name, person in people.items():
        alone, with_it = (quantiles(person.seen[phase]) for phase in ("alone", "with the batch"))
        found[name] = {
            "alone": alone,
            "with the batch": with_it,
            "p95 rises by": round(with_it["p95"] / alone["p95"] - 1, 2),
        }
    return found


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--lines", type=int, default=10_000)
    words.add_argument("--seconds", type=float, default=30)
    given = words.parse_args()
    for name in ("smollm2", "minilm", "minilm-rerank"):
        make(name)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "home", artifacts=ARTIFACTS) as cloud:
        cloud.until(lambda: cloud.get("/v1/files"), what="the runner to be there")
        print(json.dumps(measure(cloud, given.lines, given.seconds)))


if __name__ == "__main__":
    main()
