"""A pipeline's batches in this process: what each is called with, and what stops it; where torch is installed."""

import asyncio
import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.engines.diffusion_options import Options
from headrace.engines.runners.batching import Abandoned, Batch, Item
from headrace.errors import Permanent
from tests.engines import tiny_diffusion

LACKING = [name for name in ("torch", "diffusers", "transformers") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason=f"needs {', '.join(LACKING)}, which headrace never installs"),
]
STEPS = 8


def loaded(folder: Path, task: str = "image", **options: Any) -> Any:
    from headrace.engines.runners.diffusion import Diffusion

    return Diffusion(folder, Options(steps=STEPS, **options), task, 1)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {"image": tiny_diffusion.painter(folder / "painter"), "video": tiny_diffusion.film(folder / "film")}


@pytest.fixture(scope="module")
def diffusion(checkpoints: dict[str, Path]) -> Any:
    return loaded(checkpoints["image"], edits=True)


def items(*words: str, seed: int = 0) -> list[Item[Any]]:
    from headrace.engines.runners.diffusion import Wish

    return [Item(Wish(word, 64, 64, seed + place), steps=STEPS) for place, word in enumerate(words)]


def test_a_batch_is_one_call_and_each_picture_is_as_alone(diffusion: Any) -> None:
    """Three prompts with a seed each; all have done all steps."""
    asked = items("ant", "bee", "cow", seed=4)
    together = diffusion.make(Batch(asked))
    assert [item.step for item in asked] == [STEPS] * 3
    for item, (picture,) in zip(asked, together, strict=True):
        ((alone,),) = diffusion.make(Batch([Item(item.work, steps=STEPS)]))
        assert picture.shape == (64, 64, 3)
        assert np.abs(picture.astype(int) - alone).max() <= 1
    assert np.abs(together[0][0].astype(int) - together[1][0]).max() > 20


def test_a_batch_ends_at_the_step_after_the_last_who_waited_has_gone(diffusion: Any) -> None:
    """One of two leaves after two steps and the other after four: four steps are done, and no picture is decoded."""
    asked = items("ant", "bee")
    loop = asyncio.new_event_loop()
    for item in asked:
        item.result = loop.create_future()
    batch, seen = Batch(asked), []
    told = batch.reached

    def reached(step: int) -> None:
        seen.append(step)
        for item, last in zip(asked, (2, 4), strict=True):
            if step == last and item.result is not None:
                item.result.cancel()
        told(step)

    batch.reached = reached  # type: ignore[method-assign]
    with pytest.raises(Abandoned):
        diffusion.make(batch)
    loop.close()
    assert seen == [0, 1, 2, 3, 4]


def test_prompts_are_not_logged(diffusion: Any) -> None:
    """diffusers would quote what it cuts, as pipelines of several readers always do."""
    told: list[str] = []

    class Ears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    ears = Ears()
    logging.getLogger("diffusers").addHandler(ears)
    try:
        diffusion.make(Batch(items(tiny_diffusion.LETTERS)))
    finally:
        logging.getLogger("diffusers").removeHandler(ears)
    assert told == []


def test_a_picture_that_the_checkpoint_holds_back_is_none(diffusion: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its safety checker says, picture by picture; the others are given."""

    def checker(_self: Any, image: Any, *_: Any) -> tuple[Any, list[bool]]:
        return image, [False, True]

    monkeypatch.setattr(type(diffusion.draws), "run_safety_checker", checker)
    given, held = diffusion.make(Batch(items("ant", "bee")))
    assert given is not None
    assert held is None


@pytest.mark.parametrize(
    ("kind", "task", "options", "words"),
    [
        ("image", "video", {}, "StableDiffusionPipeline does not serve the task video: it takes no num_frames"),
        ("video", "image", {}, "this pipeline makes films; give the model the task video"),
        ("video", "video", {"edits": True}, "this pipeline cannot edit pictures; remove engine.args.edits"),
        ("image", "image", {"device": "cuda"}, "device is cuda and torch sees no GPU here; use auto"),
        ("image", "image", {"variant": "fp16"}, "cannot load this checkpoint"),
    ],
)
def test_what_a_pipeline_cannot_do_ends_its_start(
    checkpoints: dict[str, Path], kind: str, task: str, options: dict[str, Any], words: str
) -> None:
    """Before anything is served."""
    if options.get("device") == "cuda":
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU here")
    with pytest.raises(Permanent) as told:
        loaded(checkpoints[kind], task, **options)
    assert words in told.value.message


def test_numbers_that_overflow_are_no_picture(diffusion: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A black picture is not passed off as an answer."""
    from headrace.errors import Refused

    class Made:
        images = np.full((1, 64, 64, 3), np.nan, np.float32)

    monkeypatch.setattr(type(diffusion.draws), "__call__", lambda *_, **__: Made())
    monkeypatch.setattr(type(diffusion), "_how", lambda *_: {})
    with pytest.raises(Refused, match=r"set engine\.args\.dtype to bfloat16"):
        diffusion.make(Batch(items("ant")))
