"""The most of what was seen within a time that may change."""

from collections import deque


class Most:
    """Of figures with their moments: only those that were not surpassed since are remembered, so the first is the most.

    >>> made = Most()
    >>> [made.take(figure, at_us, 20) for at_us, figure in ((0, 3.0), (10, 1.0), (30, 2.0))]
    [3.0, 3.0, 2.0]
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque()

    def take(self, figure: float, now_us: int, window_us: int) -> float:
        """With one figure more, the most of the window that ends now."""
        while self._seen and self._seen[-1][1] <= figure:
            self._seen.pop()
        self._seen.append((now_us, figure))
        while self._seen[0][0] < now_us - window_us:
            self._seen.popleft()
        return self._seen[0][1]

    @property
    def most(self) -> float:
        """As it was last; 0 before anything was seen."""
        return self._seen[0][1] if self._seen else 0.0

    def part(self, share: float) -> "Most":
        """What a part of it would have seen."""
        made = Most()
        made._seen.extend((at_us, share * figure) for at_us, figure in self._seen)
        return made
