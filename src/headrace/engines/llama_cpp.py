"""GGUF chat models on llama.cpp's own server, from the xllamacpp wheel: the quickest start of all engines.

Made by assembly; asked by the controller and, in a process of its own, by `headrace.assembly prepare`. The conversion
library is imported inside `prepare` only: this module is loaded by the idle controller.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import command_line, gguf_header, preparing, sources
from headrace.errors import Permanent
from headrace.ports import Artifact, Command, Rest
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability
from headrace.units import MIB

FORMS: Final = ("Q4_0", "Q5_0", "Q8_0", "F16", "BF16")
_LIBRARY_BYTES: Final = 150 * MIB
_PARAMETERS: Final = ("top_k", "min_p", "typical_p", "repeat_penalty", "ignore_eos")


class LlamaCpp:
    """One process a replica; `slots` sequences of `context_tokens` each, batched continuously."""

    kind = "llama_cpp"

    def ability(self, model: ModelSpec) -> Ability:
        """JSON schema is enforced; tool calls are not, so the gateway makes them from a schema. A choice is a slot."""
        return Ability(dialect="llama_cpp", tools=False, n_max=model.engine.slots, parameters=_PARAMETERS)

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run here."""
        found = []
        if importlib.util.find_spec("xllamacpp") is None:
            found.append("the engine llama_cpp needs the Python package xllamacpp; install headrace's requirements")
        if model.task != "chat":
            found.append(f"the engine llama_cpp serves task chat, not {model.task}; use engine onnx")
        if model.engine.quantise and model.engine.quantise not in FORMS:
            found.append(f"quantise {model.engine.quantise!r} is not known; give one of {', '.join(FORMS)} or none")
        wanted = (model.source, model.engine.lora) if model.engine.lora else (model.source,)
        return found + [reason for source in wanted if (reason := sources.missing(source))]

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Check the header, requantise if wanted, ask the golden question."""
        return preparing.prepared(self, model, artifacts, say, lambda: self._build(model, artifacts, say))

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:  # noqa: ARG002 - the signature is the port's
        """The runner on a unix socket. The context given to llama.cpp is divided by its slots, hence the product."""
        engine = model.engine
        folder = Path(artifact.path)
        lora = {"lora": folder / artifact.files["lora"], "lora_scale": engine.lora_scale} if engine.lora else {}
        context = engine.context_tokens * engine.slots
        weights = folder / artifact.files["weights"]
        argv = command_line.of("llama_cpp", model, address, weights=weights, context=context, **lora)
        # Waiting threads must sleep: spinning ones cost nine tenths of the tokens/s when neighbours are busy.
        env = {"GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(engine.threads)}
        return Command(argv=argv, env=env, address=address, rest=Rest() if engine.sleep else None)

    def _build(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        source = sources.one(sources.fetch(model.source), ".gguf")
        gguf_header.read(source)
        with artifacts_on_disk.building(model, artifacts) as folder:
            weights = folder / "model.gguf"
            if model.engine.quantise:
                say(f"{model.key}: writing {source.name} as {model.engine.quantise}")
                from headrace.engines import gguf_convert

                gguf_convert.requantise(source, weights, model.engine.quantise)
            else:
                artifacts_on_disk.place(source, weights)
            files, used = {"weights": weights.name}, {source.name: artifacts_on_disk.sha256(source)}
            if model.engine.lora:
                adapter = _adapter(model.engine.lora)
                artifacts_on_disk.place(adapter, folder / "lora.gguf")
                files["lora"] = "lora.gguf"
                used[adapter.name] = artifacts_on_disk.sha256(adapter)
            header = gguf_header.read(weights)
            cache = header.kv_bytes_per_token * model.engine.context_tokens * model.engine.slots
            return artifacts_on_disk.publish(
                model,
                artifacts,
                folder,
                files,
                used,
                header.bytes + cache + _LIBRARY_BYTES,
            )


def _adapter(source: str) -> Path:
    """The GGUF of a LoRA adapter. Raises Permanent when the file is something else, a whole model say."""
    file = sources.one(sources.fetch(source), ".gguf")
    kind = gguf_header.read(file).keys.get("adapter.type")
    if kind != "lora":
        raise Permanent(f"{file.name} is no LoRA adapter; make one with llama.cpp's convert_lora_to_gguf.py")
    return file
