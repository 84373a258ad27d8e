"""How the painter paints: words to ids, noise to pictures by a rectified flow on onnxruntime.

The graph and its recipe (`painter.json`) come from training/painter. A painting's noise depends on its seed alone, and
each picture of a batch is computed as it would be alone.
"""

import re
from collections.abc import Sequence
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


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What the graph must be fed. `vocabulary` maps words to ids, `draws` and `colours` are what can be asked for.

    `side` is in pixels, `length` in words; `guidance` is how far the words are followed beyond what they say (1: not).
    """

    vocabulary: dict[str, int]
    draws: tuple[str, ...]
    colours: tuple[str, ...]
    side: int
    length: int
    steps: int
    guidance: float

    def ids(self, prompt: str) -> NDArray[np.int64]:
        """The known words of a prompt, in order, then zeros. Raises Invalid when nothing of it can be drawn."""
        said = [self.vocabulary[word] for word in re.findall(r"[a-z]+", prompt.lower()) if word in self.vocabulary]
        known = [word for number, word in enumerate(said) if said[number - 1 : number] != [word]]
        drawable = {self.vocabulary[name] for name in self.draws}
        things = sum(word in drawable for word in known)
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


@dataclass(frozen=True, slots=True)
class Start:
    """A picture to begin with, float32 [3, side, side] in [-1, 1]. `strength` 1 forgets it, 0 keeps it.

    Where `keep` [side, side] is 1 it stays as it is, where 0 it is painted anew.
    """

    picture: Floats
    strength: float
    keep: Floats | None = None


class Painting:
    """One picture on its way: `step` of `steps` are done; `picture` is what there is of it."""

    __slots__ = ("noise", "picture", "start", "step", "steps", "words")

    def __init__(self, recipe: Recipe, words: NDArray[np.int64], seed: int, start: Start | None = None) -> None:
        shape = (3, recipe.side, recipe.side)
        chance = np.random.Generator(np.random.Philox(key=seed & _SEED_BITS))
        self.words, self.start, self.steps = words, start, recipe.steps
        self.noise = chance.standard_normal(shape, np.float32)
        self.step = 0
        self.picture: Floats = self.noise
        if start is not None:
            self.step = self.steps - min(self.steps, max(1, round(self.steps * start.strength)))
            self.picture = self._mixed(start.picture)

    @property
    def time(self) -> float:
        """How much of the picture is noise, from 1 down to 0."""
        return 1 - self.step / self.steps

    def forward(self, clean: Floats) -> None:
        """One Euler step toward the picture that is foreseen."""
        now = self.time
        self.step += 1
        self.picture = clean + (self.picture - clean) * np.float32(self.time / now)
        if self.start is not None and self.start.keep is not None:
            kept = self._mixed(self.start.picture)
            self.picture = self.picture + (kept - self.picture) * self.start.keep

    def rgb(self) -> Pixels:
        """[side, side, 3]."""
        levels = np.rint(np.clip((self.picture + 1) * 127.5, 0, 255))
        pixels: Pixels = levels.astype(np.uint8).transpose(1, 2, 0)
        return pixels

    def _mixed(self, picture: Floats) -> Floats:
        mixed: Floats = picture + (self.noise - picture) * np.float32(self.time)
        return mixed


class Painter:
    """The graph, and how paintings are taken through it together."""

    def __init__(self, weights: Path, recipe: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads take the CPU from their neighbours and gain nothing at these batch sizes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
        self.recipe = msgspec.json.decode(recipe.read_bytes(), type=Recipe)

    def paint(self, batch: Batch[Painting]) -> list[Pixels]:
        """The finished pictures as RGB; those of requests that have gone are left between two steps."""
        for _ in batch.each_step():
            if batch.drop_unwanted():
                self.advance(batch.works)
        return [painting.rgb() for painting in batch.works]

    def advance(self, batch: Sequence[Painting]) -> None:
        """Take each one step further, whatever step it is at."""
        guidance = np.float32(self.recipe.guidance)
        pictures = np.stack([painting.picture for painting in batch])
        times = np.array([painting.time for painting in batch], np.float32)
        words = np.stack([painting.words for painting in batch])
        if guidance == 1:
            clean = self._foreseen(pictures, times, words)
        else:
            both = self._foreseen(
                np.tile(pictures, (2, 1, 1, 1)), np.tile(times, 2), np.concatenate([words, words * 0])
            )
            said, unsaid = both[: len(batch)], both[len(batch) :]
            clean = np.clip(unsaid + guidance * (said - unsaid), -1, 1)
        for painting, one in zip(batch, clean, strict=True):
            painting.forward(one)

    def _foreseen(self, pictures: Floats, times: Floats, words: NDArray[np.int64]) -> Any:
        return self.session.run(None, {"picture": pictures, "time": times, "words": words})[0]
