"""A picture cut into tiles that overlap, and put together again: memory stays bounded however large it is. Pure.

A tile is computed with a margin of its neighbours' pixels around it, which is thrown away; at the picture's own edges
there is none. Where the margin is as wide as the model looks, the seams are exact.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class Tile(NamedTuple):
    """A part of a picture, in pixels: `left` to `right` and `top` to `bottom` are kept, the outer box is computed."""

    left: int
    top: int
    right: int
    bottom: int
    outer_left: int
    outer_top: int
    outer_right: int
    outer_bottom: int

    def cut(self, planes: Any) -> Any:
        """The pixels that are computed, of [channels, height, width]."""
        return np.ascontiguousarray(planes[:, self.outer_top : self.outer_bottom, self.outer_left : self.outer_right])

    def paste(self, result: Any, into: Any, scale: int) -> None:
        """Put what is kept of a result, `scale` times as large, into its place."""
        top, left = (self.top - self.outer_top) * scale, (self.left - self.outer_left) * scale
        height, width = (self.bottom - self.top) * scale, (self.right - self.left) * scale
        into[:, self.top * scale : self.bottom * scale, self.left * scale : self.right * scale] = result[
            :, top : top + height, left : left + width
        ]


def tiles(width: int, height: int, side: int, margin: int) -> list[Tile]:
    """Tiles of at most `side` pixels a side, margins included, row by row; a picture that fits is one tile.

    >>> [tile[:4] for tile in tiles(100, 40, 64, 8)]
    [(0, 0, 50, 40), (50, 0, 100, 40)]
    """
    return [
        Tile(
            left,
            top,
            right,
            bottom,
            max(0, left - margin),
            max(0, top - margin),
            min(width, right + margin),
            min(height, bottom + margin),
        )
        for top, bottom in _spans(height, side, margin)
        for left, right in _spans(width, side, margin)
    ]


def _spans(length: int, side: int, margin: int) -> Iterator[tuple[int, int]]:
    """Equal parts, so that no sliver is computed for its margins alone."""
    count = 1 if length <= side else -(-length // (side - 2 * margin))
    for index in range(count):
        yield length * index // count, length * (index + 1) // count
