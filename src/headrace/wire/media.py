"""What the first bytes of a picture or a recording tell: its format, its size, how long it can be at most.

The gateway decodes nothing: a file that is hostile to decoders meets one only in a replica's sandbox. What is plainly
wrong, too large, or a bomb by its own header is refused here, before an engine sees it.
"""

import base64
import binascii
import re
from typing import Final

import msgspec

from headrace import errors
from headrace.state.table import Media

PIXELS_MAX: Final = 64 << 20  # whatever the engine says
IMAGE_BYTES_MAX: Final = 50 << 20
_JPEG_SIZES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_DATA_URL: Final = re.compile(r"data:image/[a-z.+-]{1,32};base64,")
# The least bytes that a second of speech takes in each container; 0 where silence may take next to nothing.
_BYTES_PER_S_MIN: Final = {"wav": 4_000, "mp3": 1_000, "ogg": 500, "webm": 500, "mp4": 500, "flac": 0}
_SLACK_MS: Final = 30_000


class Picture(msgspec.Struct, frozen=True):
    """A picture's header: format (png, jpeg, webp) and pixels."""

    kind: str
    width: int
    height: int


def picture(data: bytes, media: Media | None, param: str) -> Picture:
    """What a picture is. Raises Invalid for one that is not, or is larger than may be."""
    if not data:
        raise errors.Invalid(f"'{param}' is an empty file.", param=param)
    limit = min(IMAGE_BYTES_MAX, media.bytes_max if media else IMAGE_BYTES_MAX)
    if len(data) > limit:
        raise errors.Invalid(
            f"'{param}' has {len(data)} bytes; the limit is {limit}.", param=param, code="request_too_large", status=413
        )
    found = _sniff(data)
    if found is None or not (found.width and found.height):
        raise errors.Invalid(
            f"'{param}' is not a picture that is read here; send PNG, JPEG or WebP.", param=param, code="invalid_image"
        )
    most = min(PIXELS_MAX, (media.pixels_max if media else 0) or PIXELS_MAX)
    if found.width * found.height > most:
        raise errors.Invalid(
            f"'{param}' has {found.width} x {found.height} pixels; this model takes at most {most} in all. "
            "Send a smaller one.",
            param=param,
            code="invalid_image",
        )
    return found


def data_url(url: str, param: str) -> bytes:
    """The picture in a `data:` URL, or in bare base64. Raises Invalid: nothing is fetched from elsewhere."""
    if match := _DATA_URL.match(url):
        url = url[match.end() :]
    elif url[:5].lower() in ("http:", "https", "data:", "file:"):
        raise errors.Invalid(
            f"'{param}' must hold the picture itself, as data:image/png;base64,...; nothing is fetched from elsewhere.",
            param=param,
            code="unsupported_value",
        )
    try:
        return base64.b64decode(url, validate=True)
    except (binascii.Error, ValueError):
        raise errors.Invalid(f"'{param}' is not valid base64.", param=param, code="invalid_image") from None


def recording(data: bytes, filename: str, media: Media | None, param: str) -> str:
    """The container of a recording: wav, mp3, ogg, flac, mp4 or webm. Raises Invalid."""
    limit = media.bytes_max if media else 25 << 20
    if len(data) > limit:
        raise errors.Invalid(
            f"'{param}' has {len(data)} bytes; the limit is {limit}. Send a compressed or a shorter recording.",
            param=param,
            code="request_too_large",
            status=413,
        )
    kind = _container(data)
    if kind is None:
        raise errors.Invalid(
            f"'{param}' ({filename[:64] or 'without a name'}) is not a recording that is read here; "
            "send wav, mp3, ogg, opus, flac, m4a or webm.",
            param=param,
            code="invalid_audio",
        )
    return kind


def longest_ms(kind: str, size_bytes: int, most_s: int) -> int:
    """The longest that so many bytes of a container can be heard; `most_s` is the engine's limit, 0 for a day.

    What is held in budgets, and what the engine is told to stop at.

    >>> longest_ms("wav", 32_000, 1_500), longest_ms("flac", 32_000, 1_500)
    (38000, 1500000)
    """
    most_ms = 1_000 * (most_s or 86_400)
    rate = _BYTES_PER_S_MIN[kind]
    return min(most_ms, size_bytes * 1_000 // rate + _SLACK_MS) if rate else most_ms


def _container(data: bytes) -> str | None:
    head = data[:16]
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"fLaC":
        return "flac"
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        return "mp3"
    return None


def _sniff(data: bytes) -> Picture | None:
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
        return Picture("png", int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _jpeg(data: bytes) -> Picture | None:
    """Walk the segments to the frame header."""
    at, size = 2, len(data)
    while at + 9 < size:
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif marker in _JPEG_SIZES:
            return Picture("jpeg", int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7]))
        elif 0xD0 <= marker <= 0xD8 or marker == 0x01:
            at += 2
        else:
            length = int.from_bytes(data[at + 2 : at + 4])
            if length < 2:
                return None
            at += 2 + length
    return None


def _webp(data: bytes) -> Picture | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return Picture("webp", 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"))
    if kind == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return Picture("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and len(data) >= 30 and data[23:26] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
        return Picture("webp", width & 0x3FFF, height & 0x3FFF)
    return None
