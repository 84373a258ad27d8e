"""Messages: what clients copy back from answers is taken, what nobody here can use is refused by name."""

import pytest

from headrace import errors
from tests.wire.bodies import HI, chat, sent


def test_an_answer_may_be_copied_into_the_next_request():
    """With every key the clients' own types write, nulls included; reasoning is not sent again."""
    copied = {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "reasoning_content": "hm",
    }
    assert sent(chat(messages=[copied, *HI]))["messages"][0] == {"role": "assistant", "content": "Hello"}


def test_a_refusal_is_what_was_said():
    """As content, or as a part of it."""
    messages = [
        {"role": "assistant", "refusal": "No."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "Never."}]},
        *HI,
    ]
    assert [m["content"] for m in sent(chat(messages=messages))["messages"]] == ["No.", "Never.", "Hi"]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "assistant", "function_call": {"name": "x"}}, "messages[0].function_call"),
        ({"role": "assistant", "content": "x", "audio": {"id": "x"}}, "messages[0].audio"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "messages[0].content[0].type"),
        ({"role": "function", "name": "x", "content": "y"}, "messages[0].role"),
        ({"role": "tool", "content": "y"}, "messages[0].tool_call_id"),
        ({"role": "user", "content": "x", "name": "n" * 257}, "messages[0].name"),
    ],
)
def test_what_is_not_done_is_refused_by_name(message: dict, param: str):
    """With the place of the message."""
    with pytest.raises(errors.Invalid) as refused:
        chat(messages=[message])
    assert refused.value.param.replace("[...]", "[0]") == param
