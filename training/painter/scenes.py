"""Pictures of one or two flat shapes on a plain background: the painter's only teacher.

Drawn from signed distances, so that edges are anti-aliased over one pixel. All chance comes from the generator given.
"""

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from shapes import SHAPES

SIDE = 64
RGB = tuple[int, int, int]

COLOURS = {
    "red": (220, 30, 40),
    "orange": (250, 140, 20),
    "yellow": (250, 220, 40),
    "green": (40, 160, 70),
    "cyan": (50, 200, 210),
    "blue": (40, 80, 210),
    "purple": (130, 50, 170),
    "pink": (245, 130, 180),
    "brown": (120, 75, 40),
    "black": (20, 20, 20),
    "grey": (135, 135, 135),
    "white": (250, 250, 250),
}
NEAR = [{"white", "grey"}, {"red", "orange"}, {"red", "brown"}, {"blue", "purple"}, {"black", "brown"}]
PLACES = {
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
    "center": (0, 0),
}


@dataclass(frozen=True)
class Thing:
    """One shape: where and how large in pixels, its exact colour, and the words of its caption (empty: not said)."""

    shape: str
    colour: str
    paint: RGB
    x: float
    y: float
    radius: float
    size: str = ""
    place: str = ""
    colour_said: bool = True


@dataclass(frozen=True)
class Scene:
    """One or two things; with `relation` the first stands so to the second."""

    things: tuple[Thing, ...]
    background: str
    paint: RGB
    background_said: bool
    relation: str = ""


def draw(scene: Scene) -> NDArray[np.uint8]:
    """The picture, RGB [64, 64, 3]."""
    canvas = np.broadcast_to(np.asarray(scene.paint, np.float32), (SIDE, SIDE, 3)).copy()
    for thing in scene.things:
        columns, rows = (_span(middle, thing.radius) for middle in (thing.x, thing.y))
        x, y = np.meshgrid((columns + 0.5 - thing.x) / thing.radius, (rows + 0.5 - thing.y) / thing.radius)
        cover = np.clip(0.5 - SHAPES[thing.shape](x.astype(np.float32), y.astype(np.float32)) * thing.radius, 0, 1)
        part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        canvas[part] += (np.asarray(thing.paint, np.float32) - canvas[part]) * cover[..., None]
    return np.round(canvas).astype(np.uint8)


def _span(middle: float, radius: float) -> NDArray[np.intp]:
    """The pixels of one axis that a shape can touch."""
    return np.arange(max(0, int(middle - 1.1 * radius) - 1), min(SIDE, int(middle + 1.1 * radius) + 2))


def scene(chance: Random) -> Scene:
    """A random scene."""
    return _pair(chance) if chance.random() < 0.4 else _alone(chance)


def _alone(chance: Random) -> Scene:
    size = chance.choice(["", "", "small", "large"])
    place = chance.choice(list(PLACES)) if chance.random() < 0.4 else ""
    toward = PLACES.get(place, (0, 0))
    low, high = {"": (13, 19), "small": (7, 9.5), "large": (23, 28)}[size]
    if any(toward):
        low, high = {"": (10, 14), "small": (6.5, 9), "large": (17, 20)}[size]
    radius = chance.uniform(low, high)
    x, y = (_along(chance, direction, radius, 0 if place else 5) for direction in toward)
    return _on_background((_thing(chance, x, y, radius, size, place),), "", chance)


def _along(chance: Random, direction: int, radius: float, freedom: float) -> float:
    """A coordinate of a centre: at the border that `direction` names, or about the middle."""
    if direction:
        from_border = radius + chance.uniform(2, 5)
        return from_border if direction < 0 else SIDE - from_border
    room = max(0.0, min(freedom, SIDE / 2 - radius - 2))
    return SIDE / 2 + chance.uniform(-1, 1) * (room + 1)


def _pair(chance: Random) -> Scene:
    relation = chance.choice(["left", "right", "above", "below", ""])
    level = relation in ("left", "right") or (not relation and chance.random() < 0.8)
    things = []
    for end in (1, -1) if relation in ("right", "below") else (-1, 1):
        size = chance.choice(["", "", "", "", "small", "large"])
        radius = chance.uniform(*{"": (10.5, 13), "small": (6.5, 8.5), "large": (14, 15)}[size])
        apart, across = SIDE / 2 + end * chance.uniform(15.5, 17), SIDE / 2 + chance.uniform(-5, 5)
        x, y = (apart, across) if level else (across, apart)
        things.append(_thing(chance, x, y, radius, size, ""))
    return _on_background(tuple(things), relation, chance)


def _thing(chance: Random, x: float, y: float, radius: float, size: str, place: str) -> Thing:
    colour = chance.choice(list(COLOURS))
    shape, said = chance.choice(list(SHAPES)), chance.random() > 0.06
    return Thing(shape, colour, _paint(chance, colour), x, y, radius, size, place, said)


def _paint(chance: Random, colour: str) -> RGB:
    """A colour that has that name: each level up to five off."""
    red, green, blue = (min(255, max(0, level + chance.randint(-5, 5))) for level in COLOURS[colour])
    return red, green, blue


def _on_background(things: tuple[Thing, ...], relation: str, chance: Random) -> Scene:
    """Choose a background that is unlike each thing; unsaid, it is white more often than not."""
    said = chance.random() < 0.5
    free = [name for name in COLOURS if not any(_near(name, thing.colour) for thing in things)]
    plain = "white" in free and not said and chance.random() < 0.75
    background = "white" if plain else chance.choice(free)
    return Scene(things, background, _paint(chance, background), said, relation)


def _near(one: str, other: str) -> bool:
    return one == other or {one, other} in NEAR
