"""How the painter paints: a rectified flow makes a scene of words and noise, and its shapes' outlines are drawn.

The graphs and their recipe (`painter.json`) come from training/painter. A scene is three rows of numbers, a background
and two layers; the flow makes them in like steps, `Canvas` turns them into pixels of any size. A picture's noise
depends on its seed alone, and each picture of a batch is computed as it would be alone.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headrace.engines.runners.batching import Batch
from headrace.errors import Invalid

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
_THINGS_MAX: Final = 2
_SEED_BITS: Final = (1 << 64) - 1
_REACH: Final = 1.25  # of a shape beyond its radius, at most
_POINTS_MAX: Final = 1 << 15  # whose distances are computed at once


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What the graphs must be fed. `vocabulary` maps words to ids, `draws` and `colours` are what can be asked for,
    `places` the words for where and how large.

    A scene has `rows` of: presence, one number for each of `draws`, three of colour, two of place, one of radius;
    radius = `radius_unit` * e^(`radius_spread` * number), in fractions of the side. `length` is in words; `guidance` is
    how far the words are followed beyond what they say (1: not). `reads` is the side of a picture that can be read.
    """

    vocabulary: dict[str, int]
    draws: tuple[str, ...]
    colours: tuple[str, ...]
    places: tuple[str, ...]
    rows: int
    length: int
    steps: int
    guidance: float
    reads: int
    radius_unit: float
    radius_spread: float

    @property
    def columns(self) -> int:
        """Numbers in a row of a scene."""
        return len(self.draws) + 7

    def ids(self, prompt: str) -> NDArray[np.int64]:
        """The known words of a prompt, in order, then zeros. Raises Invalid when nothing of it can be drawn."""
        said = [self.vocabulary[word] for word in re.findall(r"[a-z]+", prompt.lower()) if word in self.vocabulary]
        known = [word for word, _ in itertools.groupby(said)]
        things = self.things(known)
        if not things:
            raise Invalid(
                f"prompt names nothing this model can draw; it draws {', '.join(self.draws)} "
                f"in {', '.join(self.colours)}",
                param="prompt",
            )
        if things > _THINGS_MAX:
            raise Invalid(
                f"prompt names {things} things and this model draws at most {_THINGS_MAX} in a picture; name fewer",
                param="prompt",
            )
        if len(known) > self.length:
            raise Invalid(
                f"prompt has {len(known)} words that this model knows and it reads {self.length}; say it in fewer",
                param="prompt",
            )
        return np.array(known + [0] * (self.length - len(known)), np.int64)

    def things(self, ids: Iterable[int]) -> int:
        """How many things the words name."""
        drawable = {self.vocabulary[name] for name in self.draws}
        return sum(word in drawable for word in ids)

    def leaves_places(self, ids: Iterable[int]) -> bool:
        """Whether the words say nothing of where things are and how large."""
        return not {self.vocabulary[name] for name in self.places} & set(ids)


class Painting:
    """One picture on its way: `step` of `steps` are done; `scene` is what there is of it.

    `start` is a scene to begin with and a strength: 1 forgets it, 0 all but keeps it. Unless it is forgotten, things
    stay where and as large as they are when the words do not speak of that and there are as many as the words name.
    """

    __slots__ = ("held", "noise", "scene", "side", "start", "step", "steps", "words")

    def __init__(
        self, recipe: Recipe, words: NDArray[np.int64], seed: int, side: int, start: tuple[Floats, float] | None = None
    ) -> None:
        chance = np.random.Generator(np.random.Philox(key=seed & _SEED_BITS))
        self.noise = chance.standard_normal((recipe.rows, recipe.columns), np.float32)
        self.words, self.side, self.steps, self.step = words, side, recipe.steps, 0
        self.scene = self.start = self.noise
        self.held = np.zeros(self.noise.shape, bool)
        if start is not None:
            self.start, strength = start
            self.step = self.steps - max(1, round(self.steps * strength))
            self.scene = self._mixed()
            if strength < 1 and recipe.leaves_places(words) and (self.start[1:, 0] > 0).sum() == recipe.things(words):
                self.held[1:, -3:] = True

    @property
    def time(self) -> float:
        """How much of the scene is noise, from 1 down to 0."""
        return 1 - self.step / self.steps

    @property
    def left(self) -> int:
        """Steps to do."""
        return self.steps - self.step

    def forward(self, clean: Floats) -> None:
        """One Euler step toward the scene that is foreseen."""
        now = self.time
        self.step += 1
        self.scene = clean + (self.scene - clean) * np.float32(self.time / now)
        self.scene = np.where(self.held, self._mixed(), self.scene)

    def _mixed(self) -> Floats:
        mixed: Floats = self.start * np.float32(1 - self.time) + self.noise * np.float32(self.time)
        return mixed


@dataclass(frozen=True, slots=True)
class Layer:
    """One shape as it is drawn: its number, colour (0 to 255), centre and radius in fractions of the side."""

    shape: int
    colour: Floats
    x: float
    y: float
    radius: float


class Painter:
    """The three graphs of a folder, and how paintings are taken through them together."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.recipe = msgspec.json.decode((folder / "painter.json").read_bytes(), type=Recipe)
        self._flow, self._outline, self._reader = (
            _session(folder / f"{name}.onnx", threads) for name in ("flow", "outline", "reader")
        )

    def paint(self, batch: Batch[Painting]) -> list[Pixels]:
        """The finished pictures as RGB; those of requests that have gone are left between two steps."""
        for _ in batch.each_step():
            if batch.drop_unwanted():
                self.advance(batch.works)
        pictures = []
        for painting in batch.works:
            batch.reached(batch.items[0].steps)  # a large picture takes longer than all its steps
            pictures.append(self.drawn(painting.scene, painting.side))
        return pictures

    def advance(self, batch: Sequence[Painting]) -> None:
        """Take each one step further, whatever step it is at."""
        scenes = np.stack([painting.scene for painting in batch])
        times = np.array([painting.time for painting in batch], np.float32)
        words = np.stack([painting.words for painting in batch])
        feed = {
            "scene": np.concatenate([scenes, scenes]),
            "time": np.concatenate([times, times]),
            "words": np.concatenate([words, np.zeros_like(words)]),
        }
        said, unsaid = np.split(self._flow.run(None, feed)[0], 2)
        clean = unsaid + np.float32(self.recipe.guidance) * (said - unsaid)
        for painting, one in zip(batch, clean, strict=True):
            painting.forward(one)

    def read(self, picture: Pixels) -> Floats:
        """The scene that is seen in RGB [reads, reads, 3]: a background and up to two shapes."""
        shown = picture.astype(np.float32).transpose(2, 0, 1)[None] / np.float32(127.5) - 1
        scene: Floats = self._reader.run(None, {"picture": shown})[0][0]
        kinds = scene[:, 1 : len(self.recipe.draws) + 1]
        present = np.where(scene[:, :1] > 0, 1, -1).astype(np.float32)
        kinds[:] = np.where(kinds == kinds.max(1, keepdims=True), present, -1)
        kinds[0] = 0
        scene[1:][present[1:, 0] < 0, len(self.recipe.draws) + 1 :] = 0
        scene[:, :1] = present
        return scene

    def drawn(self, scene: Floats, side: int) -> Pixels:
        """RGB [side, side, 3]: the background, and each layer's shape upon it; edges are as sharp as pixels are."""
        kinds = len(self.recipe.draws)
        canvas = np.empty((side, side, 3), np.float32)
        canvas[:] = _colour(scene[0, kinds + 1 : kinds + 4])
        for layer in self._layers(scene):
            self._lay(canvas, layer, side)
        pixels: Pixels = np.rint(canvas).astype(np.uint8)
        return pixels

    def _layers(self, scene: Floats) -> list[Layer]:
        kinds, recipe = len(self.recipe.draws), self.recipe
        found = []
        for row in scene[1:]:
            if row[0] > 0:
                x, y = (float(at) / 4 + 0.5 for at in row[kinds + 4 : kinds + 6])
                radius = recipe.radius_unit * float(np.exp(recipe.radius_spread * np.clip(row[kinds + 6], -4, 4)))
                shape = int(row[1 : kinds + 1].argmax())
                found.append(Layer(shape, _colour(row[kinds + 1 : kinds + 4]), x, y, radius))
        return found

    def _lay(self, canvas: Floats, layer: Layer, side: int) -> None:
        """Lay one shape upon the canvas, a few rows at a time."""
        reach = _REACH * layer.radius * side
        left, right = _span(layer.x * side, reach, side)
        top, bottom = _span(layer.y * side, reach, side)
        if left >= right or top >= bottom:
            return
        across = ((np.arange(left, right) + 0.5) / side - layer.x) / layer.radius
        kind = np.eye(1, len(self.recipe.draws), layer.shape, dtype=np.float32)
        rows = max(1, _POINTS_MAX // (right - left))
        for first in range(top, bottom, rows):
            last = min(bottom, first + rows)
            down = ((np.arange(first, last) + 0.5) / side - layer.y) / layer.radius
            places = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2).astype(np.float32)
            distance = self._outline.run(None, {"places": places, "shapes": kind})[0]
            cover = np.clip(0.5 - distance * np.float32(layer.radius * side), 0, 1).reshape(last - first, -1, 1)
            part = canvas[first:last, left:right]
            part += (layer.colour - part) * cover


def _session(file: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads take the CPU from their neighbours and gain nothing at these sizes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _colour(numbers: Floats) -> Floats:
    levels: Floats = np.clip((numbers + 1) * np.float32(127.5), 0, 255)
    return levels


def _span(middle: float, reach: float, side: int) -> tuple[int, int]:
    return max(0, int(middle - reach)), min(side, int(middle + reach) + 1)
