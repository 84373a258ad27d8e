"""Pictures and films from words on onnxruntime: the painter of training/painter, served by our own runners.

Made by assembly. Prepared weights are the given ones: three graphs and their recipe, proven by the golden question.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import command_line, preparing, sources
from headrace.ports import Artifact, Command
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability, Media
from headrace.units import MIB

SIZES: Final = ("256x256", "64x64", "128x128", "512x512", "1024x1024")
FORMATS: Final = ("png", "jpeg", "webp")
FILM_SIZES: Final = ("256x256", "128x128", "512x512")
FILM_S_MAX: Final = 20
TASKS: Final = {"image": "painter", "video": "filming"}  # and the runner of each
_PACKAGES: Final = ("onnxruntime", "numpy", "httptools", "PIL")
_LIBRARY_BYTES: Final = 90 * MIB
_PIXELS_MAX: Final = 4096 * 4096
FILES: Final = ("flow.onnx", "outline.onnx", "reader.onnx", "painter.json")


class PainterEngine:
    """One process a replica; pictures of many requests share each step."""

    kind = "painter"

    def ability(self, model: ModelSpec) -> Ability:
        """Square pictures, from words or from a picture and words; or films of words."""
        if model.task == "video":
            media = Media(sizes=FILM_SIZES, video_s_max=FILM_S_MAX, formats=("mp4",))
        else:
            media = Media(sizes=SIZES, pixels_max=_PIXELS_MAX, formats=FORMATS, edits=True)
        return Ability(
            dialect="headrace", stream=False, json_schema=False, logprobs=False, completions=False, media=media
        )

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run here."""
        found = preparing.lacking("painter", _PACKAGES)
        if model.task not in TASKS:
            found.append(f"the engine painter serves {' and '.join(TASKS)}, not {model.task}; use another engine")
        if model.task == "video" and importlib.util.find_spec("av") is None:
            found.append("films need the Python package av; install headrace's requirements")
        if model.engine.quantise:
            found.append(f"quantise {model.engine.quantise!r} is not known to the engine painter; leave it out")
        if reason := sources.missing(model.source):
            found.append(reason)
        elif (folder := sources.local(model.source)) is not None:
            lacking = [name for name in FILES if not (folder / name).is_file()]
            if lacking:
                lacks = f"{model.source} lacks {', '.join(lacking)}"
                found.append(f"{lacks}; give a folder that training/painter/export.py wrote")
        return found

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Take the graphs and their recipe as they are, ask the golden question."""
        return preparing.prepared(self, model, artifacts, say, lambda: self._build(model, artifacts))

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:  # noqa: ARG002 - the signature is the port's
        """The runner on a unix socket."""
        argv = command_line.of(TASKS[model.task], model, address, weights=artifact.path)
        return Command(argv=argv, env={"OMP_NUM_THREADS": str(model.engine.threads)}, address=address)

    def _build(self, model: ModelSpec, artifacts: Path) -> Artifact:
        source = sources.fetch(model.source)
        with artifacts_on_disk.building(model, artifacts) as folder:
            for name in FILES:
                artifacts_on_disk.place(source / name, folder / name)
            return artifacts_on_disk.publish(
                model,
                artifacts,
                folder,
                {name.partition(".")[0]: name for name in FILES},
                {name: artifacts_on_disk.sha256(source / name) for name in FILES},
                sum((source / name).stat().st_size for name in FILES) * 3 + _LIBRARY_BYTES,
            )
