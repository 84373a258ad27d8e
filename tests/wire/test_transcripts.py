"""Recordings in, what was said out, in each format."""

import base64
import json

import msgspec
import pytest

from headrace import errors
from headrace.state.table import Ability, Media
from headrace.wire import multipart
from headrace.wire.endpoint import ROUTES
from headrace.wire.usage import Counts
from tests.wire.media_files import form, wav

PATH = "/v1/audio/transcriptions"
OURS = Ability(dialect="headrace", media=Media(audio_s_max=600, languages=("en",), words=True))
HEARD = {
    "text": " Hello there. All is well.",
    "language": "en",
    "duration": 3.2,
    "segments": [
        {"id": 0, "start": 0.0, "end": 1.5, "text": " Hello there."},
        {"id": 1, "start": 1.5, "end": 3.2, "text": " All is well."},
    ],
    "words": [{"word": "Hello", "start": 0.0, "end": 0.5}],
}
BODY = json.dumps(HEARD).encode()


def ask(data: bytes | None = None, path: str = PATH, **fields: object):
    return ROUTES[path].parse(*form([("file", ("a.wav", wav() if data is None else data))], model="m", **fields))


def test_our_engine_is_told_how_long_it_may_hear():
    """What is held in budgets is where it stops."""
    call = ask(language="EN", prompt="names: Ada", temperature="0.2")
    path, body = call.render(OURS, "up", 64, 2048)
    found = json.loads(body)
    assert path == PATH
    assert base64.b64decode(found.pop("file")) == wav()
    assert found == {
        "model": "up", "filename": "a.wav", "words": False, "translate": False, "seconds_max": 35, "language": "en",
        "prompt": "names: Ada", "temperature": 0.2,
    }  # fmt: skip
    assert (call.task, call.items) == ("transcribe", 34_011)
    assert call.counts(BODY, "headrace") == Counts(items=3_200)


def test_a_foreign_server_is_sent_a_form():
    """Always asked for segments, whatever the client wants."""
    call = ask(response_format="srt")
    path, body = call.render(Ability(dialect="openai"), "up", 64, 2048)
    found = multipart.read(body, call.content_type)
    assert (path, found.text("model"), found.text("response_format")) == (PATH, "up", "verbose_json")
    assert found.file("file").data == wav()


@pytest.mark.parametrize(
    ("wanted", "kind", "said"),
    [
        ("text", b"text/plain; charset=utf-8", b" Hello there. All is well.\n"),
        (
            "srt",
            b"text/plain; charset=utf-8",
            b"1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n2\n00:00:01,500 --> 00:00:03,200\nAll is well.\n\n",
        ),
        (
            "vtt",
            b"text/vtt",
            b"WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello there.\n\n00:00:01.500 --> 00:00:03.200\nAll is well.\n\n",
        ),
    ],
)
def test_text_and_subtitles_are_made_here(wanted, kind, said):
    """Of segments."""
    call = ask(response_format=wanted)
    assert call.answer_type == kind
    assert call.finish(BODY, "r") == said


def test_json_has_the_text_and_verbose_json_has_all():
    """Words only where they were asked for; usage is the length, rounded up."""
    assert json.loads(ask().finish(BODY, "r")) == {"text": HEARD["text"], "usage": {"type": "duration", "seconds": 4}}
    call = ask(response_format="verbose_json", **{"timestamp_granularities[]": ["word", "segment"]})
    found = json.loads(call.finish(BODY, "r"))
    assert (found["task"], found["language"], found["duration"]) == ("transcribe", "en", 3.2)
    assert [segment["text"] for segment in found["segments"]] == [" Hello there.", " All is well."]
    assert found["words"] == HEARD["words"]
    assert "words" not in json.loads(ask(response_format="verbose_json").finish(BODY, "r"))


def test_a_stream_has_an_event_for_each_segment():
    """And the whole at its end."""
    events = ask(stream="true").finish_stream(BODY, "r", 1, Counts(items=3_200, bill={"cost": "1"}))
    found = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert [event.get("delta") for event in found] == [" Hello there.", " All is well.", None]
    assert (found[-1]["type"], found[-1]["text"]) == ("transcript.text.done", HEARD["text"])
    assert found[-1]["usage"] == {"type": "duration", "seconds": 4, "headrace": {"cost": "1"}}


def test_our_engine_is_heard_as_it_goes():
    """Its own figures stay with us; an engine of another's is asked for all of it."""
    call = ask(stream="true")
    _, body = call.render(msgspec.structs.replace(OURS, stream=True), "up", 64, 2048)
    assert (json.loads(body)["stream"], call.buffered) == (True, False)
    meter = call.meter("headrace")
    out = meter.feed(_said(type="transcript.text.delta", delta=" Hello", milliseconds=1_200))
    assert json.loads(out[6:]) == {"type": "transcript.text.delta", "delta": " Hello"}
    assert (meter.items, meter.done) == (1_200, False)
    assert meter.feed(_said(type="transcript.text.done", text="Hello", duration=3.2)) == b""
    assert (meter.done, meter.counts) == (True, Counts(items=3_200))
    assert json.loads(meter.tail(Counts(items=3_200, bill={"cost": "1"}))[6:]) == {
        "type": "transcript.text.done",
        "text": "Hello",
        "usage": {"type": "duration", "seconds": 4, "headrace": {"cost": "1"}},
    }
    call.render(msgspec.structs.replace(OURS, stream=True, dialect="openai"), "up", 64, 2048)
    assert call.buffered


@pytest.mark.parametrize("event", [{"type": "x"}, {"type": "transcript.text.done", "duration": -1}, {}])
def test_events_that_are_none_end_it(event):
    """And a length that cannot be."""
    call = ask(stream="true")
    call.render(msgspec.structs.replace(OURS, stream=True), "up", 64, 2048)
    meter = call.meter("headrace")
    meter.feed(_said(**event))
    assert meter.failed


def _said(**event):
    return b"data: " + json.dumps(event).encode() + b"\n\n"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"response_format": "xml"}, "'xml'; give json, text"),
        ({"timestamp_granularities[]": "letter"}, "holds word, segment"),
        ({"timestamp_granularities[]": "word"}, "needs response_format verbose_json"),
        ({"include[]": "logprobs"}, "'include'"),
        ({"stream": "true", "response_format": "srt"}, "needs response_format json or text"),
        ({"temperature": "2"}, "give 0 to 1"),
        ({"languge": "en"}, "Did you mean 'language'"),
        ({"language": "tlh"}, "'tlh'; this model understands en"),
        ({"data": b"MZ"}, "not a recording"),
        ({"data": b""}, "empty file"),
        ({"path": "/v1/audio/translations"}, "does not translate"),
    ],
)
def test_what_cannot_be_heard_is_refused(fields, said):
    """At reading, or when the model is known."""
    with pytest.raises(errors.Invalid, match=said):
        ask(**fields).render(OURS, "up", 64, 2048)


@pytest.mark.parametrize(
    "body",
    [b"{}", b"x", b'{"text":"a","duration":-1}', b'{"text":"a","duration":1e12}',
     b'{"text":"a","duration":1,"segments":[{"start":5,"end":2,"text":"a"}]}',
     b'{"text":"a","duration":1,"segments":[{"start":500,"end":501,"text":"a"}]}'],
)  # fmt: skip
def test_an_engine_that_tells_what_cannot_be_is_not_believed(body):
    """Nor billed by."""
    with pytest.raises(errors.Transient):
        ask().finish(body, "r")
