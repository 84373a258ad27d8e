"""Reads a GGUF file's header in plain Python, so that a damaged or hostile file never meets the C loader.

`prepare` of the llama_cpp and openvino adapters calls `read`. Every count is capped and every tensor must lie inside
the file. Nothing is kept of arrays but their length.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.errors import Permanent

_TENSORS_MAX: Final = 100_000
_KEYS_MAX: Final = 100_000
_ARRAY_MAX: Final = 16_000_000
_STRING_MAX_BYTES: Final = 16 << 20
_DIMENSIONS_MAX: Final = 4
_STRING, _ARRAY = 8, 9
_SCALARS: Final = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
# ggml type: (values a block, bytes a block)
_BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36),
}  # fmt: skip

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Header:
    """`keys` holds scalars and texts; of an array only its length, under its own name."""

    architecture: str
    keys: dict[str, Scalar]
    tensors: int
    bytes: int

    def number(self, name: str, default: int = 0) -> int:
        """An integer of the architecture, e.g. `block_count`."""
        value = self.keys.get(f"{self.architecture}.{name}", default)
        return value if isinstance(value, int) else default

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of key and value cache one token takes at 16 bits."""
        heads = self.number("attention.head_count", 1) or 1
        width = self.number("attention.key_length") or self.number("embedding_length") // heads
        return 2 * 2 * self.number("block_count") * (self.number("attention.head_count_kv") or heads) * width


class _Cursor:
    """Reads forward and never past the end."""

    __slots__ = ("at", "data", "name")

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self.data, self.at, self.name = data, 0, name

    def take(self, form: str) -> Scalar:
        size = struct.calcsize(form)
        if self.at + size > len(self.data):
            raise Permanent(f"{self.name} is cut off in its header; fetch it again")
        value: Scalar = struct.unpack_from(form, self.data, self.at)[0]
        self.at += size
        return value

    def count(self, form: str, limit: int, noun: str) -> int:
        value = self.take(form)
        assert isinstance(value, int)
        if value > limit:
            raise Permanent(f"{self.name} says it has {value} {noun}, more than {limit}; it is damaged or hostile")
        return value

    def text(self) -> str:
        size = self.count("<Q", _STRING_MAX_BYTES, "bytes in one text")
        if self.at + size > len(self.data):
            raise Permanent(f"{self.name} is cut off in its header; fetch it again")
        self.at += size
        return self.data[self.at - size : self.at].decode("utf8", "replace")

    def value(self, kind: int, depth: int = 0) -> Scalar:
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            if kind not in _SCALARS:
                raise Permanent(f"{self.name} has a value of unknown kind {kind}; it is damaged or too new")
            return self.take(_SCALARS[kind])
        if depth:
            raise Permanent(f"{self.name} nests arrays, which no model does; it is damaged or hostile")
        inner = self.count("<I", _ARRAY_MAX, "as an array's kind")
        length = self.count("<Q", _ARRAY_MAX, "items in one array")
        if inner in _SCALARS:
            self.at += length * struct.calcsize(_SCALARS[inner])
        else:
            for _ in range(length):
                self.value(inner, depth + 1)
        return length


def read(path: Path) -> Header:
    """The header of a GGUF file. Raises Permanent when anything does not fit."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size < 24 or file.read(4) != b"GGUF":
            raise Permanent(f"{path.name} is not a GGUF file; give a file that begins with GGUF")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(_Cursor(data, path.name), size)


def _read(cursor: _Cursor, size: int) -> Header:
    cursor.at = 4
    version = cursor.take("<I")
    if version not in (2, 3):
        raise Permanent(f"{cursor.name} has GGUF version {version}; versions 2 and 3 can be read")
    tensors = cursor.count("<Q", _TENSORS_MAX, "tensors")
    pairs = cursor.count("<Q", _KEYS_MAX, "keys")
    keys: dict[str, Scalar] = {}
    for _ in range(pairs):
        name = cursor.text()
        keys[name] = cursor.value(cursor.count("<I", 1 << 16, "as a value's kind"))
    extents = [_extent(cursor) for _ in range(tensors)]
    alignment = keys.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 16:
        raise Permanent(f"{cursor.name} has an alignment of {alignment!r}; it is damaged or hostile")
    begin = -(-cursor.at // alignment) * alignment
    for name, offset, length in extents:
        if begin + offset + length > size:
            raise Permanent(f"{cursor.name} is cut off: tensor {name[:64]!r} ends past the file; fetch it again")
    architecture = keys.get("general.architecture", "")
    if not isinstance(architecture, str) or not architecture or not tensors:
        raise Permanent(f"{cursor.name} names no architecture or holds no tensors; it is not a model")
    return Header(architecture, keys, tensors, size)


def _extent(cursor: _Cursor) -> tuple[str, int, int]:
    """(name, offset, bytes) of one tensor."""
    name = cursor.text()
    values = 1
    for _ in range(cursor.count("<I", _DIMENSIONS_MAX, "dimensions in one tensor")):
        values *= cursor.count("<Q", 1 << 40, "values along one dimension")
    kind = cursor.count("<I", 1 << 16, "as a tensor's kind")
    if kind not in _BLOCKS:
        raise Permanent(f"{cursor.name}: tensor {name[:64]!r} is of unknown kind {kind}; it is damaged or too new")
    block, block_bytes = _BLOCKS[kind]
    offset = cursor.count("<Q", 1 << 48, "as a tensor's offset")
    return name, offset, -(-values // block) * block_bytes
