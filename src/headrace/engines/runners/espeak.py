"""A replica for text to speech with espeak-ng, behind OpenAI's request.

Started by `engines.espeak.command`.
"""

import asyncio
import time

from headrace.engines import voices
from headrace.engines.runners import words
from headrace.engines.runners.espeak_library import RATE_MAX, RATE_MIN, RATE_NORMAL, Library
from headrace.engines.runners.recording import Heard
from headrace.engines.runners.speaking import Runner


class EspeakVoices:
    """The library behind speaking.Voices."""

    names = voices.ALL

    def __init__(self, library: Library) -> None:
        self._library = library
        self.rate = library.rate

    def tempo(self, speed: float) -> float:
        """See `Voices.tempo`: it speaks faster and slower itself as far as it can."""
        return speed * RATE_NORMAL / _pace(speed)

    def speak(self, text: str, voice: str, speed: float, heard: Heard) -> None:
        """See `Voices.speak`."""
        self._library.tell(text, voices.spoken_by(voice), _pace(speed), heard)


def _pace(speed: float) -> int:
    """Words a minute, as far as the library keeps to them."""
    return min(max(round(RATE_NORMAL * speed), RATE_MIN), RATE_MAX)


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    given = words.told("library", "data")
    runner = Runner(EspeakVoices(Library(given.library, given.data)), given.slots)
    asyncio.run(runner.serve(given.listen, began))


if __name__ == "__main__":
    main()
