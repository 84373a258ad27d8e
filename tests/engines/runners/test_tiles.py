"""Tiles cover a picture exactly once, stay in their size, and give back what they were cut from."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.runners.tiles import tiles

SIDES = st.integers(1, 300)


@given(SIDES, SIDES, st.integers(24, 128), st.integers(0, 10), st.integers(1, 3))
def test_cut_and_pasted_a_picture_is_itself(width: int, height: int, side: int, margin: int, scale: int) -> None:
    """With nothing but repeated pixels as a network; no tile is larger than its side."""
    planes = np.arange(3 * width * height, dtype=np.float32).reshape(3, height, width)
    whole = np.full((3, height * scale, width * scale), -1, np.float32)
    for tile in tiles(width, height, side, margin):
        cut = tile.cut(planes)
        assert max(cut.shape[1:]) <= side
        tile.paste(cut.repeat(scale, 1).repeat(scale, 2), whole, scale)
    assert np.array_equal(planes.repeat(scale, 1).repeat(scale, 2), whole)


def test_a_picture_that_fits_is_one_tile() -> None:
    """And nothing is added around it."""
    assert [tile[:] for tile in tiles(64, 50, 64, 10)] == [(0, 0, 64, 50, 0, 0, 64, 50)]
