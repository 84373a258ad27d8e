"""Golden questions of speech tell sound that is speech from sound that is not, and right words from wrong ones."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.engines import golden_speech
from headrace.engines.runners.sound import encoded
from headrace.errors import Permanent
from headrace.specs.catalog import Golden
from tests.conftest import FOX, MODELS
from tests.engines.runners import sounds

HEARS, SPEAKS = MODELS["whisper"], MODELS["espeak"]


def speaks(data: bytes, text: str = FOX) -> None:
    golden_speech.check(SPEAKS, Golden(prompt=text, expect="alloy"), "espeak", lambda _path, _body: data)


def wav(samples: Any) -> bytes:
    return encoded(np.asarray(samples, np.int16), 22_050, 1.0, "wav")


def test_speech_passes() -> None:
    """As long and as loud as the words."""
    speaks(sounds.speech(FOX))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF no wav",
        wav(np.zeros(3 * 22_050)),
        wav(sounds.tone(0.2, 22_050)),
        wav(sounds.tone(20, 22_050)),
    ],
    ids=["nothing", "damaged", "silence", "too short", "too long"],
)
def test_what_is_no_speech_fails(data: bytes) -> None:
    """The message tells length and loudness."""
    with pytest.raises(Permanent, match=r"golden question.*took \d+\.\d\d s at a loudness"):
        speaks(data)


def hears(text: str, golden: Golden) -> dict[str, Any]:
    sent: dict[str, Any] = {}

    def post(path: str, body: dict[str, Any]) -> bytes:
        sent.update(body, path=path)
        return json.dumps({"text": text}).encode()

    golden_speech.check(HEARS, golden, "whisper", post)
    return sent


def test_a_word_must_be_heard() -> None:
    """In the built-in recording, or in one that is named."""
    assert HEARS.golden is not None
    assert hears("the quick brown FOX", HEARS.golden)["path"] == "/v1/audio/transcriptions"
    with pytest.raises(Permanent, match="heard 'box', without 'fox'"):
        hears("box", HEARS.golden)


def test_a_recording_of_ones_own_is_sent(tmp_path: Path) -> None:
    """By its absolute path; one that is not there is told."""
    own = tmp_path / "own.wav"
    own.write_bytes(b"RIFFown")
    wanted = msgspec.structs.replace(HEARS.golden, prompt=str(own))
    assert hears("fox", wanted)["file"] == "UklGRm93bg=="
    own.unlink()
    with pytest.raises(Permanent, match=r"own\.wav cannot be read"):
        hears("fox", wanted)
