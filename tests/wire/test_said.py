"""What an answer says is the same in whichever API, whole or streamed."""

import base64
import json
import struct
from typing import Any

import pytest

from headrace.wire import chat, completions, said
from headrace.wire.said import Said

CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at": 3}'}}
PARTIAL = (("look", {"at": 3}),)


def bytes_of(value: Any) -> bytes:
    return json.dumps(value).encode()


def stream(*events: Any, done: bool = True) -> bytes:
    lines = [b": waiting for m\n\n", *(b"data: " + bytes_of(event) + b"\n\n" for event in events)]
    return b"".join([*lines, b"data: [DONE]\n\n" if done else b""])


def choice(**more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, **more}]}


@pytest.mark.parametrize(
    ("body", "text", "ended", "calls"),
    [
        (choice(message={"content": "Paris"}, finish_reason="stop"), "Paris", "stop", ()),
        (choice(message={"content": None, "tool_calls": [CALL]}, finish_reason="tool_calls"), "", "tool_calls", PARTIAL),
        (choice(text="Paris", finish_reason="length"), "Paris", "length", ()),
        ({"content": [{"type": "text", "text": "Paris"}], "stop_reason": "end_turn"}, "Paris", "end_turn", ()),
        (
            {"content": [{"type": "tool_use", "name": "look", "input": {"at": 3}}], "stop_reason": "tool_use"},
            "", "tool_use", PARTIAL,
        ),
        (
            {
                "status": "completed",
                "output": [
                    {"type": "message", "content": [{"type": "output_text", "text": "Paris"}]},
                    {"type": "function_call", "name": "look", "arguments": '{"at": 3}'},
                ],
            },
            "Paris", "completed", PARTIAL,
        ),
        ({"text": "spoken words"}, "spoken words", "", ()),
    ],
)  # fmt: skip
def test_whole_answers(body: Any, text: str, ended: str, calls: Any) -> None:
    found = said.whole(bytes_of(body))
    assert found is not None
    assert (found.text, found.ended, found.calls) == (text, ended, calls)


def test_streams_say_what_the_whole_answer_says() -> None:
    chunks = [choice(delta={"content": word}, finish_reason=None) for word in ("Par", "is [DONE]")]
    parts = [
        choice(delta={"tool_calls": [{"index": 0, "function": {"name": "look", "arguments": '{"at"'}}]}),
        choice(delta={"tool_calls": [{"index": 0, "function": {"arguments": ": 3}"}}]}),
        choice(delta={}, finish_reason="stop"),
        {"choices": [], "usage": {}},
    ]
    assert said.streamed(stream(*chunks, *parts)) == Said("Paris [DONE]", "stop", PARTIAL, choices=("Paris [DONE]",))
    message = [
        {"type": "message_start", "message": {}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Paris"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "look"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"at":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": " 3}"}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ]
    assert said.streamed(stream(*message, done=False)) == Said("Paris", "tool_use", PARTIAL, choices=("Paris",))
    last = {"status": "completed", "output": [{"type": "message", "content": [{"text": "Paris"}]}]}
    events = [{"type": "response.output_text.delta", "delta": "Par"}, {"type": "response.completed", "response": last}]
    assert said.streamed(stream(*events, done=False)) == Said("Paris", "completed", choices=("Paris",))


def test_vectors_in_either_coding_and_rankings() -> None:
    coded = base64.b64encode(struct.pack("<2f", 0.5, 1.0)).decode()
    body = {"data": [{"index": 1, "embedding": coded}, {"index": 0, "embedding": [1, 2]}]}
    assert said.whole(bytes_of(body)) == Said(vectors=((1.0, 2.0), (0.5, 1.0)))
    ranked = {"results": [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]}
    assert said.whole(bytes_of(ranked)) == Said(ranking=(2, 0))


@pytest.mark.parametrize(
    "body", [b"", b"RIFF\xff\x00", b"[]", b"{}", b'{"choices": [3]}', b'{"data": [{"embedding": "?"}]}', b"[" * 5_000]
)
def test_what_cannot_be_read_is_not_compared(body: bytes) -> None:
    assert said.whole(body) is None
    assert said.streamed(b"data: " + body + b"\n\n") is None


def asked(**more: Any) -> Any:
    return chat.parse(bytes_of({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **more}))


SCHEMA = {"type": "object", "properties": {"at": {"type": "integer"}}, "required": ["at"]}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]
FORMAT = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("given", "answer", "found"),
    [
        ({}, Said("x", choices=("x",)), None),
        ({"response_format": FORMAT}, Said(choices=('{"at": 3}',)), True),
        ({"response_format": FORMAT}, Said(choices=('{"at": "3"}',)), False),
        ({"response_format": FORMAT}, Said(choices=('{"at": 3}', '{"at": ')), False),
        ({"response_format": {"type": "json_object"}}, Said(choices=("[]",)), False),
        ({"tools": TOOLS}, Said(calls=PARTIAL), True),
        ({"tools": TOOLS}, Said("no need", choices=("no need",)), True),
        ({"tools": TOOLS}, Said(calls=(("look", {"at": "3"}),)), False),
        ({"tools": TOOLS}, Said(calls=(("look", "{broken"),)), False),
        ({"tools": TOOLS}, Said(calls=(("go", {}),)), False),
    ],
)
def test_whether_an_answer_keeps_to_what_was_asked(given: Any, answer: Said, found: bool | None) -> None:
    assert said.valid(answer, asked(**given)) is found


def test_other_tasks_give_no_schema() -> None:
    assert said.valid(Said("x"), completions.parse(bytes_of({"model": "m", "prompt": "x"}))) is None
