"""Pictures for the runners: bytes to pixels within strict limits, and back. Pillow alone; knows no model.

The gateway has looked at the header only; here, in a replica's sandbox, a file is decoded and everything that it says
is checked again before memory is taken for it.
"""

import base64
import binascii
import io
from typing import Any, Final, Literal

import numpy as np
from PIL import Image, ImageOps

from headrace.errors import Invalid

Form = Literal["png", "jpeg", "webp"]

FORMATS: Final = ("png", "jpeg", "webp")
PIXELS_MAX: Final = 4096 * 4096
_SAVED: Final[dict[str, dict[str, Any]]] = {
    "png": {"compress_level": 4},  # a third of the time of the default for a few per cent of size
    "jpeg": {"quality": 92},
    "webp": {"quality": 92, "method": 3},
}
Image.MAX_IMAGE_PIXELS = None  # the limit below is stricter and is asked before anything is decoded


def opened(coded: str, param: str, pixels_max: int = PIXELS_MAX) -> Image.Image:
    """A picture in base64 as it is meant to be seen: upright, RGB or RGBA, of at most `pixels_max` pixels.

    Raises Invalid for anything else: not a PNG, JPEG or WebP, too large, broken, or one that moves.
    """
    try:
        data = base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(f"{param} is not valid base64", param=param, code="invalid_image") from None
    try:
        picture = Image.open(io.BytesIO(data), formats=[name.upper() for name in FORMATS])
        _check(picture, pixels_max, param)
        picture.load()
        return _plain(ImageOps.exif_transpose(picture))
    except Invalid:
        raise
    except Exception:  # noqa: BLE001 - a parser of foreign bytes: whatever it raises, the file is to blame
        raise Invalid(
            f"{param} is not a picture that can be read; send a whole PNG, JPEG or WebP",
            param=param,
            code="invalid_image",
        ) from None


def encoded(picture: Image.Image, form: str) -> str:
    """A picture as a file in base64, `form` one of FORMATS. A JPEG of a picture with alpha is laid on white."""
    if form == "jpeg" and picture.mode == "RGBA":
        ground = Image.new("RGB", picture.size, "white")
        ground.paste(picture, mask=picture.getchannel("A"))
        picture = ground
    out = io.BytesIO()
    picture.save(out, form, **_SAVED[form])
    return base64.b64encode(out.getbuffer()).decode()


def planes(picture: Image.Image) -> Any:
    """An RGB picture as float32 [3, height, width] in [0, 1]."""
    return np.ascontiguousarray(np.asarray(picture, np.float32).transpose(2, 0, 1)) / np.float32(255)


def levels(planes: Any) -> Any:
    """Planes in [0, 1] as bytes; what lies outside is cut."""
    return np.rint(np.clip(planes, 0, 1) * 255).astype(np.uint8)


def picture_of(levels: Any) -> Image.Image:
    """The picture of bytes [3, height, width]."""
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))


def _check(picture: Image.Image, pixels_max: int, param: str) -> None:
    """By the header alone: no memory has been taken yet."""
    width, height = picture.size
    if width * height > pixels_max:
        raise Invalid(
            f"{param} has {width} x {height} pixels; this model takes at most {pixels_max} in all. Send a smaller one",
            param=param,
            code="invalid_image",
        )
    if getattr(picture, "n_frames", 1) > 1:
        raise Invalid(f"{param} is an animation; send one picture", param=param, code="invalid_image")


def _plain(picture: Image.Image) -> Image.Image:
    """RGB, or RGBA where anything can be seen through; 16-bit values are divided, not cut off."""
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
    seen_through = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    return picture.convert("RGBA" if seen_through else "RGB")
