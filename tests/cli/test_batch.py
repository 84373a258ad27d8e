"""`headrace batch` against a stub: what is sent, what is shown, and how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.cli import batch
from tests.sdk.server import Answer, Stub

LINE = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}
AT = "/v1/batches/batch_1"


def state(status: str, done: int = 0, failed: int = 0, **more: Any) -> dict[str, Any]:
    money = {"cost": "0.000012500", "cost_unit": "USD", "cost_nanousd": 12_500, "unpriced": 0, "at_once": 4}
    counts = {"total": 10_000, "completed": done, "failed": failed}
    return {"id": "batch_1", "status": status, "endpoint": "/v1/embeddings", "request_counts": counts,
            "headrace": money, "errors": None, **more}  # fmt: skip


@pytest.fixture
def given(tmp_path: Path) -> Path:
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps(LINE) + "\n")
    return file


def told(cloud: Stub, last: dict[str, Any]) -> None:
    """A cloud whose batch is at its end at the first look."""
    cloud.answers |= {"POST /v1/files": Answer({"id": "file-1"}), "POST /v1/batches": Answer(state("validating")),
                      f"GET {AT}": Answer(last), "GET /v1/files/file-2/content": Answer(b'{"custom_id": "a"}\n')}  # fmt: skip


def test_a_file_becomes_a_batch_and_its_answers_a_file(cli, cloud: Stub, given: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch, "LOOK_S", 0)
    told(cloud, state("completed", 10_000, output_file_id="file-2"))
    out = given.with_name("out.jsonl")
    done = cli("batch", "create", str(given), "--metadata", "for=me", "-o", str(out))
    assert done.status == 0, done.err
    assert "10,000/10,000 done" in done.out
    assert "$0.000012500" in done.out
    assert out.read_text() == '{"custom_id": "a"}\n'
    upload, asked = (heard for heard in cloud.heard if heard.method == "POST")
    assert b'name="purpose"\r\n\r\nbatch' in upload.body
    assert given.read_bytes() in upload.body
    assert asked.json == {"endpoint": "/v1/embeddings", "completion_window": "24h", "input_file_id": "file-1",
                          "metadata": {"for": "me"}}  # fmt: skip
    assert "█" not in done.err  # no bar where there is no terminal


def test_the_bar_tells_how_far_how_dear_and_how_long():
    first, now = state("in_progress", 1_000), state("in_progress", 3_990, 10)
    bar = batch._bar(now, first, 30.0)
    assert bar.count("█") == batch._BAR * 4_000 // 10_000
    assert "4,000/10,000" in bar
    assert "$0.000012500" in bar
    assert "1:00 left" in bar  # 3,000 in 30 s, 6,000 to go
    assert "--:-- left" in batch._bar(first, first, 1.0)
    assert batch._clock(3_700) == "1:01:40"


def test_what_failed_is_told_with_its_line_and_is_not_success(cli, cloud: Stub, given: Path, monkeypatch):
    monkeypatch.setattr(batch, "LOOK_S", 0)
    errors = {"data": [{"code": "invalid_url", "message": "url is wrong", "line": 7}]}
    told(cloud, state("failed", errors=errors))
    done = cli("batch", "create", str(given))
    assert (done.status, "line 7: url is wrong" in done.out) == (1, True)
    told(cloud, state("completed", 9_999, 1, error_file_id="file-3"))
    done = cli("batch", "get", "batch_1", "--wait", "--json")
    assert (done.status, done.json["error_file_id"]) == (1, "file-3")


def test_a_cloud_that_is_away_for_a_moment_is_waited_for(cli, cloud: Stub, monkeypatch: pytest.MonkeyPatch):
    """And not for ever."""
    looks: list[Any] = [Answer(state("in_progress")), *[Answer({}, 503)] * 3, Answer(state("completed", 10_000))]
    monkeypatch.setattr(batch.time, "sleep", lambda _: cloud.answers.update({f"GET {AT}": looks.pop(0)}))
    cloud.answers[f"GET {AT}"] = looks.pop(0)
    assert cli("batch", "get", "batch_1", "--wait").status == 0
    looks = [Answer(state("in_progress")), *[Answer({}, 503)] * 70]
    cloud.answers[f"GET {AT}"] = looks.pop(0)
    assert cli("batch", "get", "batch_1", "--wait").status == 1


def test_lists_states_and_ends(cli, cloud: Stub):
    cloud.answers |= {"GET /v1/batches": Answer({"data": [state("in_progress", 12, 3)]}),
                      f"GET {AT}": Answer(state("in_progress", 12)), f"POST {AT}/cancel": Answer(state("cancelling"))}  # fmt: skip
    assert "12/10,000" in cli("batch", "list").out
    assert "in_progress" in cli("batch", "get", "batch_1").out
    assert cli("batch", "cancel", "batch_1").out == "batch_1 cancelling\n"
    cloud.answers["GET /v1/batches"] = Answer({"data": []})
    assert cli("batch", "list").out == "no batch yet\n"


def test_what_cannot_be_begun_is_refused_before_anything_is_sent(cli, cloud: Stub, given: Path):
    there = given.with_name("there.jsonl")
    there.write_text("mine")
    wrong = given.with_name("wrong.jsonl")
    wrong.write_text("no json\n")
    for words, word in (((str(given), "-o", str(there)), "there already"), ((str(wrong),), "docs/batches.md"),
                        ((str(given), "--metadata", "x"), "NAME=VALUE")):  # fmt: skip
        done = cli("batch", "create", *words)
        assert (done.status, word in done.err) == (2, True), done.err
    assert cloud.heard == []
    assert there.read_text() == "mine"
