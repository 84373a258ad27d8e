"""Artifacts appear whole or not at all, under a name that says what made them."""

from pathlib import Path

import pytest

from headrace.engines import artifact
from headrace.specs.catalog import EngineSpec, Golden, ModelSpec
from tests.conftest import CAPITAL
from tests.conftest import model as model_of

MODEL = model_of("m", "chat", "/m.gguf", EngineSpec(kind="llama_cpp"), CAPITAL)


def published(model: ModelSpec, folder: Path) -> artifact.Artifact:
    with artifact.building(model, folder) as work:
        (work / "model.gguf").write_bytes(b"weights")
        return artifact.publish(model, folder, work, {"weights": "model.gguf"}, {"m.gguf": "00"}, 5)


def test_an_artifact_is_found_once_it_is_proven(tmp_path: Path) -> None:
    """Finished is not enough: this model's golden question must have been answered."""
    assert artifact.find(MODEL, tmp_path) is None
    made = published(MODEL, tmp_path)
    assert artifact.find(MODEL, tmp_path) is None
    artifact.mark_proven(MODEL, made)
    assert made == artifact.find(MODEL, tmp_path)


def test_another_question_is_another_proof(tmp_path: Path) -> None:
    """A changed golden question is asked again, of the same weights."""
    made = published(MODEL, tmp_path)
    artifact.mark_proven(MODEL, made)
    other = model_of("m", "chat", "/m.gguf", MODEL.engine, Golden(prompt="2 + 2?", expect="4"))
    assert artifact.find(other, tmp_path) is None
    assert made == artifact.load(other, tmp_path)


def failing(folder: Path) -> None:
    with artifact.building(MODEL, folder) as work:
        (work / "model.gguf").write_bytes(b"half")
        raise OSError("disk")


def test_work_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """No half-made folder is seen or stays."""
    with pytest.raises(OSError, match="disk"):
        failing(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_builder_left_is_swept(tmp_path: Path) -> None:
    """Its folder is removed by the next; the folder of one that still builds is not."""
    left = tmp_path / f".{artifact.digest(MODEL)}-killed"
    left.mkdir()
    with artifact.building(MODEL, tmp_path) as first, artifact.building(MODEL, tmp_path):
        assert first.exists()
        assert not left.exists()


def test_equal_work_of_two_is_kept_once(tmp_path: Path) -> None:
    """The second to finish finds the first's artifact in place and takes it."""
    with artifact.building(MODEL, tmp_path) as work:
        (work / "model.gguf").write_bytes(b"mine")
        first = published(MODEL, tmp_path)
        second = artifact.publish(MODEL, tmp_path, work, {"weights": "model.gguf"}, {}, 5)
    assert first == second
    assert (Path(first.path) / "model.gguf").read_bytes() == b"weights"
    assert [entry.name for entry in tmp_path.iterdir()] == [first.digest]


def test_a_missing_file_makes_it_unfinished(tmp_path: Path) -> None:
    """What was deleted by hand is prepared again, not served."""
    made = published(MODEL, tmp_path)
    (Path(made.path) / "model.gguf").unlink()
    assert artifact.load(MODEL, tmp_path) is None
    assert published(MODEL, tmp_path) == artifact.load(MODEL, tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b'{"source": 1}', b"\xff"])
def test_a_damaged_manifest_is_no_artifact(tmp_path: Path, text: bytes) -> None:
    """Bad bytes are the same as nothing."""
    made = published(MODEL, tmp_path)
    (Path(made.path) / artifact.MANIFEST).write_bytes(text)
    assert artifact.find(MODEL, tmp_path) is None


def test_memory_seen_replaces_the_estimate(tmp_path: Path) -> None:
    """What the golden run took is what the controller places by."""
    published(MODEL, tmp_path)
    artifact.measured(MODEL, tmp_path, 77)
    found = artifact.load(MODEL, tmp_path)
    assert found is not None
    assert found.memory_bytes == 77
