"""Tools on engines without: described, constrained, rewritten; and the whole way back in a stream."""

import json

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from headrace import errors
from tests.wire.bodies import HI, LLAMA, NATIVE, WEATHER, chat, chat_body, conforms, sent

NOOP = {"type": "function", "function": {"name": "noop"}}
CALL = '{\n "name": "get_weather", "arguments": {"city": "Paris"}}'
NAMED = {"type": "function", "function": {"name": "get_weather"}}


def schema_of(out: dict) -> dict:
    assert out["response_format"]["type"] == "json_schema"
    return out["response_format"]["json_schema"]["schema"]


def answered(content: str, finish: str = "stop", **fields: object) -> dict:
    call = chat(**{"tools": [WEATHER, NOOP], **fields})
    call.render(LLAMA, "up", 64, 2048)
    body = call.finish(chat_body(content, finish), "req_1")
    conforms("CreateChatCompletionResponse", body)
    ChatCompletion.model_validate_json(body)
    return json.loads(body)["choices"][0]


def test_an_engine_with_tools_gets_them_as_they_are():
    """Nothing is made up for it."""
    out = sent(chat(tools=[WEATHER], tool_choice=NAMED, parallel_tool_calls=False), NATIVE)
    assert (out["tools"], out["tool_choice"], out["parallel_tool_calls"]) == ([WEATHER], NAMED, False)
    assert out["messages"] == HI


def test_required_is_a_call_of_one_of_them():
    """The schema leaves nothing else to write."""
    out = sent(chat(tools=[WEATHER, NOOP], tool_choice="required"))
    weather, noop = schema_of(out)["anyOf"]
    assert weather["properties"]["name"] == {"const": "get_weather"}
    assert weather["properties"]["arguments"] == {
        **WEATHER["function"]["parameters"],
        "additionalProperties": False,
    }
    assert noop["required"] == ["name", "arguments"]
    assert not {"tools", "tool_choice"} & out.keys()
    assert out["messages"][0]["role"] == "system"
    assert "get_weather: The weather in a city" in out["messages"][0]["content"]
    assert out["messages"][1:] == HI


def test_a_named_choice_is_a_call_of_that_one():
    """Others are not even described."""
    out = sent(chat(tools=[NOOP, WEATHER], tool_choice=NAMED))
    assert schema_of(out)["properties"]["name"] == {"const": "get_weather"}
    assert "noop" not in out["messages"][0]["content"]


def test_auto_is_a_call_or_a_reply():
    """And where the reply was to follow a schema of its own, it does."""
    assert schema_of(sent(chat(tools=[WEATHER])))["anyOf"][1]["properties"] == {"reply": {"type": "string"}}
    own = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": own}}
    out = sent(chat(tools=[WEATHER], response_format=wanted))
    assert schema_of(out)["anyOf"][1]["properties"] == {"reply": own}


def test_none_drops_the_tools():
    """As if they had not been given."""
    assert sent(chat(tools=[WEATHER], tool_choice="none")) == sent(chat())


def test_the_system_message_of_the_client_stays_the_first():
    """One system message: some templates take no second."""
    out = sent(chat(tools=[WEATHER], messages=[{"role": "system", "content": "Be brief."}, *HI]))
    assert [m["role"] for m in out["messages"]] == ["system", "user"]
    assert out["messages"][0]["content"].startswith("Be brief.\n\nYou can call")


def test_history_with_calls_is_written_out():
    """For engines whose templates know neither calls nor results."""
    made = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    history = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 C"},
    ]
    assert sent(chat(messages=history))["messages"][1:] == [
        {"role": "assistant", "content": '{"name": "get_weather", "arguments": {"city":"Paris"}}'},
        {"role": "user", "content": "Result of get_weather: 18 C"},
    ]
    native = sent(chat(messages=history), NATIVE)["messages"]
    assert native[1] == {"role": "assistant", "content": None, "tool_calls": [made]}
    assert native[2] == {"role": "tool", "content": "18 C", "tool_call_id": "call_1"}


def test_who_may_call_no_tool_sees_what_came_of_calls_and_not_the_calls():
    """A small model writes a call when it sees one, though it may not."""
    made = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    history = [
        *HI,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 C"},
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "call_1", "content": "19 C"},
    ]
    assert sent(chat(messages=history, tools=[WEATHER], tool_choice="none"))["messages"][1:] == [
        {"role": "assistant", "content": "Let me see."},
        {"role": "user", "content": "Result of get_weather: 18 C"},
        {"role": "user", "content": "Result of get_weather: 19 C"},
    ]


def test_a_call_comes_back_as_a_call():
    """Arguments are a text of JSON, the id is of the request, the reason says so."""
    choice = answered(CALL)
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    assert call["id"].startswith("call_")
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")


@pytest.mark.parametrize(
    ("content", "finish", "shown"),
    [
        ('{"reply": "Hi \\u00e9"}', "stop", "Hi é"),
        ('{"reply": {"a": 1}}', "stop", '{"a": 1}'),
        ('{"reply": "Hi th', "length", "Hi th"),
        ('{"reply": "Hi \\', "length", "Hi "),
        ('{"name": "get_wea', "length", '{"name": "get_wea'),
        ('{"name": "rm", "arguments": {}}', "stop", '{"name": "rm", "arguments": {}}'),
        ("hello", "stop", "hello"),
        ("[1]", "stop", "[1]"),
        ("[" * 50_000, "stop", "[" * 50_000),
    ],
)
def test_what_is_no_call_comes_back_as_text(content: str, finish: str, shown: str):
    """A reply is unwrapped, also where the token limit cut it; anything else stays as it is."""
    choice = answered(content, finish)
    assert (choice["message"]["content"], choice["finish_reason"]) == (shown, finish)
    assert "tool_calls" not in choice["message"]


def test_a_call_is_streamed_in_pieces():
    """Role, name, arguments in pieces, the reason, then the usage and the end apart."""
    call = chat(tools=[WEATHER], stream=True, stream_options={"include_usage": True})
    assert "stream" not in sent(call)
    assert call.buffered
    *events, last = call.finish_stream(chat_body(CALL.replace("Paris", "P" * 50)), "req_1", 7)
    chunks = [ChatCompletionChunk.model_validate_json(event[6:]) for event in events]
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert deltas[1].tool_calls[0].id.startswith("call_")
    assert deltas[1].tool_calls[0].function.name == "get_weather"
    pieces = [delta.tool_calls[0].function.arguments for delta in deltas[2:-1]]
    assert len(pieces) > 2
    assert json.loads("".join(pieces)) == {"city": "P" * 50}
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, "tool_calls"]
    usage, done, rest = last.split(b"\n\n")
    assert json.loads(usage[6:])["usage"]["completion_tokens"] == 2
    assert (done, rest) == (b"data: [DONE]", b"")


def test_definitions_stand_at_the_root_of_the_joined_schema():
    """References in a tool's schema point to its root, which is another now."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    tree = {"type": "object", "properties": {"root": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}
    tool = {"type": "function", "function": {"name": "t", "parameters": tree}}
    assert schema_of(sent(chat(tools=[tool, NOOP])))["$defs"] == {"node": node}
    other = {"type": "function", "function": {"name": "u", "parameters": {**tree, "$defs": {"node": {}}}}}
    with pytest.raises(errors.Invalid) as refused:
        sent(chat(tools=[tool, other]))
    assert refused.value.param == "tools"


@pytest.mark.parametrize(
    "tool_choice", [{"type": "function", "function": {"name": "x"}}, "any", {"type": "allowed_tools"}]
)
def test_a_choice_of_no_tool_is_refused(tool_choice: object):
    """By the name of the parameter."""
    with pytest.raises(errors.Invalid) as refused:
        chat(tools=[WEATHER], tool_choice=tool_choice)
    assert refused.value.param.startswith("tool_choice")
