"""From a map of how likely each pixel is text to boxes around lines of text, and from boxes to reading order. Pure.

Source: differentiable binarisation (Liao et al. 2020) with PP-OCR's constants. Written on numpy, since OpenCV would be
the largest library of a replica and only four of its functions are needed here.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

_TEXT_MIN: Final = 0.3  # a pixel is text from here
_BOX_MIN: Final = 0.5  # the mean of a box
_GROWTH: Final = 1.6  # what is found is the middle of the letters: boxes grow by area x this / circumference
_SIDE_MIN: Final = 3
_BOXES_MAX: Final = 1000
_LEVEL_COS: Final = 0.9994  # two degrees: closer to level than corners in whole pixels can tell


class Box(NamedTuple):
    """Four corners in pixels, clockwise from the upper left, and how sure the detector is of it, 0 to 1."""

    corners: Any
    score: float


def boxes(likelihood: Any, width: int, height: int) -> list[Box]:
    """Boxes of text in a map float32 [rows, columns], in pixels of a picture of `width` x `height`."""
    mask = likelihood > _TEXT_MIN
    thick = mask.copy()  # each pixel also covers its right and lower neighbours
    thick[1:] |= mask[:-1]
    thick[:, 1:] |= mask[:, :-1]
    thick[1:, 1:] |= mask[:-1, :-1]
    rows, columns = likelihood.shape
    scale = np.array([width / columns, height / rows])
    found: list[Box] = []
    for points in parts(thick):
        corners, sides = rectangle(points)
        if min(sides) < _SIDE_MIN or len(found) == _BOXES_MAX:
            continue
        score = _mean_inside(likelihood, corners)
        if score < _BOX_MIN:
            continue
        grown = _grown(corners, sides[0] * sides[1] * _GROWTH / (2 * sum(sides))) * scale
        corners = np.clip(np.round(grown), 0, [width - 1, height - 1])
        across, down = np.linalg.norm(corners[0] - corners[1]), np.linalg.norm(corners[0] - corners[3])
        if min(across, down) > _SIDE_MIN:
            found.append(Box(corners, score))
    return found


def in_reading_order(found: Sequence[Box], over: Sequence[bool]) -> list[list[int]]:
    """Indices of the boxes by lines, from the page's first to its last, and along each line, however the page lies.

    `over` tells of each box, once `straightened`, whether its letters stood on their heads. The page lies as most of
    its text does, by length. A box is in a line when its middle is within half a height of that of the line's last box.
    """
    if not found:
        return []
    along = _direction(found, over)
    below = np.array([-along[1], along[0]])  # clockwise, since rows are counted downwards
    middle = [float(box.corners.mean(0) @ below) for box in found]
    tall = [float(min(_sides(box))) for box in found]
    lines: list[list[int]] = []
    for index in sorted(range(len(found)), key=middle.__getitem__):
        near = bool(lines) and middle[index] - middle[lines[-1][-1]] < min(tall[index], tall[lines[-1][-1]]) / 2
        if near:
            lines[-1].append(index)
        else:
            lines.append([index])
    return [sorted(line, key=lambda index: float((found[index].corners @ along).min())) for line in lines]


def _direction(found: Sequence[Box], over: Sequence[bool]) -> Any:
    """The unit vector along which the page is read: that of its boxes which lie as most of the text does."""
    headings = np.zeros((4, 2))  # to the right, downwards, to the left, upwards
    for box, turned in zip(found, over, strict=True):
        right, down = box.corners[1] - box.corners[0], box.corners[3] - box.corners[0]
        upright = _upright(*_sides(box))
        headings[2 * turned + upright] += (-1 if turned else 1) * (down if upright else right)
    lengths = np.linalg.norm(headings, axis=1)
    best = int(lengths.argmax())
    if not lengths[best]:
        return np.array([1.0, 0.0])
    along = headings[best] / lengths[best]
    straight = np.round(along)
    return straight if float(along @ straight) > _LEVEL_COS else along


def _sides(box: Box) -> tuple[float, float]:
    """How wide and how high it is."""
    across, down = box.corners[1] - box.corners[0], box.corners[3] - box.corners[0]
    return float(np.linalg.norm(across)), float(np.linalg.norm(down))


def _upright(width: float, height: float) -> bool:
    """Whether its text runs downwards or upwards."""
    return height >= 1.5 * width


def straightened(picture: Image.Image, corners: Any) -> Image.Image:
    """What is in a box, as if it lay level; one that stands upright is laid down to its left."""
    width = max(1, int(max(np.linalg.norm(corners[0] - corners[1]), np.linalg.norm(corners[2] - corners[3]))))
    height = max(1, int(max(np.linalg.norm(corners[0] - corners[3]), np.linalg.norm(corners[1] - corners[2]))))
    around = [float(value) for corner in (0, 3, 2, 1) for value in corners[corner]]  # Pillow goes the other way round
    cut = picture.transform((width, height), Image.Transform.QUAD, around, Image.Resampling.BICUBIC)
    return cut.transpose(Image.Transpose.ROTATE_90) if _upright(width, height) else cut


def rectangle(points: Any) -> tuple[Any, tuple[float, float]]:
    """The smallest rectangle around points [n, 2]: corners clockwise from the upper left, and its two sides.

    One side of it lies on an edge of the convex hull (Freeman and Shapira 1975).
    """
    hull = _hull(points)
    edges = np.roll(hull, -1, 0) - hull
    length = np.linalg.norm(edges, axis=1)
    along = edges[length > 0] / length[length > 0, None] if len(hull) > 1 else np.array([[1.0, 0.0]])
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    reach_along, reach_across = hull @ along.T, hull @ across.T
    low_along, high_along = reach_along.min(0), reach_along.max(0)
    low_across, high_across = reach_across.min(0), reach_across.max(0)
    best = int(np.argmin((high_along - low_along) * (high_across - low_across)))
    corners = np.array(
        [
            along[best] * one + across[best] * other
            for one, other in (
                (low_along[best], low_across[best]),
                (high_along[best], low_across[best]),
                (high_along[best], high_across[best]),
                (low_along[best], high_across[best]),
            )
        ]
    )
    corners = _clockwise(corners)
    sides = float(np.linalg.norm(corners[0] - corners[1])), float(np.linalg.norm(corners[0] - corners[3]))
    return corners, sides


def _clockwise(corners: Any) -> Any:
    """Upper left, upper right, lower right, lower left: the two left ones by height, then the two right ones."""
    order = np.argsort(corners[:, 0], kind="stable")
    left, right = corners[order[:2]], corners[order[2:]]
    left, right = left[np.argsort(left[:, 1], kind="stable")], right[np.argsort(right[:, 1], kind="stable")]
    return np.array([left[0], right[0], right[1], left[1]])


def _grown(corners: Any, by: float) -> Any:
    """A rectangle with each side moved outwards."""
    along, down = corners[1] - corners[0], corners[3] - corners[0]
    along, down = along / np.linalg.norm(along) * by, down / np.linalg.norm(down) * by
    return corners + np.array([-along - down, along - down, along + down, down - along])


def _mean_inside(likelihood: Any, corners: Any) -> float:
    left, top = np.floor(corners.min(0)).astype(int)
    right, bottom = np.ceil(corners.max(0)).astype(int) + 1
    inside = Image.new("1", (right - left, bottom - top))
    ImageDraw.Draw(inside).polygon([(float(x), float(y)) for x, y in np.trunc(corners - [left, top])], fill=1)
    return float(likelihood[top:bottom, left:right][np.asarray(inside)[: likelihood.shape[0] - top]].mean())


def parts(mask: Any) -> Iterator[Any]:
    """The ends of the runs of each connected part of a mask, as points [n, 2] of (x, y); corners connect too."""
    edged = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(edged, axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1] - 1
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    above = 0
    row_of, start_of, end_of = rows.tolist(), starts.tolist(), ends.tolist()
    for run, row in enumerate(row_of):
        while row_of[above] < row - 1 or (row_of[above] == row - 1 and end_of[above] < start_of[run] - 1):
            above += 1
        other = above
        while row_of[other] == row - 1 and start_of[other] <= end_of[run] + 1:
            parent[root(other)] = root(run)
            other += 1
    runs_of: dict[int, list[int]] = {}
    for run in range(len(row_of)):
        runs_of.setdefault(root(run), []).append(run)
    for runs in runs_of.values():
        yield np.concatenate([np.stack([starts[runs], rows[runs]], 1), np.stack([ends[runs], rows[runs]], 1)]).astype(
            float
        )


def _hull(points: Any) -> Any:
    """The convex hull of points [n, 2] (Andrew 1979)."""
    ordered = sorted(set(map(tuple, points.tolist())))
    if len(ordered) < 3:
        return np.array(ordered)

    def half(given: Sequence[Any]) -> list[Any]:
        kept: list[Any] = []
        for x, y in given:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                kept.pop()
            kept.append((x, y))
        return kept

    return np.array(half(ordered)[:-1] + half(ordered[::-1])[:-1])
