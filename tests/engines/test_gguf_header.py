"""A GGUF header is believed only when everything in it fits the file."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engines import gguf_header, sources
from headrace.errors import Permanent
from tests.conftest import SMOLLM2


def text(words: str) -> bytes:
    return struct.pack("<Q", len(words)) + words.encode()


def file(*, tensors: int = 1, offset: int = 0, sizes: tuple[int, ...] = (32,), kind: int = 2, body: int = 18) -> bytes:
    """A whole small file: one key, one tensor of Q4_0 unless told otherwise."""
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, 1)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("w") + struct.pack("<I", len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes)
    head += struct.pack("<IQ", kind, offset)
    return head + b"\0" * (-len(head) % 32) + b"\0" * body


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return path


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    """Architecture and sizes are known."""
    header = gguf_header.read(written(tmp_path, file()))
    assert (header.architecture, header.tensors) == ("llama", 1)


def test_the_shipped_model_is_read() -> None:
    """SmolLM2's own figures: 30 layers, 3 key heads of 64, hence 23,040 bytes of cache a token."""
    header = gguf_header.read(sources.fetch(SMOLLM2))
    assert (header.number("block_count"), header.kv_bytes_per_token) == (30, 23_040)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a GGUF file"),
        (b"PK\x03\x04" + b"\0" * 40, "not a GGUF file"),
        (file()[:-1], "ends past the file"),
        (file(offset=1 << 40), "ends past the file"),
        (file(sizes=(1 << 39,)), "ends past the file"),
        (file(sizes=(1 << 40, 1 << 40)), "ends past the file"),
        (file(sizes=(1,) * 5), "dimensions"),
        (file(kind=77), "unknown kind"),
        (file(tensors=1 << 60), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 9, 1, 1), "GGUF version"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 1 << 50), "bytes in one text"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    """With the reason."""
    with pytest.raises(Permanent, match=reason):
        gguf_header.read(written(tmp_path, data))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damage_escapes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any bytes changed or cut off anywhere: a header or Permanent, nothing else, and quickly."""
    whole = bytearray(file())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(whole[:cut])
    with contextlib.suppress(Permanent):
        gguf_header.read(path)
