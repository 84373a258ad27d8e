"""A request for speech is checked by name, limit and fix before anything is spoken."""

import asyncio
import base64
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.engines.runners import speaking
from headrace.engines.runners.recording import Heard
from headrace.errors import Invalid
from tests.engines.runners.test_server import request as posted
from tests.engines.runners.test_server import talk

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


class Endless:
    """A voice of one tone that speaks a character a piece, until nobody listens; `ended` are those who left."""

    rate, names = 24_000, VOICES

    def __init__(self) -> None:
        self.ended = 0

    def tempo(self, speed: float) -> float:
        return speed

    def speak(self, text: str, voice: str, speed: float, heard: Heard) -> None:
        tone = np.full(240, 9_000 if text.strip("0") else 0, np.int16)
        for spoken in itertools.count(1) if text == "on and on" else range(1, len(text) + 1):
            if not heard(tone, spoken):
                self.ended += 1
                return


def spoken(tmp_path: Path, body: dict[str, Any], client: Any) -> None:
    """Talk to the runner's route with that voice."""
    voice = Endless()
    runner = speaking.Runner(voice, 1)
    data = json.dumps({"voice": "de", "response_format": "pcm", "stream_format": "sse", **body}).encode()

    async def ask(path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(posted(speaking.PATH, data))
        await client(reader, writer, voice)
        writer.close()

    talk(tmp_path, {("POST", speaking.PATH): runner.speech}, ask)


def test_sound_leaves_while_it_is_spoken_and_its_end_is_told(tmp_path: Path) -> None:
    """All of it, in order, with the characters that were spoken."""

    async def client(reader: asyncio.StreamReader, _: Any, __: Endless) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"text/event-stream" in head
        body = await reader.readuntil(b"0\r\n\r\n")
        told = [json.loads(line[6:]) for line in body.split(b"\r\n") if line.startswith(b"data: ")]
        assert told[-1] == {"type": "speech.audio.done"}
        assert [each["characters"] for each in told[:-1]][-1] == 5
        heard = np.frombuffer(b"".join(base64.b64decode(each["audio"]) for each in told[:-1]), np.int16)
        assert len(heard) == 5 * 240
        assert np.abs(heard[100:-100].astype(int) - 9_000).max() < 100

    spoken(tmp_path, {"input": "12345"}, client)


def test_who_leaves_ends_the_speaking(tmp_path: Path) -> None:
    """A voice that would never end is heard to begin, and falls silent when its listener has gone."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, voice: Endless) -> None:
        await reader.readuntil(b"speech.audio.delta")
        assert voice.ended == 0
        writer.transport.abort()
        async with asyncio.timeout(10):
            while not voice.ended:
                await asyncio.sleep(0.001)

    spoken(tmp_path, {"input": "on and on"}, client)


def test_silence_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """With a status, as for a whole file."""

    async def client(reader: asyncio.StreamReader, _: Any, __: Endless) -> None:
        assert b"400 Bad Request" in await reader.readuntil(b"\r\n\r\n")

    spoken(tmp_path, {"input": "000"}, client)
