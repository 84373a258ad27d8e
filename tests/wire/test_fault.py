"""The catalogue of errors: each has all four keys, and no engine's words."""

import json

import pytest

from headrace import errors
from headrace.wire import fault


@pytest.mark.parametrize("code", fault.CATALOGUE)
def test_every_entry_is_an_error_object(code: str):
    """All four keys, a sentence that helps, a status that fits its type."""
    status, kind, message = fault.CATALOGUE[code]
    shown = json.loads(fault.body(code))["error"]
    assert shown == {"message": message, "type": kind, "param": None, "code": code}
    assert (status >= 500) == (kind in ("server_error", "overloaded_error")) or code == "not_implemented"
    assert fault.event(code) == b"data: " + fault.body(code) + b"\n\n"


def test_our_errors_become_answers():
    """By what the caller should do about them."""
    status, body = fault.of(errors.Invalid("n is off", param="n"))
    assert (status, json.loads(body)["error"]["param"]) == (400, "n")
    assert fault.of(errors.Refused("full", status=503, code="overloaded"))[0] == 503
    assert fault.of(errors.Transient("secret words"))[0] == 502
    assert b"secret" not in fault.of(errors.Transient("secret words"))[1]
    assert fault.of(errors.Permanent("secret words")) == (500, fault.body("internal_error"))


def test_an_engine_s_refusal_keeps_its_figures_and_loses_its_words():
    """The context and ranges are told; everything else is theirs."""
    body = {"error": {"message": "secret exceeds the context size", "n_prompt_tokens": 8001, "n_ctx": 2048}}
    told = fault.of_upstream(400, json.dumps(body).encode())
    assert isinstance(told, errors.Invalid)
    assert told.code == "context_length_exceeded"
    assert told.message == "This model's context is 2048 tokens, and the prompt has 8001. Shorten the prompt."
    ranged = fault.of_upstream(400, b'{"error":{"message":"Field \'n\': Value must be between 1 <= value <= 8, but"}}')
    assert (ranged.message, ranged.param) == ("'n' must be between 1 and 8 for this model.", "n")
    assert "secret" not in fault.of_upstream(400, b'{"error":"secret"}').message
    assert isinstance(fault.of_upstream(500, b"secret"), errors.Transient)
    assert isinstance(fault.of_upstream(404, b"secret"), errors.Transient)
