"""A CTranslate2 file is walked to its end; whatever is wrong with it is told, and nothing else passes for one."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines import ctranslate2_header, sources
from headrace.errors import Permanent
from tests.conftest import WHISPER


def name(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def variable(text: str, shape: tuple[int, ...], kind: int, data: bytes) -> bytes:
    dimensions = b"".join(struct.pack("<I", each) for each in shape)
    return name(text) + struct.pack("<B", len(shape)) + dimensions + struct.pack("<BI", kind, len(data)) + data


def model(*variables: bytes, aliases: tuple[tuple[str, str], ...] = (), version: int = 6) -> bytes:
    head = struct.pack("<I", version) + name("WhisperSpec") + struct.pack("<II", 3, len(variables))
    pairs = b"".join(name(one) + name(other) for one, other in aliases)
    return head + b"".join(variables) + struct.pack("<I", len(aliases)) + pairs


WEIGHT = variable("a/weight", (2, 3), 1, b"123456")
GOOD = model(WEIGHT, variable("scale", (), 0, b"1234"), aliases=(("b", "a/weight"),))


def read(tmp_path: Path, data: bytes) -> ctranslate2_header.Header:
    (tmp_path / "model.bin").write_bytes(data)
    return ctranslate2_header.read(tmp_path / "model.bin")


def test_the_real_weights_are_read() -> None:
    """Whisper tiny.en: English words and 80 mel bands."""
    folder = sources.local(WHISPER)
    assert folder is not None
    header = ctranslate2_header.read(folder / "model.bin")
    assert header.spec == "WhisperSpec"
    assert header.variables["decoder/embeddings/weight"].shape == (51_864, 384)
    assert header.variables["encoder/conv1/weight"].shape == (384, 80, 3)


def test_a_small_model_is_read(tmp_path: Path) -> None:
    """Shapes under their names; scalars have none."""
    header = read(tmp_path, GOOD)
    assert {name: found.shape for name, found in header.variables.items()} == {"a/weight": (2, 3), "scale": ()}
    assert header.bytes == len(GOOD)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut short"),
        (b"\x80\x04\x95 a pickle", "version 6"),
        (model(WEIGHT, version=5), "version 6"),
        (GOOD[:-1], "name"),
        (GOOD + b"\x80\x02.", "3 bytes follow"),
        (model(variable("w", (2, 3), 1, b"12345")), "not what its shape"),
        (model(variable("w", (2,), 9, b"12")), "not what its shape"),
        (model(variable("w", (1,) * 9, 1, b"1")), "9 dimensions"),
        (model(WEIGHT, aliases=(("b", "nothing"),)), "not in it"),
        (struct.pack("<I", 6) + name("WhisperSpec") + struct.pack("<II", 3, 2**31), "claims"),
        (model(WEIGHT)[:-14] + b"\xff" * 4, "cut short|goes on|name|bytes"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, data: bytes, why: str) -> None:
    """With the fix."""
    with pytest.raises(Permanent, match=rf"not a CTranslate2 model: .*({why}).*convert"):
        read(tmp_path, data)


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8))
def test_no_damage_does_more_than_a_refusal(tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes) -> None:
    """Whatever the bytes, it is read or refused."""
    folder = tmp_path_factory.mktemp("c")
    with contextlib.suppress(Permanent):  # anything else would fail
        assert read(folder, GOOD[:at] + noise + GOOD[at + len(noise) :]).bytes == max(len(GOOD), at + len(noise))
