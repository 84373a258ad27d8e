"""Errors in Anthropic's shape: each code of the catalogue has a kind that its clients know."""

import json

import pytest

from headrace.wire import fault
from headrace.wire.anthropic_answer import AnthropicVoice

KINDS = {
    "invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error",
    "request_too_large", "rate_limit_error", "api_error", "overloaded_error", "timeout_error",
}  # fmt: skip


@pytest.mark.parametrize("code", fault.CATALOGUE)
def test_every_error_has_their_shape_and_names_its_request(code: str):
    """And says something, with the code for those who look it up."""
    made = json.loads(AnthropicVoice("req_1").body(code))
    assert (made["type"], made["request_id"]) == ("error", "req_1")
    assert made["error"]["type"] in KINDS
    assert (made["error"]["code"], made["error"]["message"]) == (code, fault.CATALOGUE[code][2])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_api_key", "authentication_error"),
        ("model_not_found", "not_found_error"),
        ("rate_limit_exceeded", "rate_limit_error"),
        ("insufficient_quota", "billing_error"),
        ("overloaded", "overloaded_error"),
        ("upstream_failed", "api_error"),
    ],
)
def test_the_kinds_that_clients_act_on(code: str, kind: str):
    assert json.loads(AnthropicVoice("req_1").body(code))["error"]["type"] == kind


def test_the_parameter_is_named_in_words():
    """There is no field for it."""
    voice = AnthropicVoice("req_1")
    assert json.loads(voice.body("invalid_value", "is off", "top_k"))["error"]["message"] == "top_k: is off"
    assert json.loads(voice.body("invalid_value", "'top_k' is off", "top_k"))["error"]["message"] == "'top_k' is off"


def test_an_event_and_the_header():
    voice = AnthropicVoice("req_1")
    assert voice.event("stopping", "soon") == b"event: error\ndata: " + voice.body("stopping", "soon") + b"\n\n"
    assert voice.headers == b"request-id: req_1\r\n"
