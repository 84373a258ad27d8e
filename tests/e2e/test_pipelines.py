"""Pipelines on the real cloud with real models: receipts, killed runners and gateways, caps, pipelines as models."""

import http.server
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import openai
import pytest
from PIL import Image

from tests.e2e.cloud import Cloud, running

pytestmark = pytest.mark.e2e
EXAMPLES = Path(__file__).parents[2] / "examples" / "pipelines"
DOCS = ["Paris is the capital of France.", "Bananas are yellow.", "The Seine flows through Paris."]
QUESTION = "What is the capital of France?"
CALLS = ("question=" + QUESTION, "documents=" + json.dumps(DOCS))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts: Path) -> Cloud:
    with running(
        tmp_path_factory.mktemp("pipelines") / "home", artifacts=shared_artifacts, HEADRACE_TOOL_HOSTS="127.0.0.1"
    ) as cloud:
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


AGENT = """
name: {name}
input: {{order: null}}
limits: {{cost: 0.05, time: 2m}}
steps:
  support:
    agent: smollm2
    system: Answer from what the functions say.
    prompt: "Where is order {{{{ order }}}}?"
    tools:
      status:
        description: Where an order is.
        parameters: {{order: {{type: integer}}}}
        http: {{url: "{url}/orders/{{order}}"}}
        timeout: 2s
      note:
        description: Writes a note.
        parameters: {{text: {{type: string, maxLength: 40}}}}
        http: {{url: "{url}/notes", method: POST}}
    first: [status, note]
    max_steps: 3
    max_tokens: 48
    temperature: 0
    cost: 0.01
    time: 1m
output: "{{{{ support }}}}"
"""


class Shop(http.server.BaseHTTPRequestHandler):
    """A server that tools ask; what it was asked stands in `asked`."""

    asked: ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self) -> None:
        self._say(b'{"state": "shipped to Oslo"}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._say(b'{"kept": true}')

    def _say(self, data: bytes) -> None:
        self.asked.append((self.command, self.path, self.headers.get("idempotency-key", "")))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def shop() -> Iterator[str]:
    Shop.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_agent_calls_its_tools_and_each_turn_is_in_the_books(cloud: Cloud, shop: str):
    run = cloud.post("/headrace/v1/runs", {"text": AGENT.format(name="shop", url=shop), "inputs": {"order": 7}})["id"]
    found = cloud.until(lambda: (s := cloud.get(f"/headrace/v1/runs/{run}"))["phase"] != "running" and s, 90, "its end")
    assert found["phase"] == "finished", found
    assert found["output"]
    assert [(how, path.split("/")[1]) for how, path, _ in Shop.asked] == [("GET", "orders"), ("POST", "notes")]
    assert Shop.asked[1][2].startswith(run)
    assert [(span["kind"], span["name"]) for span in found["spans"]] == [
        ("call", "smollm2"), ("tool", "status"), ("call", "smollm2"), ("tool", "note"), ("call", "smollm2")
    ]  # fmt: skip
    cost = balanced(cloud, run)
    assert cost["spent_nanousd"] == sum(span["charge_nanousd"] for span in found["spans"]) == charged(cloud, run)
    rows = cloud.get(f"/headrace/v1/usage?label={run}/")["usage"]
    assert [row["agent_steps"] for row in rows] == [1, 1, 1]


def test_an_agent_that_is_killed_at_work_calls_no_finished_tool_and_pays_for_no_turn_twice(cloud: Cloud, shop: str):
    run = cloud.post("/headrace/v1/runs", {"text": AGENT.format(name="shop", url=shop), "inputs": {"order": 8}})["id"]
    at = f"/headrace/v1/runs/{run}"
    for steps in (1, 3):
        cloud.until(lambda steps=steps: cloud.get(at)["steps"] >= steps, 60, what=f"{steps} steps to be done")
        for pid in cloud.pids("pipelines"):
            os.kill(pid, signal.SIGKILL)
    found = cloud.until(lambda: (s := cloud.get(at))["phase"] != "running" and s, 90, "the run to end")
    assert found["phase"] == "finished", found
    assert [how for how, _, _ in Shop.asked].count("POST") == 1
    assert found["cost"]["stages"][0]["calls"] == 3
    balanced(cloud, run)


def test_a_client_cannot_write_into_a_runs_receipt(cloud: Cloud):
    request = urllib.request.Request(
        cloud.url + "/v1/chat/completions",
        json.dumps({"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}).encode(),
        {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json", "X-Headrace-Label": "run_0/a"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400
    refused.value.close()


def test_losers_are_in_the_receipt_with_what_they_really_used(cloud: Cloud):
    text = """
name: race
steps:
  a:
    each: [Tell a very long story about a king and a queen., What is 2 + 2? Answer with one number.]
    chat: smollm2
    prompt: "{{ item }}"
    temperature: 0
    max_tokens: 400
    enough: "true"
output: ok
"""
    run = cloud.post("/headrace/v1/runs", {"text": text})["id"]
    found = cloud.until(lambda: (s := cloud.get(f"/headrace/v1/runs/{run}"))["phase"] != "running" and s, 90, "its end")
    assert found["phase"] == "finished", found
    cloud.until(lambda: cloud.get(f"/headrace/v1/runs/{run}")["cost"]["lost_nanousd"] == 0, 60, "the records")
    cost = balanced(cloud, run)
    assert cost["spent_nanousd"] == charged(cloud, run)
    assert cost["stages"][0]["cut_nanousd"] > 0


def test_a_pipeline_streams_its_steps_and_its_answer_as_a_model(cloud: Cloud):
    cloud.post("/headrace/v1/pipelines", {"text": (EXAMPLES / "improve.yaml").read_text()})
    body = {"model": "pipeline/improve", "messages": [{"role": "user", "content": "a red bicycle"}], "stream": True,
            "stream_options": {"include_usage": True}}  # fmt: skip
    with openai.OpenAI(base_url=cloud.url + "/v1", api_key=cloud.key) as client:
        chunks = list(client.chat.completions.create(**body))
    told = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    progress = "".join(delta.model_extra.get("reasoning_content", "") for delta in told)
    assert {"draft[0] done", "draft[1] done", "better done" if "better done" in progress else "better@1 done"} <= set(
        progress.splitlines()
    )
    assert json.loads("".join(delta.content or "" for delta in told))["text"]
    assert chunks[-1].usage.model_extra["headrace"]["run"] == chunks[0].id


SAY = """
name: say
input: {words: null}
steps: {spoken: {speak: espeak, text: "{{ words }}"}}
output: "{{ spoken }}"
"""


def test_a_meeting_is_written_down_summed_up_and_spoken(cloud: Cloud, tmp_path: Path):
    """The recording is made by a pipeline too: saved, and given to the other as a file."""
    (tmp_path / "say.yaml").write_text(SAY)
    spoken = cloud.json("pipeline", "run", str(tmp_path / "say.yaml"), "words=We meet again on Monday in Paris.")
    cloud.run("pipeline", "show", spoken["id"], "--save", str(tmp_path / "out"))
    wav = tmp_path / "out" / "spoken.wav"
    assert len(wav.read_bytes()) == spoken["output"]["bytes"]
    told = cloud.json("pipeline", "estimate", str(EXAMPLES / "notes.yaml"), f"audio=@{wav}")
    found = cloud.json("pipeline", "run", str(EXAMPLES / "notes.yaml"), f"audio=@{wav}")
    assert found["phase"] == "finished", found
    assert "Monday" in found["output"]["said"]
    assert [one["name"] for one in found["artifacts"]] == ["spoken.wav"]
    cost = balanced(cloud, found["id"])
    assert 0 < cost["spent_nanousd"] <= told["worst_nanousd"]
    assert {stage["stage"] for stage in cost["stages"]} == {"heard", "summary", "spoken"}


def test_a_poster_is_drawn_four_times_scored_and_the_best_enlarged(cloud: Cloud, tmp_path: Path):
    found = cloud.json("pipeline", "run", str(EXAMPLES / "poster.py"), "colour=red", "shape=circle")
    assert found["phase"] == "finished", found
    assert found["output"]["scores"][found["output"]["best"]] == max(found["output"]["scores"]) > 0.02
    cloud.run("pipeline", "show", found["id"], "--save", str(tmp_path))
    sizes = {}
    for file in tmp_path.iterdir():
        with Image.open(file) as picture:
            sizes[file.name] = picture.size
    assert sizes == {**{f"draw-{i}.png": (128, 128) for i in range(4)}, "enlarge.png": (256, 256)}
    cost = balanced(cloud, found["id"])
    assert {stage["stage"]: stage["calls"] for stage in cost["stages"]} == {"draw": 4, "enlarge": 1}


def test_the_support_example_calls_both_tools_and_prints_its_receipt(cloud: Cloud):
    done = cloud.run(
        "pipeline", "run", str(EXAMPLES / "support.py"), "question=Where is order 7, and how many days more?"
    )
    assert "support      3  $" in done.stdout
    run = cloud.get("/headrace/v1/runs")["data"][0]["id"]
    spans = cloud.get(f"/headrace/v1/runs/{run}")["spans"]
    assert [span["name"] for span in spans if span["kind"] == "tool"] == ["order_status", "delivery_days"]
    balanced(cloud, run)


def test_a_sentence_is_written_again_until_its_judge_is_content(cloud: Cloud):
    found = cloud.json("pipeline", "run", str(EXAMPLES / "refine.py"), "brief=a red bicycle")
    assert found["phase"] == "finished", found
    made = found["output"]
    assert made["score"] >= 7 or made["rounds"] == 4
    assert found["steps"] == 2 * made["rounds"]
    balanced(cloud, found["id"])


def test_fifty_runs_on_one_budget_never_pass_it(cloud: Cloud):
    """Side by side, through both gateways: what was charged to the key stays within its budget, whoever is refused.

    And what each was charged within its own cap, which holds one call of the two for every other run.
    """
    key = cloud.json("key", "create", "--name", "runs")
    cloud.run("budget", "set", f"key:{key['id']}", "0.0005", "--per", "day")
    text = """
name: many
limits: {cost: 0.01, time: 2m, width: 2}
steps: {a: {each: [1, 2], chat: smollm2, prompt: "Count to {{ item }}.", max_tokens: 24, retries: 0}}
output: "{{ a }}"
"""
    caps = ["0.01", "0.000018"] * 25
    runs = [cloud.post("/headrace/v1/runs", {"text": text, "cost": cap}, key["key"])["id"] for cap in caps]
    states = [
        cloud.until(lambda run=run: (s := cloud.get(f"/headrace/v1/runs/{run}"))["phase"] != "running" and s, 120)
        for run in runs
    ]
    phases = [state["phase"] for state in states]
    assert {"finished", "failed"} == set(phases), phases
    why = [state["error"]["reason"] if state["error"] else "" for state in states]
    assert all("budget" in reason for reason in why[::2] if reason)
    assert all("budget" in reason or "left of the cap" in reason for reason in why[1::2])
    assert any("left of the cap" in reason for reason in why)
    spends = [charged(cloud, run) for run in runs]
    for state, booked in zip(states, spends, strict=True):
        cost = state["cost"]
        assert booked <= cost["cap_nanousd"]
        assert cost["spent_nanousd"] + cost["lost_nanousd"] <= cost["cap_nanousd"]
    spent = sum(spends)
    assert 0 < spent <= 500_000
    assert sum(state["cost"]["spent_nanousd"] for state in states) <= spent
    assert "the books are right" in cloud.run("cost", "verify").stdout


def test_results_stand_in_the_events_of_a_run(cloud: Cloud):
    found = cloud.json("pipeline", "run", str(EXAMPLES / "documents.yaml"), *CALLS)
    request = urllib.request.Request(
        f"{cloud.url}/headrace/v1/runs/{found['id']}/events", headers={"Authorization": f"Bearer {cloud.key}"}
    )
    with urllib.request.urlopen(request) as stream:
        events = [json.loads(line[6:]) for line in stream if line.startswith(b"data: {")]
    results = {event["step"]: event["result"] for event in events if event["event"] == "step_ended"}
    assert results["answer"] == found["output"]["answer"]
    assert len(results["vectors"]) == 4
    assert events[-1]["output"] == found["output"]
