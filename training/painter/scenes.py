"""Pictures of one or two flat shapes on a plain background, each with a caption: the painter's only teacher.

Everything is drawn from signed distances, so edges are anti-aliased exactly over one pixel. All randomness comes from
the generator that is passed in.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 64
Grid = NDArray[np.float32]

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


def _box(x: Grid, y: Grid, half_width: float, half_height: float) -> Grid:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _disc(x: Grid, y: Grid, radius: float) -> Grid:
    return np.hypot(x, y) - radius


def _polygon(x: Grid, y: Grid, points: list[tuple[float, float]]) -> Grid:
    """Exact signed distance to a polygon, negative inside."""
    nearest, inside = np.full_like(x, np.inf), np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
        ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
        along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, np.hypot(px - along * ex, py - along * ey))
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (px < ex * py / ey)
    return np.where(inside, -nearest, nearest).astype(np.float32)


def _star(x: Grid, y: Grid) -> Grid:
    turns = np.arange(10) * np.pi / 5
    reach = np.where(np.arange(10) % 2, 0.42, 1.0)
    return _polygon(x, y, list(zip(reach * np.sin(turns), 0.06 - reach * np.cos(turns), strict=True)))


def _heart(x: Grid, y: Grid) -> Grid:
    """A square on its corner with a half disc on each of its upper sides."""
    half, y = 0.58, y + 0.06
    tilted = (np.abs(x) + np.abs(y - 0.1)) / np.sqrt(2) - half
    shift = half / np.sqrt(2)
    return np.minimum(tilted, _disc(np.abs(x) - shift, y - 0.1 + shift, half))


def _moon(x: Grid, y: Grid) -> Grid:
    return np.maximum(_disc(x + 0.05, y, 1.0), -_disc(x - 0.45, y, 0.85))


def _cloud(x: Grid, y: Grid) -> Grid:
    puffs = [_disc(x + 0.55, y - 0.18, 0.42), _disc(x, y + 0.12, 0.56), _disc(x - 0.55, y - 0.16, 0.44)]
    return np.minimum(np.minimum.reduce(puffs), _box(x, y - 0.38, 0.56, 0.22))


def _house(x: Grid, y: Grid) -> Grid:
    roof = _polygon(x, y, [(0, -0.95), (0.92, -0.1), (-0.92, -0.1)])
    return np.minimum(roof, _box(x, y - 0.36, 0.7, 0.5))


def _tree(x: Grid, y: Grid) -> Grid:
    crown = _polygon(x, y, [(0, -1), (0.8, 0.5), (-0.8, 0.5)])
    return np.minimum(crown, _box(x, y - 0.7, 0.17, 0.3))


# Each within the unit circle or just about, y downwards.
SHAPES: dict[str, Callable[[Grid, Grid], Grid]] = {
    "circle": lambda x, y: _disc(x, y, 0.95),
    "square": lambda x, y: _box(x, y, 0.82, 0.82),
    "triangle": lambda x, y: _polygon(x, y, [(0, -0.9), (1.0, 0.8), (-1.0, 0.8)]),
    "diamond": lambda x, y: (np.abs(x) * 1.3 + np.abs(y) - 1) / 1.64,
    "star": _star,
    "heart": _heart,
    "cross": lambda x, y: np.minimum(_box(x, y, 0.3, 0.95), _box(x, y, 0.95, 0.3)),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.72) - 0.24,
    "moon": _moon,
    "cloud": _cloud,
    "house": _house,
    "tree": _tree,
}


@dataclass(frozen=True)
class Thing:
    """One shape: where and how large in pixels, and the words of its caption (empty when not said)."""

    shape: str
    colour: str
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
    background_said: bool
    relation: str = ""


def draw(scene: Scene, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Grid]:
    """The picture, RGB [64, 64, 3], and how far each of two layers covers it [2, 64, 64].

    Colours vary a little around their name's. The second layer of a scene of one thing is empty.
    """

    def paint(name: str) -> Grid:
        return np.clip(np.asarray(COLOURS[name]) + rng.integers(-5, 6, 3), 0, 255).astype(np.float32)

    canvas = np.broadcast_to(paint(scene.background), (SIDE, SIDE, 3)).astype(np.float32)
    covers = np.zeros((2, SIDE, SIDE), np.float32)
    for cover, thing in zip(covers, scene.things, strict=False):
        columns, rows = (_span(middle, thing.radius) for middle in (thing.x, thing.y))
        x, y = np.meshgrid((columns + 0.5 - thing.x) / thing.radius, (rows + 0.5 - thing.y) / thing.radius)
        shape = np.clip(0.5 - SHAPES[thing.shape](x.astype(np.float32), y.astype(np.float32)) * thing.radius, 0, 1)
        part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        cover[part] = shape
        canvas[part] += (paint(thing.colour) - canvas[part]) * shape[..., None]
    return np.round(canvas).astype(np.uint8), covers


def _span(middle: float, radius: float) -> NDArray[np.intp]:
    """The pixels of one axis that a shape can touch."""
    return np.arange(max(0, int(middle - 1.1 * radius) - 1), min(SIDE, int(middle + 1.1 * radius) + 2))


def scene(rng: np.random.Generator) -> Scene:
    """A random scene."""
    return _pair(rng) if rng.random() < 0.35 else _alone(rng)


def _alone(rng: np.random.Generator) -> Scene:
    size = str(rng.choice(["", "small", "large"], p=[0.5, 0.25, 0.25]))
    place = str(rng.choice(list(PLACES))) if rng.random() < 0.4 else ""
    low, high = {"": (13, 19), "small": (7, 9.5), "large": (23, 28)}[size]
    if any(PLACES.get(place, (0, 0))):
        low, high = {"": (10, 14), "small": (6.5, 9), "large": (17, 20)}[size]
    radius = rng.uniform(low, high)
    toward = PLACES.get(place, (0, 0))
    x, y = (_along(rng, direction, radius, 0 if place else 5) for direction in toward)
    said = rng.random() > 0.08
    thing = Thing(str(rng.choice(list(SHAPES))), str(rng.choice(list(COLOURS))), x, y, radius, size, place, said)
    return _on_background((thing,), "", rng)


def _along(rng: np.random.Generator, direction: int, radius: float, freedom: float) -> float:
    """A coordinate of a centre: at the border that `direction` names, or about the middle."""
    if direction:
        from_border = radius + rng.uniform(2, 5)
        return from_border if direction < 0 else SIDE - from_border
    room = max(0.0, min(freedom, SIDE / 2 - radius - 2))
    return SIDE / 2 + rng.uniform(-1, 1) * (room + 1)


def _pair(rng: np.random.Generator) -> Scene:
    relation = str(rng.choice(["left", "right", "above", "below", ""]))
    level = relation in ("left", "right") or (not relation and rng.random() < 0.7)
    turned = relation in ("right", "below") or (not relation and level and rng.random() < 0.2)
    things = []
    for end in (1, -1) if turned else (-1, 1):
        size = str(rng.choice(["", "small", "large"], p=[0.7, 0.15, 0.15]))
        radius = rng.uniform(*{"": (10.5, 13), "small": (6.5, 8.5), "large": (14, 15)}[size])
        apart, across = SIDE / 2 + end * rng.uniform(15.5, 17), SIDE / 2 + rng.uniform(-5, 5)
        x, y = (apart, across) if level else (across, apart)
        shape, colour = str(rng.choice(list(SHAPES))), str(rng.choice(list(COLOURS)))
        things.append(Thing(shape, colour, x, y, radius, size, "", rng.random() > 0.04))
    return _on_background(tuple(things), relation, rng)


def _on_background(things: tuple[Thing, ...], relation: str, rng: np.random.Generator) -> Scene:
    """Choose a background that is unlike each thing; unsaid, it is white more often than not."""
    said = rng.random() < 0.5
    free = [name for name in COLOURS if not any(_near(name, thing.colour) for thing in things)]
    plain = "white" in free and rng.random() < (0.1 if said else 0.75)
    return Scene(things, "white" if plain else str(rng.choice(free)), said, relation)


def _near(one: str, other: str) -> bool:
    return one == other or {one, other} in NEAR


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Words for a scene, in one of many orders."""

    def some(*ways: str) -> str:
        return str(rng.choice(ways))

    def named(thing: Thing) -> str:
        colour = thing.colour if thing.colour_said else ""
        if colour and rng.random() < 0.12:
            return f"{thing.size} {thing.shape} in {colour}"
        return " ".join(filter(None, (thing.size, colour, thing.shape)))

    first = scene.things[0]
    if len(scene.things) == 1:
        words = named(first)
        if first.place:
            words = some(f"{words} on the {first.place}", f"{first.place}: {words}", f"{words} {first.place}")
    else:
        one, two = map(named, scene.things)
        links = {"left": "left of", "right": "right of", "above": some("above", "on top of")}
        link = links.get(scene.relation, scene.relation)
        words = f"{one} {link} {two}" if link else f"{one} and {two}"
        opposite = {"left": "right", "right": "left", "above": "below", "below": "above"}.get(scene.relation)
        if opposite and rng.random() < 0.25:
            here, there = (scene.relation, opposite)
            words = some(f"{one} {here} and {two} {there}", f"{here} {one} and {there} {two}")
    if scene.background_said:
        ground = scene.background
        words = some(
            f"{words} on {ground} background", f"{words} on {ground}", f"{ground} background with {words}",
            f"{words} , {ground} background",
        )  # fmt: skip
    return words
