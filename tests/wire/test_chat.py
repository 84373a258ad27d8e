"""Chat requests: what is taken, what is refused and how, what reaches an engine, what comes back."""

import json

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from headrace import errors
from headrace.state.table import Ability
from headrace.wire.usage import Counts
from tests.wire.bodies import HI, LLAMA, NATIVE, WEATHER, chat, chat_body, conforms, sent


def test_a_small_request_is_sent_in_full_and_with_nothing_else():
    """Upstream model, a limit always, and usage asked for in every stream."""
    assert sent(chat()) == {"model": "up", "messages": HI, "max_tokens": 64}
    assert sent(chat(stream=True, max_completion_tokens=9000)) == {
        "model": "up",
        "messages": HI,
        "max_tokens": 2048,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_what_names_people_stays_here():
    """Labels are taken and not sent on."""
    labels = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": False,
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
    }
    assert sent(chat(**labels)) == sent(chat())


def test_nothing_is_the_same_as_null():
    """OpenAI's clients may send null for whatever they leave out."""
    names = ("max_tokens", "stop", "n", "tools", "tool_choice", "stream_options", "logit_bias", "audio", "functions")
    assert sent(chat(**dict.fromkeys(names))) == sent(chat())


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"n": 10**9}, "n", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": "2"}, "n", "invalid_type"),
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"top_p": -0.1}, "top_p", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "invalid_value"),
        ({"max_token": 3}, "max_token", "unknown_parameter"),
        ({"stop": ["x"] * 5}, "stop", "invalid_value"),
        ({"stop": [""]}, "stop[...]", "invalid_value"),
        ({"logit_bias": {"1": 101}}, "logit_bias[...]", "invalid_value"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content", "invalid_value"),
        ({"messages": [*HI, {"role": "user", "content": "x", "y": 1}]}, "messages[1].y", "unknown_parameter"),
        ({"store": True}, "store", "unsupported_parameter"),
        ({"modalities": ["audio"]}, "modalities", "unsupported_parameter"),
        ({"audio": {"voice": "x"}}, "audio", "unsupported_parameter"),
        ({"functions": []}, "functions", "unsupported_parameter"),
        ({"prediction": {}}, "prediction", "unsupported_parameter"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tools": [{**WEATHER, "type": "custom"}]}, "tools[0].type", "invalid_value"),
        ({"tools": [WEATHER, WEATHER]}, "tools", "invalid_value"),
        ({"tools": [WEATHER] * 129}, "tools", "invalid_value"),
        ({"response_format": {"type": "yaml"}}, "response_format.type", "invalid_value"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata", "invalid_value"),
        ({"chat_template": "{{x}}"}, "chat_template", "unknown_parameter"),
        ({"service_tier": "gold"}, "service_tier", "invalid_value"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(fields: dict, param: str, code: str):
    """400 with the parameter and a code."""
    with pytest.raises(errors.Invalid) as refused:
        chat(**fields)
    assert (refused.value.param.replace("[0]", "[...]") if "[...]" in param else refused.value.param) == param
    assert (refused.value.code, refused.value.status) == (code, 400)


@pytest.mark.parametrize(
    ("fields", "ability", "param"),
    [
        ({"top_k": 3}, NATIVE, "top_k"),
        ({"reasoning_effort": "low"}, LLAMA, "reasoning_effort"),
        ({"n": 2}, Ability(n=False), "n"),
        ({"logprobs": True}, Ability(logprobs=False), "logprobs"),
        ({"response_format": {"type": "json_object"}}, Ability(json_schema=False, generates=False), "response_format"),
        ({"tools": [WEATHER]}, Ability(json_schema=False, generates=False), "tools"),
    ],
)
def test_what_an_engine_has_not_declared_is_refused_by_name(fields: dict, ability: Ability, param: str):
    """Never sent in the hope that it is ignored."""
    with pytest.raises(errors.Invalid) as refused:
        sent(chat(**fields), ability)
    assert (refused.value.param, refused.value.code) == (param, "unsupported_parameter")


def test_extras_go_by_the_engine_s_name():
    """vLLM's repetition_penalty is llama.cpp's repeat_penalty."""
    assert sent(chat(repetition_penalty=1.1, top_k=5))["repeat_penalty"] == 1.1
    theirs = Ability(parameters=("repetition_penalty",))
    assert sent(chat(repetition_penalty=1.1), theirs)["repetition_penalty"] == 1.1


def test_messages_reach_engines_as_texts_of_known_roles():
    """Parts are joined, developer is system, images are refused by name."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "developer", "content": parts}, {"role": "user", "content": parts, "name": "n"}]
    assert sent(chat(messages=messages))["messages"] == [
        {"role": "system", "content": "a\nb"},
        {"role": "user", "content": "a\nb", "name": "n"},
    ]
    image = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    with pytest.raises(errors.Invalid) as refused:
        sent(chat(messages=[{"role": "user", "content": [*parts, image]}]))
    assert refused.value.param == "messages[0].content[2].type"
    assert "image_url" in refused.value.message


def test_a_prompt_that_cannot_fit_never_reaches_an_engine():
    """Only what is certain is refused here; the engine counts the rest."""
    long = chat(messages=[{"role": "user", "content": "x" * 65537}])
    with pytest.raises(errors.Invalid) as refused:
        sent(long)
    assert refused.value.code == "context_length_exceeded"


def test_log_probabilities_are_bounded_as_a_product():
    """Each of three numbers is allowed, and all of them together are not."""
    with pytest.raises(errors.Invalid) as refused:
        sent(chat(n=16, max_tokens=2048, logprobs=True, top_logprobs=20))
    assert refused.value.param == "top_logprobs"


def test_a_whole_answer_conforms_and_is_named_as_asked():
    """Required keys engines leave out are there, keys of their own are not."""
    call = chat()
    call.render(LLAMA, "up", 64, 2048)
    body = call.finish(chat_body(), "req_1", Counts(input_tokens=3, output_tokens=2, cached_tokens=1))
    conforms("CreateChatCompletionResponse", body)
    answer = json.loads(body)
    assert answer["model"] == "m"
    assert answer["choices"][0] == {
        "message": {"role": "assistant", "content": "Hi", "refusal": None},
        "index": 0,
        "finish_reason": "stop",
        "logprobs": None,
    }
    assert "timings" not in answer
    assert ChatCompletion.model_validate(answer).usage.total_tokens == 5


@pytest.mark.parametrize("body", [b'{"error":{"message":"x"}}', b"", b"[]", b'{"choices":[{}]}', b"\xff", b"[" * 10**5])
def test_an_engine_s_garbage_is_not_an_answer(body: bytes):
    """Transient: theirs."""
    with pytest.raises(errors.Transient):
        chat().finish(body, "req_1")


def test_several_choices_of_llama_cpp_are_counted_in_full():
    """Its usage has the tokens of one; log probabilities asked for only to count are not shown."""
    call = chat(n=2, max_tokens=5)
    assert sent(call)["logprobs"] is True
    token = {"token": "x", "logprob": -1, "bytes": [120], "top_logprobs": []}
    choices = [
        {"index": i, "finish_reason": end, "message": {"content": "x"}, "logprobs": {"content": [token] * size}}
        for i, (size, end) in enumerate([(3, "stop"), (5, "length")])
    ]
    body = chat_body(choices=choices)
    assert call.counts(body, "llama_cpp") == Counts(
        input_tokens=3, cached_tokens=1, output_tokens=9, prefill_us=1500, decode_us=2500
    )
    assert [c["logprobs"] for c in json.loads(call.finish(body, "r"))["choices"]] == [None, None]


def test_log_probabilities_asked_for_conform():
    """The key `refusal` that engines leave out is there."""
    call = chat(logprobs=True, top_logprobs=0)
    call.render(LLAMA, "up", 64, 2048)
    token = {"token": "x", "logprob": -1.0, "bytes": [120], "top_logprobs": []}
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "x"}, "logprobs": {"content": [token]}}
    body = call.finish(chat_body(choices=[choice]), "r")
    conforms("CreateChatCompletionResponse", body)
    assert json.loads(body)["choices"][0]["logprobs"] == {"content": [token], "refusal": None}


def test_an_engine_that_cannot_stream_is_streamed_for():
    """A whole answer as chunks that conform; the last item is what follows the commit."""
    call = chat(stream=True, stream_options={"include_usage": True})
    assert "stream" not in sent(call, Ability(stream=False))
    assert call.buffered
    events = call.finish_stream(chat_body("x" * 50), "req_1", 7, Counts(input_tokens=3, output_tokens=2))
    chunks = [json.loads(e[6:]) for e in b"".join(events).split(b"\n\n") if e and e != b"data: [DONE]"]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == "x" * 50
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] == 5
    assert {c["id"] for c in chunks} == {"chatcmpl-x"}
    assert events[-1].endswith(b"data: [DONE]\n\n")
    assert b'"usage":{' in events[-1]
    assert b'"usage":{' not in b"".join(events[:-1])


def test_the_brain_gets_sizes_and_no_words():
    """Estimates, bounds and a prefix of at most 1 KiB."""
    call = chat(messages=[{"role": "system", "content": "é" * 2000}, *HI], n=3, max_tokens=10)
    assert call.input_bytes == 4002
    assert call.input_tokens == 4002 // 3 + 16
    assert call.output_bound(64, 2048) == 30
    assert chat().output_bound(64, 32) == 32
    assert len(call.prefix) == 1024
    assert chat(messages=[*HI, {"role": "user", "content": "a"}]).prefix == b"user:Hi\nuser:a"


def test_prefix_caches_are_kept_apart_by_tenant_where_an_engine_can():
    """vLLM takes a salt; others are sent none."""
    call = chat(messages=HI)
    call.salt = "tenant-a"
    assert sent(call, Ability(dialect="vllm"))["cache_salt"] == "tenant-a"
    assert "cache_salt" not in sent(call)
