"""A replica that makes films: what the painter paints, moving from place to place as the words allow.

Started by `engines.painter.command` for models of the task video. Every second has a scene of its own, painted from the
same words with the next seed; between two of them things keep their shape and colour and move. A film is made frame by
frame, so it tells how far it is and ends when its client leaves.
"""

import argparse
import asyncio
import base64
import math
import secrets
import time
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from headrace.engines.runners import words
from headrace.engines.runners.batching import Batch, Batcher, Bounds, Item
from headrace.engines.runners.film import Film
from headrace.engines.runners.painter import size_of
from headrace.engines.runners.painting import Floats, Painter, Painting
from headrace.engines.runners.server import Exchange, Server, serve
from headrace.errors import Invalid

SIDES: Final = (256, 128, 512)  # in pixels; the first is what is made when none is asked for
FPS: Final = 12
SECONDS_MAX: Final = 20
_SEEDS: Final = 1 << 53
_MOVING: Final = slice(-3, None)  # of a scene's row: two of place, one of radius


class FilmRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/videos/generations."""

    prompt: str
    model: str = ""
    seconds: Annotated[int, msgspec.Meta(ge=1, le=SECONDS_MAX)] = 4
    size: str = ""
    seed: int | None = None
    fps: Annotated[int, msgspec.Meta(ge=1, le=30)] = FPS


class Shoot:
    """One film on its way: `seconds` + 1 scenes, and a frame at each step."""

    def __init__(self, painter: Painter, request: FilmRequest, seed: int) -> None:
        recipe = painter.recipe
        self._painter, self._words = painter, recipe.ids(request.prompt)
        self._seeds = range(seed, seed + request.seconds + 1)
        self.side, self.fps, self.steps = size_of(request.size, SIDES), request.fps, request.seconds * request.fps
        self._scenes: list[Floats] = []
        self._film: Film | None = None

    def step(self, number: int) -> None:
        """Frame `number`, from 0; before the first one the scenes are painted."""
        if self._film is None:
            self._film = Film(self.side, self.side, self.fps)
            self._scenes = self._painted()
        self._film.add(self._painter.drawn(self.at(number / self.fps), self.side))

    def whole(self) -> bytes:
        """The film."""
        assert self._film is not None, "a film has a frame at least"
        return self._film.whole()

    def at(self, second: float) -> Floats:
        """The scene of a moment: things come to rest at each whole second.

        Formula: place(t) = place(k) + (place(k+1) - place(k)) (1 - cos(pi (t - k))) / 2, k = floor(t)
        Units: t in seconds; places in the scene's own numbers.
        """
        before = min(int(second), len(self._scenes) - 2)
        part = np.float32((1 - math.cos(math.pi * (second - before))) / 2)
        scene = self._scenes[0].copy()
        first, last = self._scenes[before][:, _MOVING], self._scenes[before + 1][:, _MOVING]
        scene[1:, _MOVING] = (first + (last - first) * part)[1:]
        return scene

    def _painted(self) -> list[Floats]:
        paintings = [Painting(self._painter.recipe, self._words, seed, self.side) for seed in self._seeds]
        while paintings[0].left:
            self._painter.advance(paintings)
        return [painting.scene for painting in paintings]


class Runner:
    """The routes of one replica, which makes up to `slots` films at once, a frame of each in turn."""

    def __init__(self, painter: Painter, slots: int) -> None:
        self.painter = painter
        self.batcher: Batcher[Shoot, bytes] = Batcher(_made, Bounds(slots, slots))

    async def generations(self, exchange: Exchange) -> None:
        """A film of words."""
        try:
            request = msgspec.json.decode(exchange.body, type=FilmRequest)
        except msgspec.MsgspecError as error:
            raise Invalid(str(error)) from error
        seed = secrets.randbelow(_SEEDS) if request.seed is None else request.seed
        shoot = Shoot(self.painter, request, seed)
        (film,) = await self.batcher.run([Item(shoot, shape=(shoot.steps, shoot.side), steps=shoot.steps)])
        coded = base64.b64encode(film).decode()
        exchange.json({"created": int(time.time()), "data": [{"b64_json": coded}]})

    async def progress(self, exchange: Exchange) -> None:
        """GET /progress: frames made and to make of each film."""
        exchange.json({"running": self.batcher.progress()})


def _made(batch: Batch[Shoot]) -> list[bytes]:
    for number in batch.each_step():
        if batch.drop_unwanted():
            for shoot in batch.works:
                shoot.step(number)
    return [shoot.whole() for shoot in batch.works]


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    given = words.told("weights")
    painter = Painter(Path(given.weights), given.threads)
    painter.advance([Painting(painter.recipe, painter.recipe.ids(painter.recipe.draws[0]), 0, 64)])  # allocates
    asyncio.run(_serve(painter, given, began))


async def _serve(painter: Painter, given: argparse.Namespace, began: float) -> None:
    runner = Runner(painter, given.slots)

    routes: dict[tuple[str, str], Any] = {
        ("POST", "/v1/videos/generations"): runner.generations,
        ("GET", "/progress"): runner.progress,
    }
    await serve(Server(routes, lambda: runner.batcher.load(given.slots)), given.listen, began)


if __name__ == "__main__":
    main()
