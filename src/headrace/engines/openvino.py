"""GGUF chat models on OpenVINO's continuous batching: more tokens/s than llama.cpp when many stream, slower to start.

Made by assembly. The model is exported once, in `prepare`, to OpenVINO's own form, since reading GGUF at each start
costs seconds. Nothing of OpenVINO is imported here: this module is loaded by the idle controller.
"""

import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import command_line, gguf_header, preparing, sources
from headrace.errors import Permanent
from headrace.ports import Artifact, Command
from headrace.settings import interpreter
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability
from headrace.units import MIB

FORMS: Final = ("Q4_0", "Q8_0", "F16")
_ARCHITECTURES: Final = ("llama", "qwen2", "qwen3")  # what its GGUF reader knows
_LIBRARY_BYTES: Final = 200 * MIB
_EXPORT_TIMEOUT_S: Final = 1800
_PARAMETERS: Final = ("top_k", "min_p", "repetition_penalty", "ignore_eos")


class OpenVino:
    """One process a replica; `slots` sequences share each step. Weights are Q4_0 unless `quantise` says else."""

    kind = "openvino"

    def ability(self, model: ModelSpec) -> Ability:  # noqa: ARG002 - the same for every model
        """Plain JSON schemas are enforced; log-probabilities and tool calls are not to be had."""
        return Ability(dialect="headrace", plain_schemas=True, tools=False, logprobs=False, parameters=_PARAMETERS)

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run here."""
        found = [
            f"the engine openvino needs the Python package {name}; install headrace's requirements"
            for name in ("openvino_genai", "openvino_tokenizers", "httptools")
            if importlib.util.find_spec(name) is None
        ]
        if model.task != "chat":
            found.append(f"the engine openvino serves task chat, not {model.task}; use engine onnx")
        if model.engine.quantise and model.engine.quantise not in FORMS:
            found.append(f"quantise {model.engine.quantise!r} is not known; give one of {', '.join(FORMS)} or none")
        if reason := sources.missing(model.source):
            found.append(reason)
        return found

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Check the header, requantise, export, ask the golden question."""
        return preparing.prepared(self, model, artifacts, say, lambda: self._build(model, artifacts, say))

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:  # noqa: ARG002 - the signature is the port's
        """The runner on a unix socket."""
        weights = Path(artifact.path) / artifact.files["weights"]
        argv = command_line.of("openvino", model, address, weights=weights, context=model.engine.context_tokens)
        env = {"OMP_WAIT_POLICY": "passive", "OPENVINO_LOG_LEVEL": "0"}
        return Command(argv=argv, env=env, address=address)

    def _build(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        source = sources.one(sources.fetch(model.source), ".gguf")
        header = gguf_header.read(source)
        if header.architecture not in _ARCHITECTURES:
            raise Permanent(
                f"{source.name} is of architecture {header.architecture!r}; engine openvino reads "
                f"{', '.join(_ARCHITECTURES)}. Use engine llama_cpp"
            )
        form = model.engine.quantise or "Q4_0"
        with artifacts_on_disk.building(model, artifacts) as folder:
            say(f"{model.key}: writing {source.name} as {form}")
            from headrace.engines import gguf_convert

            gguf_convert.requantise(source, folder / "model.gguf", form)
            say(f"{model.key}: exporting to OpenVINO's own form")
            _export(folder)
            size = sum(file.stat().st_size for file in (folder / "ir").iterdir())
            cache = header.kv_bytes_per_token * model.engine.context_tokens * model.engine.slots
            return artifacts_on_disk.publish(
                model,
                artifacts,
                folder,
                {"weights": "ir"},
                {source.name: artifacts_on_disk.sha256(source)},
                size + cache + _LIBRARY_BYTES,
            )


def _export(folder: Path) -> None:
    """Turn model.gguf in `folder` into ir/; in a process of its own, which gives its memory back."""
    argv = [*interpreter(), "-m", "headrace.engines.openvino_export", str(folder / "model.gguf")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_EXPORT_TIMEOUT_S, check=False)
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise Permanent(f"OpenVINO could not export the model: {words[:300]}; use engine llama_cpp")
    (folder / "model.gguf").unlink()
    (folder / "ir").mkdir()
    for file in folder.glob("openvino_*"):
        file.rename(folder / "ir" / file.name)
