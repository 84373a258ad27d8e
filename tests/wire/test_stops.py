"""Which stop text ended an answer, in the words of each engine; what is not said, or not asked for, is not believed."""

import json

import pytest

from headrace.state.table import Ability
from headrace.wire import stops
from tests.wire.bodies import LLAMA, NATIVE, chat_body

STOPS = ["END", "\n\n"]


def choice(**more: object) -> bytes:
    return chat_body(choices=[{"index": 0, "finish_reason": "stop", "message": {"content": "x"}, **more}])


@pytest.mark.parametrize(
    ("said", "met"),
    [
        (chat_body(__verbose={"stopping_word": "END", "prompt": "x"}), "END"),
        (choice(stop_reason="\n\n"), "\n\n"),
        (choice(matched_stop="END"), "END"),
        (chat_body(__verbose={"stopping_word": "", "stop_type": "eos"}), None),
        (choice(stop_reason=None), None),
        (choice(stop_reason=151_643), None),
        (choice(matched_stop=[1, 2]), None),
        (choice(stop_reason="another"), None),
        (choice(stop_reason={"a": 1}), None),
        (chat_body(__verbose="x"), None),
        (chat_body('{"stop_reason": "END"}'), None),
        (b'{"stop_reason"', None),
        (chat_body(), None),
    ],
)
def test_an_engine_is_believed_within_what_was_asked(said: bytes, met: str | None):
    assert stops.met(said, STOPS) == met
    assert stops.met(said, []) is None


def test_llama_cpp_is_asked_to_say_it():
    """Not with a prompt so large that its echo would not fit; others tell it unasked."""
    body = b'{"a":1}'
    assert json.loads(stops.asking(body, LLAMA)) == {"a": 1, "verbose": True}
    assert stops.asking(body, NATIVE) == stops.asking(body, Ability(dialect="headrace")) == body
    large = json.dumps({"a": "x" * stops.VERBOSE_BYTES_MAX}).encode()
    assert stops.asking(large, LLAMA) == large
