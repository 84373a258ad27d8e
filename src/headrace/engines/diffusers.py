"""Pictures and films by checkpoints of diffusers on torch, for machines with a GPU, served by our own runner.

Made by assembly. torch, diffusers and transformers are never installed by us, and only the runner imports them: this
module is loaded by the idle controller.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import command_line, diffusion_options, model_index, preparing, sources
from headrace.errors import Permanent
from headrace.ports import Artifact, Command
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability, Media
from headrace.units import MIB

_PACKAGES: Final = ("torch", "diffusers", "transformers", "accelerate")
_INSTALL: Final = "pip install torch 'diffusers>=0.42' transformers accelerate"
_OURS: Final = ("httptools", "numpy", "PIL", "av")
_LIBRARY_BYTES: Final = 900 * MIB
_PIXELS_MAX: Final = 4096 * 4096


class Diffusers:
    """One process a replica; up to `slots` pictures of one size and number of steps share a call of the pipeline."""

    kind = "diffusers"

    def ability(self, model: ModelSpec) -> Ability:
        """What `engine.args` say; the runner does not start where the pipeline cannot do it."""
        args = model.engine.args
        given = diffusion_options.Options() if diffusion_options.faults(args) else diffusion_options.read(args)
        if model.task == "video":
            media = Media(sizes=given.each_size, video_s_max=max(1, given.frames // given.fps), formats=("mp4",))
        else:
            formats = ("png", "jpeg", "webp")
            media = Media(sizes=given.each_size, pixels_max=_PIXELS_MAX, formats=formats, edits=given.edits)
        return Ability(
            dialect="headrace", stream=False, json_schema=False, logprobs=False, completions=False, media=media
        )

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run here."""
        found = preparing.lacking("diffusers", _OURS)
        absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if absent:
            found.append(f"the engine diffusers needs the Python packages {', '.join(absent)}; run: {_INSTALL}")
        if model.task not in ("image", "video"):
            found.append(f"the engine diffusers serves the tasks image and video, not {model.task}; use another engine")
        if model.engine.quantise:
            found.append(f"quantise {model.engine.quantise!r} is not done for diffusers; set args: {{dtype: ...}}")
        found.extend(diffusion_options.faults(model.engine.args))
        if reason := sources.missing(model.source):
            found.append(reason)
        elif (folder := sources.local(model.source)) is not None:
            try:
                model_index.read(folder)
            except Permanent as error:
                found.append(error.message)
        return found

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Take what the pipeline reads and nothing else of the folder, then ask the golden question of a real start."""
        return preparing.prepared(self, model, artifacts, say, lambda: self._build(model, artifacts, say))

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:  # noqa: ARG002 - the signature is the port's
        """The runner on a unix socket. Nothing is fetched or reported home."""
        engine = model.engine
        options = msgspec.json.encode(diffusion_options.read(engine.args)).decode()
        weights = Path(artifact.path) / artifact.files["weights"]
        argv = command_line.of("diffusers", model, address, weights=weights, task=model.task, options=options)
        env = {
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": str(engine.threads),
            "OMP_WAIT_POLICY": "passive",
        }
        return Command(argv=argv, env=env, address=address)

    def _build(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        say(f"{model.key}: fetching {model.source}")
        source = sources.fetch(model.source)
        wanted = list(model_index.files(source, model_index.read(source)))
        weights = [file for file in wanted if file.suffix == ".safetensors"]
        if not weights:
            raise Permanent(f"{model.source} has no safetensors in the folders of its parts; give weights as those")
        with artifacts_on_disk.building(model, artifacts) as folder:
            for file in wanted:
                inside = folder / "pipeline" / file.relative_to(source)
                inside.parent.mkdir(parents=True, exist_ok=True)
                artifacts_on_disk.place(file, inside)
            size = sum(file.stat().st_size for file in weights)
            return artifacts_on_disk.publish(
                model, artifacts, folder, {"weights": "pipeline"}, {}, size + _LIBRARY_BYTES
            )
