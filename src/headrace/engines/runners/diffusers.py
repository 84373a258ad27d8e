"""A replica that draws or films by a checkpoint of diffusers, on a GPU or, slowly, on a CPU.

Started by `engines.diffusers.command`. Requests of one size share a call of the pipeline. A client that leaves stops
its batch after the step that runs, once nobody of the batch waits any more.
"""

import argparse
import asyncio
import base64
import secrets
import time
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
from PIL import Image, ImageOps

from headrace.engines.diffusion_options import Options
from headrace.engines.runners import film, pictures, words
from headrace.engines.runners.batching import Batcher, Bounds, Item
from headrace.engines.runners.diffusion import Diffusion, Pixels, Wish
from headrace.engines.runners.server import Exchange, Server, serve
from headrace.errors import Invalid, Permanent

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
    """POST /v1/images/edits: one picture to begin with."""

    images: list[str]
    mask: str | None = None
    strength: Annotated[float, msgspec.Meta(gt=0, le=1)] = STRENGTH


class FilmRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/videos/generations."""

    prompt: str
    seconds: Annotated[int, msgspec.Meta(ge=1)]
    model: str = ""
    size: str = ""
    seed: int | None = None
    fps: Annotated[int, msgspec.Meta(ge=1, le=60)] | None = None


Request = TypeVar("Request", bound=msgspec.Struct)


class Runner:
    """The routes of one replica, which makes up to `slots` pictures or films at once."""

    def __init__(self, diffusion: Diffusion, options: Options, slots: int) -> None:
        self.diffusion, self.options = diffusion, options
        self.batcher: Batcher[Wish, list[Pixels] | None] = Batcher(diffusion.make, Bounds(slots, slots))

    async def generations(self, exchange: Exchange) -> None:
        """Pictures from words."""
        request = _decoded(exchange.body, GenerationRequest)
        if self.diffusion.draws is None:
            raise Invalid("this model only edits pictures; send one to /v1/images/edits", param="model")
        wish = self._wish(request.prompt, request.size, request.seed)
        await self._draw(exchange, request, wish, self.diffusion.steps)

    async def edits(self, exchange: Exchange) -> None:
        """Pictures from a picture and words."""
        request = _decoded(exchange.body, EditRequest)
        if self.diffusion.edits is None:
            raise Invalid("this model draws from words alone; leave the picture out", param="images")
        if len(request.images) != 1:
            raise Invalid(f"images has {len(request.images)} pictures; this model takes exactly one", param="images")
        if request.mask is not None:
            raise Invalid(
                "mask is not taken by this model, which redraws the whole picture; leave it out", param="mask"
            )
        steps = self.diffusion.steps_of(request.strength)
        if not steps:
            least = 1 / self.diffusion.steps
            raise Invalid(f"strength is {request.strength}; it is at least {least:.3g}, one step", param="strength")
        wish = self._wish(request.prompt, request.size, request.seed)
        picture = await asyncio.to_thread(_fitted, request.images[0], (wish.width, wish.height))
        await self._draw(exchange, request, wish._replace(picture=picture, strength=request.strength), steps)

    async def films(self, exchange: Exchange) -> None:
        """One film from words."""
        request = _decoded(exchange.body, FilmRequest)
        fps, most = request.fps or self.options.fps, self.options.frames
        if request.seconds * fps > most:
            raise Invalid(
                f"seconds is {request.seconds}, which at {fps} frames a second are {request.seconds * fps}; "
                f"this model makes at most {most}. Ask for less",
                param="seconds",
            )
        wish = self._wish(request.prompt, request.size, request.seed)._replace(frames=request.seconds * fps)
        (made,) = await self._made(exchange, [wish], self.diffusion.steps)
        if len(made) != wish.frames:
            raise RuntimeError(f"the pipeline made {len(made)} frames of {wish.frames}")
        data = await asyncio.to_thread(film.encode, made, fps)
        exchange.json({"created": int(time.time()), "data": [{"b64_json": base64.b64encode(data).decode()}]})

    def _wish(self, prompt: str, size: str, seed: int | None) -> Wish:
        """What is checked before anything is decoded or begun. Raises Invalid."""
        self.diffusion.check(prompt)
        sizes = self.options.each_size
        if size in ("", "auto"):
            size = sizes[0]
        if size not in sizes:
            raise Invalid(f"size {size} cannot be made; this model makes {', '.join(sizes)}", param="size")
        width, height = map(int, size.split("x"))
        return Wish(prompt, width, height, secrets.randbelow(_SEEDS) if seed is None else seed)

    async def _draw(self, exchange: Exchange, request: GenerationRequest, wish: Wish, steps: int) -> None:
        wishes = [wish._replace(seed=wish.seed + index) for index in range(request.n)]
        made = await self._made(exchange, wishes, steps)
        shown = [Image.fromarray(picture) for (picture,) in made]
        data = await asyncio.to_thread(lambda: [pictures.encoded(one, request.output_format) for one in shown])
        exchange.json({"created": int(time.time()), "data": [{"b64_json": one} for one in data]})

    async def _made(self, exchange: Exchange, wishes: list[Wish], steps: int) -> list[list[Pixels]]:
        shape = (wishes[0].width, wishes[0].height, wishes[0].frames, wishes[0].picture is None, wishes[0].strength)
        made = await self.batcher.run([Item(wish, shape=shape, steps=steps) for wish in wishes], exchange.name)
        shown = [one for one in made if one is not None]
        if len(shown) < len(made):
            raise Invalid(
                "the model's own safety checker held a picture back; change the prompt or the seed",
                param="prompt",
                code="content_filter",
            )
        return shown


def _decoded(body: bytes, kind: type[Request]) -> Request:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(str(error)) from error


def _fitted(coded: str, size: tuple[int, int]) -> Image.Image:
    """The middle of a picture in the wanted size, on white where it is transparent. Raises Invalid."""
    shown = pictures.opened(coded, "images").convert("RGBA")
    plain = Image.new("RGBA", shown.size, "white")
    plain.alpha_composite(shown)
    return ImageOps.fit(plain.convert("RGB"), size, Image.Resampling.LANCZOS)


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    given = words.told("weights", "task", "options")
    options = msgspec.json.decode(given.options, type=Options)
    try:
        diffusion = Diffusion(Path(given.weights), options, given.task, given.threads)
    except Permanent as error:
        raise SystemExit(error.message) from error
    asyncio.run(_serve(Runner(diffusion, options, given.slots), given, began))


async def _serve(runner: Runner, given: argparse.Namespace, began: float) -> None:
    routes: dict[tuple[str, str], Any] = {("POST", "/v1/videos/generations"): runner.films}
    if given.task == "image":
        routes = {("POST", "/v1/images/generations"): runner.generations, ("POST", "/v1/images/edits"): runner.edits}
    await serve(Server(routes, lambda: runner.batcher.load(given.slots), runner.batcher.progress), given.listen, began)


if __name__ == "__main__":
    main()
