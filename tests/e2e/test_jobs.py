"""Files, batches and videos on the real cloud, with the official client."""

import io
import json
import os
import signal
import time
import urllib.error
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest

import headrace
from tests.e2e.cloud import Cloud, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
DEFAULT = Path(headrace.__file__).parent / "specs" / "default.yaml"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts: Path) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("jobs")
    spec = folder / "two.yaml"
    spec.write_text(DEFAULT.read_text() + "  other: {}\n")
    with running(folder / "home", artifacts=shared_artifacts, spec=spec) as cloud:
        cloud.until(lambda: cloud.get("/v1/files"), what="the runner to be there")
        yield cloud


@pytest.fixture
def client(cloud: Cloud) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=3) as client:
        yield client


def embeddings(count: int, also: Sequence[str] = (), **more: Any) -> bytes:
    lines = [
        {"custom_id": f"line-{n}", "method": "POST", "url": "/v1/embeddings",
         "body": {"model": "minilm", "input": [f"sentence number {n}", *also]}, **more}
        for n in range(count)
    ]  # fmt: skip
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def start(client: openai.OpenAI, data: bytes, endpoint: Any = "/v1/embeddings", **more: Any) -> Any:
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def ended(cloud: Cloud, client: openai.OpenAI, batch: Any, seconds: float = 120) -> Any:
    over = ("completed", "failed", "expired", "cancelled")
    return cloud.until(
        lambda: (b := client.batches.retrieve(batch.id)).status in over and b, seconds, "the batch to end"
    )


def rows(client: openai.OpenAI, file: str | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.files.content(file).text.splitlines()] if file else []


def charged(cloud: Cloud, batch: str) -> int:
    """What the gateways' own records say of a batch's lines, by their label."""
    from headrace.stores.sqlite import SqliteStore

    cloud.get("/headrace/v1/explain/last")  # the bookkeeper catches up
    store = SqliteStore(cloud.home / "headrace.db")
    try:
        return sum(row.charge_nanousd for row in store.usage_since(0) if row.label.startswith(batch + "/"))
    finally:
        store.close()


def test_a_file_is_kept_listed_read_and_taken_away(client: openai.OpenAI):
    """As the official client does it; 40 MiB go through in pieces."""
    data = os.urandom(40 << 20)
    file = client.files.create(
        file=("data.bin", io.BytesIO(data)),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (file.bytes, file.filename, file.purpose, file.status) == (len(data), "data.bin", "user_data", "processed")
    assert file.expires_at == file.created_at + 3600
    assert client.files.content(file.id).read() == data
    assert client.files.retrieve(file.id) == file
    others = [client.files.create(file=(f"{n}.txt", b"%d" % n), purpose="assistants").id for n in range(5)]
    assert [f.id for f in client.files.list(purpose="assistants", limit=2)] == others[::-1]  # all pages, by two
    assert [f.id for f in client.files.list(purpose="assistants", order="asc", limit=3).data] == others[:3]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)
    for other in others:
        client.files.delete(other)


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"purpose": "fine-tune"}, "purpose"), ({"expires_after": {"anchor": "created_at", "seconds": 5}}, "expires_after.seconds")],
)  # fmt: skip
def test_a_file_that_cannot_be_kept_says_why(client: openai.OpenAI, fields: dict[str, Any], param: str):
    with pytest.raises(openai.BadRequestError) as told:
        client.files.create(**{"file": ("x.txt", b"x"), "purpose": "batch", **fields})
    assert told.value.param == param


def test_a_batch_of_embeddings_is_done_counted_and_priced(cloud: Cloud, client: openai.OpenAI):
    """Each line has its answer, the sums are those of the books."""
    batch = ended(cloud, client, start(client, embeddings(60), metadata={"for": "tests"}))
    assert (batch.status, batch.metadata, batch.model) == ("completed", {"for": "tests"}, "minilm")
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (60, 60, 0)
    assert batch.error_file_id is None
    found = rows(client, batch.output_file_id)
    assert sorted(row["custom_id"] for row in found) == sorted(f"line-{n}" for n in range(60))
    assert len({row["id"] for row in found}) == 60
    assert all(row["response"]["status_code"] == 200 and row["error"] is None for row in found)
    assert all(len(row["response"]["body"]["data"][0]["embedding"]) == 384 for row in found)
    assert batch.usage.input_tokens == sum(row["response"]["body"]["usage"]["prompt_tokens"] for row in found) > 0
    money = batch.model_extra["headrace"]
    assert money["unpriced"] == 0
    assert money["cost_nanousd"] == sum(row["headrace"]["cost_nanousd"] for row in found) > 0
    cloud.until(lambda: charged(cloud, batch.id) == money["cost_nanousd"], what="the books to say the same")
    assert client.files.retrieve(batch.output_file_id).purpose == "batch_output"


def test_answers_that_are_refused_are_in_the_error_file(cloud: Cloud, client: openai.OpenAI):
    """A line with a wrong parameter costs that line alone, and nothing."""
    lines = [
        {"custom_id": "good", "method": "POST", "url": "/v1/chat/completions",
         "body": {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}},
        {"custom_id": "hot", "method": "POST", "url": "/v1/chat/completions",
         "body": {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "temperature": 9}},
    ]  # fmt: skip
    data = "\n".join(json.dumps(line) for line in lines).encode()
    batch = ended(cloud, client, start(client, data, "/v1/chat/completions"))
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 1, 1)
    (good,), (bad,) = rows(client, batch.output_file_id), rows(client, batch.error_file_id)
    assert good["response"]["body"]["choices"][0]["message"]["content"]
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("hot", 400)
    assert bad["response"]["body"]["error"]["param"] == "temperature"
    assert bad["headrace"]["cost_nanousd"] == 0
    assert batch.usage.output_tokens > 0


def test_a_bad_file_is_refused_by_line_before_anything_is_asked(cloud: Cloud, client: openai.OpenAI):
    good = json.loads(embeddings(1))
    lines = [
        good, {**good}, {**good, "custom_id": "b", "method": "GET"}, {**good, "custom_id": "c", "url": "/v1/rerank"},
        {**good, "custom_id": "d", "body": {"model": "minilmm", "input": "x"}},
        {**good, "custom_id": "e", "body": {"input": "x"}}, {**good, "custom_id": "f", "body": {**good["body"], "stream": True}},
    ]  # fmt: skip
    data = b"\n".join(json.dumps(line).encode() for line in lines) + b"\nnot json\n"
    batch = ended(cloud, client, start(client, data))
    assert batch.status == "failed"
    assert [(e.line, e.code) for e in batch.errors.data] == [
        (2, "duplicate_custom_id"), (3, "invalid_method"), (4, "invalid_url"), (5, "model_not_found"),
        (6, "invalid_json_line"), (7, "unsupported_value"), (8, "invalid_json_line"),
    ]  # fmt: skip
    assert "minilm" in batch.errors.data[3].message
    assert (batch.request_counts.total, batch.output_file_id) == (0, None)
    empty = ended(cloud, client, start(client, b"\n\n"))
    assert [e.code for e in empty.errors.data] == ["empty_file"]


def test_a_batch_that_cannot_be_made_is_refused_at_once(client: openai.OpenAI):
    file = client.files.create(file=("in.jsonl", embeddings(1)), purpose="user_data")
    asked: dict[str, Any] = {"input_file_id": file.id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    for changes, param in (({}, "input_file_id"), ({"endpoint": "/v1/nothing"}, "endpoint"),
                           ({"completion_window": "1h"}, "completion_window")):  # fmt: skip
        with pytest.raises(openai.BadRequestError) as told:
            client.batches.create(**{**asked, **changes})
        assert told.value.param == param
    with pytest.raises(openai.NotFoundError):
        client.batches.create(**{**asked, "input_file_id": "file-nothing"})
    client.files.delete(file.id)


def test_a_cancelled_batch_keeps_what_was_done(cloud: Cloud, client: openai.OpenAI):
    """Every line of the input is in one of its two files."""
    batch = start(client, embeddings(20_000))
    cloud.until(lambda: client.batches.retrieve(batch.id).request_counts.completed >= 5, what="a few answers")
    assert client.batches.cancel(batch.id).status == "cancelling"
    batch = ended(cloud, client, batch)
    assert batch.status == "cancelled"
    done, left = rows(client, batch.output_file_id), rows(client, batch.error_file_id)
    assert len(done) == batch.request_counts.completed >= 5
    assert {row["error"]["code"] for row in left} == {"batch_cancelled"}
    assert len({row["custom_id"] for row in done + left}) == 20_000
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


@pytest.mark.parametrize("role", ["pipelines", "gateway"])
def test_a_killed_process_loses_no_line_and_pays_for_none_twice(cloud: Cloud, client: openai.OpenAI, role: str):
    """SIGKILL in the middle, again and again."""
    batch = start(client, embeddings(1500))
    for share in (50, 400):
        cloud.until(
            lambda share=share: client.batches.retrieve(batch.id).request_counts.completed >= share, 60, "lines done"
        )
        for pid in cloud.pids(role)[:1]:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    batch = ended(cloud, client, batch)
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 1500, 0)
    found = rows(client, batch.output_file_id)
    assert len({row["custom_id"] for row in found}) == len(found) == 1500
    told = batch.model_extra["headrace"]["cost_nanousd"]
    assert batch.model_extra["headrace"]["unpriced"] == 0
    if role == "pipelines":  # a killed gateway's own requests are paid for as far as they had come
        cloud.until(
            lambda: charged(cloud, batch.id) == told, what=f"the books to say {told}, not {charged(cloud, batch.id)}"
        )


def test_a_killed_runner_loses_no_large_answer_and_nothing_large_is_kept_after_the_end(
    cloud: Cloud, client: openai.OpenAI
):
    """96 vectors a line are some 700 KiB of JSON: SIGKILL whenever a few have been answered, until none is left."""
    batch = start(client, embeddings(40, [f"another one, number {n}" for n in range(95)]))
    for share in (2, 6, 12, 20, 28):
        cloud.until(
            lambda share=share: client.batches.retrieve(batch.id).request_counts.completed >= share, 60, "lines done"
        )
        for pid in cloud.pids("pipelines"):
            os.kill(pid, signal.SIGKILL)
    batch = ended(cloud, client, batch)
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 40, 0)
    found = rows(client, batch.output_file_id)
    assert {len(row["response"]["body"]["data"]) for row in found} == {96}
    assert min(len(json.dumps(row["response"]["body"])) for row in found) > 256 << 10
    told = batch.model_extra["headrace"]["cost_nanousd"]
    assert batch.model_extra["headrace"]["unpriced"] == 0
    cloud.until(
        lambda: charged(cloud, batch.id) == told, what=f"the books to say {told}, not {charged(cloud, batch.id)}"
    )
    assert list((cloud.home / "repeats").glob("*.large")) == []


def test_tenants_do_not_see_each_others_work(cloud: Cloud, client: openai.OpenAI):
    key = cloud.json("key", "create", "--tenant", "other")["key"]
    file = client.files.create(file=("in.jsonl", embeddings(1)), purpose="batch")
    batch = ended(cloud, client, start(client, embeddings(1)))
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=key, max_retries=0) as other:
        assert list(other.files.list()) == []
        assert list(other.batches.list()) == []
        for ask in (
            lambda: other.files.retrieve(file.id), lambda: other.files.content(file.id), lambda: other.files.delete(file.id),
            lambda: other.batches.retrieve(batch.id), lambda: other.batches.cancel(batch.id),
            lambda: other.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"),
        ):  # fmt: skip
            with pytest.raises(openai.NotFoundError):
                ask()
    assert client.batches.list(limit=1).data[0].id == batch.id


def test_what_is_not_there_is_told_in_the_shape_clients_expect(cloud: Cloud):
    for path, status in (("/v1/files/file-x/nothing", 404), ("/v1/batches/batch_x", 404), ("/v1/files?limit=0", 400)):
        with pytest.raises(urllib.error.HTTPError) as told:
            cloud.get(path)
        assert told.value.code == status
