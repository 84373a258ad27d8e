"""Windows of many recordings share batches, and each recording gets its own words back."""

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.transcribe import Segment

from headrace.engines import sources
from headrace.engines.runners import recording
from headrace.engines.runners.batching import Batch
from headrace.engines.runners.transcriber import Decoding, Heard, Transcriber, Waiter, Wish, _Lazy, load
from tests.conftest import WHISPER
from tests.engines.runners import sounds

TEXTS = (  # heard rightly, also where a batch rounds differently
    "Good morning, how are you today?",
    "My brother is going to the market on Monday.",
    "Please open the window and close the door.",
    "She has seven brothers and two sisters.",
)


class Counting(Transcriber):
    """Notes how many windows each computation had; none ends before the gate is open."""

    def __init__(self, whisper: Any) -> None:
        super().__init__(whisper)
        self.sizes: list[tuple[str, int]] = []
        self.gate = threading.Event()
        self.reached: list[Segment] = []

    def _compute(self, batch: Batch[Decoding]) -> list[Any]:
        self.sizes.append((batch.works[0].method, len(batch)))
        assert self.gate.wait(60)
        return super()._compute(batch)

    def start(self, sound: recording.Samples, wish: Wish, wait: Waiter | None = None) -> "asyncio.Future[Heard]":
        wait = wait or Waiter(asyncio.get_running_loop())
        work = asyncio.to_thread(self.hear, sound, wish, wait, self.reached.append)
        return asyncio.ensure_future(work)


@pytest.fixture(scope="module")
def whisper() -> Any:
    return load(str(sources.local(WHISPER)), "int8", 2)


def talk(whisper: Any, client: Callable[[Counting], Coroutine[Any, Any, Any]]) -> Any:
    """Run a client in a loop of its own."""

    async def work() -> Any:
        return await client(Counting(whisper))

    return asyncio.run(work())


def samples(text: str) -> recording.Samples:
    return recording.decode(sounds.speech(text), 600)


def said(heard: Heard) -> str:
    """The words alone: where a small model hears a comma differs from one computation to the next."""
    return re.sub("[^a-z ]", "", "".join(segment.text for segment in heard.segments).lower())


def test_what_was_said_is_heard_with_its_moments(whisper: Any) -> None:
    """Words, segments and their times follow one another within the recording; progress is told."""

    async def client(transcriber: Counting) -> Heard:
        transcriber.gate.set()
        heard = await transcriber.start(samples(sounds.MORNING), Wish(words=True))
        assert transcriber.reached == heard.segments
        return heard

    heard = talk(whisper, client)
    assert heard.language == "en"
    assert 4 < heard.duration_s < 5.5
    words = [word for segment in heard.segments for word in segment.words]
    assert {"quick", "brown", "fox"} < {word.word.strip(" .,?").lower() for word in words}
    assert "good morning how are you today" in said(heard)
    moments = [moment for word in words for moment in (word.start, word.end)]
    assert moments == sorted(moments)
    assert 0 <= moments[0] < moments[-1] <= heard.duration_s
    fox, morning = (next(w for w in words if name in w.word.lower()) for name in ("fox", "morning"))
    assert 0.5 < fox.start < 1.5 < 2.5 < morning.start < 4


def test_recordings_that_come_together_share_a_computation(whisper: Any) -> None:
    """Those that came while the first was computed go together, and each gets what was said in it."""

    async def client(transcriber: Counting) -> None:
        first = transcriber.start(samples(TEXTS[0]), Wish())
        while not transcriber.sizes:
            await asyncio.sleep(0)
        others = [transcriber.start(samples(text), Wish()) for text in TEXTS[1:]]
        while transcriber.batcher.waiting < 3:
            await asyncio.sleep(0)
        transcriber.gate.set()
        together = [said(heard) for heard in await asyncio.gather(first, *others)]
        assert transcriber.sizes[:2] == [("generate", 1), ("generate", 3)]
        for heard, words in zip(together, ("morning", "monday", "window", "sisters"), strict=True):
            assert words in heard

    talk(whisper, client)


def test_prompts_of_different_lengths_do_not_meet(whisper: Any) -> None:
    """They are computed one after the other; the hint reaches the model."""

    async def client(transcriber: Counting) -> None:
        transcriber.gate.set()
        wishes = (Wish(), Wish(prompt="A talk about families."), Wish(temperature=0.0))
        heard = await asyncio.gather(*(transcriber.start(samples(TEXTS[1]), wish) for wish in wishes))
        assert all("monday" in said(each) for each in heard)

    talk(whisper, client)


def test_who_leaves_is_not_computed_for(whisper: Any) -> None:
    """A recording of minutes ends at once, whether it waits for its turn or has begun."""

    async def client(transcriber: Counting) -> None:
        long = np.tile(samples(sounds.MORNING), 40)
        waits = [Waiter(asyncio.get_running_loop()) for _ in range(2)]
        first = transcriber.start(long, Wish(), waits[0])
        while not transcriber.sizes:  # the first has begun: the second cannot share its batch
            await asyncio.sleep(0)
        second = transcriber.start(long, Wish(), waits[1])
        while not transcriber.batcher.waiting:
            await asyncio.sleep(0)
        for wait in waits:
            wait.leave()
        ended = await asyncio.gather(first, second, return_exceptions=True)
        assert all(isinstance(error, asyncio.CancelledError | CancelledError) for error in ended)
        transcriber.gate.set()
        stays = await transcriber.start(samples(TEXTS[0]), Wish())
        assert "good morning" in said(stays)
        assert transcriber.sizes == [("generate", 1)] * 2
        with pytest.raises(CancelledError):
            waits[0].check()

    talk(whisper, client)


def test_windows_have_the_features_of_the_whole() -> None:
    """Made one window at a time they are those of the library, for a short recording to the last bit."""
    extractor = FeatureExtractor()
    noise = np.random.default_rng(1).integers(-9_000, 9_000, 75 * recording.RATE).astype(np.int16)
    for length in (1_600, 16_000, 80_123):
        whole = extractor(noise[:length].astype(np.float32) / 32_768)
        lazy = _Lazy(extractor)(noise[:length])
        assert lazy.shape == whole.shape
        assert np.array_equal(lazy[:, 0 : whole.shape[1] - 1], whole[:, : whole.shape[1] - 1])
    whole, lazy = extractor(noise.astype(np.float32) / 32_768), _Lazy(extractor)(noise)
    for start in (0, 1, 1_234, 3_000, 4_500):
        np.testing.assert_allclose(lazy[:, start : start + 3_000], whole[:, start : start + 3_000], atol=2e-3)
    assert lazy[..., 0:].shape == (80, 3_000)
