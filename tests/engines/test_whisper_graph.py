"""The encoder written for OpenVINO computes what CTranslate2's does, of floats and of scaled integers alike."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_whisper.audio import pad_or_trim
from faster_whisper.feature_extractor import FeatureExtractor

from headrace.engines import sources, whisper_graph
from headrace.engines.runners import recording
from headrace.engines.runners.transcriber import Transcriber, load
from headrace.engines.runners.whisper_encoder import Encoder
from headrace.errors import Permanent
from tests.conftest import WHISPER
from tests.engines.runners import sounds
from tests.engines.test_ctranslate2_header import model, variable

WIDTH, HEADS, MELS = 8, 2, 4
TYPES = {"float32": 0, "int8": 1, "float16": 4}


@pytest.fixture(scope="module")
def features() -> Any:
    samples = recording.decode(sounds.speech(), 60).astype(np.float32) / 32_768
    return pad_or_trim(FeatureExtractor()(samples)[:, :-1])[np.newaxis]


@pytest.mark.parametrize(("exact", "tolerance"), [(True, 1e-3), (False, 0.05)])
def test_the_real_encoder_is_ctranslate2s(tmp_path: Path, features: Any, exact: bool, tolerance: float) -> None:
    """The mean difference over the mean size; bfloat16, where the CPU has it, is closer than int8 is (0.056)."""
    folder = sources.local(WHISPER)
    assert folder is not None
    whisper_graph.write(folder / "model.bin", tmp_path / "encoder.xml")
    found = Encoder(str(tmp_path / "encoder.xml"), 2, exact)(features)
    wanted = Transcriber(load(str(folder), "float32", 2))._encoded(features)
    assert found.shape == wanted.shape == (1, 1_500, 384)
    assert np.abs(found - wanted).mean() / np.abs(wanted).mean() < tolerance


def small(integers: bool) -> bytes:
    """An encoder of one layer; its matrices as integers with a scale for each row, or as the floats those stand for."""
    random = np.random.default_rng(3)
    found = [variable("encoder/num_heads", (), 1, struct.pack("<b", HEADS))]

    def put(name: str, *shape: int) -> None:
        value = random.normal(0, 0.3, shape).astype(np.float32)
        if len(shape) == 2 and "positions" not in name and "position" not in name:
            scale = (127 / np.abs(value).max(axis=1)).astype(np.float32)
            rounded = np.rint(value * scale[:, np.newaxis]).astype(np.int8)
            if integers:
                found.append(variable(f"encoder/{name}", shape, TYPES["int8"], rounded.tobytes()))
                found.append(variable(f"encoder/{name}_scale", scale.shape, TYPES["float32"], scale.tobytes()))
                return
            value = rounded.astype(np.float32) / scale[:, np.newaxis]
        found.append(variable(f"encoder/{name}", shape, TYPES["float32"], value.tobytes()))

    put("conv1/weight", WIDTH, MELS, 3)
    put("conv1/bias", WIDTH)
    put("conv2/weight", WIDTH, WIDTH, 3)
    put("conv2/bias", WIDTH)
    put("position_encodings/encodings", 1_500, WIDTH)
    for part, outer in (("self_attention", 3 * WIDTH), ("ffn", 4 * WIDTH)):
        inner = WIDTH if part == "self_attention" else outer
        for name in ("gamma", "beta"):
            put(f"layer_0/{part}/layer_norm/{name}", WIDTH)
        put(f"layer_0/{part}/linear_0/weight", outer, WIDTH)
        put(f"layer_0/{part}/linear_0/bias", outer)
        put(f"layer_0/{part}/linear_1/weight", WIDTH, inner)
        put(f"layer_0/{part}/linear_1/bias", WIDTH)
    put("layer_norm/gamma", WIDTH)
    put("layer_norm/beta", WIDTH)
    return model(*found)


def states(folder: Path, data: bytes) -> Any:
    folder.mkdir()
    (folder / "model.bin").write_bytes(data)
    whisper_graph.write(folder / "model.bin", folder / "encoder.xml")
    given = np.random.default_rng(5).normal(0, 1, (2, MELS, 3_000)).astype(np.float32)
    return Encoder(str(folder / "encoder.xml"), 1, exact=True)(given)


def test_integers_with_scales_are_the_floats_they_stand_for(tmp_path: Path) -> None:
    """And two windows give two results."""
    of_integers, of_floats = states(tmp_path / "i", small(True)), states(tmp_path / "f", small(False))
    assert of_integers.shape == (2, 1_500, WIDTH)
    np.testing.assert_allclose(of_integers, of_floats, atol=1e-5)
    assert np.abs(of_floats[0] - of_floats[1]).mean() > 0.01


def test_another_form_is_told(tmp_path: Path) -> None:
    """By the tensor that is not there."""
    file = tmp_path / "model.bin"
    file.write_bytes(small(False).replace(b"encoder/conv2/bias", b"encoder/conv2/bios"))
    with pytest.raises(Permanent, match="no encoder of Whisper's form: 'encoder/conv2/bias' is missing"):
        whisper_graph.write(file, tmp_path / "encoder.xml")
