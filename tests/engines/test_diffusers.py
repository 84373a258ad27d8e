"""The adapter of diffusers' checkpoints: what can be proven without torch. Its runner's tests draw where there is one."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.engines import diffusers, golden, sources
from headrace.engines.diffusers import Diffusers
from headrace.errors import Permanent
from headrace.ports import Artifact
from headrace.specs.catalog import EngineSpec, ModelSpec
from tests.conftest import CAPITAL
from tests.conftest import model as model_of

MADE = Artifact(digest="0" * 20, path="/artifacts/x", files={"weights": "pipeline"}, memory_bytes=1)
INDEX = {
    "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "safety_checker": [None, None],
    "requires_safety_checker": False, "unet": ["diffusers", "UNet2DConditionModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
}  # fmt: skip


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every package were here; none is imported."""
    monkeypatch.setattr(diffusers.importlib.util, "find_spec", lambda name: name)  # type: ignore[attr-defined]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint as save_pretrained writes one, but for its numbers."""
    made = tmp_path / "checkpoint"
    for name, content in {
        "model_index.json": json.dumps(INDEX),
        "unet/config.json": "{}",
        "unet/diffusion_pytorch_model.safetensors": "12345678{}",
        "unet/diffusion_pytorch_model.fp16.safetensors": "12345678{}",
        "unet/diffusion_pytorch_model.bin": "numbers",
        "unet/modeling.py": "print('here')",
        "tokenizer/vocab.json": "{}",
        "v1-5-pruned.safetensors": "12345678{}",
        "README.md": "words",
    }.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(content)
    return made


def model(source: Path | str, task: str = "image", quantise: str = "", **args: Any) -> ModelSpec:
    spec = EngineSpec(kind="diffusers", slots=4, threads=2, quantise=quantise, args=args)
    return model_of("easel", task, str(source), spec, CAPITAL)


def test_the_command_hands_every_option_over() -> None:
    """Read once and written whole, defaults too; nothing is fetched when it starts."""
    command = Diffusers().command(model("/m", dtype="bfloat16", steps=20), MADE, "unix:/run/e.sock", 0)
    words = dict(word.removeprefix("--").split("=", 1) for word in command.argv if word.startswith("--"))
    options = json.loads(words.pop("options"))
    assert words == {
        "weights": "/artifacts/x/pipeline", "listen": "/run/e.sock", "alias": "easel", "task": "image", "slots": "4",
        "threads": "2",
    }  # fmt: skip
    assert (options["dtype"], options["steps"], options["guidance"], options["device"]) == (
        "bfloat16",
        20,
        None,
        "auto",
    )
    assert (command.address, command.env["HF_HUB_OFFLINE"]) == ("unix:/run/e.sock", "1")


@pytest.mark.usefixtures("installed")
def test_a_good_checkpoint_has_no_problems(folder: Path) -> None:
    """Neither as pictures nor as films."""
    args = {"sizes": "512x512, 768x512", "guidance": 5, "edits": True, "device": "cuda", "variant": "fp16"}
    assert Diffusers().problems(model(folder, **args)) == []
    assert Diffusers().problems(model(folder, "video", frames=81, fps=16)) == []


def test_what_is_not_installed_is_named_with_how_to(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """torch and diffusers are the user's to install."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        diffusers.importlib.util,  # type: ignore[attr-defined]
        "find_spec",
        lambda name: None if name in ("torch", "diffusers") else real(name) or name,
    )
    told = Diffusers().problems(model(folder))
    assert told == [
        "the engine diffusers needs the Python packages torch, diffusers; "
        "run: pip install torch 'diffusers>=0.42' transformers accelerate"
    ]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"step": 3}, "engine.args.step is not known to the engine diffusers; it takes dtype, device, steps, guidance"),
        ({"steps": 0}, "engine.args.steps is 0: Expected `int` >= 1"),
        ({"dtype": "int4"}, "engine.args.dtype is 'int4'"),
        ({"sizes": "512x512,100x100"}, "engine.args.sizes has '100x100'; write WIDTHxHEIGHT, each a multiple of 8"),
        ({"frames": 7}, "engine.args.frames is 7, less than a second at fps 8; give more, or less fps"),
        ({"sizes": ""}, "engine.args.sizes has ''"),
        ({"variant": "../x"}, "engine.args.variant is '../x'"),
        ({"edits": "yes"}, "engine.args.edits is 'yes': Expected `bool`, got `str`"),
    ],
)
def test_arguments_are_refused_by_name(folder: Path, args: dict[str, Any], words: str) -> None:
    """With what would be good; the ability of such a model can be asked all the same."""
    told = Diffusers().problems(model(folder, **args))
    assert len(told) == 1
    assert words in told[0]
    assert Diffusers().ability(model(folder, **args)).media is not None


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_class_name": ["my_pipeline", "Mine"]}, "code of its own; only diffusers' pipelines are run"),
        ({"_class_name": "os.system"}, "names the pipeline 'os.system'"),
        ({"unet": ["subprocess", "Popen"]}, "has unet from ['subprocess', 'Popen']; only parts of diffusers, transf"),
        ({"unet": ["diffusers", "a.b"]}, "has unet from ['diffusers', 'a.b']"),
        ({"../unet": ["diffusers", "UNet2DModel"]}, "has ../unet from"),
    ],
)
def test_code_in_the_table_of_contents_is_a_problem(folder: Path, change: dict[str, Any], words: str) -> None:
    """diffusers would import what is named; here it is refused before."""
    (folder / "model_index.json").write_text(json.dumps(INDEX | change))
    (told,) = Diffusers().problems(model(folder))
    assert words in told


@pytest.mark.usefixtures("installed")
def test_other_tasks_and_sources_are_problems(folder: Path, tmp_path: Path) -> None:
    """Each by name."""
    assert "serves the tasks image and video, not chat" in Diffusers().problems(model(folder, "chat"))[0]
    assert "quantise 'Q4_0' is not done for diffusers" in Diffusers().problems(model(folder, quantise="Q4_0"))[0]
    assert "has no model_index.json that can be read" in Diffusers().problems(model(tmp_path))[0]
    assert "/nowhere does not exist" in Diffusers().problems(model("/nowhere"))[0]


@pytest.mark.usefixtures("installed")
def test_only_what_is_safe_reaches_diffusers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Safetensors and words of the parts that are named: no Python, no pickle, nothing that lies beside them."""
    monkeypatch.setattr(golden, "prove", lambda engine, model, found, artifacts, say: found)
    found = Diffusers().prepare(model(folder), tmp_path / "artifacts", print)
    inside = Path(found.path) / "pipeline"
    assert sorted(str(file.relative_to(inside)) for file in inside.rglob("*") if file.is_file()) == [
        "model_index.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
    ]


@pytest.mark.usefixtures("installed")
def test_pickles_are_refused(folder: Path, tmp_path: Path) -> None:
    """A part that has nothing else, and one that is called safetensors and is none."""
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(b"\x80\x04numbers")
    with pytest.raises(Permanent, match=r"diffusion_pytorch_model.safetensors is a pickle"):
        Diffusers().prepare(model(folder), tmp_path / "artifacts", print)
    for file in (folder / "unet").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(Permanent, match=r"unet has diffusion_pytorch_model.bin, a pickle, and no safetensors"):
        Diffusers().prepare(model(folder), tmp_path / "artifacts", print)
    assert sources.local(str(folder)) == folder


def test_the_ability_is_what_the_arguments_say() -> None:
    """Pictures: sizes, formats, edits if wanted. Films: as many seconds as there are frames for."""
    pictures = Diffusers().ability(model("/m", sizes="1024x1024,64x128")).media
    assert pictures is not None
    assert (pictures.sizes, pictures.edits, pictures.formats) == (
        ("1024x1024", "64x128"),
        False,
        ("png", "jpeg", "webp"),
    )
    assert Diffusers().ability(model("/m", edits=True)).media != pictures
    films = Diffusers().ability(model("/m", "video", frames=81, fps=16)).media
    assert films is not None
    assert (films.video_s_max, films.edits) == (5, False)


def test_variants_share_prepared_weights(tmp_path: Path) -> None:
    """All variants are in the artifact: which one is loaded is the command's to say."""
    one, other = (diffusers.artifacts_on_disk.digest(model(tmp_path, variant=name)) for name in ("", "fp16"))
    assert one == other
    assert msgspec.json.encode(Diffusers().ability(model(tmp_path)))
