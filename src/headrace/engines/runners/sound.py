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
# A player that hears while it is made need not wait for a second's worth, nor for a table of contents.
_AT_ONCE: Final = {"opus": {"page_duration": "100000"}, "mp3": {"write_xing": "0"}}


class _Pipe(io.RawIOBase):
    """A file that is read from while it is written, and is never gone back in: so its head tells no length."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        """What came since it was last asked."""
        taken = bytes(self._written)
        self._written.clear()
        return taken


class Encoder:
    """16-bit samples of one channel, `rate` a second, into a file of that format; `pcm` is bare samples.

    `tempo` is how many times faster it is, the pitch kept. Not safe for threads.
    """

    def __init__(self, rate: int, tempo: float, form: str, out: Any) -> None:
        self._out = out
        self._file: Any = None
        sample_format = "s16"
        if form != "pcm":
            container, codec, sample_format, bits_per_s = _FORMATS[form]
            options = {"flush_packets": "1", **_AT_ONCE.get(form, {})} if isinstance(out, _Pipe) else {}
            self._file = av.open(out, "w", format=container, options=options)
            self._stream: Any = self._file.add_stream(codec, rate=RATE, layout="mono", format=sample_format)
            if bits_per_s:
                self._stream.bit_rate = bits_per_s
            self._fifo = av.AudioFifo()
        self._graph, self._rate, self._given = _filters(rate, tempo, sample_format), rate, 0

    def feed(self, samples: Samples) -> None:
        """More of it."""
        for at in range(0, len(samples), self._rate):  # a second at a time: a filter holds all that it is given at once
            part = samples[at : at + self._rate].reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = self._rate, self._given
            self._given += frame.samples
            self._write(frame)

    def end(self) -> None:
        """That was all."""
        self._write(None)
        if self._file is not None:
            if (rest := self._fifo.read()) is not None:
                self._file.mux(self._stream.encode(rest))
            self._file.mux(self._stream.encode(None))
            self._file.close()

    def _write(self, given: Any) -> None:
        for frame in _filtered(self._graph, given):
            if self._file is None:
                self._out.write(frame.to_ndarray().tobytes())
                continue
            self._fifo.write(frame)
            # An encoder takes frames of its own size; 0 is any.
            for part in self._fifo.read_many(self._stream.codec_context.frame_size or 4_096):
                self._file.mux(self._stream.encode(part))


class Encoding:
    """A file that leaves while it is made. See `Encoder`."""

    def __init__(self, rate: int, tempo: float, form: str) -> None:
        self._pipe = _Pipe()
        self._encoder = Encoder(rate, tempo, form, self._pipe)

    def feed(self, samples: Samples) -> bytes:
        """What there is of the file with these; nothing while an encoder waits for a frame to be full."""
        self._encoder.feed(samples)
        return self._pipe.take()

    def end(self) -> bytes:
        """The rest of it."""
        self._encoder.end()
        return self._pipe.take()


def encoded(samples: Samples, rate: int, tempo: float, form: str) -> bytes:
    """The same, whole: its head tells the length. See `Encoder`."""
    out = io.BytesIO()
    encoder = Encoder(rate, tempo, form, out)
    encoder.feed(samples)
    encoder.end()
    return out.getvalue()


def _filters(rate: int, tempo: float, sample_format: str) -> Any:
    """What makes frames of RATE and that tempo of what it is given."""
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
    return graph


def _filtered(graph: Any, given: Any) -> Any:
    """What a filter gives out for one more frame, without moments of their own; None ends it."""
    graph.push(given)
    while True:
        try:
            found = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        found.pts = None
        yield found
