"""A replica that draws: pictures from words, or from other pictures and words, by the painter.

Started by `engines.painter.command`. Requests share steps. The network draws 64x64 pixels; larger sizes are the same
picture enlarged.
"""

import argparse
import asyncio
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from PIL import Image, ImageOps

from headrace.engines.runners import pictures
from headrace.engines.runners.batching import Batcher, Bounds, Item
from headrace.engines.runners.onnx import decode
from headrace.engines.runners.painting import Floats, Painter, Painting, Pixels, Start
from headrace.engines.runners.server import Exchange, Server, serve
from headrace.errors import Invalid

SCALES: Final = (4, 1, 2, 8, 16)  # of the native side; the first is what is made when none is asked for
STRENGTH: Final = 0.7
_SEEDS: Final = 1 << 53


class GenerationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/images/generations. Picture number i of `n` is that of seed + i."""

    prompt: str
    model: str = ""
    n: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    size: str = ""
    seed: int | None = None
    output_format: Literal["png", "jpeg", "webp"] = "png"


class EditRequest(GenerationRequest, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/images/edits: one picture to begin with. What is opaque in `mask` stays, as in OpenAI's API."""

    images: list[str]
    mask: str | None = None
    strength: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Runner:
    """The routes of one replica, which paints up to `slots` pictures at once."""

    def __init__(self, painter: Painter, slots: int) -> None:
        self.painter = painter
        self.batcher: Batcher[Painting, Pixels] = Batcher(painter.paint, Bounds(slots, slots))

    async def generations(self, exchange: Exchange) -> None:
        """Pictures from words."""
        await self._answer(exchange, decode(exchange.body, GenerationRequest), None)

    async def edits(self, exchange: Exchange) -> None:
        """Pictures from a picture and words."""
        request = decode(exchange.body, EditRequest)
        if len(request.images) != 1:
            raise Invalid(f"images has {len(request.images)} pictures; this model takes exactly one", param="images")
        strength = STRENGTH if request.strength is None else request.strength
        side = self.painter.recipe.side
        start = await asyncio.to_thread(_start, request.images[0], request.mask, strength, side)
        await self._answer(exchange, request, start)

    async def progress(self, exchange: Exchange) -> None:
        """GET /progress: steps done and to do of each request, all its pictures together."""
        exchange.json({"running": self.batcher.progress()})

    async def _answer(self, exchange: Exchange, request: GenerationRequest, start: Start | None) -> None:
        recipe = self.painter.recipe
        side = size_of(request.size, recipe.side)
        words = recipe.ids(request.prompt)
        seed = secrets.randbelow(_SEEDS) if request.seed is None else request.seed
        made = [Painting(recipe, words, seed + index, start) for index in range(request.n)]
        left = made[0].steps - made[0].step  # like numbers of steps go together
        drawn = await self.batcher.run([Item(one, shape=left, steps=left) for one in made])
        data = await asyncio.to_thread(_encoded, drawn, side, request.output_format)
        exchange.json({"created": int(time.time()), "data": [{"b64_json": one} for one in data]})


def size_of(size: str, native: int) -> int:
    """The side in pixels that `size` (WIDTHxHEIGHT, or nothing) asks for. Raises Invalid with what there is."""
    sides = {f"{native * scale}x{native * scale}": native * scale for scale in SCALES}
    if size in ("", "auto"):
        return native * SCALES[0]
    if size not in sides:
        raise Invalid(f"size {size} cannot be made; this model makes {', '.join(sides)}", param="size")
    return sides[size]


def _start(picture: str, mask: str | None, strength: float, side: int) -> Start:
    """The given picture, its middle square, at the network's size."""
    given = pictures.opened(picture, "images")
    plain = Image.new("RGB", given.size, "white")
    shown = given.convert("RGBA")
    plain.paste(shown, mask=shown.getchannel("A"))
    fitted = ImageOps.fit(plain, (side, side), Image.Resampling.LANCZOS)
    floats: Floats = np.asarray(fitted, np.float32).transpose(2, 0, 1) / np.float32(127.5) - 1
    if mask is None:
        return Start(floats, strength)
    covering = pictures.opened(mask, "mask")
    if covering.size != given.size:
        raise Invalid(
            f"mask is {covering.width}x{covering.height} and the picture {given.width}x{given.height}; "
            "give both the same size",
            param="mask",
        )
    keep = ImageOps.fit(covering.convert("RGBA").getchannel("A"), (side, side), Image.Resampling.BOX)
    return Start(floats, strength, np.asarray(keep, np.float32) / np.float32(255))


def _encoded(drawn: Sequence[Pixels], side: int, form: str) -> list[str]:
    coded = []
    for pixels in drawn:
        picture = Image.fromarray(pixels)
        if side != picture.width:
            picture = picture.resize((side, side), Image.Resampling.BICUBIC)
        coded.append(pictures.encoded(picture, form))
    return coded


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    words = argparse.ArgumentParser()
    for name in ("weights", "recipe", "listen", "alias"):
        words.add_argument(f"--{name}", required=True)
    for name in ("slots", "threads"):
        words.add_argument(f"--{name}", type=int, required=True)
    given = words.parse_args()
    painter = Painter(Path(given.weights), Path(given.recipe), given.threads)
    painter.advance([Painting(painter.recipe, np.zeros(painter.recipe.length, np.int64), 0)])  # the first run allocates
    asyncio.run(_serve(painter, given, began))


async def _serve(painter: Painter, given: argparse.Namespace, began: float) -> None:
    runner = Runner(painter, given.slots)

    def load() -> dict[str, int]:
        return {"running": runner.batcher.running, "waiting": runner.batcher.waiting, "slots": given.slots}

    routes: dict[tuple[str, str], Any] = {
        ("POST", "/v1/images/generations"): runner.generations,
        ("POST", "/v1/images/edits"): runner.edits,
        ("GET", "/progress"): runner.progress,
    }
    await serve(Server(routes, load), given.listen, began)


if __name__ == "__main__":
    main()
