"""Writes a GGUF file's weights anew in another quantisation, with numpy alone.

Imported by `prepare` of the adapters only, in a process of its own: it holds the whole model in memory for a moment.
"""

from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import quants

FORMS: Final = {"Q4_0": Kind.Q4_0, "Q5_0": Kind.Q5_0, "Q8_0": Kind.Q8_0, "F16": Kind.F16, "BF16": Kind.BF16}
_FILE_TYPE: Final = {"Q4_0": 2, "Q5_0": 8, "Q8_0": 7, "F16": 1, "BF16": 32}
_PLAIN: Final = frozenset({Kind.F32, Kind.I8, Kind.I16, Kind.I32, Kind.I64, Kind.F64})
_EMBEDDINGS: Final = frozenset({"token_embd.weight", "output.weight"})
_BLOCK: Final = 32


def requantise(source: Path, target: Path, form: str) -> None:
    """Write `source` with matrices as `form` (a key of FORMS).

    Vectors stay as they are. Embeddings of a 4 or 5 bit model are kept at 8 bits: small models need them.
    """
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        _copy_key(writer, name, field, form)
    for tensor in reader.tensors:
        if tensor.tensor_type in _PLAIN:
            shape = [int(size) for size in reversed(tensor.shape)]
            writer.add_tensor(tensor.name, np.asarray(tensor.data), raw_shape=shape, raw_dtype=tensor.tensor_type)
            continue
        wanted = _kind(tensor.name, int(tensor.shape[0]), form)
        if wanted == tensor.tensor_type:
            writer.add_tensor(tensor.name, np.asarray(tensor.data), raw_dtype=wanted)
            continue
        values = quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, quants.quantize(values, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_key(writer: Any, name: str, field: Any, form: str) -> None:
    if name.startswith("GGUF.") or name == "general.architecture":
        return
    if name == "general.file_type":
        writer.add_file_type(_FILE_TYPE[form])
    elif field.types[0] == gguf.GGUFValueType.ARRAY:
        writer.add_array(name, field.contents())
    else:
        writer.add_key_value(name, field.contents(), field.types[0])


def _kind(name: str, width: int, form: str) -> Any:
    if width % _BLOCK:
        return Kind.F16
    return Kind.Q8_0 if form in ("Q4_0", "Q5_0") and name in _EMBEDDINGS else FORMS[form]
