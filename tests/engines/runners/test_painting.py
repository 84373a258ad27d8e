"""The painter draws what it is asked, the same for a seed in any company, and begins with a picture it is given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headrace
from headrace.engines.runners.batching import Batch, Item
from headrace.engines.runners.painting import Floats, Painter, Painting
from headrace.errors import Invalid
from tests.engines.asked import Asked, prompts
from tests.engines.judge import look

WEIGHTS = Path(headrace.__file__).parent / "weights/painter"


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(WEIGHTS, 2)


def painted(painter: Painter, *works: Painting) -> list[Any]:
    return painter.paint(Batch([Item(work, steps=work.left) for work in works]))


def drawing(
    painter: Painter, prompt: str, seed: int = 1, start: tuple[Floats, float] | None = None, side: int = 128
) -> Painting:
    return Painting(painter.recipe, painter.recipe.ids(prompt), seed, side, start)


def test_what_is_asked_is_drawn(painter: Painter) -> None:
    """Shape, colour, background, size and place, by an eye that shares nothing with the painter."""
    asked = prompts(40, seed=11)
    works = [drawing(painter, one.prompt, seed) for seed, one in enumerate(asked)]
    pictures = [picture for at in range(0, 40, 8) for picture in painted(painter, *works[at : at + 8])]
    wrong = [one.prompt for one, picture in zip(asked, pictures, strict=True) if one.faults(picture)]
    assert len(wrong) <= 4, wrong


def test_the_eye_finds_what_is_wrong(painter: Painter) -> None:
    """The same picture under another prompt is a fault each time: the test above can fail."""
    picture = painted(painter, drawing(painter, "a red circle on a white background"))[0]
    asked = (
        Asked("", "", (("circle", "red"),), background="white"),
        Asked("", "", (("square", "red"),)),
        Asked("", "", (("circle", "blue"),)),
        Asked("", "", (("circle", "red"),), background="black"),
        Asked("", "", (("circle", "red"), ("star", "red"))),
    )
    assert [bool(one.faults(picture)) for one in asked] == [False, True, True, True, True]


def test_a_picture_is_the_same_in_any_company(painter: Painter) -> None:
    """Alone, or among seven others: not one level differs; another seed gives another picture."""
    alone = painted(painter, drawing(painter, "a blue star", 5))[0]
    others = [drawing(painter, "a green tree and a red house", seed) for seed in range(7)]
    company = painted(painter, *others[:3], drawing(painter, "a blue star", 5), *others[3:])[3]
    assert np.array_equal(alone, company)
    assert not np.array_equal(alone, painted(painter, drawing(painter, "a blue star", 6))[0])


def test_synonyms_and_unknown_words_change_nothing(painter: Painter) -> None:
    """`a huge crimson disc, please` is `a large red circle`."""
    recipe = painter.recipe
    assert recipe.ids("A HUGE crimson disc, please!").tolist() == recipe.ids("large red circle").tolist()
    assert recipe.ids("crescent moon").tolist() == recipe.ids("moon").tolist()


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("a photo of a cat", "nothing this model can draw; it draws circle, square"),
        ("", "in red, orange"),
        ("red on white background", "nothing this model can draw"),
        ("a red circle, a blue star and a green tree", "names 3 things .* at most 2"),
        ("small red circle on left of large blue star on top on white background on left", r"\d+ words .* reads 12"),
    ],
)
def test_what_cannot_be_drawn_is_refused(painter: Painter, prompt: str, told: str) -> None:
    """With the value, the limit and the fix."""
    with pytest.raises(Invalid, match=told) as refused:
        painter.recipe.ids(prompt)
    assert refused.value.param == "prompt"


def circle_at(x: int, y: int) -> Any:
    given = np.full((64, 64, 3), 250, np.uint8)
    rows, columns = np.mgrid[:64, :64]
    given[np.hypot(rows - y, columns - x) < 12] = (220, 30, 40)
    return given


def test_a_given_picture_keeps_its_place_unless_words_move_it(painter: Painter) -> None:
    """The circle becomes a star where it was; words, or a strength of one, put it elsewhere."""
    scene = painter.read(circle_at(44, 20))

    def place(prompt: str, strength: float) -> tuple[float, float]:
        _, seen = look(painted(painter, drawing(painter, prompt, 3, (scene, strength)))[0])
        assert [(one.shape, one.colour) for one in seen] == [("star", "blue")]
        return seen[0].x, seen[0].y

    prompt = "a blue star on a white background"
    assert place(prompt, 0.7) == pytest.approx((44 / 64, 20 / 64), abs=0.06)
    assert place("a blue star at the bottom left on white", 0.9)[0] < 0.45
    assert place(prompt, 1.0)[0] < 0.62
    fresh = painted(painter, drawing(painter, prompt, 3, (scene, 1.0)))[0]
    assert np.array_equal(fresh, painted(painter, drawing(painter, prompt, 3))[0])


@pytest.mark.parametrize("side", [64, 256, 1024])
def test_a_scene_is_the_same_at_every_size(painter: Painter, side: int) -> None:
    """Smaller by averaging, a large drawing is the small one: nothing depends on the pixels' number."""
    scene = drawing(painter, "a green tree", 4)
    painted(painter, scene)
    large = np.asarray(Image.fromarray(painter.drawn(scene.scene, side)).resize((64, 64), Image.Resampling.BOX), float)
    assert np.abs(large - painter.drawn(scene.scene, 64)).mean() < 2
    edge = painter.drawn(scene.scene, side).reshape(-1, 3)
    assert len(np.unique(edge, axis=0)) < 600  # flat colours and the steps between them


def test_a_request_that_has_gone_is_left_out(painter: Painter) -> None:
    """It takes part in no further step; who stays gets the same picture."""

    class Gone(Item[Painting]):
        @property
        def wanted(self) -> bool:
            return self.step < 2

    gone = Gone(drawing(painter, "a red circle", 1), steps=10)
    stays = Item(drawing(painter, "a blue star", 5), steps=10)
    batch = Batch([gone, stays])
    pictures = painter.paint(batch)
    assert [stays] == batch.items
    assert gone.work.step == 2
    assert np.array_equal(pictures[0], painted(painter, drawing(painter, "a blue star", 5))[0])
