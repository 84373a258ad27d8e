"""Events of a message: in an order that a grammar gives, as the official client knows them, and the same however cut."""

import json
import re

from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from headrace.wire.anthropic_stream import AnthropicMeter
from headrace.wire.usage import Counts
from tests.wire.bodies import HI, events, parts_stream, read
from tests.wire.test_translate import PARTS, fed

COUNTS = Counts(input_tokens=5, cached_tokens=2, output_tokens=3, bill={"cost": "0.1", "unit": "USD", "price": "p"})
LETTERS = {
    "message_start": "M", "ping": "p", "content_block_start": "(", "content_block_delta": "d",
    "content_block_stop": ")", "message_delta": "D", "message_stop": "E",
}  # fmt: skip
EVENT = TypeAdapter(RawMessageStreamEvent)


def meter() -> AnthropicMeter:
    return read("/v1/messages", messages=HI, max_tokens=9, stream=True).meter("vllm", "req_1", 7_000_000)


def told(parts: list, cuts: list[int], finish: str = "stop") -> list[tuple[str, dict]]:
    read = meter()
    return events(fed(read, parts_stream(parts, finish), cuts) + read.tail(COUNTS))


@settings(max_examples=100, deadline=None)
@given(PARTS, st.lists(st.integers(0, 2000), max_size=8))
def test_events_are_in_order_however_the_bytes_arrive(parts: list, cuts: list[int]):
    """Blocks do not overlap, are numbered as they come, and their deltas add up to what the engine said."""
    found = told(parts, cuts)
    assert found == told(parts, [])
    assert all(name == data["type"] for name, data in found)
    assert re.fullmatch(r"Mp(\(d*\))*DE", "".join(LETTERS[name] for name, _ in found))
    places = [data["index"] for name, data in found if name == "content_block_start"]
    assert places == list(range(len(parts)))
    sums = dict.fromkeys(places, "")
    for name, data in found:
        if name == "content_block_delta":
            sums[data["index"]] += next(v for k, v in data["delta"].items() if k != "type")
    assert list(sums.values()) == ["".join(p[1:] if kind == "tool" else p) for kind, p in parts]


def test_the_stop_sequence_that_was_met_is_named_at_the_end():
    """As the engine says it in its last chunk, of which nothing else reaches the client."""
    call = read("/v1/messages", messages=HI, max_tokens=9, stream=True, stop_sequences=["END"])
    made = call.meter("llama_cpp", "req_1", 7_000_000)
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "__verbose": {"stopping_word": "END"}}
    out = made.feed(b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n')
    out += made.feed(b"data: " + json.dumps(last).encode() + b"\n\n") + made.tail(COUNTS)
    end = events(out)[-2][1]["delta"]
    assert (end["stop_reason"], end["stop_sequence"]) == ("stop_sequence", "END")
    assert b"verbose" not in out


def test_each_event_is_one_that_the_official_client_knows():
    """Of its type and no other, with the reason of the end and the usage as it was counted."""
    parts = [("reasoning", ["hm"]), ("text", ["He", "llo"]), ("tool", ["f", '{"a"', ": 1}"])]
    found = told(parts, [], "tool_calls")
    read = [EVENT.validate_python(data) for name, data in found if name != "ping"]
    assert [event.type for event in read] == [name for name, _ in found if name != "ping"]
    starts = [event.content_block.type for event in read if event.type == "content_block_start"]
    assert starts == ["thinking", "text", "tool_use"]
    end = read[-2]
    assert end.delta.stop_reason == "tool_use"
    assert (end.usage.input_tokens, end.usage.cache_read_input_tokens, end.usage.output_tokens) == (3, 2, 3)


def test_usage_has_the_charge():
    assert told([], [])[-2][1]["usage"]["headrace"]["cost"] == "0.1"


def test_a_stream_that_breaks_ends_with_an_error():
    read = meter()
    read.feed(parts_stream([("text", ["Hel"])]).split(b"\n\n")[0] + b"\n\n")
    ((name, data),) = events(read.broken("upstream_failed", "it died"))
    assert name == "error"
    error = data["error"]
    assert (error["type"], error["message"], data["request_id"]) == ("api_error", "it died", "req_1")
