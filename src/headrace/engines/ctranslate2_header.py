"""What a CTranslate2 file (`model.bin`) holds, read by walking it: never loaded, and never larger than it says.

The format is CTranslate2's own (model_spec.py, binary version 6): names, shapes and numbers, no code. The whole file is
accounted for, so that nothing else passes under its name, and the engine is not given a size that is a lie.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from headrace.errors import Permanent

_VERSION: Final = 6
_VARIABLES_MAX: Final = 100_000
_RANK_MAX: Final = 8
_NAME_MAX: Final = 1_024
TYPES: Final = {"float32": 4, "int8": 1, "int16": 2, "int32": 4, "float16": 2, "bfloat16": 2}  # by its number; bytes


@dataclass(frozen=True, slots=True)
class Variable:
    """A tensor: its numbers begin at byte `offset` and are of one of TYPES."""

    shape: tuple[int, ...]
    type: str
    offset: int


@dataclass(frozen=True, slots=True)
class Header:
    """`spec` is what kind of model it is, such as WhisperSpec."""

    spec: str
    variables: dict[str, Variable]
    bytes: int


def read(path: Path) -> Header:
    """Walk the file. Raises Permanent, with the reason, when it is not wholly a CTranslate2 model."""
    size = path.stat().st_size
    with path.open("rb") as data:
        try:
            return _walk(data, size)
        except (struct.error, UnicodeDecodeError, ValueError) as error:
            reason = str(error) if type(error) is ValueError else "it is cut short or damaged"
            raise Permanent(f"{path.name} is not a CTranslate2 model: {reason}; convert the weights again") from None


def _walk(data: BinaryIO, size: int) -> Header:
    if (version := _number(data, "<I")) != _VERSION:
        raise ValueError(f"it does not begin with version {_VERSION}, but {version}")
    spec = _name(data)
    _number(data, "<I")  # the revision of the spec
    count = _number(data, "<I")
    if count > _VARIABLES_MAX:
        raise ValueError(f"it claims {count} variables, more than {_VARIABLES_MAX}")
    variables = {}
    for _ in range(count):
        name = _name(data)
        variables[name] = _variable(data, name, size)
    aliases = _number(data, "<I")
    if aliases > _VARIABLES_MAX:
        raise ValueError(f"it claims {aliases} aliases, more than {_VARIABLES_MAX}")
    for _ in range(aliases):
        alias, target = _name(data), _name(data)
        if target not in variables:
            raise ValueError(f"{alias!r} stands for {target!r}, which is not in it")
    if data.tell() != size:
        raise ValueError(f"{size - data.tell()} bytes follow after its end")
    return Header(spec, variables, size)


def _variable(data: BinaryIO, name: str, size: int) -> Variable:
    """The next variable, whose numbers are passed over."""
    rank = _number(data, "<B")
    if rank > _RANK_MAX:
        raise ValueError(f"{name!r} has {rank} dimensions, more than {_RANK_MAX}")
    shape = tuple(_number(data, "<I") for _ in range(rank))
    number, taken = _number(data, "<B"), _number(data, "<I")
    kind = list(TYPES)[number] if number < len(TYPES) else ""
    if math.prod(shape) * TYPES.get(kind, 0) != taken or not kind:
        raise ValueError(f"{name!r} takes {taken} bytes, which is not what its shape and type say")
    offset = data.tell()
    if offset + taken > size:
        raise ValueError(f"{name!r} goes on after the end of the file")
    data.seek(taken, 1)
    return Variable(shape, kind, offset)


def _name(data: BinaryIO) -> str:
    length = _number(data, "<H")
    if not 0 < length <= _NAME_MAX:
        raise ValueError(f"a name of {length} bytes")
    raw = data.read(length)
    if len(raw) != length or raw[-1:] != b"\0":
        raise ValueError("a name without its end")
    return raw[:-1].decode("ascii")


def _number(data: BinaryIO, form: str) -> int:
    found: int = struct.unpack(form, data.read(struct.calcsize(form)))[0]
    return found
