"""A replica for text to speech with a neural voice given as ONNX, through sherpa-onnx, behind OpenAI's request.

Started by `engines.sherpa.command`. Speakers are called by their numbers; OpenAI's names are given to them in order.
"""

import argparse
import asyncio
import time
from typing import Any

import numpy as np
import sherpa_onnx

from headrace.engines.runners import words
from headrace.engines.runners.recording import Heard
from headrace.engines.runners.speaking import Runner
from headrace.engines.voices import NAMED


class SherpaVoices:
    """The engine behind speaking.Voices."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.rate: int = engine.sample_rate
        speakers = max(engine.num_speakers, 1)
        self._numbers = {name: place % speakers for place, name in enumerate(NAMED)}
        self._numbers |= {str(number): number for number in range(speakers)}
        self.names = tuple(self._numbers)

    def tempo(self, speed: float) -> float:  # noqa: ARG002 - the signature is the protocol's
        """See `Voices.tempo`: it keeps to any pace itself."""
        return 1.0

    def speak(self, text: str, voice: str, speed: float, heard: Heard) -> None:
        """See `Voices.speak`: told after each sentence."""

        def told(samples: Any, progress: float) -> int:
            loud = np.clip(np.asarray(samples, np.float32), -1, 1)
            return int(heard((loud * 32_767).astype(np.int16), round(progress * len(text))))

        self._engine.generate(text, sid=self._numbers[voice], speed=speed, callback=told)


def configuration(given: argparse.Namespace) -> Any:
    """What sherpa-onnx is told: Kokoro when the folder has styles, else VITS, which Piper's voices are."""
    paths = {"model": given.weights, "tokens": given.tokens, "data_dir": given.data, "lexicon": given.lexicon}
    if given.styles:
        kind = {"kokoro": sherpa_onnx.OfflineTtsKokoroModelConfig(voices=given.styles, **paths)}
    else:
        kind = {"vits": sherpa_onnx.OfflineTtsVitsModelConfig(**paths)}
    return sherpa_onnx.OfflineTtsConfig(model=sherpa_onnx.OfflineTtsModelConfig(num_threads=given.threads, **kind))


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    given = words.told("weights", "tokens", optional=("data", "lexicon", "styles"))
    wanted = configuration(given)
    if not wanted.validate():
        raise SystemExit("sherpa-onnx does not take this folder; its own words are above")
    runner = Runner(SherpaVoices(sherpa_onnx.OfflineTts(wanted)), given.slots)
    asyncio.run(runner.serve(given.listen, began))


if __name__ == "__main__":
    main()
