"""Whisper's encoder as a graph for OpenVINO, made of the tensors in a CTranslate2 file. Used by `prepare` alone.

Two convolutions, positions, and layers of attention and of a feed-forward net, each after a norm. Source: "Robust
Speech Recognition via Large-Scale Weak Supervision", and the names that CTranslate2's WhisperSpec gives the tensors.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from headrace.engines import ctranslate2_header
from headrace.errors import Permanent

_OPSET: Final = 20  # the first with Gelu
_IR: Final = 10
_FRAMES: Final = 3_000  # of a window of 30 s
_EPSILON: Final = 1e-5


def write(weights: Path, target: Path) -> None:
    """Write `target` (.xml, and .bin beside it). Raises Permanent when the file has no such encoder."""
    import openvino

    try:
        graph = _Graph(weights).model()
    except KeyError as error:
        raise Permanent(f"{weights.name} has no encoder of Whisper's form: {error} is missing") from None
    read = openvino.Core().read_model(graph.SerializeToString())
    openvino.save_model(read, str(target), compress_to_fp16=True)


class _Graph:
    """Builds the graph node by node; names are those of the tensors."""

    def __init__(self, weights: Path) -> None:
        self._data = np.memmap(weights, np.uint8, "r")
        self._variables = ctranslate2_header.read(weights).variables
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._heads = int(self._tensor("encoder/num_heads").item())

    def model(self) -> Any:
        """Features [1, mels, 3000] to states [1, 1500, width]."""
        mels = self._variables["encoder/conv1/weight"].shape[1]
        width = self._variables["encoder/conv1/weight"].shape[0]
        value = self._convolved("encoder/conv1", "features", 1)
        value = self._convolved("encoder/conv2", value, 2)
        value = self._node("Transpose", [value], perm=[0, 2, 1])
        value = self._node("Add", [value, self._floats("encoder/position_encodings/encodings")])
        number = 0
        while f"encoder/layer_{number}/ffn/linear_0/bias" in self._variables:
            value = self._layer(f"encoder/layer_{number}", value, width)
            number += 1
        self._normed("encoder/layer_norm", value, "states")
        floats = TensorProto.FLOAT
        ends = [
            helper.make_tensor_value_info("features", floats, [1, mels, _FRAMES]),
            helper.make_tensor_value_info("states", floats, [1, _FRAMES // 2, width]),
        ]
        graph = helper.make_graph(self._nodes, "encoder", ends[:1], ends[1:], self._constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        onnx.checker.check_model(made)
        return made

    def _layer(self, name: str, value: str, width: int) -> str:
        attention, forward = f"{name}/self_attention", f"{name}/ffn"
        given = self._linear(f"{attention}/linear_0", self._normed(f"{attention}/layer_norm", value))
        parts = self._split(given, f"{attention}/parts")
        shape = self._constant(f"{attention}/shape", np.array([0, 0, self._heads, width // self._heads], np.int64))
        orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])  # the keys are turned round for the product
        query, key, held = (
            self._node("Transpose", [self._node("Reshape", [part, shape])], perm=order)
            for part, order in zip(parts, orders, strict=True)
        )
        scale = self._constant(f"{attention}/scale", np.array((width // self._heads) ** -0.5, np.float32))
        weights = self._node("Softmax", [self._node("Mul", [self._node("MatMul", [query, key]), scale])], axis=-1)
        mixed = self._node("Transpose", [self._node("MatMul", [weights, held])], perm=[0, 2, 1, 3])
        flat = self._constant(f"{attention}/flat", np.array([0, 0, width], np.int64))
        mixed = self._linear(f"{attention}/linear_1", self._node("Reshape", [mixed, flat]))
        value = self._node("Add", [value, mixed])
        inner = self._linear(f"{forward}/linear_0", self._normed(f"{forward}/layer_norm", value))
        inner = self._linear(f"{forward}/linear_1", self._node("Gelu", [inner]))
        return self._node("Add", [value, inner])

    def _convolved(self, name: str, value: str, stride: int) -> str:
        weight = self._floats(f"{name}/weight")
        found = self._node(
            "Conv", [value, weight, self._floats(f"{name}/bias")], pads=[1, 1], strides=[stride], kernel_shape=[3]
        )
        return self._node("Gelu", [found])

    def _normed(self, name: str, value: str, called: str = "") -> str:
        inputs = [value, self._floats(f"{name}/gamma"), self._floats(f"{name}/beta")]
        return self._node("LayerNormalization", inputs, called, epsilon=_EPSILON)

    def _linear(self, name: str, value: str) -> str:
        weight = self._constant(f"{name}/turned", np.ascontiguousarray(self._whole(f"{name}/weight").T))
        return self._node("Add", [self._node("MatMul", [value, weight]), self._floats(f"{name}/bias")])

    def _split(self, value: str, name: str) -> list[str]:
        """Query, key and value, which are one product."""
        outputs = [f"{name}/{part}" for part in ("query", "key", "value")]
        self._nodes.append(helper.make_node("Split", [value], outputs, axis=2, num_outputs=3))
        return outputs

    def _node(self, kind: str, inputs: list[str], called: str = "", **attributes: Any) -> str:
        output = called or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _floats(self, name: str) -> str:
        return self._constant(name, self._whole(name))

    def _constant(self, name: str, value: Any) -> str:
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def _whole(self, name: str) -> Any:
        """A tensor as float32; rows of integers are divided by their scales, as CTranslate2 does."""
        found = self._tensor(name)
        if not np.issubdtype(found.dtype, np.integer):
            return found.astype(np.float32)
        scale = self._tensor(f"{name}_scale").astype(np.float32)
        return found.astype(np.float32) / scale.reshape(-1, *([1] * (found.ndim - 1)) if scale.ndim else ())

    def _tensor(self, name: str) -> Any:
        found = self._variables[name]
        if found.type == "bfloat16":
            raise KeyError(f"{name} in another form than bfloat16")
        kind = np.dtype(found.type)
        size = int(np.prod(found.shape)) * kind.itemsize
        return self._data[found.offset : found.offset + size].view(kind).reshape(found.shape)
