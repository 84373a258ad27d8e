"""The input of a batch: where each request is, and what is off with a line, by its number."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.jobs import lines
from headrace.jobs.batch import ERRORS_MAX

PATH = "/v1/embeddings"
GOOD: dict[str, Any] = {"custom_id": "a", "method": "POST", "url": PATH, "body": {"model": "m", "input": "x"}}


def check(folder: Path, *given: Any) -> lines.Input:
    file = folder / "in.jsonl"
    file.write_bytes(b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in given))
    return lines.check(file, PATH, {"m", "n"})


def test_requests_are_found_by_where_they_begin(tmp_path: Path):
    """Blank lines between them, none at the end, and unknown fields of ours to come."""
    found = check(tmp_path, GOOD, b"", b"  ", {**GOOD, "custom_id": "b", "note": 1, "body": {"model": "m@v2"}})
    data = (tmp_path / "in.jsonl").read_bytes()
    assert (found.errors, len(found.starts)) == ([], 3)
    one, two = (lines.request(data[found.starts[n] : found.starts[n + 1]]) for n in range(2))
    assert (one.custom_id, json.loads(bytes(one.body))) == ("a", GOOD["body"])
    assert two.custom_id == "b"
    assert found.model == ""
    assert check(tmp_path, GOOD).model == "m"


@pytest.mark.parametrize(
    ("line", "code", "word"),
    [
        ({**GOOD, "custom_id": ""}, "invalid_custom_id", "512"),
        ({**GOOD, "custom_id": "x" * 513}, "invalid_custom_id", "512"),
        ({**GOOD, "custom_id": 7}, "invalid_json_line", "custom_id"),
        ({**GOOD, "body": "text"}, "invalid_json_line", "object"),
        ({**GOOD, "body": {"model": 3}}, "invalid_json_line", "model"),
        ({**GOOD, "body": {"model": "nn"}}, "model_not_found", "mean n?"),
        ({**GOOD, "url": "/v1/embedding"}, "invalid_url", PATH),
        (b"\xff\xfe", "invalid_json_line", "line"),
        (b"[" * 5000, "invalid_json_line", "line"),
    ],
)
def test_what_is_off_is_named_with_its_line(tmp_path: Path, line: Any, code: str, word: str):
    found = check(tmp_path, {**GOOD, "custom_id": "first"}, line)
    (error,) = found.errors
    assert (error.line, error.code) == (2, code)
    assert word in error.message


def test_a_pipeline_may_be_asked_and_a_line_may_not_be_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert check(tmp_path, {**GOOD, "body": {"model": "pipeline/p"}}).errors == []
    monkeypatch.setattr(lines, "LINE_BYTES_MAX", 200)
    found = check(tmp_path, {**GOOD, "body": {"model": "m", "input": "x" * 300}})
    assert found.errors[0].code == "line_too_long"


def test_lines_and_errors_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lines, "LINES_MAX", 3)
    assert check(tmp_path, *({**GOOD, "custom_id": str(n)} for n in range(3))).errors == []
    assert check(tmp_path, *({**GOOD, "custom_id": str(n)} for n in range(4))).errors[-1].code == "too_many_requests"
    monkeypatch.setattr(lines, "LINES_MAX", 10_000)
    assert len(check(tmp_path, *(b"no" for _ in range(500))).errors) == ERRORS_MAX
