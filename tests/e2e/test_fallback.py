"""Chains of models that answer for one another: a version of the same, a paid one with a budget of its own, a cheap one."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import upstream
from tests.e2e.cloud import Cloud, running
from tests.e2e.test_versions import BROKEN

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CLOUD = """\
version: 1
pools:
  theirs: {accelerator: cpu, price_per_hour: 0.08}
models:
  steady:
    task: chat
    engine: {kind: openai, url: "BROKEN", upstream_model: up, slots: 8, context: 4096}
    price: {input_tokens: 0.05, output_tokens: 0.20}
    fallback: [steady@v0]
    versions:
      v1: {}
      v0: {weight: 0, engine: {kind: openai, url: "SOUND", upstream_model: up, slots: 8, context: 4096}}
  chain:
    task: chat
    engine: {kind: openai, url: "BROKEN", upstream_model: up, slots: 8, context: 4096}
    price: {input_tokens: 0.05, output_tokens: 0.20}
    fallback: [paid, cheap]
  paid:
    task: chat
    engine: {kind: openai, url: "SOUND", upstream_model: up, slots: 8, context: 4096}
    price: {input_tokens: 1000, output_tokens: 1000}
    budget: {total: 0.015}
  cheap:
    task: chat
    engine: {kind: openai, url: "SOUND", upstream_model: up, slots: 8, context: 4096}
    price: {input_tokens: 0.05, output_tokens: 0.20}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("fallback")
    with upstream.serving() as broken, upstream.serving() as sound:
        broken.behave = BROKEN
        (folder / "cloud.yaml").write_text(CLOUD.replace("BROKEN", broken.url).replace("SOUND", sound.url))
        with running(folder / "home", spec=folder / "cloud.yaml") as cloud:
            yield cloud


def ask(cloud: Cloud, model: str) -> tuple[int, dict[str, str], Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    sent = {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{cloud.url}/v1/chat/completions", json.dumps(body).encode(), sent)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


def test_another_version_of_the_same_model_answers(cloud: Cloud) -> None:
    status, headers, _ = ask(cloud, "steady")
    assert (status, headers["x-headrace-model-version"], headers["x-headrace-fallback"]) == (200, "v0", "steady@v0")
    told = cloud.json("explain", headers["x-request-id"])["request"]
    assert (told["model"], told["version"]) == ("steady", "v0")
    assert "steady@v0 stands in for steady (upstream_failed" in told["why"]
    assert ask(cloud, "steady@v1")[0] == 502  # who names a version wants no other


def test_a_paid_model_has_its_own_budget_and_the_next_one_answers_when_that_is_spent(cloud: Cloud) -> None:
    unknown = cloud.run("budget", "set", "model:payd", "1", check=False)
    assert "there is no model" in unknown.stderr
    _, headers, _ = ask(cloud, "chain")
    assert headers["x-headrace-fallback"] == "paid"
    cloud.until(lambda: ask(cloud, "chain")[1]["x-headrace-fallback"] == "cheap", what="the budget to be spent")
    status, headers, _ = ask(cloud, "chain")
    assert (status, headers["x-headrace-fallback"]) == (200, "cheap")
    why = cloud.json("explain", headers["x-request-id"])["request"]["why"]
    assert (
        "cheap stands in for paid (model_unavailable: paid@v1 cannot be served: its budget of the total is spent" in why
    )
    assert "paid stands in for chain (upstream_failed" in why
    status, _, body = ask(cloud, "paid")
    assert (status, body["error"]["code"]) == (503, "model_unavailable")
    assert "headrace budget set model:paid DOLLARS --per total" in body["error"]["message"]
    (shown,) = [one for one in cloud.json("budget", "show")["budgets"] if one["scope"] == "model:paid"]
    assert shown["spent_nanousd"] >= shown["limit_nanousd"] == 15_000_000
    assert shown["spent_nanousd"] <= 3 * shown["limit_nanousd"]  # passed by what was under way, and no more
    cloud.run("budget", "set", "model:paid", "100", "--per", "total")
    cloud.until(lambda: ask(cloud, "paid")[0] == 200, what="it to be in service again")
    assert cloud.run("cost", "verify").returncode == 0
