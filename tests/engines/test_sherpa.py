"""The adapter of given voices: its command line, what it takes, and what it refuses. No voice is to be had here."""

from pathlib import Path

import msgspec
import pytest

from headrace.engines import artifact, golden
from headrace.engines.sherpa import Sherpa
from headrace.errors import Permanent
from headrace.ports import Artifact
from headrace.specs.catalog import EngineSpec, ModelSpec
from tests.conftest import MODELS


@pytest.fixture
def voice(tmp_path: Path) -> ModelSpec:
    folder = tmp_path / "voice"
    (folder / "espeak-ng-data").mkdir(parents=True)
    (folder / "en_US-amy-low.onnx").write_bytes(b"\x08\x07graph")
    (folder / "tokens.txt").write_text("_ 0\n")
    (folder / "espeak-ng-data" / "phontab").write_bytes(b"1")
    engine = EngineSpec(kind="sherpa", slots=4, threads=2)
    return msgspec.structs.replace(MODELS["espeak"], name="amy", source=str(folder), engine=engine)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package were installed and the weights were right: neither is needed for what is tested here."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    monkeypatch.setattr(golden, "prove", lambda _engine, _model, found, _artifacts, _say: found)


def test_the_parts_of_a_voice_are_found(voice: ModelSpec, installed: None, tmp_path: Path) -> None:
    """One .onnx of any name, its tokens and its data."""
    made = Sherpa().prepare(voice, tmp_path / "artifacts", print)
    assert made.files == {"weights": "model.onnx", "tokens": "tokens.txt", "data": "espeak-ng-data"}
    assert (Path(made.path) / "espeak-ng-data" / "phontab").read_bytes() == b"1"
    assert artifact.load(voice, tmp_path / "artifacts") == made


def test_the_command_line_names_each_part() -> None:
    """And nothing that is not there."""
    files = {"weights": "model.onnx", "tokens": "tokens.txt", "styles": "voices.bin", "data": "d"}
    made = Artifact(digest="0" * 20, path="/a", files=files, memory_bytes=1)
    model = msgspec.structs.replace(MODELS["espeak"], name="k", engine=EngineSpec(kind="sherpa", slots=4, threads=2))
    command = Sherpa().command(model, made, "unix:/run/e.sock", 0)
    assert command.argv[4:6] == ("-m", "headrace.engines.runners.sherpa")
    assert set(command.argv[6:]) == {
        "--weights=/a/model.onnx", "--listen=/run/e.sock", "--alias=k", "--slots=4", "--threads=2",
        "--tokens=/a/tokens.txt", "--data=/a/d", "--styles=/a/voices.bin",
    }  # fmt: skip
    assert command.env == {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "2"}


def test_what_is_missing_is_told(voice: ModelSpec, installed: None, tmp_path: Path) -> None:
    """The file, and what a folder must hold."""
    (Path(voice.source) / "tokens.txt").unlink()
    with pytest.raises(Permanent, match=r"has no tokens\.txt; `source` must be a folder of a voice"):
        Sherpa().prepare(voice, tmp_path / "artifacts", print)


def test_problems_are_told_before(voice: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package, the task, the quantisation, the source."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    engine = msgspec.structs.replace(voice.engine, quantise="int8")
    bad = msgspec.structs.replace(voice, task="chat", source="/nowhere", engine=engine)
    told = " ".join(Sherpa().problems(bad))
    for word in ("pip install sherpa-onnx", "not chat", "'int8'", "/nowhere"):
        assert word in told


def test_a_pickle_among_the_styles_is_refused(voice: ModelSpec, installed: None, tmp_path: Path) -> None:
    """Kokoro's voices.bin holds bare numbers."""
    (Path(voice.source) / "voices.bin").write_bytes(b"\x80\x04pickle")
    with pytest.raises(Permanent, match="can run code"):
        Sherpa().prepare(voice, tmp_path / "artifacts", print)
