"""A scene as numbers: three rows (background and two layers) of what the flow makes and the outlines are drawn from.

A row is: present (1 or -1), one of SHAPES (1 or -1 each), red, green, blue (-1 to 1), centre across and down (0 in the
middle, 2 at the border), radius (logarithm). What has no meaning for a row is 0.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scenes import SIDE, Scene
from shapes import SHAPES

ROWS, LAYERS = 3, 2
KINDS = list(SHAPES)
COLUMNS = 1 + len(KINDS) + 3 + 3
PAINT, PLACE, RADIUS = 1 + len(KINDS), 4 + len(KINDS), 6 + len(KINDS)
RADIUS_UNIT, RADIUS_SPREAD = 14 / 64, 0.4  # radius = unit * e^(spread * number), in fractions of the side


def of(scene: Scene) -> NDArray[np.float32]:
    """[ROWS, COLUMNS], the things in the order of the scene."""
    rows = np.zeros((ROWS, COLUMNS), np.float32)
    rows[0, 0], rows[1:, 0] = 1, -1
    rows[0, PAINT:PLACE] = np.asarray(scene.paint) / 127.5 - 1
    for row, thing in zip(rows[1:], scene.things, strict=False):
        row[:PAINT] = -1
        row[0], row[1 + KINDS.index(thing.shape)] = 1, 1
        row[PAINT:PLACE] = np.asarray(thing.paint) / 127.5 - 1
        row[PLACE:RADIUS] = np.asarray([thing.x, thing.y]) / (SIDE / 4) - 2
        row[RADIUS] = np.log(thing.radius / SIDE / RADIUS_UNIT) / RADIUS_SPREAD
    return rows


def of_all(scenes: Sequence[Scene]) -> NDArray[np.float32]:
    """[scenes, ROWS, COLUMNS]."""
    return np.stack([of(scene) for scene in scenes])
