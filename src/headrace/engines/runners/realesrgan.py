"""A replica that enlarges pictures: Real-ESRGAN's networks on ncnn, tile by tile. Started by `engines.realesrgan`.

ncnn's Winograd convolutions took 10 ms of CPU for 32 x 32 pixels where onnxruntime took 27 ms, alone or eight at a
time: nothing is gained by several pictures in one call. Threads that share one small picture wait for each other more
than they compute (two took 18 ms for 48 x 48 pixels, one 10 ms), so each thread has a tile of its own: as many tiles of
one size as there are threads, of whoever waits, which bounds memory and lets a request leave between two tiles.
"""

import argparse
import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import ncnn
import numpy as np
from PIL import Image

from headrace.engines.runners import pictures, words
from headrace.engines.runners.batching import Batch, Batcher, Bounds, Item
from headrace.engines.runners.server import Exchange, Server, serve
from headrace.engines.runners.tiles import Tile, tiles
from headrace.errors import Invalid

_MARGIN: Final = 10  # pixels; upstream's own


class UpscaleRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/images/upscale. `image` is base64."""

    image: str
    model: str = ""
    scale: int
    output_format: pictures.Form = "png"


class Piece(NamedTuple):
    """A tile's pixels, float32 [3, height, width] in [0, 1], and how much larger they shall be."""

    planes: Any
    scale: int


class Enlarger:
    """One network for each scale, and `threads` that each enlarge a tile by one."""

    def __init__(self, folder: str, threads: int) -> None:
        self.threads = threads
        self._tiles = ThreadPoolExecutor(threads, "tile")
        self.nets: Mapping[int, Any] = {
            int(file.stem.removeprefix("x")): _net(file) for file in sorted(Path(folder).glob("x*.param"))
        }

    def compute(self, batch: Batch[Piece]) -> list[Any]:
        """Per piece bytes [3, scale * height, scale * width]. Runs in the thread that computes."""
        if len(batch) == 1:
            return [self.enlarge(batch.works[0])]
        return list(self._tiles.map(self.enlarge, batch.works))

    def enlarge(self, piece: Piece) -> Any:
        """One piece by its network. ncnn lets go of Python's lock meanwhile."""
        run = self.nets[piece.scale].create_extractor()
        run.input("data", ncnn.Mat(piece.planes))
        failed, found = run.extract("output")
        if failed:
            raise MemoryError("ncnn could not compute a tile")
        return pictures.levels(np.array(found))


class Runner:
    """The routes of one replica. `side` is a tile's, `pixels_max` a picture's limit."""

    def __init__(self, enlarger: Enlarger, side: int, pixels_max: int) -> None:
        self.enlarger, self.side, self.pixels_max = enlarger, side, pixels_max
        self.batcher: Batcher[Piece, Any] = Batcher(enlarger.compute, Bounds(enlarger.threads, enlarger.threads))

    async def upscale(self, exchange: Exchange) -> None:
        """POST /v1/images/upscale: one picture, `scale` times as wide and high."""
        try:
            request = msgspec.json.decode(exchange.body, type=UpscaleRequest)
        except msgspec.MsgspecError as error:
            raise Invalid(str(error)) from error
        if request.scale not in self.enlarger.nets:
            known = ", ".join(map(str, self.enlarger.nets))
            raise Invalid(f"scale is {request.scale}; this model enlarges by {known}", param="scale")
        given = await asyncio.to_thread(pictures.opened, request.image, "image", self.pixels_max)
        made = await self._enlarged(given, request.scale, exchange.name)
        coded = await asyncio.to_thread(pictures.encoded, made, request.output_format)
        exchange.json({"created": int(time.time()), "data": [{"b64_json": coded}]})

    async def _enlarged(self, given: Image.Image, scale: int, name: str) -> Image.Image:
        """Colour by the network; alpha, which it does not know, by bicubic interpolation."""
        planes = pictures.planes(given.convert("RGB"))
        parts = tiles(given.width, given.height, self.side, _MARGIN)
        cuts = [part.cut(planes) for part in parts]
        found = await self.batcher.run([Item(Piece(cut, scale), (cut.shape, scale)) for cut in cuts], name)
        made = await asyncio.to_thread(_joined, parts, found, scale)
        if given.mode == "RGBA":
            made.putalpha(given.getchannel("A").resize(made.size, Image.Resampling.BICUBIC))
        return made


def _joined(parts: list[Tile], found: list[Any], scale: int) -> Image.Image:
    whole = np.empty((3, parts[-1].bottom * scale, parts[-1].right * scale), np.uint8)
    for part, result in zip(parts, found, strict=True):
        part.paste(result, whole, scale)
    return pictures.picture_of(whole)


def _net(file: Path) -> Any:
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = 1
    if net.load_param(str(file)) or net.load_model(str(file.with_suffix(".bin"))):
        raise ValueError(f"{file.name} and its weights cannot be read")
    return net


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    given = words.told("weights", numbers=("side", "pixels"))
    asyncio.run(_serve(Runner(Enlarger(given.weights, given.threads), given.side, given.pixels), given, began))


async def _serve(runner: Runner, given: argparse.Namespace, began: float) -> None:
    def load() -> dict[str, int]:
        asked = runner.batcher.requests
        return {"running": min(asked, given.slots), "waiting": max(0, asked - given.slots), "slots": given.slots}

    routes = {("POST", "/v1/images/upscale"): runner.upscale}
    await serve(Server(routes, load, runner.batcher.progress), given.listen, began)


if __name__ == "__main__":
    main()
