"""An eye that knows nothing of the painter: says which shapes of which colours stand where in a picture.

The background is the commonest colour of the border; what differs from it falls into connected parts; a part's shape is
the template it overlaps most with, once both fill the same square. Templates are drawn by Pillow from what the words
mean, in proportions of their own.
"""

import math
from collections import Counter, deque
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

PALETTE = {
    "red": (220, 30, 40), "orange": (250, 140, 20), "yellow": (250, 220, 40), "green": (40, 160, 70),
    "cyan": (50, 200, 210), "blue": (40, 80, 210), "purple": (130, 50, 170), "pink": (245, 130, 180),
    "brown": (120, 75, 40), "black": (20, 20, 20), "grey": (135, 135, 135), "white": (250, 250, 250),
}  # fmt: skip
UNLIKE = 45  # distance in RGB from which on a pixel is not the background
PART_MIN_PIXELS = 24
GRID = 32


@dataclass(frozen=True)
class Seen:
    """One part: centre in fractions of the picture, `area` a fraction of it, `likeness` an overlap up to 1."""

    shape: str
    colour: str
    x: float
    y: float
    area: float
    likeness: float


def look(picture: Any) -> tuple[str, list[Seen]]:
    """The background's colour and the parts, largest first, of RGB [height, width, 3]."""
    pixels = np.asarray(picture, np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    names = Counter(map(name_of, border))
    background = names.most_common(1)[0][0]
    ground = np.median([pixel for pixel in border if name_of(pixel) == background], axis=0)
    unlike = np.linalg.norm(pixels - ground, axis=2) > UNLIKE
    seen = [seen_of(part, pixels) for part in parts(unlike)]
    return background, sorted(seen, key=lambda one: -one.area)


def name_of(pixel: Any) -> str:
    """The palette's nearest name."""
    return min(PALETTE, key=lambda name: math.dist(PALETTE[name], pixel))


def parts(mask: Any) -> list[Any]:
    """Connected parts (by sides and corners) of a mask that are more than specks."""
    left, found = mask.copy(), []
    for start in zip(*np.nonzero(mask), strict=True):
        if not left[start]:
            continue
        part, todo = np.zeros_like(mask), deque([start])
        left[start] = False
        while todo:
            row, column = todo.popleft()
            part[row, column] = True
            around = slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2)
            for down, across in zip(*np.nonzero(left[around]), strict=True):
                place = around[0].start + down, around[1].start + across
                left[place] = False
                todo.append(place)
        if part.sum() >= PART_MIN_PIXELS:
            found.append(part)
    return found


def seen_of(part: Any, pixels: Any) -> Seen:
    rows, columns = np.nonzero(part)
    colour = Counter(name_of(pixel) for pixel in pixels[part]).most_common(1)[0][0]
    top, bottom, first, last = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    cut = Image.fromarray((part[top:bottom, first:last] * 255).astype(np.uint8))
    wide, high = last - first, bottom - top
    likeness = {
        shape: overlap(filled(cut), template) * min(1, math.exp(0.1 - abs(math.log(wide / high / aspect))))
        for shape, (template, aspect) in templates().items()
    }
    shape = max(likeness, key=lambda name: likeness[name])
    height, width = part.shape
    return Seen(
        shape, colour, (first + last) / 2 / width, (top + bottom) / 2 / height, part.mean(), likeness[shape]
    )  # fmt: skip


def filled(picture: Any) -> Any:
    return np.asarray(picture.resize((GRID, GRID), Image.Resampling.BOX), np.float32) / 255


def overlap(one: Any, other: Any) -> float:
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


@cache
def templates() -> dict[str, tuple[Any, float]]:
    """Each shape filling a square, and how much wider than high it is."""
    found = {}
    for shape, paint in DRAWN.items():
        canvas = Image.new("L", (256, 256))
        paint(ImageDraw.Draw(canvas))
        box = canvas.getbbox()
        assert box is not None
        found[shape] = filled(canvas.crop(box)), (box[2] - box[0]) / (box[3] - box[1])
    return found


def ball(pen: Any, x: float, y: float, radius: float, level: int = 255) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=level)


def star(pen: Any) -> None:
    points = []
    for number in range(10):
        reach = 45 if number % 2 else 110
        points.append((128 + reach * math.sin(number * math.pi / 5), 128 - reach * math.cos(number * math.pi / 5)))
    pen.polygon(points, fill=255)


def heart(pen: Any) -> None:
    turns = [number * math.tau / 90 for number in range(90)]
    pen.polygon(
        [
            (
                128 + 6.5 * 16 * math.sin(turn) ** 3,
                120
                - 6.5 * (13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn) - math.cos(4 * turn)),
            )
            for turn in turns
        ],
        fill=255,
    )


def cross(pen: Any) -> None:
    pen.rectangle((98, 28, 158, 228), fill=255)
    pen.rectangle((28, 98, 228, 158), fill=255)


def ring(pen: Any) -> None:
    ball(pen, 128, 128, 100)
    ball(pen, 128, 128, 50, 0)


def moon(pen: Any) -> None:
    ball(pen, 128, 128, 100)
    ball(pen, 176, 128, 84, 0)


def cloud(pen: Any) -> None:
    for x, y, radius in ((76, 150, 42), (128, 120, 56), (182, 148, 44)):
        ball(pen, x, y, radius)
    pen.rectangle((76, 150, 182, 192), fill=255)


def house(pen: Any) -> None:
    pen.polygon([(128, 30), (220, 118), (36, 118)], fill=255)
    pen.rectangle((58, 110, 198, 214), fill=255)


def tree(pen: Any) -> None:
    pen.polygon([(128, 28), (208, 178), (48, 178)], fill=255)
    pen.rectangle((112, 178, 144, 228), fill=255)


DRAWN = {
    "circle": lambda pen: ball(pen, 128, 128, 100),
    "square": lambda pen: pen.rectangle((40, 40, 216, 216), fill=255),
    "triangle": lambda pen: pen.polygon([(128, 40), (228, 210), (28, 210)], fill=255),
    "diamond": lambda pen: pen.polygon([(128, 28), (205, 128), (128, 228), (51, 128)], fill=255),
    "star": star,
    "heart": heart,
    "cross": cross,
    "ring": ring,
    "moon": moon,
    "cloud": cloud,
    "house": house,
    "tree": tree,
}
