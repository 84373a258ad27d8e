"""Limits of a key count over all gateway workers, however clients spread over them."""

import concurrent.futures
import http.client
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from headrace.gateway.shared import WINDOW_US, Counters
from headrace.state import keys
from tests.e2e import upstream
from tests.e2e.cloud import Cloud, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CLIENTS = 40
ALLOWED = 5
TENANTS = f"""
  default: {{}}
  few: {{limits: {{requests_per_minute: {ALLOWED}}}, keys: [env:FEW_KEY, env:OTHER_KEY]}}"""
BODY = json.dumps({"model": "theirs", "messages": [{"role": "user", "content": "Hi"}]})
LEFT_US = 30_000_000


def lasting(folder: Path) -> str:
    """A key whose minute, which begins at a moment that its name decides, has enough left for a test."""
    counters = Counters(folder / "counters", 1, 0)
    while True:
        name, _, key = keys.make_key(secrets.token_bytes(44))
        now_us = time.monotonic_ns() // 1_000
        if counters.minute(f"key:{name}", now_us) + WINDOW_US - now_us > LEFT_US:
            return key


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    """Two workers, and two keys of which five requests a minute are taken each."""
    folder = tmp_path_factory.mktemp("limits")
    made = {name: lasting(folder) for name in ("FEW_KEY", "OTHER_KEY")}
    with upstream.serving() as server:
        file = upstream.spec(folder, server.url, tenants=TENANTS)
        with running(folder / "home", spec=file, gateways=2, **made) as cloud:
            cloud.chat(model="theirs")
            cloud.all_listen()
            yield cloud


def ask(line: http.client.HTTPConnection, key: str) -> http.client.HTTPResponse:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    line.request("POST", "/v1/chat/completions", BODY, headers)
    answer = line.getresponse()
    answer.read()
    return answer


@contextmanager
def lines(cloud: Cloud) -> Iterator[list[http.client.HTTPConnection]]:
    """40 connections, to both workers."""
    with ExitStack() as stack:
        made = [http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=20) for _ in range(CLIENTS)]
        for line in made:
            stack.enter_context(closing(line))
            line.connect()
        cloud.until(lambda: spread(cloud), what="both workers to have clients")
        yield made


def test_a_limit_is_one_limit_over_all_workers(cloud: Cloud):
    """Of 40 requests on 40 connections, one after the other, exactly 5 pass; the rest hear when to come back."""
    key = cloud.env["FEW_KEY"]
    with lines(cloud) as made:
        answers = [ask(line, key) for line in made]
    assert [answer.status for answer in answers] == [200] * ALLOWED + [429] * (CLIENTS - ALLOWED)
    assert all(1 <= int(a.headers["retry-after"]) <= 60 for a in answers if a.status == 429)
    rows = [row for row in cloud.get("/headrace/v1/usage?limit=1000&tenant=few")["usage"] if row["key"] in key]
    assert [row["outcome"] for row in rows] == ["finished"] * ALLOWED


def test_a_limit_is_passed_by_at_most_one_when_all_come_at_once(cloud: Cloud):
    """Workers share counters without locks: two may take the last place in the same moment, and no more than that."""
    key = cloud.env["OTHER_KEY"]
    with lines(cloud) as made, concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda line: ask(line, key), made))
    passed = sum(answer.status == 200 for answer in answers)
    assert ALLOWED <= passed <= ALLOWED + 1
    assert {answer.status for answer in answers} == {200, 429}


def spread(cloud: Cloud) -> list[int]:
    """Connections of each worker, once both have some."""
    counts = [gateway["connections"] for gateway in cloud.get("/headrace/v1/status")["gateways"]]
    return counts if len(counts) == 2 and min(counts) >= 5 else []
