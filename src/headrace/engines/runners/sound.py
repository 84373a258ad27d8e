"""Samples to sound files, by FFmpeg's libraries (PyAV): the formats of OpenAI's speech endpoint."""

import io
from fractions import Fraction
from typing import Any, Final

import av

from headrace.engines.runners.recording import Samples

RATE: Final = 24_000  # samples a second of everything that is given out
_FORMATS: Final = {  # container, codec, form of a sample, bits a second (0: lossless)
    "wav": ("wav", "pcm_s16le", "s16", 0),
    "mp3": ("mp3", "libmp3lame", "s16p", 64_000),
    "opus": ("ogg", "libopus", "s16", 32_000),
    "flac": ("flac", "flac", "s16", 0),
    "aac": ("adts", "aac", "fltp", 64_000),
}
CONTENT_TYPES: Final = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "pcm": "audio/pcm",
}
_TEMPO_MIN: Final = 0.5  # of FFmpeg's filter; slower is two of them


def encoded(samples: Samples, rate: int, tempo: float, form: str) -> bytes:
    """16-bit samples of one channel, `rate` a second, as a file of that format; `pcm` is bare samples.

    `tempo` is how many times faster it is, the pitch kept.
    """
    if form == "pcm":
        return b"".join(frame.to_ndarray().tobytes() for frame in _frames(samples, rate, tempo, "s16"))
    container, codec, sample_format, bits_per_s = _FORMATS[form]
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=RATE, layout="mono", format=sample_format)
        if bits_per_s:
            stream.bit_rate = bits_per_s
        fifo = av.AudioFifo()
        for frame in _frames(samples, rate, tempo, sample_format):
            fifo.write(frame)
            # An encoder takes frames of its own size; 0 is any.
            for part in fifo.read_many(stream.codec_context.frame_size or 4_096):
                file.mux(stream.encode(part))
        if (rest := fifo.read()) is not None:
            file.mux(stream.encode(rest))
        file.mux(stream.encode(None))
    return out.getvalue()


def _frames(samples: Samples, rate: int, tempo: float, sample_format: str) -> Any:
    """The samples at RATE and that tempo, in frames without moments of their own."""
    graph = av.filter.Graph()
    chain = [graph.add_abuffer(format="s16", sample_rate=rate, layout="mono", time_base=Fraction(1, rate))]
    while tempo < _TEMPO_MIN:
        chain.append(graph.add("atempo", str(_TEMPO_MIN)))
        tempo /= _TEMPO_MIN
    if tempo != 1:
        chain.append(graph.add("atempo", f"{tempo:.6f}"))
    chain.append(graph.add("aresample", str(RATE)))
    chain.append(graph.add("aformat", f"sample_fmts={sample_format}:sample_rates={RATE}:channel_layouts=mono"))
    chain.append(graph.add("abuffersink"))
    graph.link_nodes(*chain).configure()
    for at in range(0, len(samples), rate):  # a second at a time: a filter holds all that it is given at once
        given = av.AudioFrame.from_ndarray(samples[at : at + rate].reshape(1, -1), format="s16", layout="mono")
        given.sample_rate, given.pts = rate, at
        yield from _filtered(graph, given)
    yield from _filtered(graph, None)


def _filtered(graph: Any, given: Any) -> Any:
    """What a filter gives out for one more frame; None ends it."""
    graph.push(given)
    while True:
        try:
            found = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        found.pts = None
        yield found
