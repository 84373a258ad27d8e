"""The Responses and Messages APIs with their official clients, in front of the real small model."""

import gzip
import json
from pathlib import Path

import anthropic
import jsonschema
import openai
import pytest
from pydantic import BaseModel

from tests.e2e.cloud import Cloud

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

FRANCE = "What is the capital of France?"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
GREEDY = {"temperature": 0}  # the client of today has no argument for it
SPEC = Path(__file__).parents[1] / "data" / "openai-responses.json.gz"


@pytest.fixture(scope="module")
def published():
    components = json.loads(gzip.decompress(SPEC.read_bytes()))["components"]

    def check(schema: str, value: object) -> None:
        jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": components}).validate(
            value
        )

    return check


@pytest.fixture
def gpt(cloud: Cloud):
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=0) as client:
        yield client.responses


@pytest.fixture
def claude(cloud: Cloud):
    with anthropic.Anthropic(base_url=cloud.url, api_key=cloud.key, max_retries=0) as client:
        yield client.messages


def test_a_response(gpt, published):
    """The small model's answer, as published, with its usage."""
    raw = gpt.with_raw_response.create(
        model="smollm2", input=FRANCE, instructions="Answer briefly.", max_output_tokens=24, temperature=0
    )
    published("Response", json.loads(raw.content))
    answer = raw.parse()
    assert "Paris" in answer.output_text
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert (answer.model, answer.status in ("completed", "incomplete")) == ("smollm2", True)
    assert float(raw.headers["x-headrace-cost"]) > 0


def test_a_streamed_response(gpt, published):
    """The official client adds the events up to what the response at the end says."""
    with gpt.stream(model="smollm2", input=FRANCE, max_output_tokens=24, temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == final.output_text
    assert "Paris" in deltas
    assert float(final.usage.headrace["cost"]) > 0
    end = events[-1].response.model_dump(mode="json", exclude_unset=True, exclude={"output": {"__all__": "parsed"}})
    published("Response", {k: v for k, v in end.items() if k != "output"} | {"output": []})


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_calls_a_tool_and_goes_on(gpt, stream: bool):
    """A function is called with arguments of its schema; the call and its output are sent back as they came."""
    tool = {"type": "function", "name": "get_weather", "description": "Weather", "parameters": CITY, "strict": True}
    ask = {"model": "smollm2", "tools": [tool], "max_output_tokens": 64, "temperature": 0}
    question = {"role": "user", "content": "What is the weather in Paris?"}
    if stream:
        with gpt.stream(input=[question], tool_choice="required", **ask) as events:
            answer = events.get_final_response()
    else:
        answer = gpt.create(input=[question], tool_choice="required", **ask)
    (call,) = answer.output
    assert (call.type, call.name) == ("function_call", "get_weather")
    assert list(json.loads(call.arguments)) == ["city"]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees and sunny"}
    more = gpt.create(input=[question, *answer.output, output], tool_choice="none", **ask)
    assert more.output_text


def test_a_response_of_a_schema(gpt):
    """`responses.parse` gives the model's answer as an object."""

    class Capital(BaseModel):
        city: str

    answer = gpt.parse(model="smollm2", input=FRANCE, text_format=Capital, max_output_tokens=48, temperature=0)
    assert isinstance(answer.output_parsed, Capital)
    assert answer.text.format.type == "json_schema"


def test_input_is_counted_as_it_is_metered(gpt, cloud: Cloud):
    """By the tokenizer of a replica that is ready."""
    answer = gpt.create(model="smollm2", input=FRANCE, instructions="Be brief.", max_output_tokens=1)

    def counted():
        raw = gpt.input_tokens.with_raw_response.count(model="smollm2", input=FRANCE, instructions="Be brief.")
        return raw if raw.headers["x-headrace-basis"] == "tokenizer" else None

    found = cloud.until(counted, what="a count by the tokenizer").parse()
    assert found.input_tokens == answer.usage.input_tokens


def test_what_responses_refuse(gpt, cloud: Cloud):
    with pytest.raises(openai.BadRequestError) as refused:
        gpt.create(model="smollm2", input="x", tools=[{"type": "web_search"}])
    assert refused.value.param == "tools[0].type"
    with pytest.raises(openai.NotFoundError):
        gpt.create(model="none", input="x")


def test_a_message(claude):
    """The same answer as a message, named by the model of the cloud."""
    answer = claude.create(
        model="smollm2", max_tokens=24, extra_body=GREEDY, system="Answer briefly.",
        messages=[{"role": "user", "content": FRANCE}],
    )  # fmt: skip
    assert "Paris" in answer.content[0].text
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens > 5
    assert answer._request_id.startswith("req_")


def test_a_streamed_message(claude):
    """The official client adds the events up; the usage is told at the end, with the charge."""
    ask = {
        "model": "smollm2",
        "max_tokens": 24,
        "extra_body": GREEDY,
        "messages": [{"role": "user", "content": FRANCE}],
    }
    with claude.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert "Paris" in text
    assert final.content[0].text == text
    assert 0 < final.usage.output_tokens <= 25
    raw = [event for event in claude.create(**ask, stream=True) if event.type == "message_delta"]
    assert float(raw[0].usage.headrace["cost"]) > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_message_that_met_a_stop_sequence_names_it(claude, stream: bool):
    """What the real engine ended at, of several; without meeting one it is the end of the turn."""
    ask = {
        "model": "smollm2",
        "max_tokens": 24,
        "extra_body": GREEDY,
        "messages": [{"role": "user", "content": FRANCE}],
    }
    for stops, told in ((["zzz", "Paris"], ("stop_sequence", "Paris")), (["zzz"], None)):
        if stream:
            with claude.stream(**ask, stop_sequences=stops) as events:
                answer = events.get_final_message()
        else:
            answer = claude.create(**ask, stop_sequences=stops)
        if told is None:
            assert answer.stop_reason in ("end_turn", "max_tokens")
            assert answer.stop_sequence is None
        else:
            assert (answer.stop_reason, answer.stop_sequence) == told
            assert "Paris" not in answer.content[0].text


@pytest.mark.parametrize("stream", [False, True])
def test_a_message_uses_a_tool_and_goes_on(claude, stream: bool):
    tool = {"name": "get_weather", "description": "Weather", "input_schema": CITY}
    ask = {"model": "smollm2", "max_tokens": 64, "extra_body": GREEDY, "tools": [tool]}
    question = {"role": "user", "content": "What is the weather in Paris?"}
    if stream:
        with claude.stream(messages=[question], tool_choice={"type": "any"}, **ask) as events:
            answer = events.get_final_message()
    else:
        answer = claude.create(messages=[question], tool_choice={"type": "any"}, **ask)
    (use,) = answer.content
    assert (use.type, use.name, answer.stop_reason, list(use.input)) == (
        "tool_use",
        "get_weather",
        "tool_use",
        ["city"],
    )
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "18 degrees and sunny"}
    turns = [question, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    more = claude.create(messages=turns, tool_choice={"type": "none"}, **ask)
    assert more.content[0].text


def test_models_as_anthropics_client_lists_them(cloud: Cloud):
    with anthropic.Anthropic(base_url=cloud.url, api_key=cloud.key, max_retries=0) as client:
        found = {model.id: model for model in client.models.list()}
        assert found["smollm2"] == client.models.retrieve("smollm2")
    assert found["smollm2"].max_input_tokens > 0
    assert found["smollm2"].created_at.year >= 2024


def test_a_message_of_a_schema(claude):
    answer = claude.create(
        model="smollm2", max_tokens=48, extra_body=GREEDY, messages=[{"role": "user", "content": FRANCE}],
        output_config={"format": {"type": "json_schema", "schema": CITY}},
    )  # fmt: skip
    assert list(json.loads(answer.content[0].text)) == ["city"]


def test_messages_are_counted_and_refused_in_anthropics_words(claude, cloud: Cloud):
    messages = [{"role": "user", "content": FRANCE}]
    assert claude.count_tokens(model="smollm2", messages=messages).input_tokens > 5
    with pytest.raises(anthropic.NotFoundError) as unknown:
        claude.create(model="none", max_tokens=1, messages=messages)
    assert unknown.value.body["error"]["type"] == "not_found_error"
    assert unknown.value.request_id.startswith("req_")
    with (
        anthropic.Anthropic(base_url=cloud.url, api_key="hr-nobody", max_retries=0) as nobody,
        pytest.raises(anthropic.AuthenticationError),
    ):
        nobody.messages.create(model="smollm2", max_tokens=1, messages=messages)
