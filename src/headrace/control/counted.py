"""What gateways have counted since this controller began, whichever of them come, go and come back.

Each gateway tells counts that only grow, from its own beginning on. What it counted before this controller heard of it
is no news: taken as such, an hour's work would look like a burst of a moment. Lengths of requests are no rate and do
not age so fast: of those a few are taken from before, so that a new controller knows what is asked.
"""

from typing import Final

import msgspec

from headrace.state.demand import Demand
from headrace.state.mix import Sizes, added, since, thinned

GROWING: Final = ("asked_us", "long_asked_us", "paced", "slow", "begun", "late")
BEFORE_MAX: Final = 300  # requests of each gateway whose lengths are taken from before
_Counts = tuple[int, ...]
_ZERO: Final[_Counts] = (0,) * len(GROWING)


class Counted:
    """Sums by model version; moments of the clock that never goes back, microseconds."""

    def __init__(self, began_us: int) -> None:
        self._began_us = began_us
        self._told: dict[tuple[str, str], _Counts] = {}  # by epoch and model, as last reported
        self._sizes_told: dict[tuple[str, str], Sizes] = {}
        self._epochs: dict[str, bool] = {}  # whether a gateway was there before its first report here
        self._sums: dict[str, _Counts] = {}
        self._sizes: dict[str, Sizes] = {}

    def __len__(self) -> int:
        return len(self._told)

    def hear(self, epoch: str, gateway_began_us: int, told: tuple[Demand, ...]) -> None:
        """One gateway's report. Its first one is news only where the gateway began after this controller did."""
        first = epoch not in self._epochs
        old = self._epochs.setdefault(epoch, gateway_began_us < self._began_us)
        for demand in told:
            place = epoch, demand.key
            now: _Counts = tuple(getattr(demand, name) for name in GROWING)
            before = self._told.get(place, now if first and old else _ZERO)
            self._told[place] = now
            new = [max(0, after - earlier) for after, earlier in zip(now, before, strict=True)]
            self._sums[demand.key] = tuple(map(sum, zip(self._sums.get(demand.key, _ZERO), new, strict=True)))
            if demand.sizes:
                fresh = since(demand.sizes, self._sizes_told.get(place, {}))
                self._sizes_told[place] = demand.sizes
                fresh = thinned(fresh, BEFORE_MAX) if first and old else fresh
                self._sizes[demand.key] = added([self._sizes.get(demand.key, {}), fresh])

    def over(self, demand: Demand) -> Demand:
        """A sum of reports with all that was counted, by gateways that are gone as well."""
        sums = dict(zip(GROWING, self._sums.get(demand.key, _ZERO), strict=True))
        return msgspec.structs.replace(demand, **sums, sizes=self._sizes.get(demand.key, {}))

    def forget(self, alive: set[str], now_us: int) -> None:
        """What gateways told that are gone, as far as it is needed for their next report alone.

        One that comes back after all is taken as one that was there before: nothing is counted twice.
        """
        self._began_us = now_us
        self._told = {place: counts for place, counts in self._told.items() if place[0] in alive}
        self._sizes_told = {place: sizes for place, sizes in self._sizes_told.items() if place[0] in alive}
        self._epochs = {epoch: old for epoch, old in self._epochs.items() if epoch in alive}
