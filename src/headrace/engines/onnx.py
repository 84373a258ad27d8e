"""Embeddings and reranking on onnxruntime, served by our own small runner.

Made by assembly. Conversion libraries are imported inside `prepare` only: this module is loaded by the idle controller.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import command_line, preparing, sources
from headrace.ports import Artifact, Command, Rest
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability
from headrace.units import MIB

FORMS: Final = ("int8", "fp32")
_PACKAGES: Final = ("onnxruntime", "tokenizers", "httptools", "numpy")
_LIBRARY_BYTES: Final = 90 * MIB


class Onnx:
    """One process a replica; texts of many requests share a batch.

    A BERT encoder as safetensors becomes ONNX in int8 (`quantise: fp32` keeps it whole); a given ONNX file is kept as
    it is unless `quantise: int8` is asked. An ONNX whose output is one logit is used as a cross-encoder.
    """

    kind = "onnx"

    def ability(self, model: ModelSpec) -> Ability:  # noqa: ARG002 - the same for every encoder
        """Vectors and scores; nothing is generated."""
        return Ability(dialect="headrace", stream=False, json_schema=False, logprobs=False, n=False, completions=False)

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run here."""
        found = preparing.lacking("onnx", _PACKAGES)
        if model.task not in ("embed", "rerank"):
            found.append(f"the engine onnx serves tasks embed and rerank, not {model.task}; use engine llama_cpp")
        if model.engine.quantise and model.engine.quantise not in FORMS:
            found.append(f"quantise {model.engine.quantise!r} is not known; give one of {', '.join(FORMS)} or none")
        if reason := sources.missing(model.source):
            found.append(reason)
        elif 0 < (longest := _positions(sources.local(model.source))) < model.engine.context_tokens:
            found.append(f"context is {model.engine.context_tokens} tokens, but the model was made for {longest}")
        return found

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Make the ONNX graph or take the given one, quantise it, ask the golden question."""
        return preparing.prepared(self, model, artifacts, say, lambda: self._build(model, artifacts, say))

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:  # noqa: ARG002 - the signature is the port's
        """The runner on a unix socket."""
        engine = model.engine
        folder = Path(artifact.path)
        argv = command_line.of(
            "onnx", model, address, weights=folder / artifact.files["weights"], task=model.task,
            tokenizer=folder / artifact.files["tokenizer"], context=engine.context_tokens,
        )  # fmt: skip
        env = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(engine.threads), "TOKENIZERS_PARALLELISM": "false"}
        return Command(argv=argv, env=env, address=address, rest=Rest() if engine.sleep else None)

    def _build(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        source = sources.fetch(model.source)
        from headrace.engines import onnx_convert

        with artifacts_on_disk.building(model, artifacts) as folder:
            weights = folder / "model.onnx"
            used = onnx_convert.make(source, weights, model.engine.quantise, lambda line: say(f"{model.key}: {line}"))
            tokenizer = onnx_convert.tokenizer_beside(used)
            artifacts_on_disk.place(tokenizer, folder / "tokenizer.json")
            return artifacts_on_disk.publish(
                model,
                artifacts,
                folder,
                {"weights": weights.name, "tokenizer": "tokenizer.json"},
                {file.name: artifacts_on_disk.sha256(file) for file in (used, tokenizer)},
                weights.stat().st_size * 2 + _LIBRARY_BYTES,
            )


def _positions(source: Path | None) -> int:
    """How many tokens the model has positions for, by the config.json beside its weights; 0 when unknown."""
    if source is None:
        return 0
    try:
        config = msgspec.json.decode(
            (source if source.is_dir() else source.parent).joinpath("config.json").read_bytes()
        )
        return int(config["max_position_embeddings"])
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return 0
