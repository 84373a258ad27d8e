"""The table of contents of a diffusers folder, model_index.json: which pipeline it is and which parts it has.

Read before diffusers does. diffusers imports whatever module a model_index names and runs Python files that lie beside
the parts: here nothing but its own classes and those of transformers get through, and files of weights and words.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.errors import Permanent

FILE: Final = "model_index.json"
_LIBRARIES: Final = ("diffusers", "transformers", "stable_diffusion")  # the last: diffusers' own safety checker
_CLASS: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_SUFFIXES: Final = (".safetensors", ".json", ".txt")
_PICKLES: Final = (".bin", ".ckpt", ".pt", ".pth")


class ModelIndex(msgspec.Struct, frozen=True):
    """The pipeline's class, and the folders of the parts that it has."""

    pipeline: str
    parts: tuple[str, ...]


def read(folder: Path) -> ModelIndex:
    """Raises Permanent when there is none, or when it names code that is not diffusers' or transformers' own."""
    try:
        told = msgspec.json.decode((folder / FILE).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise Permanent(
            f"{folder} has no {FILE} that can be read; give a folder that diffusers' save_pretrained wrote"
        ) from error
    pipeline = told.get("_class_name")
    if not _own_class(pipeline):
        raise Permanent(f"{FILE} names the pipeline {pipeline!r}, code of its own; only diffusers' pipelines are run")
    parts = [name for name, value in told.items() if isinstance(value, list) and _part(name, value)]
    return ModelIndex(str(pipeline), tuple(parts))


def files(folder: Path, index: ModelIndex) -> Iterator[Path]:
    """What of the folder its pipeline may read: weights as safetensors, of every variant, and words.

    Raises Permanent for a part without its folder, or with pickles where safetensors should be.
    """
    yield folder / FILE
    for part in index.parts:
        inside = folder / part
        if not inside.is_dir():
            raise Permanent(f"{folder} lacks the folder {part}, which its {FILE} names")
        found = [file for file in sorted(inside.rglob("*")) if file.is_file()]
        safe = [file for file in found if file.suffix in _SUFFIXES]
        pickles = [file.name for file in found if file.suffix in _PICKLES]
        if pickles and not any(file.suffix == ".safetensors" for file in safe):
            raise Permanent(f"{part} has {pickles[0]}, a pickle, and no safetensors; give weights as safetensors")
        yield from safe


def _part(name: str, value: list[Any]) -> bool:
    """Whether an entry of the table is a part that is there; most tables name some that are left out (null)."""
    if value == [None, None] or not any(isinstance(word, str) for word in value):
        return False
    if len(value) != 2 or value[0] not in _LIBRARIES or not _own_class(value[1]) or not name.isidentifier():
        raise Permanent(f"{FILE} has {name} from {value}; only parts of {', '.join(_LIBRARIES[:2])} are loaded")
    return True


def _own_class(name: object) -> bool:
    return isinstance(name, str) and _CLASS.fullmatch(name) is not None
