"""Text to speech with neural voices that are given: Piper, VITS and Kokoro as ONNX, through sherpa-onnx.

Made by assembly. The package sherpa-onnx is optional, and no voice comes with Headrace. Nothing of it is imported here.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import command_line, preparing, sources
from headrace.engines.espeak import FORMATS
from headrace.errors import Permanent
from headrace.ports import Artifact, Command
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability, Media
from headrace.units import MIB

_TOKENS: Final = "tokens.txt"
_STYLES: Final = "voices.bin"  # Kokoro's: bare numbers
_LIBRARY_BYTES: Final = 150 * MIB


class Sherpa:
    """One process a replica, one text at a time on `threads` threads."""

    kind = "sherpa"

    def ability(self, model: ModelSpec) -> Ability:  # noqa: ARG002 - the voices are known to the replica alone
        """OpenAI's formats; which voices there are, the replica says."""
        media = Media(formats=FORMATS)
        return Ability(
            dialect="headrace", stream=True, json_schema=False, logprobs=False, n=False, completions=False, media=media
        )

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run here."""
        found = []
        if importlib.util.find_spec("sherpa_onnx") is None:
            found.append("the engine sherpa needs the Python package sherpa-onnx; run: pip install sherpa-onnx")
        if model.task != "speak":
            found.append(f"the engine sherpa serves task speak, not {model.task}")
        if model.engine.quantise:
            found.append(f"quantise {model.engine.quantise!r} is not done for sherpa; give quantised weights")
        if reason := sources.missing(model.source):
            found.append(reason)
        return found

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Find the parts of the voice; ask the golden question."""
        return preparing.prepared(self, model, artifacts, say, lambda: self._build(model, artifacts))

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:  # noqa: ARG002 - the signature is the port's
        """The runner on a unix socket."""
        engine, folder = model.engine, Path(artifact.path)
        parts = {role: folder / artifact.files[role] for role in ("tokens", "data", "styles", "lexicon")
                 if role in artifact.files}  # fmt: skip
        argv = command_line.of("sherpa", model, address, weights=folder / artifact.files["weights"], **parts)
        env = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(engine.threads)}
        return Command(argv=argv, env=env, address=address)

    def _build(self, model: ModelSpec, artifacts: Path) -> Artifact:
        source = sources.fetch(model.source)
        weights = sources.one(source, ".onnx")
        if not (source / _TOKENS).is_file():
            raise Permanent(
                f"{source} has no {_TOKENS}; `source` must be a folder of a voice for sherpa-onnx: "
                f"one .onnx file, {_TOKENS}, and espeak-ng-data or lexicon.txt (and {_STYLES} for Kokoro)"
            )
        parts = {"tokens": _TOKENS, "lexicon": "lexicon.txt", "styles": _STYLES, "data": "espeak-ng-data"}
        files = {"weights": "model.onnx"} | {role: name for role, name in parts.items() if (source / name).exists()}
        if _STYLES in files.values():
            sources.refuse_code(source / _STYLES)
        with artifacts_on_disk.building(model, artifacts) as folder:
            artifacts_on_disk.place(weights, folder / "model.onnx")
            for role in files.keys() - {"weights"}:
                artifacts_on_disk.place_all(source / files[role], folder / files[role])
            return artifacts_on_disk.publish(
                model,
                artifacts,
                folder,
                files,
                {weights.name: artifacts_on_disk.sha256(weights)},
                weights.stat().st_size * 2 + _LIBRARY_BYTES,
            )
