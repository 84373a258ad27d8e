"""A request for speech is checked by name, limit and fix before anything is spoken."""

import json
from typing import Any

import pytest

from headrace.engines.runners import speaking
from headrace.errors import Invalid

VOICES = ("alloy", "de")


def read(**body: Any) -> speaking.SpeechRequest:
    return speaking.read(json.dumps({"input": "Hello.", "voice": "de", **body}).encode(), VOICES)


def test_what_is_left_out_is_openais_default() -> None:
    """mp3 at the normal pace."""
    request = read()
    assert (request.response_format, request.speed) == ("mp3", 1.0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": " \n"}, "input is empty"),
        ({"input": "x" * 4_097}, "4097 characters; at most 4096"),
        ({"voice": "nobody"}, "voice 'nobody' is not known; give one of alloy, de"),
        ({"speed": 4.5}, "speed"),
        ({"speed": 0.1}, "speed"),
        ({"response_format": "midi"}, "midi"),
        ({"surprise": 1}, "unknown field `surprise`"),
    ],
)
def test_each_fault_is_named(body: dict[str, Any], words: str) -> None:
    """With the limit and the fix."""
    with pytest.raises(Invalid) as refused:
        read(**body)
    assert words in refused.value.message
