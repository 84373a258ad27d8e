"""A replica for text to speech with espeak-ng, behind OpenAI's request.

Started by `engines.espeak.command`. Texts are spoken one after the other, in a thread of its own; sound is made into
files in another.
"""

import argparse
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from headrace.engines import voices
from headrace.engines.runners import sound, speaking
from headrace.engines.runners.batching import Batch, Batcher, Bounds, Item
from headrace.engines.runners.espeak_library import RATE_MAX, RATE_MIN, RATE_NORMAL, Library
from headrace.engines.runners.recording import Samples
from headrace.engines.runners.server import Exchange, Server, serve


class Runner:
    """The routes of one replica."""

    def __init__(self, library: Library, slots: int) -> None:
        self._library, self._slots = library, slots
        self.batcher: Batcher[speaking.SpeechRequest, Samples] = Batcher(self._speak, Bounds(1, 1))
        self._files = ThreadPoolExecutor(1, "file")

    async def speech(self, exchange: Exchange) -> None:
        """POST /v1/audio/speech: the text as a sound file."""
        request = speaking.read(exchange.body, voices.ALL)
        samples = (await self.batcher.run([Item(request)], exchange.name))[0]
        speaking.refuse_silence(samples)
        tempo = request.speed * RATE_NORMAL / _words_per_minute(request.speed)
        work = (sound.encoded, samples, self._library.rate, tempo, request.response_format)
        data = await asyncio.get_running_loop().run_in_executor(self._files, *work)
        exchange.whole(data, sound.CONTENT_TYPES[request.response_format])

    def load(self) -> dict[str, int]:
        """What GET /load answers."""
        return {"running": self.batcher.running, "waiting": self.batcher.waiting, "slots": self._slots}

    def _speak(self, batch: Batch[speaking.SpeechRequest]) -> list[Samples]:
        item = batch.items[0]
        request = item.work
        pace = _words_per_minute(request.speed)
        return [self._library.speak(request.input, voices.spoken_by(request.voice), pace, lambda: item.wanted)]


def _words_per_minute(speed: float) -> int:
    """How fast the library speaks itself; the rest is done by stretching the sound."""
    return min(max(round(RATE_NORMAL * speed), RATE_MIN), RATE_MAX)


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    words = argparse.ArgumentParser()
    for name in ("library", "data", "listen", "alias"):
        words.add_argument(f"--{name}", required=True)
    words.add_argument("--slots", type=int, required=True)
    given = words.parse_args()
    runner = Runner(Library(given.library, given.data), given.slots)
    routes = {("POST", speaking.PATH): runner.speech}
    asyncio.run(serve(Server(routes, runner.load, runner.batcher.progress), given.listen, began))


if __name__ == "__main__":
    main()
