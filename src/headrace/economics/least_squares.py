"""Three coefficients from a stream of measurements, of which only sums are kept: robust, and slowly forgetting.

A measurement is worth what it says in proportion: errors count relative to what was foretold, those beyond `WIDE` less
and less, and the last `MEMORY` or so measurements count most. Coefficients are never negative.
"""

from itertools import combinations
from typing import Final

import msgspec

MEMORY: Final = 500  # measurements; older ones count a third and less
WIDE: Final = 0.3  # relative error from which on a measurement counts less
SPREAD_MIN: Final = 1e-6  # of a pivot over its diagonal, below which two features cannot be told apart
_KEEP: Final = 1 - 1 / MEMORY
_ALL: Final = (0, 1, 2)
Three = tuple[float, float, float]


class Sums(msgspec.Struct, frozen=True, array_like=True):
    """Weighted sums of products: `xx` is the upper triangle of the features' by rows, `xy` theirs with the figure."""

    count: int = 0
    xx: tuple[float, float, float, float, float, float] = (0.0,) * 6
    xy: Three = (0.0, 0.0, 0.0)


def added(sums: Sums, features: Three, figure: float, foretold: float) -> Sums:
    """One measurement more; `foretold` is what was expected of it, 0 where nothing was.

    Formula: weight = min(1, WIDE / |y / f - 1|) / f^2, sums before it times 1 - 1 / MEMORY.
    Units: those of the figure.
    Source: weighted least squares (Gauss 1809) with the weights of Huber (1964), recursive with a forgetting factor.
    """
    scale = foretold if foretold > 0 else figure
    off = abs(figure / scale - 1)
    weight = (1.0 if off <= WIDE else WIDE / off) / (scale * scale)
    a, b, c = features
    products = (a * a, a * b, a * c, b * b, b * c, c * c)
    xx = tuple(_KEEP * before + weight * more for before, more in zip(sums.xx, products, strict=True))
    xy = tuple(_KEEP * before + weight * figure * more for before, more in zip(sums.xy, features, strict=True))
    return Sums(sums.count + 1, xx, xy)  # type: ignore[arg-type]  # as many as there were


def solved(sums: Sums, features: tuple[int, ...] = _ALL) -> Three | None:
    """The coefficients that fit best among those that are not negative; None where the features never varied enough.

    Of the `features` alone: the others' are nothing.

    >>> sums = Sums()
    >>> for x in range(1, 9):
    ...     sums = added(sums, (1.0, x, x * x), 5.0 + 2.0 * x, 0.0)
    >>> [round(one, 6) + 0.0 for one in solved(sums)]
    [5.0, 2.0, 0.0]
    """
    full = _with(sums, features)
    if full is None or min(full) >= 0:
        return full
    fewer = (parts for size in range(1, len(features)) for parts in combinations(features, size))
    fits = (found for parts in fewer if (found := _with(sums, parts)) is not None and min(found) >= 0)
    return min(fits, key=lambda found: _loss(sums, found), default=None)


def _with(sums: Sums, parts: tuple[int, ...]) -> Three | None:
    """The fit of some features, the others being nothing: Cholesky's way, without its roots."""
    at = ((0, 1, 2), (1, 3, 4), (2, 4, 5))
    rows = [[sums.xx[at[i][j]] for j in parts] + [sums.xy[i]] for i in parts]
    for place, row in enumerate(rows):
        if row[place] <= SPREAD_MIN * sums.xx[at[parts[place]][parts[place]]] or row[place] <= 0:
            return None
        for other in rows[place + 1 :]:
            times = other[place] / row[place]
            for column in range(place, len(row)):
                other[column] -= times * row[column]
    found = [0.0, 0.0, 0.0]
    for place in reversed(range(len(parts))):
        row = rows[place]
        rest = sum(row[later] * found[parts[later]] for later in range(place + 1, len(parts)))
        found[parts[place]] = (row[-1] - rest) / row[place]
    return found[0], found[1], found[2]


def _loss(sums: Sums, found: Three) -> float:
    """The weighted square error, less that of no coefficients."""
    a, b, c = found
    xx = sums.xx
    square = a * a * xx[0] + b * b * xx[3] + c * c * xx[5] + 2 * (a * b * xx[1] + a * c * xx[2] + b * c * xx[4])
    return square - 2 * sum(one * other for one, other in zip(found, sums.xy, strict=True))
