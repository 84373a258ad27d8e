"""Stored responses with the official client on a cloud of their own, whose runner is killed."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import headrace
from tests.e2e.cloud import Cloud, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
DEFAULT = Path(headrace.__file__).parent / "specs" / "default.yaml"
NAME = {"model": "smollm2", "max_output_tokens": 24, "temperature": 0}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts: Path) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("stored")
    spec = folder / "two.yaml"
    spec.write_text(DEFAULT.read_text() + "  other: {}\n")
    with running(folder / "home", artifacts=shared_artifacts, spec=spec) as cloud:
        cloud.until(lambda: cloud.get("/v1/files"), what="the runner to be there")
        yield cloud


@pytest.fixture
def responses(cloud: Cloud) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=3) as client:
        yield client.responses


def test_a_stored_conversation(responses):
    """It goes on, is shown, listed and taken away; what it cost stands in it."""
    one = responses.create(input="My name is Ada.", store=True, metadata={"k": "v"}, **NAME)
    assert one.store is True
    assert float(one.usage.headrace["cost"]) > 0
    two = responses.create(input="What is my name?", store=True, previous_response_id=one.id, **NAME)
    assert two.previous_response_id == one.id
    assert two.usage.input_tokens > one.usage.input_tokens
    found = responses.retrieve(two.id)
    assert (found.output_text, found.id) == (two.output_text, two.id)
    items = list(responses.input_items.list(two.id, order="asc"))
    assert [item.content[0].text for item in items] == ["My name is Ada.", one.output_text, "What is my name?"]
    responses.delete(one.id)
    with pytest.raises(openai.NotFoundError):
        responses.retrieve(one.id)
    with pytest.raises(openai.NotFoundError) as gone:
        responses.create(input="And now?", previous_response_id=two.id, **NAME)
    assert gone.value.code == "previous_response_not_found"


def test_what_is_not_asked_to_be_stored_is_not(responses):
    answer = responses.create(input="Hi", **NAME)
    assert answer.store is False
    with pytest.raises(openai.NotFoundError):
        responses.retrieve(answer.id)


def test_a_stream_is_stored_when_it_has_ended(responses):
    """Its events say so, and are numbered as the gateway's are."""
    with responses.stream(input="Count to three.", store=True, **NAME) as stream:
        events = list(stream)
    final = events[-1].response
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].response.store is True
    assert responses.retrieve(final.id).output_text == final.output_text


def test_a_response_in_the_background_outlives_its_runner(cloud: Cloud, responses):
    """Queued at once, gone on with by the next runner, paid once; one that is called off stays so."""
    begun = responses.create(input="Tell me a story.", background=True, model="smollm2", max_output_tokens=200)
    assert begun.status == "queued"
    (runner,) = cloud.pids("pipelines")
    os.kill(runner, signal.SIGKILL)
    cloud.until(lambda: cloud.pids("pipelines") not in ([], [runner]), what="a new runner")

    def ended():
        found = responses.retrieve(begun.id)
        return found if found.status in ("completed", "incomplete") else None

    done = cloud.until(ended, 120, "the response to end")
    assert done.output_text
    assert float(done.usage.headrace["cost"]) > 0
    off = responses.create(input="Tell me another.", background=True, model="smollm2", max_output_tokens=400)
    assert responses.cancel(off.id).status == "cancelled"
    assert responses.retrieve(off.id).status == "cancelled"


def test_other_tenants_see_nothing(cloud: Cloud, responses):
    kept = responses.create(input="secret", store=True, **NAME)
    key = cloud.json("key", "create", "--tenant", "other")["key"]
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=key, max_retries=3) as client:
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(kept.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.create(input="x", previous_response_id=kept.id, **NAME)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
def test_a_batch_takes_both_apis(cloud: Cloud, path: str):
    """Each line is answered in its own form, and a count is no work for a batch."""
    asked = {"/v1/responses": {"input": "Hi", "max_output_tokens": 4},
             "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}}[path]  # fmt: skip
    lines = [
        {"custom_id": str(n), "method": "POST", "url": path, "body": {"model": "smollm2", **asked}} for n in range(3)
    ]
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=3) as client:
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        file = client.files.create(file=("in.jsonl", data), purpose="batch")
        make = {"input_file_id": file.id, "completion_window": "24h"}
        batch = client.batches.create(endpoint=path, **make)
        done = cloud.until(
            lambda: (b := client.batches.retrieve(batch.id)).status == "completed" and b, 60, "the batch"
        )
        answers = [json.loads(line)["response"] for line in client.files.content(done.output_file_id).text.splitlines()]
        with pytest.raises(openai.BadRequestError):
            client.batches.create(endpoint="/v1/messages/count_tokens", **make)
    assert [answer["status_code"] for answer in answers] == [200] * 3
    assert {answer["body"].get("object", answer["body"].get("type")) for answer in answers} <= {"response", "message"}


def test_a_streamed_response_in_the_background_is_followed_from_where_it_was_left(cloud: Cloud, responses):
    """Its reader goes away after a few words and comes again; the numbers go on, and the words are those that were said."""
    stream = responses.create(
        input="Tell me a story.", background=True, stream=True, model="smollm2", max_output_tokens=120, temperature=0
    )
    seen = []
    for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta" and len(seen) > 9:
            break
    stream.close()
    name = seen[0].response.id
    assert [event.type for event in seen[:3]] == ["response.created", "response.queued", "response.in_progress"]
    more = list(responses.retrieve(name, stream=True, starting_after=seen[-1].sequence_number))
    every = [*seen, *more]
    assert [event.sequence_number for event in every] == list(range(len(every)))
    final = every[-1].response
    assert (final.id, final.status in ("completed", "incomplete")) == (name, True)
    text = "".join(event.delta for event in every if event.type == "response.output_text.delta")
    assert text == final.output_text == responses.retrieve(name).output_text
    assert float(final.usage.headrace["cost"]) > 0
    again = list(responses.retrieve(name, stream=True, starting_after=5))
    assert [event.sequence_number for event in again] == list(range(6, len(every)))


def test_a_streamed_response_whose_runner_is_killed_ends(cloud: Cloud, responses):
    """Words had been told: it has failed, says so to who follows it, and what was told can still be heard."""
    stream = responses.create(
        input="Tell me a long story.", background=True, stream=True, model="smollm2", max_output_tokens=1000
    )
    seen = []
    for event in stream:
        seen.append(event)
        if len(seen) > 12:
            break
    (runner,) = cloud.pids("pipelines")
    os.kill(runner, signal.SIGKILL)
    stream.close()
    cloud.until(lambda: cloud.pids("pipelines") not in ([], [runner]), what="a new runner")
    name = seen[0].response.id
    more = list(responses.retrieve(name, stream=True, starting_after=seen[-1].sequence_number))
    assert [event.sequence_number for event in more] == list(range(len(seen), len(seen) + len(more)))
    assert (more[-1].type, more[-1].response.status) == ("response.failed", "failed")
    assert responses.retrieve(name).status == "failed"
