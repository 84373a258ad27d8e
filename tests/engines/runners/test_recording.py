"""Recordings of every format become the same samples; what is none, or too much, is refused before it is paid for."""

import contextlib
import wave
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engines.runners import recording
from headrace.errors import Invalid
from tests.engines.runners import sounds


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout"),
    [
        ("wav", "pcm_s16le", 44_100, "stereo"),
        ("wav", "pcm_s24le", 96_000, "mono"),
        ("wav", "pcm_mulaw", 8_000, "mono"),
        ("mp3", "libmp3lame", 44_100, "stereo"),
        ("ogg", "libopus", 48_000, "stereo"),
        ("flac", "flac", 22_050, "mono"),
        ("mp4", "aac", 44_100, "stereo"),
        ("adts", "aac", 44_100, "mono"),
        ("webm", "libopus", 48_000, "mono"),
    ],
)
def test_each_format_is_heard(container: str, codec: str, rate: int, layout: str) -> None:
    """Two seconds of a tone come out as two seconds of that tone, at 16 kHz and of one channel."""
    tone = sounds.tone(2.0, rate, 2 if layout == "stereo" else 1)
    samples = recording.decode(sounds.file(container, codec, tone, rate, layout), 10)
    assert samples.dtype == np.int16
    assert abs(len(samples) / recording.RATE - 2.0) < 0.1
    middle = samples[8_000:24_000].astype(float)
    assert np.abs(np.fft.rfft(middle)).argmax() == 440
    assert 0.2 < np.sqrt((middle**2).mean()) / 16_000 < 1.0


def silent_flac(seconds: int, told: bool) -> bytes:
    """Compressed silence; unless `told`, its head does not say how much there is."""
    data = bytearray(sounds.file("flac", "flac", np.zeros(seconds * 16_000, np.int16), 16_000))
    if not told:
        head = data.index(b"fLaC") + 8
        data[head + 13] &= 0xF0
        data[head + 14 : head + 18] = b"\0\0\0\0"
    return bytes(data)


def test_a_long_recording_is_refused_by_its_head() -> None:
    """Nothing of it is decoded."""
    seen: list[float] = []
    with pytest.raises(Invalid, match=r"longer than 60 s.*send it in parts"):
        recording.decode(silent_flac(300, told=True), 60, seen.append)
    assert seen == []


def test_a_small_file_that_grows_is_refused_while_it_grows() -> None:
    """Ten minutes in a hundredth of their size, and a head that does not tell: the decoding ends at the limit."""
    data = silent_flac(600, told=False)
    assert len(data) < 600 * 16_000 * 2 / 100
    seen: list[float] = []
    with pytest.raises(Invalid, match="longer than 60 s"):
        recording.decode(data, 60, seen.append)
    assert 55 < max(seen) < 65


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "first bytes"),
        (b"Hello, this is a text and not a sound.", "first bytes"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "first bytes"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "first bytes"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "damaged"),
        (b"fLaC" + b"\xff" * 500, "damaged"),
        (b"\xff\xfb" + b"\0" * 1000, "damaged"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 100, "damaged|no sound"),
    ],
)
def test_what_is_no_recording_is_refused(data: bytes, reason: str) -> None:
    """With the formats that are read; playlists, which name other files, are never opened."""
    with pytest.raises(Invalid, match=rf"({reason}).*send wav, mp3, ogg") as refused:
        recording.decode(data, 60)
    assert (refused.value.param, refused.value.code) == ("file", "invalid_audio")


def test_a_film_without_sound_and_too_many_channels_are_refused() -> None:
    """Each by its name."""
    out = BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(24)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(24 * 2 * 16_000))
    with pytest.raises(Invalid, match="24 channels of 16000"):
        recording.decode(out.getvalue(), 60)


def test_a_codec_that_is_not_known_is_named() -> None:
    """ADPCM in a WAV is refused as such."""
    data = sounds.file("wav", "adpcm_ms", sounds.tone(1.0, 16_000), 16_000)
    with pytest.raises(Invalid, match="coded as adpcm_ms"):
        recording.decode(data, 60)


def test_too_short_a_recording_is_refused() -> None:
    """OpenAI's limit."""
    with pytest.raises(Invalid, match=r"0\.05 s of sound; send at least 0\.1 s"):
        recording.decode(sounds.file("wav", "pcm_s16le", sounds.tone(0.05, 16_000), 16_000), 60)


def test_who_is_told_of_progress_can_end_it() -> None:
    """What `going` raises comes out."""

    class Gone(Exception):
        pass

    def going(seconds: float) -> None:
        if seconds > 1:
            raise Gone

    with pytest.raises(Gone):
        recording.decode(silent_flac(100, told=True), 1000, going)


@settings(max_examples=60)
@given(
    st.sampled_from(["wav", "mp3", "opus", "flac", "aac"]), st.integers(0, 6_000), st.binary(min_size=1, max_size=64)
)
def test_damage_is_heard_or_refused(form: str, at: int, noise: bytes) -> None:
    """Bytes written over a good file never do more than a refusal, and never make it longer than the limit."""
    data = _good(form)
    samples = np.zeros(0, np.int16)
    with contextlib.suppress(Invalid):  # anything else would fail
        samples = recording.decode(data[:at] + noise + data[at + len(noise) :], 5)
    assert len(samples) <= 6 * recording.RATE


_GOOD: dict[str, bytes] = {}


def _good(form: str) -> bytes:
    if form not in _GOOD:
        _GOOD[form] = sounds.speech("One two three.", form)
    return _GOOD[form]
