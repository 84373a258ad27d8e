"""Text to speech where there are no weights of a voice: espeak-ng, a formant synthesiser of 130 languages.

Made by assembly. espeak-ng is free software under the GPL 3, from a package of its own; it is loaded by the replica's
process alone. Nothing of it is imported here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import command_line, preparing, sources, voices
from headrace.errors import Permanent
from headrace.ports import Artifact, Command
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability, Media
from headrace.units import MIB

FORMATS: Final = ("wav", "mp3", "opus", "flac", "aac", "pcm")
_PACKAGES: Final = ("av", "httptools", "numpy")
_LIBRARY: Final = "libespeak-ng.so"
_DATA: Final = "espeak-ng-data"
_MEMORY_BYTES: Final = 120 * MIB


class Espeak:
    """One process a replica, one text at a time: it speaks some hundred times as fast as it is heard."""

    kind = "espeak"

    def ability(self, model: ModelSpec) -> Ability:  # noqa: ARG002 - there is one library
        """OpenAI's voices and formats, and voices named by language."""
        media = Media(voices=voices.ALL, formats=FORMATS)
        return Ability(
            dialect="headrace", stream=True, json_schema=False, logprobs=False, n=False, completions=False, media=media
        )

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run here."""
        found = preparing.lacking("espeak", _PACKAGES)
        if model.task != "speak":
            found.append(f"the engine espeak serves task speak, not {model.task}")
        if model.engine.quantise:
            found.append(f"quantise {model.engine.quantise!r} means nothing to engine espeak; leave it out")
        if reason := sources.missing(model.source):
            found.append(reason)
        return found

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Keep the library and its data as they are now; ask the golden question."""
        return preparing.prepared(self, model, artifacts, say, lambda: self._build(model, artifacts))

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:  # noqa: ARG002 - the signature is the port's
        """The runner on a unix socket."""
        folder = Path(artifact.path)
        weights, data = folder / artifact.files["weights"], folder / artifact.files["data"]
        argv = command_line.of("espeak", model, address, library=weights, data=data)
        return Command(argv=argv, env={"OMP_NUM_THREADS": "1"}, address=address)

    def _build(self, model: ModelSpec, artifacts: Path) -> Artifact:
        source = sources.fetch(model.source)
        library, data = source / _LIBRARY, source / _DATA
        if not library.is_file() or not (data / "phontab").is_file():
            raise Permanent(
                f"{source} has no {_LIBRARY} and {_DATA}; `source` must be package://espeakng_loader, "
                "or a folder with both"
            )
        with artifacts_on_disk.building(model, artifacts) as folder:
            artifacts_on_disk.place(library, folder / _LIBRARY)
            artifacts_on_disk.place_all(data, folder / _DATA)
            return artifacts_on_disk.publish(
                model,
                artifacts,
                folder,
                {"weights": _LIBRARY, "data": _DATA},
                {_LIBRARY: artifacts_on_disk.sha256(library)},
                _MEMORY_BYTES,
            )
