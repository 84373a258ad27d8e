"""Writes a BERT encoder as an ONNX graph, straight from its safetensors: no training framework is needed.

Imported by `prepare` of the onnx adapter only. Input int64 [batch, tokens] three times, output float32
[batch, tokens, hidden] called `last_hidden_state`.
"""

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open

from headrace.errors import Permanent

_OPSET: Final = 20
_IR_VERSION: Final = 10
_MASKED: Final = -10_000.0
_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")


class _Graph:
    """Nodes and weights as they are added; names are made here."""

    def __init__(self, weights: dict[str, Any]) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One node; returns the name of its output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Any) -> str:
        """One named constant."""
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def weight(self, name: str, transpose: bool = False) -> str:
        """A tensor of the file as float32; linear layers are kept transposed there."""
        if name not in self.weights:
            raise Permanent(f"the weights lack {name}; they are not those of a BERT encoder")
        value = self.weights[name].astype(np.float32)
        return self.constant(name, np.ascontiguousarray(value.T) if transpose else value)

    def linear(self, name: str, value: str) -> str:
        """A linear layer: value @ W.T + b."""
        return self.add(
            "Add", self.add("MatMul", value, self.weight(f"{name}.weight", True)), self.weight(f"{name}.bias")
        )

    def norm(self, name: str, value: str, epsilon: float) -> str:
        """Layer normalisation over the last axis."""
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.add("LayerNormalization", value, scale, bias, axis=-1, epsilon=epsilon)


def build(weights: Path, config: dict[str, Any], target: Path) -> None:
    """Write the encoder that `config` (Hugging Face's config.json) describes to `target`."""
    if config.get("hidden_act") != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
        raise Permanent("only BERT with gelu and absolute positions is built here; give an ONNX file instead")
    with safe_open(str(weights), "np") as file:
        tensors = {name.removeprefix("bert."): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    graph = _Graph(tensors)
    value, mask = _embeddings(graph, float(config["layer_norm_eps"]))
    for index in range(int(config["num_hidden_layers"])):
        value = _layer(graph, index, value, mask, config)
    graph.nodes.append(helper.make_node("Identity", [value], ["last_hidden_state"], name="output"))
    shape = ["batch", "tokens"]
    made = helper.make_graph(
        graph.nodes,
        "bert",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in _INPUTS],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, int(config["hidden_size"])])],
        list(graph.constants.values()),
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def _embeddings(graph: _Graph, epsilon: float) -> tuple[str, str]:
    """(hidden states, additive attention mask [batch, 1, 1, tokens])."""
    zero, one = graph.constant("zero", np.array(0, np.int64)), graph.constant("one", np.array(1, np.int64))
    axis1 = graph.constant("axis1", np.array([1], np.int64))
    axis2 = graph.constant("axis2", np.array([2], np.int64))
    tokens = graph.add(
        "Squeeze", graph.add("Shape", "input_ids", start=1, end=2), graph.constant("axis0", np.array([0]))
    )
    positions = graph.add("Range", zero, tokens, one)
    prefix = "embeddings"
    words = graph.add("Gather", graph.weight(f"{prefix}.word_embeddings.weight"), "input_ids")
    types = graph.add("Gather", graph.weight(f"{prefix}.token_type_embeddings.weight"), "token_type_ids")
    places = graph.add("Gather", graph.weight(f"{prefix}.position_embeddings.weight"), positions)
    value = graph.norm(f"{prefix}.LayerNorm", graph.add("Add", graph.add("Add", words, types), places), epsilon)
    mask = graph.add("Cast", "attention_mask", to=TensorProto.FLOAT)
    mask = graph.add("Unsqueeze", graph.add("Unsqueeze", mask, axis1), axis2)
    shut = graph.add("Sub", graph.constant("open", np.array(1, np.float32)), mask)
    return value, graph.add("Mul", shut, graph.constant("masked", np.array(_MASKED, np.float32)))


def _layer(graph: _Graph, index: int, value: str, mask: str, config: dict[str, Any]) -> str:
    name = f"encoder.layer.{index}"
    epsilon = float(config["layer_norm_eps"])
    attended = graph.linear(f"{name}.attention.output.dense", _attention(graph, name, value, mask, config))
    value = graph.norm(f"{name}.attention.output.LayerNorm", graph.add("Add", attended, value), epsilon)
    inner = graph.add("Gelu", graph.linear(f"{name}.intermediate.dense", value))
    outer = graph.linear(f"{name}.output.dense", inner)
    return graph.norm(f"{name}.output.LayerNorm", graph.add("Add", outer, value), epsilon)


def _attention(graph: _Graph, name: str, value: str, mask: str, config: dict[str, Any]) -> str:
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    split = graph.constant("split", np.array([0, 0, heads, hidden // heads], np.int64))
    joined = graph.constant("joined", np.array([0, 0, hidden], np.int64))

    def part(which: str, order: list[int]) -> str:
        rows = graph.linear(f"{name}.attention.self.{which}", value)
        return graph.add("Transpose", graph.add("Reshape", rows, split), perm=order)

    scores = graph.add("MatMul", part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]))
    scale = graph.constant("scale", np.array(1 / math.sqrt(hidden / heads), np.float32))
    shares = graph.add("Softmax", graph.add("Add", graph.add("Mul", scores, scale), mask), axis=-1)
    mixed = graph.add("MatMul", shares, part("value", [0, 2, 1, 3]))
    return graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
