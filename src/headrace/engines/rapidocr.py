"""Text in pictures, read by PP-OCR's networks on onnxruntime, served by our own small runner.

Made by assembly. The package rapidocr is a source of weights and is not imported: what it does around the networks is
written anew in the runner, which spares OpenCV and six other packages. Answers as a chat model that is given pictures.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import command_line, preparing, sources
from headrace.errors import Permanent
from headrace.ports import Artifact, Command
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability, Media
from headrace.units import MIB

_PACKAGES: Final = ("onnxruntime", "PIL", "httptools", "numpy")
_ROLES: Final = ("det", "rec", "cls")
_PIXELS_MAX: Final = 4096 * 4096
_MEMORY_BYTES: Final = 900 * MIB  # at the largest size that the detector sees


class RapidOcr:
    """One process a replica; pictures and lines of many requests share batches.

    `source` is a folder with one ONNX file that has `det` in its name, one with `rec` (its letters in its metadata)
    and, where lines may lie upside down, one with `cls`.
    """

    kind = "rapidocr"

    def ability(self, model: ModelSpec) -> Ability:  # noqa: ARG002 - the same for every reader
        """Chat with pictures; nothing is generated, so there is nothing to steer."""
        return Ability(
            dialect="headrace",
            stream=False,
            json_schema=False,
            logprobs=False,
            n=False,
            completions=False,
            images=True,
            generates=False,
            media=Media(pixels_max=_PIXELS_MAX),
        )

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run here."""
        found = preparing.lacking("rapidocr", _PACKAGES)
        if model.task != "chat":
            found.append(f"the engine rapidocr serves task chat, not {model.task}")
        if model.engine.quantise:
            found.append(f"quantise {model.engine.quantise!r} is not done for rapidocr; remove it")
        if reason := sources.missing(model.source):
            found.append(reason)
        return found

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Put the networks in place, ask the golden question."""
        return preparing.prepared(self, model, artifacts, say, lambda: self._build(model, artifacts))

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:  # noqa: ARG002 - the signature is the port's
        """The runner on a unix socket."""
        engine = model.engine
        argv = command_line.of("rapidocr", model, address, weights=artifact.path, pixels=_PIXELS_MAX)
        env = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(engine.threads)}
        return Command(argv=argv, env=env, address=address)

    def _build(self, model: ModelSpec, artifacts: Path) -> Artifact:
        networks = _networks(sources.fetch(model.source))
        _check(networks["rec"])
        with artifacts_on_disk.building(model, artifacts) as folder:
            for role, file in networks.items():
                artifacts_on_disk.place(file, folder / f"{role}.onnx")
            return artifacts_on_disk.publish(
                model,
                artifacts,
                folder,
                {role: f"{role}.onnx" for role in networks},
                {file.name: artifacts_on_disk.sha256(file) for file in networks.values()},
                _MEMORY_BYTES,
            )


def _networks(folder: Path) -> dict[str, Path]:
    """The file of each role. Raises Permanent when a needed one is not there, or there are several."""
    found = {}
    for role in _ROLES:
        files = sorted(folder.glob(f"*{role}*.onnx")) if folder.is_dir() else []
        if len(files) > 1 or (not files and role != "cls"):
            names = ", ".join(file.name for file in files) or "none"
            raise Permanent(f"{folder} must hold one ONNX file with {role!r} in its name, found {names}")
        if files:
            found[role] = files[0]
    return found


def _check(reader: Path) -> None:
    """Raise Permanent unless the file is ONNX and names the letters that it tells apart."""
    import onnx

    try:
        model = onnx.load(str(reader), load_external_data=False)
    except Exception as error:  # a parser of foreign bytes: whatever it raises, the file is to blame
        raise Permanent(f"{reader.name} is not a readable ONNX file: {str(error)[:200]}") from error
    if not any(entry.key == "character" and entry.value for entry in model.metadata_props):
        raise Permanent(f"{reader.name} has no `character` in its metadata; export it with RapidOCR's tools")
