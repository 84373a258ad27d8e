"""Pictures survive the way, and what is none is refused before it is decoded whole."""

import base64
import io
import struct
import zlib

import pytest
from PIL import Image

from headrace.engines.runners.pictures import FORMATS, encoded, opened
from headrace.errors import Invalid


def coded(form: str = "PNG", size: tuple[int, int] = (8, 6)) -> str:
    out = io.BytesIO()
    Image.new("RGB", size, (220, 30, 40)).save(out, form)
    return base64.b64encode(out.getvalue()).decode()


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_goes_and_comes(form: str) -> None:
    """In the format asked for, of the size and colour it was."""
    picture = opened(encoded(Image.new("RGB", (32, 16), (220, 30, 40)), form), "image")
    assert (form.upper(), (32, 16)) == (picture.format, picture.size)
    red, green, blue = picture.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
    assert max(abs(red - 220), abs(green - 30), abs(blue - 40)) < 6


@pytest.mark.parametrize("text", ["***", "bm8gcGljdHVyZQ==", coded()[:60], coded("GIF"), ""])
def test_what_is_no_picture_is_refused(text: str) -> None:
    """No base64, no picture, cut short, of a format that is not taken, empty."""
    with pytest.raises(Invalid) as refused:
        opened(text, "images")
    assert refused.value.param == "images"


def test_too_many_pixels_are_refused_by_the_header_alone() -> None:
    """A bomb of a billion pixels has no data to decode, and is refused with its size and the limit."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunk).decode()
    with pytest.raises(Invalid):
        opened(bomb, "image")
    with pytest.raises(Invalid, match="image has 8x6 pixels; the limit is 40"):
        opened(coded(), "image", pixels_max=40)
