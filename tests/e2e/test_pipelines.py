"""Pipelines on the real cloud with real models: receipts, killed runners and gateways, caps, pipelines as models."""

import json
import os
import signal
import time
import urllib.error
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud, running

pytestmark = pytest.mark.e2e
EXAMPLES = Path(__file__).parents[2] / "examples" / "pipelines"
DOCS = ["Paris is the capital of France.", "Bananas are yellow.", "The Seine flows through Paris."]
QUESTION = "What is the capital of France?"
CALLS = ("question=" + QUESTION, "documents=" + json.dumps(DOCS))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts: Path) -> Cloud:
    with running(tmp_path_factory.mktemp("pipelines") / "home", artifacts=shared_artifacts) as cloud:
        cloud.until(lambda: cloud.get("/headrace/v1/runs"), what="the runner to be there")
        yield cloud


def charged(cloud: Cloud, run: str) -> int:
    """What the gateways' own records say of a run's calls, by their label."""
    from headrace.stores.sqlite import SqliteStore

    cloud.get("/headrace/v1/explain/last")  # the bookkeeper catches up
    store = SqliteStore(cloud.home / "headrace.db")
    try:
        return sum(row.charge_nanousd for row in store.usage_since(0) if row.label.startswith(run + "/"))
    finally:
        store.close()


def balanced(cloud: Cloud, run: str) -> dict:
    """The receipt adds up and is what the gateways charged."""
    cost = cloud.get(f"/headrace/v1/runs/{run}")["cost"]
    assert sum(s["spent_nanousd"] for s in cost["stages"]) == cost["spent_nanousd"]
    assert cost["spent_nanousd"] + cost["lost_nanousd"] <= cost["cap_nanousd"]
    cloud.until(
        lambda: cost["spent_nanousd"] <= charged(cloud, run) <= cost["spent_nanousd"] + cost["lost_nanousd"],
        what=f"the books to hold {cost}, they hold {charged(cloud, run)}",
    )
    return cost


@pytest.mark.parametrize("file", ["documents.yaml", "ask_documents.py"])
def test_documents_are_ranked_and_the_answer_cites_them(cloud: Cloud, file: str):
    found = cloud.json("pipeline", "run", str(EXAMPLES / file), *CALLS)
    assert found["phase"] == "finished", found
    assert found["output"]["citations"][0]["index"] == 0
    assert "Paris" in found["output"]["answer"]
    cost = balanced(cloud, found["id"])
    assert {s["stage"] for s in cost["stages"]} >= {"answer"}
    assert cost["spent_nanousd"] > 0
    assert cost["lost_nanousd"] == 0


def test_what_was_written_is_judged_and_written_again(cloud: Cloud):
    found = cloud.json("pipeline", "run", str(EXAMPLES / "improve.yaml"), "brief=a red bicycle")
    assert found["phase"] == "finished", found
    assert len(found["output"]["scores"]) == 2
    balanced(cloud, found["id"])


def test_an_estimate_holds_what_the_run_then_costs(cloud: Cloud):
    told = cloud.json("pipeline", "estimate", str(EXAMPLES / "documents.yaml"), *CALLS)
    found = cloud.json("pipeline", "run", str(EXAMPLES / "documents.yaml"), *CALLS)
    assert found["cost"]["spent_nanousd"] <= told["worst_nanousd"]
    assert 0 < told["expected_nanousd"] <= told["worst_nanousd"]


def test_a_cap_chooses_what_can_be_paid_and_refuses_what_cannot(cloud: Cloud):
    words = ("pipeline", "run", str(EXAMPLES / "documents.yaml"), *CALLS)
    done = cloud.run(*words, "--cost", "0.000000002", "--json", check=False)
    found = json.loads(done.stdout)
    assert (done.returncode, found["phase"]) == (1, "failed")
    assert found["error"]["step"]
    assert "raise limits.cost" in found["error"]["fix"]
    assert found["cost"]["spent_nanousd"] <= 2
    again = cloud.json("pipeline", "retry", found["id"], "--cost", "0.05")
    assert again["phase"] == "finished"


def test_a_deployed_pipeline_is_a_model(cloud: Cloud):
    text = (EXAMPLES / "improve.yaml").read_text()
    assert cloud.post("/headrace/v1/pipelines", {"text": text})["model"] == "pipeline/improve"
    body = {"model": "pipeline/improve", "messages": [{"role": "user", "content": "a red bicycle"}]}
    answer = cloud.post("/v1/chat/completions", body)
    assert json.loads(answer["choices"][0]["message"]["content"])["text"]


def test_what_cannot_be_run_is_refused_with_the_step_and_the_fix(cloud: Cloud):
    circle = "name: x\nsteps:\n  a: {value: '{{ b }}'}\n  b: {value: '{{ a }}'}\noutput: ''\n"
    unknown = "name: x\nsteps:\n  a: {chat: smollm3, prompt: hi}\noutput: '{{ a }}'\n"
    for text, status in ((circle, 422), (unknown, 404)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            cloud.post("/headrace/v1/runs", {"text": text})
        assert refused.value.code == status


LONG = """
name: long
limits: {cost: 0.05, time: 2m, width: 2}
steps:
  part:
    each: "{{ range(8) }}"
    chat: smollm2
    prompt: "Count to {{ index + 20 }}."
    max_tokens: 64
    temperature: 0
output: "{{ part }}"
"""


@pytest.mark.parametrize("role", ["pipelines", "gateway"])
def test_a_killed_process_loses_nothing_and_pays_for_nothing_twice(cloud: Cloud, role: str):
    run = cloud.post("/headrace/v1/runs", {"text": LONG})["id"]
    at = f"/headrace/v1/runs/{run}"
    cloud.until(lambda: cloud.get(at)["steps"] >= 2, what="two steps to be done")
    before = cloud.get(at)
    for pid in cloud.pids(role):
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    found = cloud.until(lambda: (s := cloud.get(at))["phase"] != "running" and s, 90, "the run to end")
    assert found["phase"] == "finished", found
    assert len(found["output"]) == 8
    assert before["done"] == found["done"][: len(before["done"])]
    assert found["steps"] == 8
    cost = balanced(cloud, run)
    if role == "pipelines":
        assert cost["stages"][0]["calls"] == 8
