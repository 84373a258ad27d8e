"""A pipeline of diffusers on torch: many pictures or films in one call, their seeds apart, its steps told.

Only this module imports torch and diffusers. What one picture looks like does not depend on which share its batch: each
has its own generator, on the CPU, so it is the same noise on every device.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import diffusers
import numpy as np
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image, DiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

from headrace.engines.diffusion_options import Options
from headrace.engines.runners.batching import Batch
from headrace.errors import Invalid, Permanent, Refused

Pixels = NDArray[np.uint8]

_CALLED_WITH: Final = {"prompt", "num_inference_steps", "generator", "output_type", "callback_on_step_end"}
_SEEDS: Final = 1 << 63


class Wish(NamedTuple):
    """One picture, or one film of `frames`. With `picture`, of the same size, that is what it begins with."""

    prompt: str
    width: int
    height: int
    seed: int
    frames: int = 0
    picture: Image.Image | None = None
    strength: float = 0.0


class Diffusion:
    """One pipeline, and the one that edits with the same weights if `options.edits`. Raises Permanent if it cannot."""

    def __init__(self, folder: Path, options: Options, task: str, threads: int) -> None:
        torch.set_num_threads(threads)
        diffusers.utils.logging.set_verbosity_error()  # its warnings quote prompts
        diffusers.utils.logging.disable_progress_bar()
        self.steps, self._guidance = options.steps, options.guidance
        loaded = _loaded(folder, options)
        self.draws: Any = _from(AutoPipelineForText2Image, loaded) if _edits(loaded) else loaded
        self.edits: Any = None
        if options.edits:
            self.edits = loaded if _edits(loaded) else _from(AutoPipelineForImage2Image, loaded)
        self._check(task, options)
        vae: Any = getattr(loaded, "vae", None)
        if hasattr(vae, "enable_slicing"):
            vae.enable_slicing()  # decodes one after the other: the memory of one picture, whatever the batch

    def check(self, prompt: str) -> None:
        """Raise Invalid for a prompt that the pipeline would cut."""
        pipe = self.draws or self.edits
        readers = [part for name, part in pipe.components.items() if name.startswith("tokenizer") and part is not None]
        if not readers:
            return
        reader = max(readers, key=lambda part: int(part.model_max_length))
        own = inspect.signature(pipe.__call__).parameters.get("max_sequence_length")
        limit = int(reader.model_max_length)
        if own is not None and isinstance(own.default, int):
            limit = min(limit, own.default)
        count = len(reader(prompt).input_ids)
        if count > limit:
            raise Invalid(f"prompt has {count} tokens; this model reads at most {limit}. Shorten it", param="prompt")

    def steps_of(self, strength: float) -> int:
        """How many steps an edit of that strength takes."""
        return min(int(self.steps * strength), self.steps)

    def make(self, batch: Batch[Wish]) -> Sequence[list[Pixels] | None]:
        """The frames of each film, one for a picture; None for what the checkpoint's own safety checker held back.

        The works of a batch are of one size, length and strength. Raises Abandoned when nobody waits any more.
        """
        works = batch.works
        pipe = self.draws if works[0].picture is None else self.edits
        batch.reached(0)
        made = pipe(**_words(pipe, works), **self._how(pipe, batch))
        if works[0].frames:
            return [_pixels(list(film)[: works[0].frames]) for film in made.frames]
        held = getattr(made, "nsfw_content_detected", None) or [False] * len(works)
        return [None if out else _pixels([picture]) for picture, out in zip(made.images, held, strict=True)]

    def _how(self, pipe: Any, batch: Batch[Wish]) -> dict[str, Any]:
        steps = batch.items[0].steps

        def reached(_pipe: Any, index: int, _moment: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            batch.reached(min(index + 1, steps))  # some schedulers look twice at a step
            return tensors

        generators = [torch.Generator("cpu").manual_seed(work.seed % _SEEDS) for work in batch.works]
        how = {"num_inference_steps": self.steps, "generator": generators, "output_type": "np"}
        if self._guidance is not None and "guidance_scale" in _parameters(pipe):
            how["guidance_scale"] = self._guidance
        return {**how, "callback_on_step_end": reached}

    def _check(self, task: str, options: Options) -> None:
        for pipe in (self.draws, self.edits):
            if pipe is None:
                continue
            lacking = (_CALLED_WITH | ({"num_frames"} if task == "video" else set())) - _parameters(pipe)
            if lacking:
                raise Permanent(
                    f"{type(pipe).__name__} does not serve the task {task}: it takes no {', '.join(sorted(lacking))}"
                )
        if self.draws is None and self.edits is None:
            raise Permanent("this pipeline only edits pictures; set engine.args.edits to true")
        if options.edits and (self.edits is None or task == "video"):
            raise Permanent("this pipeline cannot edit pictures; remove engine.args.edits")
        if task == "image" and "num_frames" in _parameters(self.draws or self.edits):
            raise Permanent("this pipeline makes films; give the model the task video")


def _loaded(folder: Path, options: Options) -> Any:
    cuda = torch.cuda.is_available()
    if options.device == "cuda" and not cuda:
        raise Permanent("engine.args.device is cuda and torch sees no GPU here; use auto")
    device = "cuda" if cuda and options.device != "cpu" else "cpu"
    dtype = options.dtype if options.dtype != "auto" else ("float16" if device == "cuda" else "float32")
    try:
        pipe = DiffusionPipeline.from_pretrained(
            str(folder),
            dtype=getattr(torch, dtype),
            variant=options.variant or None,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, AttributeError) as error:
        words = (str(error).strip().splitlines() or ["no words"])[0]
        raise Permanent(f"diffusers {diffusers.__version__} cannot load this checkpoint: {words[:300]}") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def _words(pipe: Any, works: Sequence[Wish]) -> dict[str, Any]:
    """What is to be made, as far as the pipeline takes it."""
    first = works[0]
    words: dict[str, Any] = {"prompt": [work.prompt for work in works]}
    if first.frames:
        words["num_frames"] = _frames(pipe, first.frames)
    if first.picture is not None:
        words |= {"image": [work.picture for work in works], "strength": first.strength}
    takes = _parameters(pipe)
    return words | {name: side for name, side in (("width", first.width), ("height", first.height)) if name in takes}


def _frames(pipe: Any, frames: int) -> int:
    """The least number, of those the pipeline can make, that holds `frames`: some compress time by 4 or 8."""
    by = int(getattr(pipe, "vae_scale_factor_temporal", 0) or getattr(pipe, "vae_temporal_compression_ratio", 1))
    return math.ceil((frames - 1) / by) * by + 1


def _pixels(frames: Sequence[Any]) -> list[Pixels]:
    """Values in [0, 1] as bytes. Raises Refused where a half precision number overflowed on the way."""
    if not all(np.isfinite(frame).all() for frame in frames):
        raise Refused(
            "the model's numbers overflow: set engine.args.dtype to bfloat16 or float32",
            status=500,
            code="engine_error",
        )
    return [np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8) for frame in frames]


def _edits(pipe: Any) -> bool:
    return {"image", "strength"} <= _parameters(pipe)


def _parameters(pipe: Any) -> set[str]:
    return set(inspect.signature(pipe.__call__).parameters)


def _from(kind: Any, pipe: Any) -> Any:
    """The same weights as another kind of pipeline; None where diffusers knows none."""
    change: Callable[[Any], Any] = kind.from_pipe
    try:
        made = change(pipe)
    except ValueError:
        return None
    made.set_progress_bar_config(disable=True)
    return made
