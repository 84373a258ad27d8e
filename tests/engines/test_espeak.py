"""Text to speech through the real replica: formats, voices and paces are what was asked for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from headrace.engines import golden
from headrace.engines.espeak import FORMATS, Espeak
from headrace.engines.runners import recording
from headrace.errors import Permanent
from headrace.ports import Artifact
from headrace.specs.catalog import ModelSpec
from headrace.wire.speech import TYPES
from tests.conftest import FOX, MODELS

MODEL = MODELS["espeak"]


@pytest.fixture(scope="module")
def replica(prepared: Callable[[str], tuple[ModelSpec, Artifact]]) -> Iterator[httpx.Client]:
    model, artifact = prepared("espeak")
    with golden.running(Espeak(), model, artifact) as (address, _):
        transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
        with httpx.Client(transport=transport, base_url="http://engine", timeout=60) as client:
            yield client


def speak(replica: httpx.Client, **body: Any) -> httpx.Response:
    return replica.post("/v1/audio/speech", json={"model": "espeak", "input": FOX, "voice": "alloy", **body})


def seconds(answer: httpx.Response) -> float:
    assert answer.status_code == 200
    return len(recording.decode(answer.content, 600)) / recording.RATE


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_is_as_long_as_the_words(replica: httpx.Client, form: str) -> None:
    """Its type is the one that the gateway tells."""
    answer = speak(replica, response_format=form)
    assert answer.headers["content-type"].encode() == TYPES[form]
    if form == "pcm":
        assert len(answer.content) / 48_000 == pytest.approx(2.6, abs=0.2)
    else:
        assert seconds(answer) == pytest.approx(2.6, abs=0.2)


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_a_pace_is_kept(replica: httpx.Client, speed: float) -> None:
    """Within a tenth, also where espeak-ng's own pace ends."""
    assert seconds(speak(replica, response_format="flac", speed=speed)) == pytest.approx(2.61 / speed, rel=0.1)


def test_voices_differ_and_another_is_refused(replica: httpx.Client) -> None:
    """With the names that there are."""
    heard = {speak(replica, response_format="pcm", voice=voice).content for voice in ("alloy", "onyx", "en-gb", "de")}
    assert len(heard) == 4
    refused = speak(replica, voice="siri")
    assert refused.status_code == 400
    assert "voice 'siri' is not known; give one of alloy, ash," in refused.json()["error"]["message"]


def test_a_text_without_words_is_refused(replica: httpx.Client) -> None:
    """Silence is not sold as speech."""
    refused = speak(replica, input="\u200b \u00ad")
    assert refused.status_code == 400
    assert "nothing in input that this voice can speak" in refused.json()["error"]["message"]


def test_the_longest_text_is_spoken_whole(replica: httpx.Client) -> None:
    """4,096 characters are minutes."""
    text = (FOX + " ") * 100
    answer = speak(replica, input=text[:4_096], response_format="opus", speed=4)
    assert seconds(answer) > 40
    assert speak(replica, input=text[:4_097]).status_code == 400


def test_a_folder_without_the_library_is_told(tmp_path: Path) -> None:
    """With what `source` should be."""
    bad = msgspec.structs.replace(MODEL, source=str(tmp_path))
    with pytest.raises(Permanent, match=r"has no libespeak-ng\.so and espeak-ng-data.*package://espeakng_loader"):
        Espeak().prepare(bad, tmp_path / "a", print)


def test_loudness_is_that_of_speech(replica: httpx.Client) -> None:
    """Neither near silence nor cut off at full scale."""
    samples = np.frombuffer(speak(replica, response_format="pcm").content, np.int16).astype(float)
    assert 0.03 < np.sqrt((samples**2).mean()) / 32_768 < 0.3
    assert (np.abs(samples) >= 32_767).mean() < 0.001
