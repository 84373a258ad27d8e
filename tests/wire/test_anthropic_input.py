"""Messages and the turns they become; what no model here takes is refused by name."""

import msgspec
import pytest

from headrace import errors
from headrace.wire.anthropic_input import Message, System, conversation

USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}}

PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}


def made(*messages: dict, system: object = None) -> list[dict]:
    found = conversation(msgspec.convert(system, System | None), msgspec.convert(list(messages), list[Message]))
    return [msgspec.to_builtins(turn) for turn in found.turns]


def test_a_conversation_with_calls():
    """Results are turns of their own, before what the user says; thinking is left out; caching hints are taken."""
    hint = {"cache_control": {"type": "ephemeral"}}
    assert made(
        {"role": "user", "content": [{"type": "text", "text": "a", **hint}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "Let me see."}, USE,
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "one"}], "is_error": True},
            {"type": "text", "text": "and?"},
        ]},
        {"role": "assistant", "content": "So."},
        system=[{"type": "text", "text": "Rules", **hint}],
    ) == [
        {"role": "system", "content": "Rules"},
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [
            {"type": "function", "id": "t1", "function": {"name": "f", "arguments": '{"x":1}'}},
        ]},
        {"role": "tool", "content": "Error: one", "tool_call_id": "t1"},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "So."},
    ]  # fmt: skip


def test_a_call_without_words_has_no_content():
    assert made({"role": "assistant", "content": [USE]})[0]["content"] is None


@pytest.mark.parametrize(
    ("message", "param", "word"),
    [
        (
            {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x"}}]},
            "messages[0].content[0].source.type",
            "nothing is fetched",
        ),
        ({"role": "assistant", "content": [PICTURE]}, "messages[0].content[0].type", "image"),
        ({"role": "user", "content": [{"type": "document"}]}, "messages[0].content[0].type", "document"),
        ({"role": "user", "content": [USE]}, "messages[0].content[0].type", "tool_use"),
        (
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t9"}]},
            "messages[0].content[0].tool_use_id",
            "t9",
        ),
        (
            {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "t9"}]},
            "messages[0].content[0].type",
            "tool_result",
        ),
    ],
)
def test_what_is_not_taken_is_refused_by_name(message: dict, param: str, word: str):
    with pytest.raises(errors.Invalid) as refused:
        made(message)
    assert refused.value.param == param
    assert word in refused.value.message


def test_a_picture_that_a_tool_gave_back_is_refused():
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [PICTURE]}
    with pytest.raises(errors.Invalid) as refused:
        made({"role": "assistant", "content": [USE]}, {"role": "user", "content": [result]})
    assert refused.value.param == "messages[1].content[0].content[0].type"


def test_pictures_stay_where_they_stand():
    """Between the words, and noted for those who look at them."""
    blocks = [{"type": "text", "text": "a"}, PICTURE]
    found = conversation(None, msgspec.convert([{"role": "user", "content": blocks}], list[Message]))
    url = "data:image/png;base64,eA=="
    assert msgspec.to_builtins(found.turns[0])["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    assert found.pictures == [("messages[0].content[1].source.data", url)]
