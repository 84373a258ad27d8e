"""Price books: what is charged for a unit of a model, to whom, from when on, and what a request comes to.

Unit prices are integers in pico-dollars (10^-12): $0.02 for a million tokens is 20,000 pico-dollars for one. A charge
is summed exactly in pico-dollars and rounded up once, to the next nano-dollar, so that work is never free. A price is
pinned when a request is admitted; a new price never rewrites an old one, it only begins later.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from headrace.economics.metering import Quantities
from headrace.specs.priced import Unit
from headrace.state.table import Price

PICOUSD_PER_NANOUSD: Final = 1_000
PPM: Final = 1_000_000


def charge_nanousd(price: Price, used: Quantities) -> int:
    """What so much comes to, in nano-dollars, rounded up once.

    >>> price = Price(id="p", model="m", units={"input_tokens": 20_000, "output_tokens": 80_000})
    >>> charge_nanousd(price, {"input_tokens": 31, "output_tokens": 12, "requests": 1})
    1580
    """
    return -(-charge_picousd(price, used) // PICOUSD_PER_NANOUSD)


def charge_picousd(price: Price, used: Quantities) -> int:
    """The exact sum before it is rounded. Cached and reasoning tokens cost what their kind does, if not said apart."""
    units, total = price.units, 0
    for unit, amount in used.items():
        per = units.get(unit)
        if per is None and unit in _LIKE:
            per = units.get(_LIKE[unit])
        if per:
            total += per * amount
    return total


_LIKE: Final[dict[str, str]] = {"cached_tokens": "input_tokens", "reasoning_tokens": "output_tokens"}


def lines(price: Price, used: Quantities) -> list[tuple[Unit, int, int]]:
    """The parts of a charge: unit, quantity, pico-dollars for each; they add up to `charge_picousd`."""
    found = []
    for unit, amount in used.items():
        per = price.units.get(unit, price.units.get(_LIKE.get(unit, ""), 0))
        if per:
            found.append((unit, amount, per))
    return found


def by_time(rate_nanousd_per_hour: int, share_ppm: int, slots: int, markup_ppm: int = 0) -> int:
    """Cost-plus: pico-dollars for a microsecond in one slot of a replica that has a share of a device.

    rate x share / slots, plus the markup; rounded up. A slot-hour of a whole $3.60 device with one slot costs $3.60:

    >>> by_time(3_600_000_000, 1_000_000, 1)
    1000
    """
    above = rate_nanousd_per_hour * PICOUSD_PER_NANOUSD * share_ppm * (PPM + markup_ppm)
    return -(-above // (3_600_000_000 * PPM * PPM * max(1, slots)))


def price_id(kind: str, model: str, tenant: str, units: Mapping[str, int]) -> str:
    """Names a price by all it says, so that the same price has the same name for ever.

    >>> price_id("fixed", "m@v1", "", {"requests": 5})
    'fixed-be13764b3358'
    """
    said = msgspec.json.encode([kind, model, tenant, dict(units)], order="sorted")
    return f"{kind}-{hashlib.sha256(said).hexdigest()[:12]}"


class Book:
    """The prices in force now, looked up by model version and tenant: the most particular one wins."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._by: dict[tuple[str, str], Price] = {(price.model, price.tenant): price for price in prices}

    def find(self, model: str, version: str, tenant: str) -> Price | None:
        """1. of the version for the tenant; 2. of the version; None when it has none and may not be served."""
        key = f"{model}@{version}"
        return self._by.get((key, tenant)) or self._by.get((key, ""))
