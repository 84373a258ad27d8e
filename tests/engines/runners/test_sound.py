"""Sound files: each format decodes to the samples it was made of, as long and as loud, at the tempo that was asked."""

import numpy as np
import pytest

from headrace.engines.runners import recording, sound
from tests.engines.runners import sounds

OPENINGS = {"wav": b"RIFF", "mp3": b"ID3", "opus": b"OggS", "flac": b"fLaC", "aac": b"\xff\xf1"}


@pytest.mark.parametrize("form", OPENINGS)
def test_a_file_holds_what_it_was_given(form: str) -> None:
    """One and a half seconds of a tone."""
    data = sound.encoded(sounds.tone(1.5, 22_050), 22_050, 1.0, form)
    assert data.startswith(OPENINGS[form])
    samples = recording.decode(data, 10)
    assert abs(len(samples) / recording.RATE - 1.5) < 0.1
    assert np.abs(np.fft.rfft(samples[4_000:20_000].astype(float))).argmax() == 440


def test_bare_samples_are_openais() -> None:
    """16 bits, one channel, 24,000 a second."""
    data = sound.encoded(sounds.tone(1.0, 22_050), 22_050, 1.0, "pcm")
    samples = np.frombuffer(data, "<i2")
    assert abs(len(samples) - 24_000) < 50
    assert abs(np.abs(np.fft.rfft(samples[:12_000].astype(float))).argmax() - 220) <= 1


@pytest.mark.parametrize("tempo", [0.25, 0.5, 0.8, 1.5, 4.0])
def test_tempo_keeps_the_pitch(tempo: float) -> None:
    """Two seconds are as much longer or shorter, and the tone is still the tone."""
    samples = np.frombuffer(sound.encoded(sounds.tone(2.0, 22_050), 22_050, tempo, "pcm"), "<i2")
    assert len(samples) / 24_000 == pytest.approx(2.0 / tempo, rel=0.05, abs=0.05)
    middle = samples[len(samples) // 4 : len(samples) // 4 * 3].astype(float)
    peak = np.abs(np.fft.rfft(middle)).argmax() * 24_000 / len(middle)
    assert peak == pytest.approx(440, abs=15)


@pytest.mark.parametrize("form", [*OPENINGS, "pcm"])
def test_a_file_leaves_while_it_is_made(form: str) -> None:
    """Each fifth of a second brings some of it; joined, it is the file that would have been, but for lengths told."""
    tone = sounds.tone(3.0, 22_050)
    made = sound.Encoding(22_050, 1.0, form)
    pieces = [made.feed(tone[at : at + 4_410]) for at in range(0, len(tone), 4_410)]
    assert sum(map(bool, pieces[:5])) >= 4
    data = b"".join([*pieces, made.end()])
    if form == "pcm":
        assert data == sound.encoded(tone, 22_050, 1.0, form)
        return
    assert data.startswith(OPENINGS[form])
    samples = recording.decode(data, 10)
    assert abs(len(samples) / recording.RATE - 3.0) < 0.1
    assert np.abs(np.fft.rfft(samples[4_000:20_000].astype(float))).argmax() == 440


def test_a_wav_that_is_not_whole_yet_tells_no_length() -> None:
    """Players read such a one to its end; a length of nothing would silence it."""
    head = sound.Encoding(22_050, 1.0, "wav").feed(sounds.tone(1.0, 22_050))
    assert head[4:8] == head[head.index(b"data") + 4 :][:4] == b"\xff\xff\xff\xff"
