"""OpenAI's organization API from the books: its shapes, its sums, and what it refuses."""

import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from headrace.economics.entries import HOUR_US
from headrace.state.usage import Usage
from tests.control.admin.test_app import Door

DESCRIPTION = json.loads(
    gzip.decompress((Path(__file__).parents[2] / "data" / "openai-organization.json.gz").read_bytes())
)
AT = "/v1/organization"
DAY_S = 86_400


def valid(answer: Any, path: str, method: str = "get") -> Any:
    """The JSON of a good answer, in the form that OpenAI describes."""
    assert answer.status_code == 200, answer.text
    found = DESCRIPTION["paths"][f"/organization{path}"][method]["responses"]["200"]["content"]["application/json"]
    schema = {**found["schema"], "components": DESCRIPTION["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer.json())
    return answer.json()


@pytest.fixture
def door(tmp_path: Path):
    made = Door(tmp_path)
    now_us = made.clock.now_us()
    made.day_s = now_us // 1_000_000 // DAY_S * DAY_S
    for number in range(48):
        made.control.store.usage_add(
            [row(f"r{number}", now_us - number * HOUR_US, "default" if number % 2 else "team")], {}
        )
    yield made
    made.store.close()


def row(name: str, ended_us: int, tenant: str, **more: Any) -> Usage:
    return Usage(**({
        "request": name, "epoch": "e", "tenant": tenant, "key": f"key-of-{tenant}", "model": "m", "version": "v1",
        "task": "chat", "outcome": "finished", "status": 200, "arrived_us": ended_us - 5, "ended_us": ended_us,
        "input_tokens": 10, "cached_tokens": 4, "output_tokens": 3, "first_us": 1, "busy_us": 5,
        "charge_nanousd": 1_000_000,
    } | more))  # fmt: skip


def ask(door: Door, path: str, method: str = "GET", **more: Any) -> Any:
    return door.client.request(method, AT + path, headers={"Authorization": f"Bearer {door.admin}"}, **more)


def test_usage_has_all_requests_once_over_its_pages(door: Door):
    """Buckets of a day, then of an hour; each page names the next."""
    start = door.day_s - 3 * DAY_S
    whole = valid(ask(door, f"/usage/completions?start_time={start}"), "/usage/completions")
    results = [result for bucket in whole["data"] for result in bucket["results"]]
    assert sum(result["num_model_requests"] for result in results) == 48
    assert sum(result["input_tokens"] for result in results) == 480
    assert sum(result["input_cached_tokens"] for result in results) == 192
    page, total, pages = "", 0, 0
    while True:
        path = f"/usage/completions?start_time={start}&bucket_width=1h&limit=20{page}"
        found = valid(ask(door, path), "/usage/completions")
        total += sum(result["num_model_requests"] for bucket in found["data"] for result in bucket["results"])
        pages += 1
        if not found["has_more"]:
            break
        page = f"&page={found['next_page']}"
    assert (total, pages > 3) == (48, True)


def test_usage_is_grouped_and_narrowed(door: Door):
    """By project, key and model; only the named ones."""
    start = door.day_s - 3 * DAY_S
    query = f"?start_time={start}&group_by=project_id,model&project_ids=team"
    found = valid(ask(door, f"/usage/completions{query}"), "/usage/completions")
    results = [result for bucket in found["data"] for result in bucket["results"]]
    assert {(result["project_id"], result["model"]) for result in results} == {("team", "m")}
    assert sum(result["num_model_requests"] for result in results) == 24
    nothing = valid(ask(door, f"/usage/embeddings?start_time={start}"), "/usage/embeddings")
    assert all(not bucket["results"] for bucket in nothing["data"])


def test_costs_are_what_tenants_were_charged(door: Door):
    """To the tenth of a cent, by project."""
    start = door.day_s - 3 * DAY_S
    found = valid(ask(door, f"/costs?start_time={start}&group_by=project_id"), "/costs")
    results = [result for bucket in found["data"] for result in bucket["results"]]
    assert sum(result["amount"]["value"] for result in results) == pytest.approx(0.048)
    assert {result["project_id"] for result in results} == {"default", "team"}


def test_projects_are_tenants_and_their_keys_are_redacted(door: Door):
    """A revoked key is gone; no digest and no secret is shown."""
    listed = valid(ask(door, "/projects?limit=1"), "/projects")
    assert (listed["data"][0]["id"], listed["has_more"]) == ("default", True)
    assert valid(ask(door, "/projects/team"), "/projects/{project_id}")["name"] == "team"
    secret = door.user("team")
    keys = valid(ask(door, "/projects/team/api_keys"), "/projects/{project_id}/api_keys")
    (one,) = keys["data"]
    assert secret.split("-", 2)[2] not in json.dumps(keys)
    path = f"/projects/team/api_keys/{one['id']}"
    pattern = "/projects/{project_id}/api_keys/{api_key_id}"
    assert valid(ask(door, path), pattern)["id"] == one["id"]
    assert valid(ask(door, path, "DELETE"), pattern, "delete")["deleted"]
    assert ask(door, path).status_code == 404
    assert ask(door, f"/projects/default/api_keys/{one['id']}").status_code == 404


def test_a_spend_limit_is_a_budget_a_month(door: Door):
    """Set, shown, in force as a budget, removed."""
    path, pattern = "/projects/team/spend_limit", "/projects/{project_id}/spend_limit"
    assert ask(door, path).status_code == 404
    body = {"threshold_amount": 1250, "currency": "USD", "interval": "month"}
    assert valid(ask(door, path, "POST", json=body), pattern, "post")["threshold_amount"] == 1250
    (budget,) = door.ask("GET", "budgets").json()["budgets"]
    assert (budget["scope"], budget["limit_nanousd"]) == ("tenant:team", 12_500_000_000)
    assert valid(ask(door, path), pattern)["enforcement"] == {"status": "enforcing"}
    assert valid(ask(door, path, "DELETE"), pattern, "delete")["deleted"]
    assert door.ask("GET", "budgets").json()["budgets"] == []


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/usage/completions", "start_time"),
        ("/usage/completions?start_time=-1", "start_time"),
        ("/usage/completions?start_time=1&bucket_width=1m", "by the hour"),
        ("/usage/completions?start_time=1&group_by=weather", "group_by"),
        ("/usage/completions?start_time=1&page=bm9wZQ==", "page"),
        ("/usage/completions?start_time=1&limit=9999", "limit"),
        ("/costs?start_time=1&bucket_width=1h", "bucket_width"),
        ("/projects?after=nobody", "after"),
    ],
)
def test_what_cannot_be_meant_is_refused(door: Door, path: str, told: str):
    """400, OpenAI's error object, and what to give."""
    answer = ask(door, path)
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]


def test_a_limit_of_nothing_and_a_project_that_is_not_there(door: Door):
    """400 and 404."""
    body = {"threshold_amount": 0, "currency": "USD", "interval": "month"}
    assert ask(door, "/projects/team/spend_limit", "POST", json=body).status_code == 400
    assert ask(door, "/projects/none").status_code == 404


def test_users_may_not_look(door: Door):
    """Default deny."""
    key = door.user("team")
    answer = door.client.get(f"{AT}/costs?start_time=1", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 403
