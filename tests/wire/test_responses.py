"""The Responses API: what engines are sent, what clients see, and what is refused."""

import base64
import json

import pytest

from headrace import errors
from headrace.state.request import FLEX
from headrace.wire.usage import Counts
from tests.wire.bodies import LLAMA, NATIVE, RESPONSES, WEATHER, chat_body, conforms, events, read, sent
from tests.wire.media_files import png

PATH = "/v1/responses"
TOOL = {"type": "function", **WEATHER["function"], "strict": True}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
COUNTS = Counts(input_tokens=5, cached_tokens=2, output_tokens=3)


def ask(**fields: object):
    return read(PATH, **{"input": "Hi", **fields})


def refused(**fields: object) -> errors.Invalid:
    with pytest.raises(errors.Invalid) as found:
        ask(**fields)
    return found.value


def test_an_engine_is_sent_a_chat():
    """Names are chat's; nothing that is only for the response goes along."""
    call = ask(
        instructions="Be brief.", max_output_tokens=9, temperature=0.5, top_p=0.9, metadata={"a": "b"}, user="u",
        text={"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}, service_tier="flex",
        store=False, include=["reasoning.encrypted_content"],
    )  # fmt: skip
    assert sent(call) == {
        "model": "up",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
        },
    }
    assert (call.task, call.priority, call.output_max, call.stream) == ("chat", FLEX, 9, False)
    assert 0 < call.input_bytes == len("Be brief.Hi")


def test_a_stream_is_asked_for_with_its_usage():
    call = ask(stream=True)
    assert sent(call)["stream_options"] == {"include_usage": True}
    assert call.include_usage is True


def test_tools_go_to_engines_that_have_them_and_are_emulated_for_others():
    call = ask(tools=[TOOL], tool_choice={"type": "function", "name": "get_weather"}, parallel_tool_calls=False)
    native = sent(call, NATIVE)
    assert native["tools"] == [{"type": "function", "function": {**WEATHER["function"], "strict": True}}]
    assert native["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert native["parallel_tool_calls"] is False
    assert sent(call, LLAMA)["response_format"]["json_schema"]["name"] == "tool_call"


def test_a_whole_answer():
    """All required fields, the parameters as they were given, usage as it was counted."""
    call = ask(max_output_tokens=9, metadata={"k": "v"}, tools=[TOOL], tool_choice="none", temperature=0.5)
    sent(call)
    made = json.loads(call.finish(chat_body("Hello"), "req_77", COUNTS))
    conforms("Response", made, RESPONSES)
    assert (made["id"], made["object"], made["status"], made["model"]) == ("resp_77", "response", "completed", "m")
    assert made["output"][0]["content"] == [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]
    assert made["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }
    assert (made["metadata"], made["max_output_tokens"], made["temperature"]) == ({"k": "v"}, 9, 0.5)
    assert (made["store"], made["tool_choice"], made["tools"][0]["name"]) == (False, "none", "get_weather")
    assert made["created_at"] == 1795466047


def test_an_answer_that_was_cut_is_incomplete():
    call = ask()
    sent(call)
    made = json.loads(call.finish(chat_body("Hel", "length"), "req_1", COUNTS))
    conforms("Response", made, RESPONSES)
    assert (made["status"], made["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert made["output"][0]["status"] == "incomplete"


def test_an_emulated_call_is_a_function_call():
    """Whole and as a stream, which tells the same response at its end."""
    body = chat_body('{"name": "get_weather", "arguments": {"city": "Rome"}}')
    for stream in (False, True):
        call = ask(tools=[TOOL], tool_choice="required", stream=stream)
        sent(call)
        if stream:
            assert call.buffered
            told = events(b"".join(call.finish_stream(body, "req_1", 1795466047, COUNTS)))
            assert [data["sequence_number"] for _, data in told] == list(range(len(told)))
            made = told[-1][1]["response"]
        else:
            made = json.loads(call.finish(body, "req_1", COUNTS))
        conforms("Response", made, RESPONSES)
        (item,) = made["output"]
        assert (item["type"], item["name"], item["arguments"]) == ("function_call", "get_weather", '{"city":"Rome"}')
        assert item["call_id"].startswith("call_")


def test_log_probabilities_are_included_where_asked_for():
    """Of the fields that are published, whatever else an engine says."""
    call = ask(include=["message.output_text.logprobs"], top_logprobs=2)
    assert (sent(call)["logprobs"], sent(call)["top_logprobs"]) == (True, 2)
    token = {"id": 7, "token": "Hé", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "x", "logprob": -1}]}
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "Hé"}, "logprobs": {"content": [token]}}
    made = json.loads(call.finish(chat_body(choices=[choice]), "req_1", COUNTS))
    conforms("Response", made, RESPONSES)
    (found,) = made["output"][0]["content"][0]["logprobs"]
    assert found == {
        "token": "Hé", "logprob": -0.5, "bytes": [72, 195, 169],
        "top_logprobs": [{"token": "x", "logprob": -1, "bytes": [120]}],
    }  # fmt: skip


def test_input_is_counted():
    call = read(PATH + "/input_tokens", input="Hi", instructions="x", tools=[TOOL])
    body = call.quoted({"input_tokens": 42, "basis": "tokenizer"})
    conforms("TokenCountsResource", body, RESPONSES)
    assert json.loads(body)["input_tokens"] == 42


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True, "store": False}, "store"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "f", "colour": 1}]}, "tools[0].colour"),
        ({"tools": [{**TOOL, "parameters": {"$ref": "http://x"}}]}, "tools[0].parameters"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "nope"}}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"$ref": "u"}}}}, "text.format.schema"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 3}, "max_tokens"),
    ],
)
def test_what_is_not_served_is_refused_by_name(fields: dict, param: str):
    error = refused(**fields)
    assert (error.param, error.status) == (param, 400)


def test_what_an_engine_cannot_do_is_refused_by_the_names_of_this_api():
    bare = LLAMA.__class__(dialect="x", json_schema=False, logprobs=False, generates=False)
    for fields, param in (
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"tools": [TOOL]}, "tools"),
    ):
        with pytest.raises(errors.Invalid) as found:
            sent(ask(**fields), bare)
        assert found.value.param == param


def test_pictures_are_for_models_that_see():
    """And looked at before an engine is sent them."""
    seeing = LLAMA.__class__(dialect="headrace", images=True)
    url = base64.b64encode(png()).decode()
    call = ask(input=[{"role": "user", "content": [{"type": "input_image", "image_url": url}]}])
    assert sent(call, seeing)["messages"][0]["content"][0]["image_url"]["url"].endswith(url)
    with pytest.raises(errors.Invalid) as refused:
        sent(call, LLAMA)
    assert refused.value.param == "input[0].content[0].type"
    url = "eA=="
    with pytest.raises(errors.Invalid) as refused:
        sent(ask(input=[{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]), seeing)
    assert refused.value.param == "input[0].content[0].image_url"


def test_what_is_to_be_kept_or_gone_on_from_is_the_runners():
    """And nothing else: answers are not kept unless their owner says so."""
    for fields in ({"store": True}, {"background": True}, {"previous_response_id": "resp_1"}):
        assert ask(**fields).kept
    for fields in ({}, {"store": False}, {"background": False}, {"previous_response_id": None}):
        assert not ask(**fields).kept
