"""The golden question finds weights that load and answer nonsense."""

from pathlib import Path

import msgspec
import pytest

from headrace.engines import artifact
from headrace.engines.llama_cpp import LlamaCpp
from headrace.engines.onnx import Onnx
from headrace.errors import Permanent
from tests.conftest import ARTIFACTS, MODELS, NEAR, make


def test_the_shipped_quantisation_fails_and_is_not_published(tmp_path: Path) -> None:
    """SmolLM2 as shipped, in Q4_1, does not know the capital of France on llama.cpp; it must never be served."""
    model = MODELS["smollm2"]
    shipped = msgspec.structs.replace(model, engine=msgspec.structs.replace(model.engine, quantise=""))
    with pytest.raises(Permanent, match=r"failed its golden question.*without 'Paris'"):
        LlamaCpp().prepare(shipped, tmp_path, print)
    assert artifact.find(shipped, tmp_path) is None


def test_a_wrong_order_of_nearness_fails() -> None:
    """For embeddings the closer text must be closer; asked the wrong way round, the check says so."""
    make("minilm")
    swapped = msgspec.structs.replace(NEAR, closer=NEAR.farther, farther=NEAR.closer)
    model = msgspec.structs.replace(MODELS["minilm"], golden=swapped)
    with pytest.raises(Permanent, match="came before"):
        Onnx().prepare(model, ARTIFACTS, print)
    assert artifact.find(model, ARTIFACTS) is None


def test_a_process_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    """Damaged weights behind a whole header end the engine at start; the reason reaches the user."""
    weights = tmp_path / "model.onnx"
    weights.write_bytes(b"\x08\x0anot a graph")
    with pytest.raises(Permanent, match=r"not a readable ONNX file|tokenizer"):
        Onnx().prepare(msgspec.structs.replace(MODELS["minilm"], source=str(weights)), tmp_path / "a", print)
