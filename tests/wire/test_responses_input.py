"""Items and the turns they become; what no model here takes is refused by name."""

import msgspec
import pytest

from headrace import errors
from headrace.wire.messages import Turn
from headrace.wire.responses_input import conversation

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "id": "fc_1", "status": "completed"}


def plain(made: list[Turn]) -> list[dict]:
    return [msgspec.to_builtins(turn) for turn in made]


def test_a_text_is_what_the_user_says():
    """With the instructions before it."""
    assert plain(conversation("Be brief.", "Hi").turns) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_a_conversation_with_calls():
    """Items of one turn of the assistant are one turn; reasoning is left out; clients' copied fields are taken."""
    said = {"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": []}
    made = conversation(
        None,
        [
            {"role": "developer", "content": "Rules"},
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [said]},
            CALL,
            {**CALL, "call_id": "c2", "arguments": '{"x":1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
        ],
    )
    call = lambda name, arguments: {"type": "function", "id": name, "function": {"name": "f", "arguments": arguments}}  # noqa: E731
    assert plain(made.turns) == [
        {"role": "system", "content": "Rules"},
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call("c1", "{}"), call("c2", '{"x":1}')]},
        {"role": "tool", "content": "one", "tool_call_id": "c1"},
        {"role": "tool", "content": "two", "tool_call_id": "c2"},
    ]


@pytest.mark.parametrize(
    ("item", "param", "word"),
    [
        (
            {"role": "system", "content": [{"type": "input_image", "image_url": "x"}]},
            "input[0].content[0].type",
            "image",
        ),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, "input[0].content[0].type", "image"),
        ({"role": "user", "content": [{"type": "input_file"}]}, "input[0].content[0].type", "input_file"),
        ({"role": "king", "content": "x"}, "input[0].role", "king"),
        ({"role": "user", "content": "x", "colour": 1}, "input[0].colour", "colour"),
        ({"role": "user"}, "input[0].content", "Missing"),
        ({"type": "function_call_output", "call_id": "c9", "output": "x"}, "input[0].call_id", "c9"),
        ({"type": "web_search_call", "id": "w"}, "input[0].type", "web_search_call"),
        ({"id": "msg_1"}, "input[0].type", "looked up"),
        ({"type": ["message"]}, "input[0].type", "not supported"),
    ],
)
def test_what_is_not_taken_is_refused_by_name(item: dict, param: str, word: str):
    with pytest.raises(errors.Invalid) as refused:
        conversation(None, [item])
    assert refused.value.param == param
    assert word in refused.value.message


def test_pictures_stay_where_they_stand():
    """Between the words, and noted for those who look at them."""
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:x", "detail": "low"}]
    made = conversation(None, [{"role": "user", "content": "Hi"}, {"role": "user", "content": parts}])
    assert plain(made.turns)[1]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}},
    ]
    assert made.pictures == [("input[1].content[1].image_url", "data:x")]
