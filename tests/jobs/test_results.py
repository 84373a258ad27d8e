"""The journal of a batch: what was written is there for the next runner, what was torn is done again."""

from pathlib import Path

import msgspec
import pytest

from headrace.jobs.results import ERRORS, OUTPUT, Response, Results

BODY = b'{"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}}'


def good(results: Results, place: int, charge: int | None = 7) -> None:
    response = Response(status_code=200, request_id=f"req-{place}", body=msgspec.Raw(BODY))
    results.answered(place, f"c{place}", response, charge)


def written(folder: Path) -> Results:
    results = Results(folder, "batch_x", 6)
    good(results, 0)
    good(results, 3, None)
    results.answered(1, "c1", Response(status_code=400, request_id="req-1", body=msgspec.Raw(b'{"error": {}}')), 0)
    results.failed(5, "c5", "batch_expired", "too late", 0)
    return results


def test_the_next_runner_counts_the_same(tmp_path: Path):
    """Answers, refusals, tokens, money, and what has no price."""
    first = written(tmp_path)
    first.close()
    first.close()  # closing twice is closing
    again = Results(tmp_path, "batch_x", 6)
    assert again.counts == first.counts
    assert list(again.done) == [1, 1, 0, 1, 0, 1]
    counts = again.counts
    assert (counts.completed, counts.failed, counts.charge_nanousd, counts.unpriced) == (2, 2, 7, 1)
    assert (counts.input_tokens, counts.cached_tokens, counts.output_tokens) == (18, 8, 4)
    good(again, 2)
    again.close()
    lines = [msgspec.json.decode(line) for line in (tmp_path / OUTPUT).read_bytes().splitlines()]
    assert [line["id"] for line in lines] == ["batch_req_x_0", "batch_req_x_3", "batch_req_x_2"]
    assert lines[0]["response"] == {"status_code": 200, "request_id": "req-0", "body": msgspec.json.decode(BODY)}


@pytest.mark.parametrize(
    "tail",
    [b'{"id": "batch_req_x_2", "custom', b"\0" * 500, b'{"id": "batch_req_x_99", "custom_id": "c", "response": null, '
     b'"error": null, "headrace": {"cost_nanousd": 0}}\n'],
)  # fmt: skip
def test_what_is_torn_or_strange_is_cut_off(tmp_path: Path, tail: bytes):
    """After a power failure the end of a file may be anything; the lines before it stay."""
    written(tmp_path).close()
    sound = (tmp_path / OUTPUT).read_bytes()
    (tmp_path / OUTPUT).write_bytes(sound + tail)
    again = Results(tmp_path, "batch_x", 6)
    good(again, 2)
    again.close()
    assert (tmp_path / OUTPUT).read_bytes().startswith(sound)
    assert len((tmp_path / OUTPUT).read_bytes().splitlines()) == 3
    assert len((tmp_path / ERRORS).read_bytes().splitlines()) == 2
