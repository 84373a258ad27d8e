"""Whisper for many at once: each recording is heard by faster-whisper's own code, and their windows share batches.

faster-whisper takes a recording 30 seconds at a time; where a window begins follows from what was heard in the one
before. That code runs here unchanged, in a thread for each recording, on a model that does not compute itself: it
hands the window to the batcher, which computes windows of many recordings in one call of CTranslate2. A thread whose
client has left ends at its next window.
"""

import asyncio
import copy
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, Final

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment

from headrace.engines.runners.batching import Batch, Batcher, Bounds, Item
from headrace.engines.runners.recording import RATE, Samples

BATCH_MAX: Final = 8  # windows; more gained nothing on a CPU
_HOP: Final = 160  # samples a frame of features
_WINDOW: Final = 400  # samples that one frame sees
Encode = Callable[[Any], Any]  # features [windows, mels, frames] to states [windows, frames / 2, width]
_BEAM: Final = 5  # faster-whisper's and OpenAI's default


@dataclass(slots=True, eq=False)
class Window:
    """30 seconds of features, [mels, frames]; once a batch has been through the encoder, `encoded` [frames, width]."""

    features: Any
    encoded: Any = None


@dataclass(slots=True, eq=False)
class Decoding:
    """One call of the model's `generate` or `align` for one window. `options` are the same for all of a batch."""

    window: Window
    method: str
    first: Any
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """How a recording shall be heard. `language` None is found out; `temperature` None tries harder when in doubt."""

    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    words: bool = False
    translate: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said, in order; `duration_s` is the recording's length."""

    language: str
    duration_s: float
    segments: list[Segment]


class _Whisper(WhisperModel):  # type: ignore[misc]  # the library is untyped
    """faster-whisper's model, whose windows are not encoded before they are decoded."""

    def encode(self, features: Any) -> Window:
        return Window(np.ascontiguousarray(features))


def load(weights: str, compute: str, threads: int) -> WhisperModel:
    """The weights in memory. `compute` is a form of FORMS, or auto for the quickest of this machine."""
    return _Whisper(weights, device="auto", compute_type=compute, cpu_threads=threads, local_files_only=True)


class Transcriber:
    """Loaded weights and the batcher, for one event loop. `encode` stands in for the weights' own encoder."""

    def __init__(self, whisper: WhisperModel, encode: Encode | None = None) -> None:
        self._whisper, self._model = whisper, whisper.model
        self._encoder: Encode = encode or self._encoded
        self.english_only = not self._model.is_multilingual
        self.batcher: Batcher[Decoding, Any] = Batcher(self._compute, Bounds(BATCH_MAX, BATCH_MAX))

    @property
    def languages(self) -> list[str]:
        """Codes of what it understands."""
        return list(self._whisper.supported_languages)

    def hear(self, samples: Samples, wish: Wish, wait: "Waiter", reached: Callable[[Segment], None]) -> Heard:
        """Transcribe, in the caller's thread; `reached` is told each segment when it is done.

        Raises concurrent.futures.CancelledError once the caller has left.
        """
        view = copy.copy(self._whisper)
        view.model = _Shared(self._model, self._ask, wait)
        view.feature_extractor = _Lazy(self._whisper.feature_extractor)
        found, told = view.transcribe(
            samples,
            language=wish.language,
            task="translate" if wish.translate else "transcribe",
            beam_size=_BEAM,
            initial_prompt=wish.prompt,
            word_timestamps=wish.words,
            condition_on_previous_text=False,  # else one mistake is repeated to the end, and prompts differ in length
            **({} if wish.temperature is None else {"temperature": wish.temperature}),
        )
        segments = []
        for segment in found:
            segments.append(segment)
            reached(segment)
        return Heard(told.language, len(samples) / RATE, segments)

    async def _ask(self, decoding: Decoding) -> Any:
        options = tuple(sorted((name, repr(value)) for name, value in decoding.options.items()))
        length = len(decoding.first) if decoding.method == "generate" else 0
        shape = (decoding.method, decoding.window.encoded is None, length, options)
        alone = 1 if decoding.method == "generate" else BATCH_MAX
        return (await self.batcher.run([Item(decoding, shape, alone)]))[0]

    def _compute(self, batch: Batch[Decoding]) -> list[Any]:
        """Runs in the batcher's thread: one call for all windows of the batch."""
        works = batch.works
        if works[0].window.encoded is None:
            # A CPU is busy with one window, and encodes it faster alone, in its caches and in an eighth of the memory.
            size = 1 if self._model.device == "cpu" else len(works)
            for at in range(0, len(works), size):
                self._encode([work.window for work in works[at : at + size]])
        states = _storage(np.stack([work.window.encoded for work in works]))
        method, options = works[0].method, works[0].options
        if method == "generate":
            results: list[Any] = self._model.generate(states, [work.first for work in works], **options)
            return results
        if method == "detect_language":
            return [[found] for found in self._model.detect_language(states)]
        sot, texts, frames = works[0].first
        return [self._model.align(states, sot, texts, frames, **options)]

    def _encode(self, windows: list[Window]) -> None:
        states = self._encoder(np.stack([window.features for window in windows]))
        for window, row in zip(windows, states, strict=True):
            window.encoded, window.features = row, None

    def _encoded(self, features: Any) -> Any:
        return np.array(self._model.encode(_storage(features), to_cpu=True))


class Waiter:
    """Runs coroutines of the event loop for a thread. `leave` ends its wait, and each later one, with an error."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._gone = False
        self._future: Any = None

    def __call__(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The coroutine's result; called in the thread."""
        self._future = asyncio.run_coroutine_threadsafe(work, self._loop)
        if self._gone:
            self._future.cancel()
        return self._future.result()

    def leave(self) -> None:
        """Nobody waits any more."""
        self._gone = True
        if self._future is not None:
            self._future.cancel()

    def check(self) -> None:
        """Raises concurrent.futures.CancelledError after `leave`."""
        if self._gone:
            raise CancelledError


class _Shared:
    """What faster-whisper calls a model: it asks the batcher instead of computing."""

    def __init__(self, model: Any, ask: Callable[[Decoding], Coroutine[Any, Any, Any]], wait: Waiter) -> None:
        self.is_multilingual, self.n_mels, self.device = model.is_multilingual, model.n_mels, model.device
        self._ask, self._wait = ask, wait

    def generate(self, window: Window, prompts: list[list[int]], **options: Any) -> list[Any]:
        return [self._wait(self._ask(Decoding(window, "generate", prompts[0], options)))]

    def align(self, window: Window, sot: Any, texts: Any, frames: Any, **options: Any) -> Any:
        return self._wait(self._ask(Decoding(window, "align", (sot, texts, frames), options)))

    def detect_language(self, window: Window) -> Any:
        return self._wait(self._ask(Decoding(window, "detect_language", None, {})))


class _Lazy:
    """Features of a recording, made when a window asks for them: those of an hour would take 115 MB."""

    def __init__(self, extractor: Any) -> None:
        self._extractor = extractor
        for name in ("sampling_rate", "hop_length", "time_per_frame", "nb_max_frames", "n_samples", "chunk_length"):
            setattr(self, name, getattr(extractor, name))

    def __call__(self, samples: Samples, chunk_length: int | None = None) -> "_Frames":  # noqa: ARG002 - the library's signature
        return _Frames(self._extractor, samples)


class _Frames:
    """Stands for an array [mels, frames] of the whole recording, of which windows are cut."""

    def __init__(self, extractor: Any, samples: Samples) -> None:
        self._extractor, self._samples = extractor, samples
        self.shape = (len(extractor.mel_filters), len(samples) // _HOP + 1)

    def __getitem__(self, place: Any) -> Any:
        cut = place[-1]
        start, stop, _ = cut.indices(self.shape[1])
        if cut.stop is None:  # to find out the language; one window tells
            stop = min(stop, start + self._extractor.nb_max_frames)
        before = min(start, -(-_WINDOW // 2 // _HOP)) * _HOP  # whole frames that the first one sees
        samples = self._samples[start * _HOP - before : stop * _HOP + _WINDOW].astype(np.float32) / 32_768
        frames = self._extractor(samples, padding=max(_HOP, _WINDOW - len(samples)))
        return frames[:, before // _HOP : before // _HOP + stop - start]


def _storage(array: Any) -> Any:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array, np.float32))
