"""Sound for tests: espeak-ng's speech, and files of any container and codec."""

import functools
import io
from typing import Any

import av
import espeakng_loader
import numpy as np

from headrace.engines.runners.espeak_library import RATE_NORMAL, Library
from headrace.engines.runners.recording import Samples
from headrace.engines.runners.sound import encoded

MORNING = "The quick brown fox jumps over the lazy dog. Good morning, how are you today?"


@functools.cache
def library() -> Library:
    return Library(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())


def speech(text: str = MORNING, form: str = "wav", voice: str = "en-us") -> bytes:
    """The text spoken, as a file."""
    samples = library().speak(text, voice, RATE_NORMAL, lambda: True)
    return encoded(samples, library().rate, 1.0, form)


def tone(seconds: float, rate: int, channels: int = 1) -> Samples:
    """440 Hz at half of full loudness, [samples * channels] interleaved."""
    wave = (16_000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.int16)
    return np.repeat(wave, channels)


def file(container: str, codec: str, samples: Samples, rate: int, layout: str = "mono") -> bytes:
    """A file that holds the samples."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as made:
        stream: Any = made.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = rate
        fifo, resampler = av.AudioFifo(), av.AudioResampler(stream.format, layout, rate)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            part.pts = None
            fifo.write(part)
        for part in (*fifo.read_many(stream.codec_context.frame_size or 4_096), fifo.read(), None):
            made.mux(stream.encode(part))
    return out.getvalue()
