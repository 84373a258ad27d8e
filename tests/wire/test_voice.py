"""Errors as each API words them."""

import json

from headrace.wire import fault
from headrace.wire.voice import OPENAI


def test_openai_is_the_catalogue():
    """Body and event are those of `fault`."""
    assert OPENAI.body("stopping", "soon", "n") == fault.body("stopping", "soon", "n")
    assert OPENAI.event("stopping") == fault.event("stopping")
    assert json.loads(OPENAI.body("no_such_code"))["error"]["type"] == "server_error"
    assert OPENAI.headers == b""
