"""What a runner reads as a picture and what it refuses, and what it writes."""

import base64
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from headrace.engines.runners import pictures
from headrace.errors import Invalid
from tests.engines.pictures import coded, decoded, line_art, psnr

ART = line_art(48, 1)


def read(text: str, pixels_max: int = 1 << 20) -> Image.Image:
    return pictures.opened(text, "image", pixels_max)


@pytest.mark.parametrize(("form", "least_db"), [("png", 99), ("jpeg", 25), ("webp", 25)])
def test_what_is_written_can_be_read(form: pictures.Form, least_db: int) -> None:
    """A PNG loses nothing, the others little."""
    made = read(pictures.encoded(ART, form))
    assert (made.mode, made.size) == ("RGB", ART.size)
    if form == "png":
        assert np.array_equal(np.asarray(made), np.asarray(ART))
    else:
        assert psnr(made, ART) > least_db


def test_planes_and_back_is_the_same_picture() -> None:
    """All 256 values survive."""
    ramp = Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3))
    assert np.array_equal(np.asarray(pictures.picture_of(pictures.levels(pictures.planes(ramp)))), np.asarray(ramp))


def test_a_photograph_is_turned_upright() -> None:
    """EXIF orientation 6: what lies on its side in the file stands in the picture."""
    wide = ART.resize((60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    made = read(coded(wide, "jpeg", exif=exif, quality=95))
    assert made.size == (40, 60)
    assert psnr(made, wide.transpose(Image.Transpose.ROTATE_270)) > 25


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA", "I;16"])
def test_other_kinds_of_pixels_become_rgb(mode: str) -> None:
    """Grey, palette, ink, 16 bits: the middle of the range stays in the middle; alpha stays where there is some."""
    if mode == "I;16":
        given = Image.fromarray(np.full((8, 8), 0x8040, np.uint16))
    else:
        given = Image.new("L", (8, 8), 128).convert(mode)
    made = read(coded(given, "jpeg" if mode == "CMYK" else "png"))
    assert made.mode == ("RGBA" if mode in ("LA", "RGBA") else "RGB")
    red = np.asarray(made)[..., 0]
    assert red.mean() in (0, 255) or abs(float(red.mean()) - 128) < 3
    assert mode == "1" or abs(float(red.mean()) - 128) < 3


def test_a_jpeg_of_a_picture_with_holes_is_laid_on_white() -> None:
    """JPEG knows no alpha."""
    holes = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    assert np.asarray(decoded(pictures.encoded(holes, "jpeg"))).min() > 250


def huge() -> str:
    """A PNG that says it has 60,000 x 60,000 pixels, in a hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return base64.b64encode(data).decode()


WHOLE = coded(ART)
MOVING = coded(ART, "webp", save_all=True, append_images=[line_art(48, 2)])
MOVING_PNG = coded(ART, "png", save_all=True, append_images=[line_art(48, 2)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no base64!", "base64"),
        ("", "whole PNG"),
        (coded(ART, "gif"), "whole PNG"),
        (coded(ART, "bmp"), "whole PNG"),
        (WHOLE[: len(WHOLE) // 8 * 4], "whole PNG"),
        (base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(64)).decode(), "whole PNG"),
        (huge(), "60000 x 60000"),
        (coded(ART.resize((65, 64))), "65 x 64 pixels; this model takes at most 4096"),
        (MOVING, "animation"),
        (MOVING_PNG, "animation"),
    ],
    ids=["letters", "nothing", "gif", "bmp", "cut off", "no chunks", "bomb", "too large", "moving webp", "moving png"],
)
def test_what_is_no_picture_for_us_is_refused_by_name(text: str, said: str) -> None:
    """The field, and what would be right."""
    with pytest.raises(Invalid, match=said) as told:
        read(text, 4096)
    assert told.value.param == "image"
