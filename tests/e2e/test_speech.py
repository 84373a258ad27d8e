"""Speech through the whole cloud with the official client: heard while it is spoken, in events or as a file."""

import base64
import io
import json
import subprocess
import time
import wave

import httpx
import numpy as np
import openai
import pytest

from tests.conftest import FOX
from tests.e2e.cloud import PROGRAM, Cloud

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
LONG = ((FOX + " ") * 100)[:4_096]


@pytest.fixture
def gpt(cloud: Cloud):
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=0) as client:
        client.audio.speech.create(model="espeak", voice="alloy", input="Wake up.")
        yield client


def test_a_long_text_is_heard_long_before_its_end(gpt: openai.OpenAI):
    """The first tenth of a second of it in a fraction of the time that all of it takes, and just as much of it."""
    ask = {"model": "espeak", "voice": "alloy", "input": LONG, "response_format": "pcm"}
    began_s = time.monotonic()
    with gpt.audio.speech.with_streaming_response.create(**ask, stream_format="audio") as answer:
        assert answer.headers["content-type"] == "audio/pcm"
        pieces = answer.iter_bytes()
        sound = next(pieces)
        first_s = time.monotonic() - began_s
        sound += b"".join(pieces)
    whole_s = time.monotonic() - began_s
    assert first_s < whole_s / 3, (first_s, whole_s)
    assert len(sound) == pytest.approx(len(gpt.audio.speech.create(**ask).content), rel=0.01)


def test_a_wav_that_is_streamed_is_one_that_players_read(gpt: openai.OpenAI):
    """It has no length in its head, and its samples are speech."""
    with gpt.audio.speech.with_streaming_response.create(
        model="espeak", voice="alloy", input=FOX, response_format="wav", stream_format="audio"
    ) as answer:
        data = answer.read()
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        samples = np.frombuffer(data[data.index(b"data") + 8 :], "<i2")
    assert 2.2 < len(samples) / 24_000 < 3.0


def test_events_hold_the_sound_and_what_it_cost(cloud: Cloud, gpt: openai.OpenAI):
    """Deltas, then the end with usage; the charge is that of the characters."""
    ask = {"model": "espeak", "voice": "alloy", "input": FOX, "response_format": "mp3", "stream_format": "sse"}
    with gpt.audio.speech.with_streaming_response.create(**ask) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
        request = answer.headers["x-request-id"]
    assert [event["type"] for event in events] == ["speech.audio.delta"] * (len(events) - 1) + ["speech.audio.done"]
    assert len(events) > 3
    assert base64.b64decode(events[0]["audio"])[:3] == b"ID3"
    assert events[-1]["usage"]["headrace"]["characters"] == len(FOX)
    found = cloud.until(lambda: cloud.get(f"/headrace/v1/explain/{request}").get("request"), what="its record")
    assert found["items"] == len(FOX)
    assert float(events[-1]["usage"]["headrace"]["cost"]) == pytest.approx(found["charge_nanousd"] / 1e9)


def test_who_stops_listening_pays_for_what_was_spoken(cloud: Cloud):
    """Of minutes of speech only the beginning was wanted."""
    ask = {"model": "espeak", "voice": "alloy", "input": LONG, "response_format": "pcm", "stream_format": "audio"}
    headers = {"Authorization": f"Bearer {cloud.key}"}
    with httpx.stream("POST", f"{cloud.url}/v1/audio/speech", json=ask, headers=headers, timeout=60) as answer:
        request = answer.headers["x-request-id"]
        next(answer.iter_raw())
    found = cloud.until(
        lambda: (said := cloud.get(f"/headrace/v1/explain/{request}").get("request")) and "outcome" in said and said,
        what="its record",
    )
    assert (found["outcome"], 0 < found["items"] < len(LONG)) == ("cancelled", True)


def test_the_command_line_pipes_it(cloud: Cloud):
    """`headrace speak -o -`."""
    words = [PROGRAM, "speak", "espeak", FOX, "-o", "-", "--format", "flac"]
    done = subprocess.run(words, env=cloud.env, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout[:4]) == (0, b"fLaC"), done.stderr
    assert b"characters" in done.stderr


def test_a_recording_is_written_down_while_it_is_heard(cloud: Cloud, gpt: openai.OpenAI):
    """By the official client; paid for by its length, whatever was reckoned with at the door."""
    said = "Good morning, how are you today? My brother is going to the market on Monday."
    sound = gpt.audio.speech.create(model="espeak", voice="en-us", input=said, response_format="wav").content
    told = gpt.audio.transcriptions.create(model="whisper", file=("a.wav", sound), response_format="json", stream=True)
    with told as stream:
        *deltas, done = list(stream)
        request = stream.response.headers["x-request-id"]
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas).strip() == done.text
    assert "good morning" in done.text.lower()
    assert "market" in done.text.lower()
    found = cloud.until(lambda: cloud.get(f"/headrace/v1/explain/{request}").get("request"), what="its record")
    assert found["items"] == pytest.approx((len(sound) - 44) / 48, rel=0.02)
