"""The parts of a cloud file that are about money, resolved to integers; used by `specs.load`. Pure.

What is wrong is told to `note` with the path of the fault.
"""

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from headrace import units
from headrace.specs.catalog import BudgetSpec, PriceSpec
from headrace.specs.document import Pool
from headrace.specs.priced import SCALES, Unit, each, missing, picousd_per_unit
from headrace.specs.section import Budget, Price

Path = tuple[str, ...]
Note = Callable[[Path, str], None]
HOURS_PER_MONTH: Final = 730
HOURS_PER_YEAR: Final = 8_766  # 365.25 days
_PPM_PER_PERCENT: Final = 10_000
_FIELDS: Final[dict[str, Unit]] = {
    "input_tokens": "input_tokens",
    "cached_tokens": "cached_tokens",
    "output_tokens": "output_tokens",
    "embeddings": "embeddings",
    "documents": "documents",
    "images": "images",
    "audio_minutes": "audio_ms",
    "video_seconds": "video_ms",
    "characters": "characters",
    "requests": "requests",
    "slot_hour": "busy_us",
}


def rate(pool: Pool, path: Path, note: Note) -> tuple[int | None, str]:
    """What one device of a pool costs an hour, in nano-dollars rounded up, and on what basis; None when unknown.

    Bought: purchase / (years x 8,766 h) + watts / 1000 x price of a kWh.
    """
    given = [name for name in ("price_per_hour", "reserved_per_month", "owned") if getattr(pool, name) is not None]
    if len(given) > 1:
        note((*path, given[1]), f"stands beside {given[0]}; a device has one price, remove one of them")
    if pool.price_per_hour is not None:
        return units.nanousd(pool.price_per_hour), "on_demand"
    if pool.reserved_per_month is not None:
        return -(-units.nanousd(pool.reserved_per_month) // HOURS_PER_MONTH), "reserved"
    if pool.owned is not None:
        spread = -(-units.nanousd(pool.owned.purchase) // (pool.owned.years * HOURS_PER_YEAR))
        power = -(-pool.owned.power_watts * units.nanousd(pool.owned.power_per_kwh) // 1_000)
        return spread + power, "amortised"
    return None, "unknown"


def price(given: Price, task: str, path: Path, note: Note) -> PriceSpec:
    """How a model is charged."""
    named = {name: value for name in _FIELDS if (value := getattr(given, name)) is not None}
    ways = [
        way
        for way, there in (("units", named), ("cost_plus", given.cost_plus is not None), ("mirror", given.mirror))
        if there
    ]
    if len(ways) > 1:
        note(path, f"has {' and '.join(ways)}; give unit prices, or cost_plus, or mirror")
    from_us = date_us(given.begins, (*path, "begins"), note)
    if given.mirror:
        return PriceSpec(
            kind="mirror", mirror=given.mirror, discount_ppm=given.discount * _PPM_PER_PERCENT, from_us=from_us
        )
    if named:
        made: dict[str, int] = {
            _FIELDS[name]: picousd_per_unit(Decimal(str(value)), _FIELDS[name]) for name, value in named.items()
        }
        if lacking := missing(task, made):
            shown = lacking.replace("busy_us", "slot_hour")
            note(path, f"does not price {task}: give {shown}; what has no price would be given away")
        if not any(made.values()):
            note(path, "is 0 for everything; what is free needs no price list, and unknown is not 0: give a price")
        return PriceSpec(kind="fixed", units=made, from_us=from_us)
    return PriceSpec(kind="cost_plus", markup_ppm=(given.cost_plus or 0) * _PPM_PER_PERCENT, from_us=from_us)


def budgets(given: Budget | None, path: Path, note: Note) -> tuple[BudgetSpec, ...]:
    """What a tenant may spend, or all together on a model, which the path names first."""
    if given is None:
        return ()
    found, of_model = [], path[0] == "models"
    if of_model and given.at_limit == "degrade":
        note((*path, "at_limit"), "is degrade, and a model's budget shortens nobody's answers; give refuse or notify")
    warn = tuple(given.warn) if given.warn is not None else (50, 80, 100)
    for period, value in (("day", given.day), ("month", given.month), ("total", given.total)):
        if value is None:
            continue
        limit = units.nanousd(value)
        if not limit:
            instead = "leave the model out" if of_model else "to let a tenant do nothing, take its models away"
            note((*path, period), f"is 0; {instead}")
        found.append(BudgetSpec(period=period, limit_nanousd=limit, at_limit=given.at_limit, warn_percent=warn))  # type: ignore[arg-type] # one of three literals
    if not found:
        note(path, "names no period; give day, month or total")
    return tuple(found)


def date_us(text: str | None, path: Path, note: Note) -> int:
    """Midnight UTC of a date, microseconds; 0 when none is given."""
    if text is None:
        return 0
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        note(path, f"is {text!r}, which is no day of the calendar; write a date like 2026-12-01")
        return 0
    return (day - datetime.date(1970, 1, 1)).days * 24 * units.US_PER_HOUR


def shown(spec: PriceSpec) -> str:
    """A price in words.

    >>> shown(PriceSpec(kind="fixed", units={"input_tokens": 20_000, "output_tokens": 80_000}))
    '$0.02 a million input tokens, $0.08 a million output tokens'
    """
    if spec.kind == "mirror":
        return f"as {spec.mirror}" + (f" less {spec.discount_ppm // _PPM_PER_PERCENT} %" if spec.discount_ppm else "")
    if spec.kind == "cost_plus":
        return f"its time at cost plus {spec.markup_ppm // _PPM_PER_PERCENT} %"
    return units_shown(spec.units)


def units_shown(per_unit: dict[str, int]) -> str:
    """Unit prices in words."""
    parts = []
    for name, pico in per_unit.items():
        dollars = Decimal(pico * SCALES[name][0]) / 10**12  # type: ignore[index] # names come from SCALES
        parts.append(f"${dollars.normalize():f} {each(name)}")  # type: ignore[arg-type] # as above
    return ", ".join(parts)
