"""Makes the ONNX file the runner loads: from BERT weights in safetensors, or from a given ONNX file.

Imported by `prepare` of the onnx adapter only, in a process of its own.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import onnx

from headrace.engines import artifact, bert_graph, onnx_int8, sources
from headrace.errors import Permanent

_DEPTH_MAX: Final = 3  # folders between an ONNX file and its tokenizer.json


def make(source: Path, target: Path, quantise: str, say: Callable[[str], None]) -> Path:
    """Write `target` from a folder or file; returns the file that was used.

    Raises Permanent when there is no model that can be used.
    """
    given = _given_onnx(source)
    if given is not None:
        _check(given)
        if quantise == "int8":
            say(f"writing {given.name} as int8")
            onnx_int8.quantise(given, target)
        else:
            artifact.place(given, target)
        return given
    weights = sources.one(source, ".safetensors")
    config = json.loads((weights.parent / "config.json").read_text())
    if config.get("model_type") != "bert":
        raise Permanent(
            f"{weights.name} is of type {config.get('model_type')!r}; only bert is built here, "
            "give an ONNX file of the model instead"
        )
    say(f"building the graph of {weights.name}")
    whole = target.with_name("whole.onnx")
    bert_graph.build(weights, config, whole)
    if quantise == "fp32":
        whole.rename(target)
    else:
        say("writing it as int8")
        onnx_int8.quantise(whole, target)
        whole.unlink()
    return weights


def tokenizer_beside(weights: Path) -> Path:
    """The tokenizer.json in the folder of the weights or above it. Raises Permanent when there is none."""
    for folder in list(weights.parents)[:_DEPTH_MAX]:
        if (folder / "tokenizer.json").is_file():
            return folder / "tokenizer.json"
    raise Permanent(f"there is no tokenizer.json beside {weights.name}; put it there")


def _given_onnx(source: Path) -> Path | None:
    if source.is_file():
        return source if source.suffix == ".onnx" else None
    for name in ("model.onnx", "onnx/model.onnx"):
        if (source / name).is_file():
            return source / name
    return None


def _check(given: Path) -> None:
    """One self-contained file of standard operators, else Permanent."""
    try:
        model: Any = onnx.load(str(given), load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:  # a parser of foreign bytes: whatever it raises, the file is to blame
        raise Permanent(f"{given.name} is not a readable ONNX file: {str(error)[:200]}") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise Permanent(f"{given.name} keeps its weights in other files; save it as one file")
    inputs = {entry.name for entry in model.graph.input} - {tensor.name for tensor in model.graph.initializer}
    if "input_ids" not in inputs or not inputs <= {"input_ids", "attention_mask", "token_type_ids"}:
        raise Permanent(f"{given.name} takes {sorted(inputs)}; a text encoder takes input_ids and attention_mask")
