"""Messages read strictly, and answered by their id."""

import json

import pytest

from headrace.mcp import jsonrpc
from headrace.mcp.jsonrpc import Failed


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", jsonrpc.PARSE_ERROR),
        (b"\xff", jsonrpc.PARSE_ERROR),
        (b'{"x":' + b"[" * 100_000, jsonrpc.PARSE_ERROR),
        (b"[]", jsonrpc.INVALID_REQUEST),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', jsonrpc.INVALID_REQUEST),
        (b'{"id":1,"method":"ping"}', jsonrpc.INVALID_REQUEST),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', jsonrpc.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', jsonrpc.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', jsonrpc.INVALID_REQUEST),
    ],
)
def test_what_is_no_message_is_refused(body: bytes, code: int):
    with pytest.raises(Failed) as failed:
        jsonrpc.read(body)
    assert failed.value.code == code


def test_requests_want_answers_and_nothing_else_does():
    """A notification has no id, an answer no method."""
    asked = jsonrpc.read(b'{"jsonrpc":"2.0","id":"a","method":"ping"}')
    assert (asked.wants_answer, asked.asked, asked.params) == (True, "a", {})
    for body in (b'{"jsonrpc":"2.0","method":"notifications/initialized"}', b'{"jsonrpc":"2.0","id":1,"result":{}}'):
        assert not jsonrpc.read(body).wants_answer


def test_answers():
    assert json.loads(jsonrpc.result(7, {"a": 1})) == {"jsonrpc": "2.0", "id": 7, "result": {"a": 1}}
    assert json.loads(jsonrpc.failure(None, Failed(-32600, "no", {"x": 1}))) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32600, "message": "no", "data": {"x": 1}},
    }
