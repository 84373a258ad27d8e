"""Pictures as they travel, base64 of PNG, JPEG or WebP, and as models take them. Pillow, within bounds."""

import base64
import binascii
import io
from typing import Final

from PIL import Image, UnidentifiedImageError

from headrace.errors import Invalid

FORMATS: Final = ("png", "jpeg", "webp")
PIXELS_MAX: Final = 4096 * 4096
_QUALITY: Final = 95


def opened(coded: str, param: str, pixels_max: int = PIXELS_MAX) -> Image.Image:
    """The decoded picture. Raises Invalid for what is none, is cut short or has more pixels than allowed."""
    try:
        data = base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"{param} is not base64", param=param) from error
    try:
        picture = Image.open(io.BytesIO(data), formats=[name.upper() for name in FORMATS])
        if picture.width * picture.height > pixels_max:
            raise Invalid(
                f"{param} has {picture.width}x{picture.height} pixels; the limit is {pixels_max} in all. "
                "Make it smaller",
                param=param,
            )
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Invalid(f"{param} cannot be read as a picture; give {', '.join(FORMATS)}", param=param) from error
    return picture


def encoded(picture: Image.Image, form: str) -> str:
    """Base64 of the picture in one of FORMATS. JPEG and WebP are lossy, quality 95."""
    out = io.BytesIO()
    if form == "png":
        picture.save(out, "PNG", compress_level=3)
    else:
        picture.save(out, form.upper(), quality=_QUALITY)
    return base64.b64encode(out.getvalue()).decode()
