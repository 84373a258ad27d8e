"""Words in, a voice out."""

import base64
import json

import pytest

from headrace import errors
from headrace.state.table import Ability, Media
from headrace.wire.endpoint import ROUTES
from headrace.wire.usage import Counts
from tests.wire.media_files import wav

PATH = "/v1/audio/speech"
OURS = Ability(dialect="headrace", media=Media(voices=("alloy", "en-gb"), formats=("wav", "mp3")))


def ask(**fields: object):
    return ROUTES[PATH].parse(json.dumps({"model": "m", "input": "Hällo.", "voice": "alloy", **fields}).encode())


def test_characters_are_counted_and_the_format_is_told():
    """mp3 where nothing is said, as with OpenAI."""
    call = ask()
    assert (call.task, call.items, call.answer_type) == ("speak", 6, b"audio/mpeg")
    path, body = call.render(OURS, "up", 64, 2048)
    assert (path, json.loads(body)) == (
        PATH,
        {"model": "up", "input": "Hällo.", "voice": "alloy", "response_format": "mp3", "speed": 1.0},
    )
    assert call.counts(b"whatever", "headrace") == Counts(items=6)
    assert json.loads(ask(voice={"id": "en-gb"}, speed=2).render(OURS, "up", 64, 2048)[1])["voice"] == "en-gb"


def test_sound_is_passed_on_if_it_is_any():
    """What is no file of that kind is an engine's fault."""
    assert ask(response_format="wav").finish(wav(), "r") == wav()
    for body in (b"", b"<html>", b"fLaC"):
        with pytest.raises(errors.Transient):
            ask(response_format="wav").finish(body, "r")


def test_a_stream_holds_the_same_bytes():
    """In pieces."""
    call = ask(response_format="wav", stream_format="sse")
    events = [
        json.loads(event.removeprefix(b"data: "))
        for event in call.finish_stream(wav(3.0), "r", 1, Counts(items=6, bill={"cost": "2"}))
    ]
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == wav(3.0)
    assert len(events) > 3
    assert (events[-1]["type"], events[-1]["usage"]["headrace"]) == (
        "speech.audio.done",
        {"cost": "2", "characters": 6},
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"input": ""}, "'input'"),
        ({"input": "x" * 4_097}, "'input'"),
        ({"speed": 9}, "'speed'"),
        ({"voice": "nobody"}, "'nobody'; this model has alloy, en-gb"),
        ({"response_format": "flac"}, "flac is not made by this model"),
        ({"instructions": "whisper"}, "'instructions'"),
        ({"voce": "x"}, "Did you mean 'voice'"),
    ],
)
def test_what_cannot_be_spoken_is_refused(fields, said):
    """At reading, or when the model is known."""
    with pytest.raises(errors.Invalid, match=said):
        ask(**fields).render(OURS, "up", 64, 2048)
