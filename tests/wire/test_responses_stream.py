"""Events of a response: numbered, in an order that a grammar gives, each as published, and the same however cut."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.wire.responses_stream import VOICE, ResponsesMeter
from headrace.wire.usage import Counts
from tests.wire.bodies import RESPONSES, conforms, events, parts_stream, read
from tests.wire.test_translate import PARTS, fed

COUNTS = Counts(input_tokens=5, output_tokens=3, bill={"cost": "0.1", "unit": "USD", "price": "p"})
LETTERS = {
    "response.created": "C", "response.in_progress": "P", "response.output_item.added": "(",
    "response.output_item.done": ")", "response.content_part.added": "[", "response.content_part.done": "]",
    "response.output_text.delta": "d", "response.output_text.done": "D", "response.reasoning_text.delta": "r",
    "response.reasoning_text.done": "R", "response.function_call_arguments.delta": "a",
    "response.function_call_arguments.done": "A", "response.completed": "E", "response.incomplete": "I",
}  # fmt: skip
GRAMMAR = re.compile(r"CP(\((\[d*D\]|\[r+R\]|a*A)\))+[EI]")


def meter() -> ResponsesMeter:
    return read("/v1/responses", input="Hi", stream=True).meter("vllm", "req_1", 7_000_000)


def told(parts: list, cuts: list[int], finish: str = "stop") -> list[tuple[str, dict]]:
    read = meter()
    return events(fed(read, parts_stream(parts, finish), cuts) + read.tail(COUNTS))


@settings(max_examples=100, deadline=None)
@given(PARTS, st.lists(st.integers(0, 2000), max_size=8), st.sampled_from(["stop", "length"]))
def test_events_are_numbered_and_in_order_however_the_bytes_arrive(parts: list, cuts: list[int], finish: str):
    """Deltas add up to what the closing events say, and those to the response at the end."""
    found = told(parts, cuts, finish)
    assert found == told(parts, [], finish)
    assert [data["sequence_number"] for _, data in found] == list(range(len(found)))
    assert all(name == data["type"] for name, data in found)
    assert GRAMMAR.fullmatch("".join(LETTERS[name] for name, _ in found))
    response = found[-1][1]["response"]
    assert response["status"] == ("incomplete" if finish == "length" else "completed")
    assert response["output"] == [data["item"] for name, data in found if name == "response.output_item.done"]
    sums = dict.fromkeys(range(len(response["output"])), "")
    for name, data in found:
        if name.endswith(".delta"):
            sums[data["output_index"]] += data["delta"]
    assert [item.get("arguments", (item.get("content") or [{"text": ""}])[0].get("text")) if item["type"] == "function_call"
            else item["content"][0]["text"] for item in response["output"]] == list(sums.values())  # fmt: skip
    assert response["usage"]["headrace"]["cost"] == "0.1"


def test_each_event_is_as_published():
    parts = [("reasoning", ["hm"]), ("text", ["He", "llo"]), ("tool", ["f", "{", "}"]), ("tool", ["g"])]
    names = {json.dumps(s["properties"]["type"]["enum"]): n for n, s in RESPONSES["components"]["schemas"].items()
             if n.endswith("Event") and "type" in s.get("properties", {})}  # fmt: skip
    found = told(parts, [])
    for name, data in found:
        conforms(names[json.dumps([name])], data, RESPONSES)
    assert {name for name, _ in found} == set(LETTERS) - {"response.incomplete"}


def test_a_stream_that_breaks_ends_with_a_response_that_failed():
    """With what there was of it, under the next number."""
    read = meter()
    begun = events(
        read.feed(parts_stream([("text", ["Hel"])]).split(b'"finish_reason": "stop"')[0].rsplit(b"data:", 1)[0])
    )
    ((name, data),) = events(read.broken("upstream_failed", "it died"))
    conforms("ResponseFailedEvent", data, RESPONSES)
    assert (name, data["sequence_number"]) == ("response.failed", len(begun))
    assert data["response"]["error"] == {"code": "server_error", "message": "upstream_failed: it died"}
    assert data["response"]["output"][0]["content"][0]["text"] == "Hel"


@pytest.mark.parametrize("code", ["start_timeout", "overloaded"])
def test_an_error_before_the_first_event_is_an_error_event(code: str):
    """A comment may have gone before it, so it cannot be a status."""
    ((name, data),) = events(VOICE.event(code))
    conforms("ResponseErrorEvent", data, RESPONSES)
    assert (name, data["code"]) == ("error", code)
    assert json.loads(VOICE.body(code))["error"]["code"] == code
