"""When each model was last used, remembered beyond the gateways' lives.

Gateways report what they hold now; a controller that has just started has heard nothing yet, and a gateway that has
just started remembers nothing. Neither may look like idleness, or a busy replica would be put to sleep: so a model
counts as used at the moment this controller first wanted it.
"""

from collections.abc import Mapping

import msgspec

from headrace.specs.catalog import Catalog
from headrace.state.demand import Demand


class Activity:
    """The last use of each model version, by `name@version`."""

    def __init__(self) -> None:
        self._last_us: dict[str, int] = {}

    def demand(self, catalog: Catalog, reported: Mapping[str, Demand], now_us: int) -> dict[str, Demand]:
        """What is asked of every model wanted, with its true last use."""
        found = {}
        for model in catalog.models:
            seen = reported.get(model.key)
            busy = seen is not None and (seen.in_flight or seen.queued or seen.expected)
            last_us = max(self._last_us.get(model.key, now_us), seen.last_us if seen else 0, now_us if busy else 0)
            self._last_us[model.key] = last_us
            if seen is None:
                seen = Demand(model=model.name, version=model.version, window_us=0)
            found[model.key] = msgspec.structs.replace(seen, last_us=last_us)
        self._last_us = {key: last_us for key, last_us in self._last_us.items() if key in found}
        return found
