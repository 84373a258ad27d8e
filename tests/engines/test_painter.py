"""The painter's adapter takes our weights, proves them, and says what is wrong with others."""

import io
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from headrace.engines import artifact, colours
from headrace.engines.painter import PainterEngine
from headrace.engines.runners import painter as runner
from headrace.errors import Permanent
from headrace.specs.catalog import Golden
from tests.conftest import ARTIFACTS, MODELS, make


def png(colour: str, ground: str = "white", part: int = 16) -> bytes:
    picture = Image.new("RGB", (64, 64), ground)
    picture.paste(colour, (8, 8, 8 + part, 8 + part))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("colour", ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"])
def test_the_prevailing_colour_is_that_of_the_thing(colour: str) -> None:
    """A small thing on white, black or grey; a small spot of another colour does not outweigh it."""
    shown = {"pink": "#f582b4", "orange": "#fa8c14", "purple": "#8232aa"}.get(colour, colour)
    assert [colours.prevailing(png(shown, ground)) for ground in ("white", "black", "#888")] == [colour] * 3


def test_a_picture_without_a_hue_has_a_shade() -> None:
    """White, black, grey; a speck does not count."""
    shades = [colours.prevailing(png(shade, shade)) for shade in ("white", "black", "#808080")]
    assert shades == ["white", "black", "grey"]
    assert colours.prevailing(png("red", "white", 4)) == "white"


def test_a_wrong_colour_fails_the_golden_question() -> None:
    """Weights that draw something else are not found by the controller."""
    make("painter")
    wrong = Golden(prompt="a red circle on a white background", expect="blue")
    model = msgspec.structs.replace(MODELS["painter"], golden=wrong)
    with pytest.raises(Permanent, match=r"'a red circle on a white background' red prevails, not 'blue'"):
        PainterEngine().prepare(model, ARTIFACTS, print)
    assert artifact.find(model, ARTIFACTS) is None


def test_problems_say_what_to_change(tmp_path: Path) -> None:
    """Another task, another folder, a quantisation there is not."""
    engine, model = PainterEngine(), MODELS["painter"]
    assert engine.problems(model) == []
    other = msgspec.structs.replace(
        model,
        task="chat",
        source=str(tmp_path),
        engine=msgspec.structs.replace(model.engine, quantise="int8"),
    )
    found = engine.problems(other)
    assert len(found) == 3
    assert "serves image and video, not chat" in found[0]
    assert "quantise 'int8'" in found[1]
    assert "lacks flow.onnx, outline.onnx, reader.onnx, painter.json" in found[2]


def test_the_adapter_states_what_the_runner_makes() -> None:
    """Sizes and formats are written twice, since the adapter must stay cheap to import; they are the same."""
    media = PainterEngine().ability(MODELS["painter"]).media
    assert media is not None
    assert [f"{side}x{side}" for side in runner.SIDES] == list(media.sizes)
    assert media.formats == runner.pictures.FORMATS
    assert media.pixels_max == runner.pictures.PIXELS_MAX
