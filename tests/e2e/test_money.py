"""Money, with the real processes and models: what an answer costs, budgets that hold, books that balance after kills."""

import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cloud import Cloud, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

CHAT = "/v1/chat/completions"


@pytest.fixture
def cloud(tmp_path: Path, shared_artifacts: Path):
    with running(tmp_path / "home", artifacts=shared_artifacts) as found:
        yield found


def body(**more: Any) -> dict[str, Any]:
    base = {"model": "smollm2", "messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 6}
    return {**base, "temperature": 0, **more}


def ask(cloud: Cloud, key: str = "", **more: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers, and the JSON of a whole answer or the events of a stream."""
    headers = {"Authorization": f"Bearer {key or cloud.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(cloud.url + CHAT, json.dumps(body(**more)).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            text, head = answer.read().decode(), {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, json.loads(error.read())
    if not more.get("stream"):
        return 200, head, json.loads(text)
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    return 200, head, events


def receipt(cloud: Cloud, request: str) -> dict[str, Any]:
    """The receipt of a request once its replica's time is booked."""

    def booked() -> Any:
        found = cloud.get(f"/headrace/v1/explain/{request}")
        return found if found["receipt"]["booked"] and found["receipt"]["device_us"] else None

    return cloud.until(booked, 30, "the request to be booked")


def nanousd(text: str) -> int:
    whole, _, rest = text.partition(".")
    return int(whole) * 10**9 + int(rest.ljust(9, "0"))


def test_every_answer_says_what_it_cost_and_explain_adds_up(cloud: Cloud):
    """Header, usage chunk and ledger say the same; streamed and buffered cost the same; the numbers add up."""
    ask(cloud)
    _, head, whole = ask(cloud)
    _, _, events = ask(cloud, stream=True, stream_options={"include_usage": True})
    charge, shown = nanousd(head["x-headrace-cost"]), events[-1]["usage"]["headrace"]
    assert head["x-headrace-cost-unit"] == "USD"
    assert whole["usage"] == {k: v for k, v in events[-1]["usage"].items() if k != "headrace"}
    assert nanousd(shown["cost"]) == charge > 0
    found = receipt(cloud, head["x-request-id"])
    made = found["receipt"]
    assert made["charge_nanousd"] == charge
    assert sum(line["amount"] * line["picousd_each"] for line in made["lines"]) == pytest.approx(charge * 1000, abs=999)
    text = "\n".join(found["text"])
    cost = made["own_nanousd"] + made["shared_nanousd"] + made["idle_nanousd"] + made["load_nanousd"]
    assert f"${cost / 1e9:.9f} = own work ${made['own_nanousd'] / 1e9:.9f}" in text
    assert "openai/gpt-4o-mini" in text
    _, _, plain = ask(cloud, stream=True)
    assert not any("usage" in event and event["usage"] for event in plain)
    statement = cloud.get("/headrace/v1/cost/statement")
    assert statement["residual_nanousd"] == 0
    assert cloud.json("cost", "verify")["ok"]


def test_a_quote_is_what_a_full_answer_costs_at_most(cloud: Cloud):
    """Nothing runs for it, and the worst case is never exceeded."""
    quote = cloud.json("quote", "smollm2", "Name a colour.", "--max-tokens", "6")
    assert cloud.get("/headrace/v1/usage")["usage"] == []
    _, head, _ = ask(cloud)
    assert nanousd(head["x-headrace-cost"]) <= nanousd(quote["worst_case"])


def test_a_budget_for_ten_is_not_overshot_by_five_hundred_at_once(cloud: Cloud):
    """Over two gateways, streams included: what passes is paid for, what does not is told why, and nothing is held."""
    made = cloud.json("key", "create", "--name", "thrifty")
    ask(cloud)  # awake
    worst = nanousd(cloud.json("quote", "smollm2", "Name a colour.", "--max-tokens", "6")["worst_case"])
    cloud.run("budget", "set", f"key:{made['id']}", f"{10 * worst / 1e9:.9f}", "--per", "day")

    def one(number: int) -> tuple[int, int, str]:
        stream = number % 2 == 0
        more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        status, head, got = ask(cloud, made["key"], **more)
        if status != 200:
            assert head["x-should-retry"] == "false"
            return status, 0, got["error"]["code"]
        return 200, nanousd(got[-1]["usage"]["headrace"]["cost"] if stream else head["x-headrace-cost"]), ""

    with ThreadPoolExecutor(100) as threads:
        results = list(threads.map(one, range(500)))
    assert Counter((status, code) for status, _, code in results).keys() == {(200, ""), (429, "insufficient_quota")}
    spent = sum(cost for _, cost, _ in results)
    assert sum(status == 200 for status, _, _ in results) >= 10
    assert spent <= 10 * worst

    def settled() -> Any:
        (budget,) = cloud.get("/headrace/v1/budgets")["budgets"]
        return budget if not budget["held_nanousd"] else None

    budget = cloud.until(settled, 10, "nothing to be held")
    assert budget["spent_nanousd"] == spent
    assert budget["left_nanousd"] == 10 * worst - spent
    assert cloud.json("cost", "verify")["ok"]


def test_a_degrading_budget_shortens_answers_and_says_so(cloud: Cloud):
    """The stream ends with finish reason length, and its usage says why."""
    made = cloud.json("key", "create")
    worst = nanousd(cloud.json("quote", "smollm2", "Name a colour.", "--max-tokens", "6")["worst_case"])
    cloud.run("budget", "set", f"key:{made['id']}", f"{worst / 1e9:.9f}", "--per", "total", "--at-limit", "degrade")
    _, _, events = ask(cloud, made["key"], stream=True, stream_options={"include_usage": True}, max_tokens=200)
    reasons = [c["finish_reason"] for e in events for c in e["choices"] if c["finish_reason"]]
    assert reasons == ["length"]
    assert "the budget allows" in events[-1]["usage"]["headrace"]["note"]
    assert events[-1]["usage"]["completion_tokens"] <= 6


def test_after_kills_of_everything_every_acknowledged_charge_is_in_the_books_once(cloud: Cloud):
    """kill -9 of gateways, controller and replica under load: what a client was told it cost is what the ledger says."""
    rng = random.Random(5)
    told: dict[str, int] = {}
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            try:
                status, head, _ = ask(cloud)
            except (OSError, ValueError):
                continue  # its gateway was killed
            if status == 200:
                told[head["x-request-id"]] = nanousd(head["x-headrace-cost"])

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        cloud.until(lambda: len(told) > 5, 60, "traffic")
        for role in ["gateway", "controller", "engine", "gateway", "controller", "gateway", "engine", "controller"]:
            before = len(told)
            pids = cloud.until(lambda role=role: cloud.pids(role), 30, f"a {role}")
            os.kill(rng.choice(pids), signal.SIGKILL)
            cloud.until(lambda before=before: len(told) > before + 3, 60, "traffic after a kill")
    finally:
        over.set()
        for thread in threads:
            thread.join(130)
    assert cloud.until(lambda: cloud.get("/headrace/v1/cost/verify"), 20)["ok"]
    rows = {}
    before_us = time.time_ns() // 1000
    while True:
        page = cloud.get(f"/headrace/v1/usage?limit=1000&before_us={before_us}")["usage"]
        rows |= {row["request"]: row for row in page}
        if len(page) < 1000:
            break
        before_us = min(row["ended_us"] for row in page)
    assert {request: rows[request]["charge_nanousd"] for request in told} == told
    statement = cloud.until(
        lambda: (s := cloud.get("/headrace/v1/cost/statement"))["booked_until_us"] > before_us and s, 60, "the books"
    )
    assert statement["residual_nanousd"] == 0
    charged = sum(row["charge_nanousd"] for row in rows.values())
    assert statement["charged_nanousd"] == charged
