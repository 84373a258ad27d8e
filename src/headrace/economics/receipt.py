"""One request's whole sum: what it cost us and why, what it was charged by which price; the numbers add up. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from headrace.economics.entries import Entry
from headrace.economics.metering import quantities
from headrace.economics.prices import charge_nanousd, lines
from headrace.state.table import Price
from headrace.state.usage import Usage

_NOTE: Final = re.compile(r"(?P<lease>\S*) own (?P<own>\d+) time (?P<time>\d+)")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a charge."""

    unit: str
    amount: int
    picousd_each: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-dollars. Cost = own + shared + idle + load; margin = charge - cost.

    `own` is the request's own work, `shared` its part of the batch's fixed time, `idle` its part of its model's idle
    hour so far, `load` the cold start it caused, up to the policy's cap. `device_us` is the device time it bore.
    `booked` is False while its replica's time is not in the books yet.
    """

    booked: bool
    own_nanousd: int
    shared_nanousd: int
    idle_nanousd: int
    load_nanousd: int
    failed_nanousd: int
    device_us: int
    charge_nanousd: int
    price: str
    lines: tuple[Line, ...]
    elsewhere: str = ""
    elsewhere_nanousd: int = 0

    @property
    def cost_nanousd(self) -> int:
        """What it cost us, with what it caused and its part of idleness."""
        return self.own_nanousd + self.shared_nanousd + self.idle_nanousd + self.load_nanousd

    @property
    def margin_nanousd(self) -> int:
        """What is left of the charge."""
        return self.charge_nanousd - self.cost_nanousd


def receipt(
    row: Usage,
    entries: Sequence[Entry],
    price: Price | None,
    hours: Mapping[int, Mapping[str, int]],
    *,
    market: tuple[str, Price] | None = None,
) -> Receipt:
    """The receipt of a request from its usage record and the entries about it.

    `hours` holds the balances of the hours it was booked in; `market` a closed API's name and prices.
    """
    own = used = device_us = idle = 0
    model = f"{row.model}@{row.version}"
    for entry in entries:
        if entry.kind != "request":
            continue
        used += entry.nanousd
        said = _NOTE.match(entry.note)
        if said:
            own += int(said["own"])
            device_us += int(said["time"])
        idle += _idle_share(entry, model, hours.get(entry.hour_us, {}))
    found = quantities(row)
    return Receipt(
        booked=bool(used) or not row.left_us,
        own_nanousd=own,
        shared_nanousd=used - own,
        idle_nanousd=idle,
        load_nanousd=sum(entry.nanousd for entry in entries if entry.kind == "move"),
        failed_nanousd=sum(entry.nanousd for entry in entries if entry.kind == "failed"),
        device_us=device_us,
        charge_nanousd=row.charge_nanousd,
        price=row.price,
        lines=tuple(Line(unit=unit, amount=amount, picousd_each=each) for unit, amount, each in lines(price, found))
        if price
        else (),
        elsewhere=market[0] if market else "",
        elsewhere_nanousd=charge_nanousd(market[1], found) if market else 0,
    )


def _idle_share(entry: Entry, model: str, balances: Mapping[str, int]) -> int:
    """Its part of the model's idle hour, in proportion to what it used of it."""
    used = sum(
        amount for account, amount in balances.items() if account.startswith("used/") and account.endswith(f"/{model}")
    )
    idle = sum(balances.get(f"{cause}/{model}", 0) for cause in ("idle", "drain", "sleep"))
    return idle * entry.nanousd // used if used else 0
