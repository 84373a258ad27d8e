"""A replica that draws: pictures from words, or from other pictures and words, by the painter.

Started by `engines.painter.command`. Requests share steps. Any square size is drawn as such; none is an enlargement.
"""

import argparse
import asyncio
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from headrace.engines.runners import pictures, words
from headrace.engines.runners.batching import Batcher, Bounds, Item
from headrace.engines.runners.painting import Floats, Painter, Painting, Pixels
from headrace.engines.runners.server import Exchange, Server, serve
from headrace.errors import Invalid

SIDES: Final = (256, 64, 128, 512, 1024)  # in pixels; the first is what is made when none is asked for
STRENGTH: Final = 0.7
_SEEDS: Final = 1 << 53


class GenerationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/images/generations. Picture number i of `n` is that of seed + i."""

    prompt: str
    model: str = ""
    n: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    size: str = ""
    seed: int | None = None
    output_format: pictures.Form = "png"


class EditRequest(GenerationRequest, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/images/edits: one picture to begin with. What is opaque in `mask` stays, as in OpenAI's API."""

    images: list[str]
    mask: str | None = None
    strength: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


Request = TypeVar("Request", bound=GenerationRequest)


class Asked(NamedTuple):
    """The words of a prompt as ids, and the side in pixels."""

    words: NDArray[np.int64]
    side: int


class Given(NamedTuple):
    """A picture to begin with, square and of the size that is asked for; `mask` is opaque where it is to stay."""

    picture: Image.Image
    mask: Image.Image | None


class Runner:
    """The routes of one replica, which paints up to `slots` pictures at once."""

    def __init__(self, painter: Painter, slots: int) -> None:
        self.painter = painter
        self.batcher: Batcher[Painting, Pixels] = Batcher(painter.paint, Bounds(slots, slots))

    async def generations(self, exchange: Exchange) -> None:
        """Pictures from words."""
        request = _decoded(exchange.body, GenerationRequest)
        await self._answer(exchange, request, await self._drawn(self._asked(request), request))

    async def edits(self, exchange: Exchange) -> None:
        """Pictures from a picture and words."""
        request = _decoded(exchange.body, EditRequest)
        if len(request.images) != 1:
            raise Invalid(f"images has {len(request.images)} pictures; this model takes exactly one", param="images")
        asked = self._asked(request)
        given = await asyncio.to_thread(_given, request, asked.side)
        scene = await asyncio.to_thread(self.painter.read, _squared(given.picture, self.painter.recipe.reads))
        strength = STRENGTH if request.strength is None else request.strength
        drawn = await self._drawn(asked, request, (scene, strength))
        if given.mask is not None:
            drawn = await asyncio.to_thread(_kept, drawn, given.picture, given.mask)
        await self._answer(exchange, request, drawn)

    async def progress(self, exchange: Exchange) -> None:
        """GET /progress: steps done and to do of each request, all its pictures together."""
        exchange.json({"running": self.batcher.progress()})

    def _asked(self, request: GenerationRequest) -> Asked:
        """What is checked before anything is decoded or begun. Raises Invalid."""
        return Asked(self.painter.recipe.ids(request.prompt), size_of(request.size))

    async def _drawn(
        self, asked: Asked, request: GenerationRequest, start: tuple[Floats, float] | None = None
    ) -> list[Pixels]:
        seed = secrets.randbelow(_SEEDS) if request.seed is None else request.seed
        made = [
            Painting(self.painter.recipe, asked.words, seed + index, asked.side, start) for index in range(request.n)
        ]
        # What has as many steps to go and is as large goes together.
        return await self.batcher.run([Item(one, shape=(one.left, asked.side), steps=one.left) for one in made])

    async def _answer(self, exchange: Exchange, request: GenerationRequest, drawn: list[Pixels]) -> None:
        data = await asyncio.to_thread(_encoded, drawn, request.output_format)
        exchange.json({"created": int(time.time()), "data": [{"b64_json": one} for one in data]})


def size_of(size: str, sides: Sequence[int] = SIDES) -> int:
    """The side in pixels that `size` (WIDTHxHEIGHT; nothing: the first) asks for. Raises Invalid with what there is."""
    made = {f"{side}x{side}": side for side in sides}
    if size in ("", "auto"):
        return sides[0]
    if size not in made:
        raise Invalid(f"size {size} cannot be made; this model makes {', '.join(made)}", param="size")
    return made[size]


def _decoded(body: bytes, kind: type[Request]) -> Request:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(str(error)) from error


def _given(request: EditRequest, side: int) -> Given:
    """The picture and its mask, decoded. Raises Invalid, also when their sizes differ."""
    whole = pictures.opened(request.images[0], "images")
    picture = Image.fromarray(_squared(whole, side))
    if request.mask is None:
        return Given(picture, None)
    mask = pictures.opened(request.mask, "mask")
    if mask.size != whole.size:
        raise Invalid(
            f"mask is {mask.width}x{mask.height} and the picture {whole.width}x{whole.height}; give both the same size",
            param="mask",
        )
    opaque = mask.convert("RGBA").getchannel("A")
    return Given(picture, ImageOps.fit(opaque, (side, side), Image.Resampling.BOX))


def _squared(picture: Image.Image, side: int) -> Pixels:
    """The middle square of a picture, on white where it is transparent."""
    shown = picture.convert("RGBA")
    plain = Image.new("RGBA", shown.size, "white")
    plain.alpha_composite(shown)
    return np.asarray(ImageOps.fit(plain.convert("RGB"), (side, side), Image.Resampling.LANCZOS))


def _kept(drawn: list[Pixels], given: Image.Image, mask: Image.Image) -> list[Pixels]:
    """The drawn pictures where the mask is transparent, the given one where it is opaque."""
    return [np.asarray(Image.composite(given, Image.fromarray(picture), mask)) for picture in drawn]


def _encoded(drawn: Sequence[Pixels], form: str) -> list[str]:
    return [pictures.encoded(Image.fromarray(pixels), form) for pixels in drawn]


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    given = words.told("weights")
    painter = Painter(Path(given.weights), given.threads)
    first = Painting(painter.recipe, painter.recipe.ids(painter.recipe.draws[0]), 0, 64)
    painter.advance([first])  # the first run allocates
    asyncio.run(_serve(painter, given, began))


async def _serve(painter: Painter, given: argparse.Namespace, began: float) -> None:
    runner = Runner(painter, given.slots)

    routes: dict[tuple[str, str], Any] = {
        ("POST", "/v1/images/generations"): runner.generations,
        ("POST", "/v1/images/edits"): runner.edits,
        ("GET", "/progress"): runner.progress,
    }
    await serve(Server(routes, lambda: runner.batcher.load(given.slots)), given.listen, began)


if __name__ == "__main__":
    main()
