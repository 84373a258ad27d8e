"""What every text-to-speech runner has in common: OpenAI's request, checked; one text at a time; sound files.

A runner gives a `Voices`: the engine. Texts are spoken one after the other in a thread of its own, since the engines
are not safe for several; the sound is made into a file in another.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Final, Literal, Protocol

import msgspec
from msgspec import Meta

from headrace.engines.runners import sound
from headrace.engines.runners.batching import Batch, Batcher, Bounds, Item
from headrace.engines.runners.recording import Samples
from headrace.engines.runners.server import Exchange, Server, serve
from headrace.errors import Invalid

PATH: Final = "/v1/audio/speech"
INPUT_MAX_CHARS: Final = 4_096  # OpenAI's limit
_QUIETEST: Final = 64  # of 32,768: what is never louder is no speech


class SpeechRequest(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/audio/speech."""

    input: str
    voice: str
    model: str = ""
    response_format: Literal["wav", "mp3", "opus", "flac", "aac", "pcm"] = "mp3"
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0


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

    def speak(self, text: str, voice: str, speed: float, wanted: Callable[[], bool]) -> tuple[Samples, float]:
        """The text as samples, and how many times faster they must still be made. Ends early when not `wanted`."""
        ...


class Runner:
    """The routes of one replica."""

    def __init__(self, voices: Voices, slots: int) -> None:
        self._voices, self._slots = voices, slots
        self._batcher: Batcher[SpeechRequest, tuple[Samples, float]] = Batcher(self._speak, Bounds(1, 1))
        self._files = ThreadPoolExecutor(1, "file")

    async def speech(self, exchange: Exchange) -> None:
        """POST /v1/audio/speech: the text as a sound file."""
        request = read(exchange.body, self._voices.names)
        samples, tempo = (await self._batcher.run([Item(request)], exchange.name))[0]
        if not len(samples) or abs(samples).max() < _QUIETEST:
            raise Invalid("there is nothing in input that this voice can speak; write words", param="input")
        work = partial(sound.encoded, samples, self._voices.rate, tempo, request.response_format)
        data = await asyncio.get_running_loop().run_in_executor(self._files, work)
        exchange.whole(data, sound.CONTENT_TYPES[request.response_format])

    async def serve(self, path: str, began: float) -> None:
        """Until SIGTERM."""
        await serve(Server({("POST", PATH): self.speech}, self._load, self._batcher.progress), path, began)

    def _load(self) -> dict[str, int]:
        return {"running": self._batcher.running, "waiting": self._batcher.waiting, "slots": self._slots}

    def _speak(self, batch: Batch[SpeechRequest]) -> list[tuple[Samples, float]]:
        item = batch.items[0]
        request = item.work
        return [self._voices.speak(request.input, request.voice, request.speed, lambda: item.wanted)]


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
