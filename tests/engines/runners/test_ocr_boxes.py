"""Boxes of text from a map: where they were drawn, grown as they should be, in the order one reads."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from headrace.engines.runners.ocr_boxes import Box, boxes, in_reading_order, parts, rectangle, straightened


def drawn(*polygons: list[tuple[float, float]], size: tuple[int, int] = (200, 120), value: float = 0.9) -> np.ndarray:
    picture = Image.new("L", size)
    for polygon in polygons:
        ImageDraw.Draw(picture).polygon(polygon, fill=255)
    return np.asarray(picture, np.float32) / 255 * np.float32(value)


def level(left: int, top: int, right: int, bottom: int) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def test_a_level_box_is_found_and_grown() -> None:
    """By area x 1.6 / circumference on each side; a pixel is added on the right and below."""
    (found,) = boxes(drawn(level(40, 50, 139, 69)), 200, 120)
    by = 100 * 20 * 1.6 / (2 * 120)
    assert (
        np.abs(found.corners - [[40 - by, 50 - by], [140 + by, 50 - by], [140 + by, 70 + by], [40 - by, 70 + by]]).max()
        < 1
    )
    assert 0.8 < found.score <= 0.9


def test_boxes_are_told_in_pixels_of_the_picture() -> None:
    """Twice as wide and three times as high as the map, and never outside."""
    (found,) = boxes(drawn(level(2, 2, 197, 117)), 400, 360)
    assert found.corners.tolist() == [[0, 0], [399, 0], [399, 359], [0, 359]]


def test_what_is_faint_or_tiny_is_no_text() -> None:
    """Under half on the mean, or under three pixels high."""
    assert boxes(drawn(level(40, 50, 139, 69), value=0.4), 200, 120) == []
    assert boxes(drawn(level(40, 50, 139, 50)), 200, 120) == []
    assert boxes(np.zeros((120, 200), np.float32), 200, 120) == []


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.7))
def test_parts_are_those_that_a_flood_fills(seed: int, dense: float) -> None:
    """Pixels that touch at a side or a corner are one part; the extent of each is right."""
    mask = np.random.default_rng(seed).random((12, 15)) < dense
    left, extents = {(int(x), int(y)) for y, x in np.argwhere(mask)}, []
    while left:
        flood, seen = [left.pop()], []
        while flood:
            x, y = flood.pop()
            seen.append((x, y))
            near = {(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            flood += near
        extents.append([*np.min(seen, 0), *np.max(seen, 0)])
    found = [[*points.min(0), *points.max(0)] for points in parts(mask)]
    assert sorted(found) == sorted(extents)


@given(st.floats(-40, 40), st.integers(40, 120), st.integers(6, 30), st.integers(0, 99))
def test_the_smallest_rectangle_is_the_one_that_was_turned(angle: float, width: int, height: int, seed: int) -> None:
    """Points of a turned rectangle give back its corners, clockwise from the upper left, and its sides."""
    turn = np.array(
        [
            [math.cos(math.radians(angle)), -math.sin(math.radians(angle))],
            [math.sin(math.radians(angle)), math.cos(math.radians(angle))],
        ]
    )
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float) @ turn.T + 200
    inside = np.random.default_rng(seed).random((50, 2)) * [width, height] @ turn.T + 200
    found, sides = rectangle(np.concatenate([inside, corners]))
    assert np.allclose(sorted(sides), sorted((width, height)), atol=0.01)
    assert {tuple(np.round(corner, 1) + 0.0) for corner in found} == {
        tuple(np.round(corner, 1) + 0.0) for corner in corners
    }
    (ax, ay), (bx, by) = found[1] - found[0], found[2] - found[1]
    assert ax * by - ay * bx > 0


@pytest.mark.parametrize("points", [[[3, 4]], [[3, 4], [9, 4]], [[3, 4], [6, 4], [9, 4]]])
def test_points_on_a_line_have_a_rectangle_of_no_height(points: list[list[int]]) -> None:
    """One point, two, three in a row."""
    _, sides = rectangle(np.array(points, float))
    assert min(sides) == 0


def at(left: int, top: int, width: int = 50, height: int = 20) -> Box:
    return Box(np.array(level(left, top, left + width, top + height), float), 1.0)


def test_lines_are_read_from_top_to_bottom_and_each_from_left_to_right() -> None:
    """A box a few pixels lower is in the same line; one half a height lower is not."""
    found = [at(200, 104), at(10, 160), at(10, 100), at(100, 97), at(100, 172)]
    assert in_reading_order(found, [False] * 5) == [[2, 3, 0], [1], [4]]
    assert in_reading_order([], []) == []


def turned(box: Box, degrees: int, side: int = 300) -> Box:
    """A box of a square page that was turned clockwise."""
    middle = (side - 1) / 2
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    corners = (box.corners - middle) @ turn + middle
    left = np.argsort(corners[:, 0], kind="stable")
    first, second = sorted(left[:2], key=lambda at: corners[at, 1])
    third, fourth = sorted(left[2:], key=lambda at: corners[at, 1])
    return Box(np.round(corners[[first, third, fourth, second]]), 1.0)


@pytest.mark.parametrize("degrees", [0, 5, 90, 95, 180, 188, 270, 265])
def test_the_order_is_the_same_however_the_page_lies(degrees: int) -> None:
    """Also a little askew; one box whose direction was not told rightly does not turn the page."""
    found = [at(200, 104), at(10, 160), at(10, 100), at(100, 97), at(100, 182)]
    over = [150 < degrees < 300] * 4 + [not 150 < degrees < 300]
    assert in_reading_order([turned(box, degrees) for box in found], over) == [[2, 3, 0], [1], [4]]


def test_an_upright_box_is_laid_down() -> None:
    """What is at its top comes to the left; a level one is cut as it is."""
    picture = Image.new("RGB", (100, 100), "white")
    ImageDraw.Draw(picture).rectangle((40, 10, 59, 19), fill="red")
    upright = straightened(picture, np.array(level(40, 10, 60, 90), float))
    assert upright.size == (80, 20)
    assert upright.getpixel((4, 10)) == (255, 0, 0)
    cut = straightened(picture, np.array(level(40, 10, 60, 20), float))
    assert cut.size == (20, 10)
    assert cut.getpixel((10, 5)) == (255, 0, 0)
