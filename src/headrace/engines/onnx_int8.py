"""Writes an ONNX graph's weights in 8 bits, so that a text's vector does not depend on what shares its batch.

Imported by `onnx_convert` only. onnxruntime's own dynamic quantisation has one scale for the whole batch's activations
(measured: a text's vector turned to a cosine of 0.993 with itself when another text joined it); the operator used here
scales each row's blocks by themselves.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_BLOCK: Final = 128
_ACCURACY_INT8: Final = 4  # activations are rounded to 8 bits a block, so that integer instructions are used
_TABLE_MIN_ROWS: Final = 1024
_MICROSOFT: Final = "com.microsoft"


def quantise(source: Path, target: Path) -> int:
    """Write `source` to `target` with constant matrices and embedding tables in 8 bits; how many were changed."""
    model = onnx.load(str(source))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[Any] = []
    made: dict[str, Any] = {}
    changed = 0
    for node in model.graph.node:
        kind, name = node.op_type, node.input[1] if len(node.input) > 1 else ""
        if kind == "MatMul" and name in weights and len(weights[name].dims) == 2:
            nodes.append(_matrix(node, weights[name], made))
        elif kind == "Gather" and _is_table(weights.get(node.input[0])):
            nodes.extend(_table(node, weights[node.input[0]], made))
        else:
            nodes.append(node)
            continue
        changed += 1
    used = {name for node in nodes for name in node.input}
    kept = [tensor for name, tensor in weights.items() if name in used]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*kept, *made.values()])
    if not any(entry.domain == _MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    onnx.save(model, str(target))
    return changed


def _is_table(tensor: Any) -> bool:
    return (
        tensor is not None
        and tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) == 2
        and tensor.dims[0] >= _TABLE_MIN_ROWS
    )


def _matrix(node: Any, tensor: Any, made: dict[str, Any]) -> Any:
    """MatMul by a constant [k, n] as MatMulNBits: blocks of _BLOCK values down each column, zero at 128."""
    values = numpy_helper.to_array(tensor).astype(np.float32).T  # [n, k]
    columns, depth = values.shape
    blocks = -(-depth // _BLOCK)
    padded = np.zeros((columns, blocks * _BLOCK), np.float32)
    padded[:, :depth] = values
    padded = padded.reshape(columns, blocks, _BLOCK)
    scales = np.abs(padded).max(axis=-1) / 127
    scales[scales == 0] = 1
    packed = (np.clip(np.rint(padded / scales[..., None]), -127, 127) + 128).astype(np.uint8)
    names = [f"{tensor.name}.int8", f"{tensor.name}.scales"]
    made[names[0]] = numpy_helper.from_array(packed, names[0])
    made[names[1]] = numpy_helper.from_array(scales.astype(np.float32), names[1])
    return helper.make_node(
        "MatMulNBits",
        [node.input[0], *names],
        list(node.output),
        name=node.name,
        domain=_MICROSOFT,
        K=depth,
        N=columns,
        bits=8,
        block_size=_BLOCK,
        accuracy_level=_ACCURACY_INT8,
    )


def _table(node: Any, tensor: Any, made: dict[str, Any]) -> list[Any]:
    """Gather from a float table as gather from an int8 one, times the gathered scale of each row."""
    values = numpy_helper.to_array(tensor)
    scales = np.abs(values).max(axis=1, keepdims=True) / 127
    scales[scales == 0] = 1
    names = [f"{tensor.name}.int8", f"{tensor.name}.scales"]
    made[names[0]] = numpy_helper.from_array(np.rint(values / scales).astype(np.int8), names[0])
    made[names[1]] = numpy_helper.from_array(scales.astype(np.float32), names[1])
    out, where = node.output[0], node.input[1]
    return [
        helper.make_node("Gather", [names[0], where], [f"{out}_rows"], name=f"{node.name}_rows"),
        helper.make_node("Cast", [f"{out}_rows"], [f"{out}_cast"], name=f"{node.name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Gather", [names[1], where], [f"{out}_scales"], name=f"{node.name}_scales"),
        helper.make_node("Mul", [f"{out}_cast", f"{out}_scales"], [out], name=f"{node.name}_mul"),
    ]
