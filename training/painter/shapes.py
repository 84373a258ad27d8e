"""The shapes the painter is taught, as signed distances: negative inside, in units of the shape's radius."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]


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
