"""Golden questions of engines that are given pictures: a drawing must be enlarged well, a text must be read.

Called by `golden`. What is asked is drawn here. Pillow and numpy are imported when something is: the idle controller
loads this module.
"""

import base64
import io
from collections.abc import Callable
from typing import Any, Final

from headrace.errors import Permanent
from headrace.specs.catalog import Golden, ModelSpec

_SIDE: Final = 32
_QUOTE_CHARS: Final = 200

Post = Callable[[str, dict[str, Any]], dict[str, Any]]


def enlarges(model: ModelSpec, scale: int, name: str, post: Post) -> None:
    """A drawing made small and enlarged again must be closer to what it was than bicubic interpolation brings it.

    Raises Permanent when it is not.
    """
    import numpy as np
    from PIL import Image

    whole = _drawing(_SIDE * scale)
    small = whole.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    body = {"model": name, "image": _png(small), "scale": scale, "output_format": "png"}
    found = post("/v1/images/upscale", body)["data"][0]["b64_json"]
    made = Image.open(io.BytesIO(base64.b64decode(found))).convert("RGB")
    if made.size != whole.size:
        raise Permanent(f"{model.key} made {made.width}x{made.height} of {_SIDE}x{_SIDE} at scale {scale}")

    def error(picture: Image.Image) -> float:
        return float(np.mean((np.asarray(picture, float) - np.asarray(whole, float)) ** 2))

    plain = error(small.resize(whole.size, Image.Resampling.BICUBIC))
    if error(made) >= plain:
        raise Permanent(
            f"{model.key} failed its golden question: a drawing that it enlarged by {scale} is off by "
            f"{error(made):.0f} (mean square), bicubic interpolation by {plain:.0f}; use other weights"
        )


def reads(model: ModelSpec, golden: Golden, name: str, post: Post) -> None:
    """`prompt` is drawn, black on white, and `expect` must be in what is read. Raises Permanent when it is not."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(32)
    picture = Image.new("RGB", (round(font.getlength(golden.prompt)) + 64, 96), "white")
    ImageDraw.Draw(picture).text((32, 28), golden.prompt, fill="black", font=font)
    content = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png(picture)}"}}]
    body = {"model": name, "messages": [{"role": "user", "content": content}]}
    read = str(post("/v1/chat/completions", body)["choices"][0]["message"]["content"])
    if golden.expect.casefold() not in read.casefold():
        raise Permanent(
            f"{model.key} failed its golden question: it read {read[:_QUOTE_CHARS]!r} where {golden.prompt!r} was "
            f"written, without {golden.expect!r}; use other weights"
        )


def _drawing(side: int) -> Any:
    """Flat colours with dark outlines, drawn four times as large and averaged."""
    from PIL import Image, ImageDraw

    large = 4 * side
    picture = Image.new("RGB", (large, large), (236, 222, 196))
    pen = ImageDraw.Draw(picture)
    line = large // 24
    pen.ellipse((large // 8, large // 8, large * 5 // 8, large * 5 // 8), (214, 62, 48), (16, 16, 16), line)
    pen.rectangle((large // 2, large // 2, large * 7 // 8, large * 7 // 8), (40, 110, 190), (16, 16, 16), line)
    pen.line((large // 10, large * 9 // 10, large * 9 // 10, large // 10), (16, 16, 16), line)
    return picture.resize((side, side), Image.Resampling.BOX)


def _png(picture: Any) -> str:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def first_frame(film: bytes) -> bytes:
    """The first frame of a film as PNG. Raises Permanent when it is none."""
    import av
    from av.error import FFmpegError

    out = io.BytesIO()
    try:
        with av.open(io.BytesIO(film), "r") as container:
            next(container.decode(video=0)).to_image().save(out, "PNG")  # type: ignore[no-untyped-call] # PyAV
    except (FFmpegError, StopIteration) as error:
        raise Permanent(f"the engine gave something that is no film: {error!r}") from error
    return out.getvalue()
