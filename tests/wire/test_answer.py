"""Parts of answers that the gateway makes itself."""

import json

import msgspec
import pytest

from headrace.wire import answer
from tests.wire.bodies import chat_body


def test_the_id_of_a_call_is_of_its_place():
    """The same again for the same place, another for another."""
    ids = [answer.call_id("r", 0), answer.call_id("r", 0), answer.call_id("r", 1), answer.call_id("s", 0)]
    assert len(set(ids)) == 3
    assert ids[0] == ids[1]
    assert len(ids[0]) == len("call_") + 24


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b"\xff", chat_body(), json.dumps({"choices": [{}]}).encode()])
def test_tokens_that_are_not_listed_are_not_counted(body: bytes):
    """None, and no exception."""
    assert answer.tokens_out(body) is None


def test_an_answer_without_an_id_gets_the_request_s():
    """Some servers leave it out; every client reads it."""
    body = chat_body(id=None, usage={"prompt_tokens": -1})
    made = answer.chat(body, "m", "req_1", None)
    assert made.id == "chatcmpl-req_1"
    assert b"usage" not in msgspec.json.encode(made)
