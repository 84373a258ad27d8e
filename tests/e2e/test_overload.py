"""More than two gateway workers and one server of two slots can serve: who gives way, and what it is told."""

import asyncio
import concurrent.futures
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import upstream
from tests.e2e.cloud import Cloud, running
from tests.gateway.stub import Question, truthful

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

WORK_S, SLOTS, QUEUE = 0.2, 2, 12  # the queue is each worker's


async def slowly(question: Question, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(WORK_S)
    await truthful(question, writer)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("overload")
    with upstream.serving() as server:
        server.behave = slowly
        file = upstream.spec(folder, server.url)
        text = file.read_text().replace("slots: 64", f"slots: {SLOTS}")
        file.write_text(text.replace("    task: chat\n", f"    task: chat\n    scaling: {{queue: {QUEUE}}}\n"))
        with running(folder / "home", spec=file, gateways=2) as cloud:
            cloud.all_listen()
            for _ in range(40):  # each worker learns how long they take
                ask(cloud)
            yield cloud


def ask(cloud: Cloud, **headers: str) -> tuple[int, float, dict[str, str], Any]:
    """Status, seconds, headers, body."""
    body = {"model": "theirs", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    sent = {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"{cloud.url}/v1/chat/completions", json.dumps(body).encode(), sent)
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, time.monotonic() - began, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, time.monotonic() - began, dict(error.headers), json.load(error)


def waiting(cloud: Cloud) -> int:
    return int(cloud.get("/headrace/v1/status")["queued"])


def test_batch_work_is_shed_first_and_everyone_who_asks_now_is_served(cloud: Cloud) -> None:
    """Queues full of batch work; then as many ask now as fit: each of them pushes one out, and none is refused."""
    with concurrent.futures.ThreadPoolExecutor(80) as pool:
        batch = [pool.submit(ask, cloud, x_headrace_priority="batch") for _ in range(50)]
        cloud.until(
            lambda: waiting(cloud) >= 2 * QUEUE - 2 or sum(one.done() for one in batch) > 10, what="full queues"
        )
        now = [one.result() for one in [pool.submit(ask, cloud) for _ in range(8)]]
        shed = [answer for answer in (one.result() for one in batch) if answer[0] != 200]
    assert [status for status, *_ in now] == [200] * 8
    assert shed
    for status, _, headers, body in shed:
        assert (status, body["error"]["code"]) == (503, "overloaded")
        assert 1 <= int(headers["retry-after"]) <= 60
    assert any("gave way to one that comes before it" in body["error"]["message"] for *_, body in shed)


def test_who_comes_back_when_told_is_served(cloud: Cloud) -> None:
    """The queues are full and nothing more comes: after the time that was told there is room."""
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        work = [pool.submit(ask, cloud) for _ in range(50)]
        told = [headers for status, _, headers, _ in (one.result() for one in work) if status == 503]
        served = [took for status, took, *_ in (one.result() for one in work) if status == 200]
    assert told
    assert all(1 <= int(headers["retry-after"]) <= 10 for headers in told)
    # What was told covers what the queue then took, and not several times as much.
    longest = max(int(headers["retry-after"]) for headers in told)
    assert 0.5 * max(served) <= longest <= 2 * max(served) + 1
    assert ask(cloud)[0] == 200


def test_a_deadline_counts_what_waits_at_the_other_worker(cloud: Cloud) -> None:
    """Whichever worker is asked: what cannot begin in time is refused at once, not held until it is late."""
    over = threading.Event()

    def busy() -> None:
        while not over.is_set():
            ask(cloud)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        work = [pool.submit(busy) for _ in range(16)]
        cloud.until(lambda: waiting(cloud) >= 10, what="a queue")
        found = [ask(cloud, x_headrace_deadline_ms="400") for _ in range(8)]
        over.set()
        for one in work:
            one.result()
    refused = [(took, body["error"]) for status, took, _, body in found if status == 503]
    assert len(refused) >= 6
    at_once = [took for took, error in refused if error["code"] == "deadline_unreachable" and took < 0.3]
    assert len(at_once) >= len(refused) - 2
    assert "x-headrace-deadline-ms" in refused[0][1]["message"]
