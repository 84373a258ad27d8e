"""The Messages API: what engines are sent, what clients see, and what is refused."""

import base64
import json

import pytest
from anthropic.types import Message

from headrace import errors
from headrace.wire.usage import Counts
from tests.wire.bodies import HI, LLAMA, NATIVE, WEATHER, chat_body, events, read, sent
from tests.wire.media_files import png

PATH = "/v1/messages"
TOOL = {
    "name": "get_weather",
    "description": WEATHER["function"]["description"],
    "input_schema": WEATHER["function"]["parameters"],
}
COUNTS = Counts(input_tokens=5, cached_tokens=2, output_tokens=3)


def ask(**fields: object):
    return read(PATH, **{"messages": HI, "max_tokens": 9, **fields})


def test_an_engine_is_sent_a_chat():
    call = ask(
        system="Be brief.", temperature=0.5, top_p=0.9, top_k=3, stop_sequences=["END"], metadata={"user_id": "u"}
    )
    assert sent(call) == {
        "model": "up",
        "messages": [{"role": "system", "content": "Be brief."}, *HI],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "stop": ["END"],
        "verbose": True,
    }
    assert (call.task, call.output_max) == ("chat", 9)


@pytest.mark.parametrize(
    ("choice", "theirs"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "get_weather"}, {"type": "function", "function": {"name": "get_weather"}}),
    ],
)
def test_tools_and_their_choice(choice: dict, theirs: object):
    body = sent(ask(tools=[TOOL], tool_choice={**choice}), NATIVE)
    assert body["tools"] == [WEATHER]
    assert body["tool_choice"] == theirs


def test_one_call_at_a_time():
    body = sent(ask(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True}), NATIVE)
    assert body["parallel_tool_calls"] is False


def test_the_form_of_the_answer():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    body = sent(ask(output_config={"format": {"type": "json_schema", "schema": schema}}))
    assert body["response_format"]["json_schema"] == {"name": "answer", "schema": schema, "strict": True}


@pytest.mark.parametrize(("finish", "reason"), [("stop", "end_turn"), ("length", "max_tokens")])
def test_a_whole_message(finish: str, reason: str):
    """As the official client reads it; what came from the cache stands beside the input."""
    call = ask()
    sent(call)
    body = call.finish(chat_body("Hello", finish), "req_77", COUNTS)
    made = Message.model_validate_json(body, strict=True)
    assert (made.id, made.model, made.role, made.stop_reason) == ("msg_77", "m", "assistant", reason)
    assert [(block.type, block.text) for block in made.content] == [("text", "Hello")]
    usage = made.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (3, 2, 3)


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_sequence_that_was_met_is_named(stream: bool):
    """Whole, and where a whole answer is told as a stream; only if it is one of those that were given."""
    for given, met in ((["END", "zzz"], "END"), (["zzz"], None)):
        call = ask(stop_sequences=given, stream=stream)
        assert sent(call)["verbose"] is True
        body = chat_body("Hello", __verbose={"stopping_word": "END"})
        if stream:
            end = events(b"".join(call.finish_stream(body, "req_1", 7, COUNTS)))[-2][1]["delta"]
        else:
            end = json.loads(call.finish(body, "req_1", COUNTS))
        reason = "stop_sequence" if met else "end_turn"
        assert (end["stop_reason"], end["stop_sequence"]) == (reason, met)


def test_an_emulated_call_is_a_use_of_a_tool():
    """Whole and as a stream."""
    body = chat_body('{"name": "get_weather", "arguments": {"city": "Rome"}}')
    call = ask(tools=[TOOL], tool_choice={"type": "any"})
    sent(call)
    made = Message.model_validate_json(call.finish(body, "req_1", COUNTS), strict=True)
    (block,) = made.content
    assert (block.type, block.name, block.input) == ("tool_use", "get_weather", {"city": "Rome"})
    assert made.stop_reason == "tool_use"
    call = ask(tools=[TOOL], tool_choice={"type": "any"}, stream=True)
    sent(call)
    told = events(b"".join(call.finish_stream(body, "req_1", 7, COUNTS)))
    pieces = [data["delta"]["partial_json"] for name, data in told if name == "content_block_delta"]
    assert json.loads("".join(pieces)) == {"city": "Rome"}
    assert told[-2][1]["delta"]["stop_reason"] == "tool_use"


def test_arguments_that_are_no_object():
    """Of a call that was cut there is the name; anything else is the engine's mistake."""
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": [1'}}
    for finish, good in (("length", True), ("tool_calls", False)):
        call = ask()
        sent(call)
        choice = {"index": 0, "finish_reason": finish, "message": {"content": None, "tool_calls": [called]}}
        body = chat_body(choices=[choice])
        if good:
            assert json.loads(call.finish(body, "req_1", COUNTS))["content"][0]["input"] == {}
        else:
            with pytest.raises(errors.Transient):
                call.finish(body, "req_1", COUNTS)


def test_what_coding_tools_send_is_taken():
    """Hints about caching and thinking, of which engines are sent nothing."""
    hint = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}
    call = ask(
        system=[{"type": "text", "text": "You code.", **hint}],
        tools=[{**TOOL, **hint, "eager_input_streaming": True}],
        thinking={"type": "enabled", "budget_tokens": 1024},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        metadata={"user_id": "u"},
        **hint,
    )
    assert set(sent(call, NATIVE)) == {"model", "messages", "max_tokens", "tools"}


def test_messages_are_counted():
    call = read(PATH + "/count_tokens", messages=HI, system="x", tools=[TOOL])
    assert json.loads(call.quoted({"input_tokens": 42, "basis": "tokenizer"})) == {"input_tokens": 42}
    with pytest.raises(errors.Invalid) as refused:
        read(PATH + "/count_tokens", messages=HI, max_tokens=3)
    assert refused.value.param == "max_tokens"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"temperature": 1.5}, "temperature"),
        ({"thinking": {"type": "always"}}, "thinking.type"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{**TOOL, "input_schema": {"$ref": "http://x"}}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "nope"}}, "tool_choice"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"max_token": 1}, "max_token"),
        ({"stop_sequences": ["x"] * 17}, "stop_sequences"),
    ],
)
def test_what_is_not_served_is_refused_by_name(fields: dict, param: str):
    with pytest.raises(errors.Invalid) as refused:
        ask(**fields)
    assert refused.value.param == param


def test_what_an_engine_cannot_do_is_refused_by_the_names_of_this_api():
    bare = LLAMA.__class__(dialect="x", json_schema=False, generates=False)
    form = {"type": "json_schema", "schema": {"type": "object"}}
    for fields, param in (
        ({"output_config": {"format": form}}, "output_config.format"),
        ({"output_config": {"effort": "low"}}, "output_config.effort"),
        ({"top_k": 3}, "top_k"),
        ({"tools": [TOOL]}, "tools"),
    ):
        with pytest.raises(errors.Invalid) as refused:
            sent(ask(**fields), bare)
        assert refused.value.param == param


def test_pictures_are_for_models_that_see():
    """And looked at before an engine is sent them."""
    seeing = LLAMA.__class__(dialect="headrace", images=True)
    url = base64.b64encode(png()).decode()
    call = ask(
        messages=[
            {
                "role": "user",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": url}}],
            }
        ]
    )
    assert sent(call, seeing)["messages"][0]["content"][0]["image_url"]["url"].endswith(url)
    with pytest.raises(errors.Invalid) as refused:
        sent(call, LLAMA)
    assert refused.value.param == "messages[0].content[0].type"
    url = "eA=="
    with pytest.raises(errors.Invalid) as refused:
        sent(
            ask(
                messages=[
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": url}}
                        ],
                    }
                ]
            ),
            seeing,
        )
    assert refused.value.param == "messages[0].content[0].source.data"
