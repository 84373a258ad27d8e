"""How long a model was not asked for, each time: a histogram with a fading memory. Pure values; state in, state out."""

from collections.abc import Mapping
from typing import Final

import msgspec

BINS: Final = 128  # each an eighth of an octave: from one second to 2^16 s, 18 hours
_FIRST_US: Final = 1_000_000
_LEAST: Final = 0.001
_MOST: Final = 100.0  # of a fading memory: 1 / (1 - FADE)
FADE: Final = 0.99  # of the weight of all that was seen before, with each new gap


def edge_us(place: int) -> int:
    """Where a bin ends.

    >>> edge_us(0), edge_us(8), edge_us(16)
    (1000000, 2000000, 4000000)
    """
    return round(_FIRST_US * 2 ** (place / 8))


EDGES_US: Final = tuple(edge_us(place) for place in range(BINS))


class Gaps(msgspec.Struct, frozen=True):
    """`weights` by bin; the last bin has all that is longer."""

    weights: tuple[float, ...] = (0.0,) * BINS

    def seen(self, gap_us: int) -> "Gaps":
        """With one gap more."""
        place = next((place for place, edge in enumerate(EDGES_US) if gap_us <= edge), BINS - 1)
        faded = [weight * FADE for weight in self.weights]
        faded[place] += 1.0
        return Gaps(tuple(faded))

    @property
    def count(self) -> float:
        """How many gaps it stands for, older ones less."""
        return sum(self.weights)

    def bins(self) -> dict[int, float]:
        """The bins that have weight, in thousandths: short to write down.

        >>> Gaps.of(Gaps().seen(3_000_000).bins()) == Gaps().seen(3_000_000)
        True
        """
        return {place: round(weight, 3) for place, weight in enumerate(self.weights) if weight >= _LEAST}

    @classmethod
    def of(cls, bins: Mapping[int, float]) -> "Gaps":
        """What `bins` told. Raises ValueError for a bin that is not there, or a weight that is none."""
        weights = [0.0] * BINS
        for place, weight in bins.items():
            if not 0 <= place < BINS or not 0 <= weight <= _MOST:
                raise ValueError(f"bin {place} has weight {weight}; bins are 0 to {BINS - 1}, weights 0 to {_MOST}")
            weights[place] = weight
        return cls(tuple(weights))
