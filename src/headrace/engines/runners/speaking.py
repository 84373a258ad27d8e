"""What every text-to-speech runner has in common: OpenAI's request, checked; one text at a time; sound files.

A runner gives a `Voices`: the engine. Texts are spoken one after the other in a thread of its own, since the engines
are not safe for several; the sound is made into a file in another. A stream's sound leaves while it is spoken; a
client that reads slowly does not hold up the voice, since a text is bounded, and so is its sound.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Annotated, Final, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
from msgspec import Meta

from headrace.engines.runners import sound
from headrace.engines.runners.batching import Batch, Batcher, Bounds, Item
from headrace.engines.runners.recording import Heard, Samples
from headrace.engines.runners.server import Exchange, Server, serve
from headrace.errors import Invalid

PATH: Final = "/v1/audio/speech"
INPUT_MAX_CHARS: Final = 4_096  # OpenAI's limit
_EVENT_BYTES_MAX: Final = 384 << 10  # of sound
_QUIETEST: Final = 64  # of 32,768: what is never louder is no speech


class SpeechRequest(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/audio/speech."""

    input: str
    voice: str
    model: str = ""
    response_format: Literal["wav", "mp3", "opus", "flac", "aac", "pcm"] = "mp3"
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0
    stream_format: Literal["sse"] | None = None


class _Work(NamedTuple):
    request: SpeechRequest
    heard: Heard


class Voices(Protocol):
    """An engine that speaks."""

    @property
    def rate(self) -> int:
        """Samples a second."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """What may be asked for."""
        ...

    def tempo(self, speed: float) -> float:
        """How many times faster what it speaks at that speed must still be made."""
        ...

    def speak(self, text: str, voice: str, speed: float, heard: Heard) -> None:
        """Give `heard` the text's samples as they are made, until it says no."""
        ...


class Runner:
    """The routes of one replica."""

    def __init__(self, voices: Voices, slots: int) -> None:
        self._voices, self._slots = voices, slots
        self._batcher: Batcher[_Work, None] = Batcher(self._speak, Bounds(1, 1))
        self._files = ThreadPoolExecutor(1, "file")

    async def speech(self, exchange: Exchange) -> None:
        """POST /v1/audio/speech: the text as a sound file, whole or in events while it is spoken."""
        request = read(exchange.body, self._voices.names)
        if request.stream_format is not None:
            await self._told(exchange, request)
            return
        async with aclosing(self._spoken(request, exchange.name)) as speech:
            samples = np.concatenate([piece async for piece, _ in speech])
        work = partial(sound.encoded, samples, self._voices.rate, self._tempo(request), request.response_format)
        data = await asyncio.get_running_loop().run_in_executor(self._files, work)
        exchange.whole(data, sound.CONTENT_TYPES[request.response_format])

    async def _told(self, exchange: Exchange, request: SpeechRequest) -> None:
        """OpenAI's events, and with each how many characters have been spoken."""
        loop = asyncio.get_running_loop()
        encoding = sound.Encoding(self._voices.rate, self._tempo(request), request.response_format)
        spoken = 0
        async with aclosing(self._spoken(request, exchange.name)) as speech:
            async for samples, spoken in speech:
                data = await loop.run_in_executor(self._files, encoding.feed, samples)
                if not exchange.answered:
                    exchange.open()
                await _tell(exchange, data, spoken)
        rest = await loop.run_in_executor(self._files, encoding.end)
        await _tell(exchange, rest, spoken)
        await exchange.send(b'data: {"type":"speech.audio.done"}\n\n')
        exchange.close()

    async def _spoken(self, request: SpeechRequest, name: str) -> AsyncGenerator[tuple[Samples, int]]:
        """The sound as it comes, each piece with the characters spoken until its end; what came meanwhile is one piece.

        Nothing is given before there is something to be heard. Raises Invalid when there never is. The voice falls
        silent when this is closed.
        """
        loop, came = asyncio.get_running_loop(), asyncio.Queue[tuple[Samples, int] | None]()

        def heard(samples: Samples, spoken: int) -> bool:
            loop.call_soon_threadsafe(came.put_nowait, (samples, spoken))
            return item.wanted

        item = Item(_Work(request, heard))
        speaking = asyncio.ensure_future(self._batcher.run([item], name))
        speaking.add_done_callback(lambda _: came.put_nowait(None))
        pieces: list[Samples] = []
        loud, spoken = False, 0
        try:
            while (piece := await came.get()) is not None:
                samples, spoken = piece
                pieces.append(samples)
                loud = loud or int(abs(samples.astype(np.int32)).max(initial=0)) >= _QUIETEST
                if loud and (came.empty() or sum(map(len, pieces)) >= self._voices.rate):
                    yield np.concatenate(pieces), spoken
                    pieces = []
            await speaking
        finally:
            speaking.cancel()
        if not loud:
            raise Invalid("there is nothing in input that this voice can speak; write words", param="input")
        if pieces:
            yield np.concatenate(pieces), spoken

    def _tempo(self, request: SpeechRequest) -> float:
        return self._voices.tempo(request.speed)

    async def serve(self, path: str, began: float) -> None:
        """Until SIGTERM."""
        await serve(
            Server({("POST", PATH): self.speech}, lambda: self._batcher.load(self._slots), self._batcher.progress),
            path,
            began,
        )

    def _speak(self, batch: Batch[_Work]) -> list[None]:
        request, heard = batch.items[0].work
        self._voices.speak(request.input, request.voice, request.speed, heard)
        return [None]


async def _tell(exchange: Exchange, data: bytes, spoken: int) -> None:
    """Events with that sound; `spoken` characters end with it."""
    for at in range(0, len(data), _EVENT_BYTES_MAX):
        coded = base64.b64encode(data[at : at + _EVENT_BYTES_MAX]).decode()
        told = {"type": "speech.audio.delta", "audio": coded, "characters": spoken}
        await exchange.send(b"data: " + msgspec.json.encode(told) + b"\n\n")


def read(body: bytes, voices: Sequence[str]) -> SpeechRequest:
    """The request, its voice one of `voices`. Raises Invalid that names the field."""
    try:
        request = msgspec.json.decode(body, type=SpeechRequest)
    except msgspec.MsgspecError as error:
        raise Invalid(str(error)) from error
    if not request.input.strip():
        raise Invalid("input is empty; give a text to speak", param="input")
    if len(request.input) > INPUT_MAX_CHARS:
        raise Invalid(
            f"input has {len(request.input)} characters; at most {INPUT_MAX_CHARS} are spoken at once. Split the text",
            param="input",
        )
    if request.voice not in voices:
        raise Invalid(f"voice {request.voice[:64]!r} is not known; give one of {', '.join(voices)}", param="voice")
    return request
