"""Classes on a real model: who asks now is served while batch work uses what is left; deadlines are told at once."""

import concurrent.futures
import json
import time
import urllib.error
import urllib.request
from typing import Any

import openai
import pytest

from tests.e2e.cloud import Cloud

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]


def ask(cloud: Cloud, tokens: int = 8, **headers: str) -> dict[str, Any]:
    """One answer and how long it took; 503 is an answer, too."""
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": tokens}
    sent = {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    began = time.monotonic()
    data = json.dumps({**body, "ignore_eos": True}).encode()
    request = urllib.request.Request(f"{cloud.url}/v1/chat/completions", data, sent)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            found = json.load(error)
    return {**found, "took_s": time.monotonic() - began}


def test_batch_work_keeps_out_of_the_way_and_all_of_it_is_done(cloud: Cloud) -> None:
    """Thirty batch requests are sent first; one that asks now is answered before most of them."""
    cloud.chat()
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        batch = [pool.submit(ask, cloud, 48, x_headrace_priority="batch") for _ in range(30)]
        cloud.until(lambda: cloud.get("/headrace/v1/status")["queued"] >= 10, what="batch work that waits")
        status = cloud.get("/headrace/v1/status")
        now = ask(cloud)
        left = sum(not one.done() for one in batch)
        answers = [one.result() for one in batch]
    assert status["in_flight"] < 16  # a slot of each replica is left to who asks now
    assert now["usage"]["completion_tokens"] == 8
    assert left >= 5
    assert [answer["usage"]["completion_tokens"] for answer in answers] == [48] * 30


def test_a_deadline_that_cannot_be_kept_is_refused_at_once_and_says_what_to_do(cloud: Cloud) -> None:
    cloud.chat()
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        work = [pool.submit(ask, cloud, 48) for _ in range(40)]
        cloud.until(lambda: cloud.get("/headrace/v1/status")["queued"] >= 8, what="a queue")
        found = [ask(cloud, 8, x_headrace_deadline_ms="1") for _ in range(4)]
        for one in work:
            one.result()
    refused = [one["error"] for one in found if "error" in one]
    assert refused
    assert {error["code"] for error in refused} == {"deadline_unreachable"}
    assert any("x-headrace-deadline-ms" in error["message"] or "deadline" in error["message"] for error in refused)


def test_openai_clients_say_flex_and_wrong_words_are_named(cloud: Cloud) -> None:
    client = openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=0)
    messages: Any = [{"role": "user", "content": "Hi"}]
    answer = client.chat.completions.create(model="smollm2", messages=messages, service_tier="flex", max_tokens=4)
    assert answer.choices[0].message.content
    for header, value in (("x-headrace-priority", "urgent"), ("x-headrace-deadline-ms", "-5")):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="smollm2", messages=messages, extra_headers={header: value})
        assert value in caught.value.message
        assert caught.value.param == header
