"""Recordings to samples, within bounds: what an untrusted file may cost is known before it is paid.

FFmpeg's libraries (PyAV) do the reading. They know hundreds of formats, some of which open other files: only the
demuxers and decoders named here are ever chosen, by the file's first bytes. A file whose head promises too much is
refused at once, one that turns out to hold too much as soon as it does.
"""

import io
from collections.abc import Callable
from itertools import chain
from typing import Any, Final, TypeAlias

import av
import numpy as np

from headrace.errors import Invalid

RATE: Final = 16_000  # samples a second that speech models hear
SECONDS_MIN: Final = 0.1  # OpenAI's limit
_CHANNELS_MAX: Final = 8
_RATE_MAX: Final = 192_000
_READ: Final = "wav, mp3, ogg (opus, vorbis), flac, m4a, aac or webm"
_CODECS: Final = frozenset({
    "aac", "alac", "flac", "mp3", "mp3float", "opus", "libopus", "vorbis", "libvorbis",
    "pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw",
})  # fmt: skip


Samples: TypeAlias = np.ndarray[Any, np.dtype[np.int16]]
Heard = Callable[[Samples, int], bool]  # more of a speech, and the characters spoken so far; whether to go on
Going = Callable[[float], None]  # told of the seconds decoded so far, often; what it raises ends the decoding


def decode(data: bytes, seconds_max: int, going: Going = lambda _: None) -> Samples:
    """The recording as 16-bit samples of one channel, RATE a second; frames that are damaged are left out.

    Raises Invalid when it is no recording, too long or too short, and what `going` raises.
    """
    try:
        with av.open(io.BytesIO(data), format=_demuxer(data), metadata_errors="ignore") as container:
            samples = _samples(container, seconds_max, going)
    except (av.error.FFmpegError, ValueError) as error:
        raise _unreadable(f"it is damaged ({type(error).__name__})") from None
    if len(samples) < SECONDS_MIN * RATE:
        heard = len(samples) / RATE
        raise _invalid(f"'file' holds {heard:.2f} s of sound; send at least {SECONDS_MIN} s")
    return samples


def _samples(container: Any, seconds_max: int, going: Going) -> Samples:
    if not container.streams.audio:
        raise _unreadable("it has no sound in it")
    stream = container.streams.audio[0]
    context = stream.codec_context
    if context is None or context.name not in _CODECS:
        raise _unreadable(f"its sound is coded as {context.name if context else 'nothing that is known'}")
    if not 0 < context.sample_rate <= _RATE_MAX or not 0 < context.channels <= _CHANNELS_MAX:
        raise _invalid(
            f"'file' has {context.channels} channels of {context.sample_rate} samples/s; "
            f"at most {_CHANNELS_MAX} channels of {_RATE_MAX} are read"
        )
    if container.duration is not None and container.duration / av.time_base > seconds_max + 1:
        raise too_long(seconds_max)
    context.thread_count = 1  # its threads would take more than this replica's share
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    kept = bytearray()
    for frame in chain(_frames(container, stream), (None,)):
        going(len(kept) / 2 / RATE)
        if frame is not None:
            if frame.sample_rate > _RATE_MAX or len(frame.layout.channels) > _CHANNELS_MAX:
                raise _unreadable("its channels or its rate change")
            frame.pts = None  # gaps and jumps in the clock of the file are not filled
        for part in resampler.resample(frame):
            kept += part.to_ndarray().tobytes()
        if len(kept) > seconds_max * RATE * 2:
            raise too_long(seconds_max)
    return np.frombuffer(kept, np.int16)


def _frames(container: Any, stream: Any) -> Any:
    """Frames that decode. A packet that does not is left out; the file's size bounds how many there are."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue


def _demuxer(data: bytes) -> str:
    """The name of the one demuxer that may read the file, by its first bytes."""
    head = data[:16]
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"fLaC":
        return "flac"
    if head[4:8] == b"ftyp":
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:3] == b"ID3":
        return "mp3"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "mp3" if head[1] & 0x06 else "aac"
    raise _unreadable("its first bytes are of none of these")


def too_long(seconds_max: int) -> Invalid:
    """The refusal of a recording over the limit."""
    return _invalid(f"'file' is longer than {seconds_max} s, the most that is heard at once; send it in parts")


def _unreadable(reason: str) -> Invalid:
    return _invalid(f"'file' is not a recording that is read here: {reason}; send {_READ}")


def _invalid(message: str) -> Invalid:
    return Invalid(message, param="file", code="invalid_audio")
