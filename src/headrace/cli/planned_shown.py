"""What `headrace plan` found, as a person reads it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.cli.dollars import dollars
from headrace.cli.shown import table
from headrace.units import US_PER_HOUR

if TYPE_CHECKING:
    from headrace.twin.mixes import Mixed
    from headrace.twin.plans import Planned
    from headrace.twin.tails import Tailed
    from headrace.twin.windows import Window


def fleet(found: "Planned") -> str:
    """The least cost, pool by pool, and the twin's beside it."""
    heads = ["MODEL", "POOLS", "LEAST COST", "REPLICA HOURS", "OF THE BEST", "WHOLE REPLICAS", "SCHEDULE", "GAP"]
    rows = [
        [
            one.model,
            ", ".join(one.hours) if one.cheapest else next(iter(one.hours)),
            dollars(one.nanousd) if one.nanousd is not None else one.why,
            ", ".join(f"{name} {hours_shown(hours)}" for name, hours in one.hours.items() if one.nanousd is not None),
            f"{one.nanousd / found.least_of(one.model):.2f}" if one.nanousd is not None else "-",
            dollars(one.whole_nanousd) if one.whole_nanousd is not None else "-",
            dollars(one.schedule_nanousd) if one.schedule_nanousd is not None else "-",
            _gap(one.schedule_nanousd, one.nanousd if one.whole_nanousd is None else one.whole_nanousd),
        ]
        for one in found.choices
    ]
    several = [one.model for one in found.choices if one.cheapest and one.whole_nanousd is None]
    lines = [
        table(heads, rows),
        "",
        "least cost: no fleet costs less, though replicas may be fractions (linear program)",
        "whole replicas: no fleet of whole ones costs less (dynamic program)"
        + (f"; not told of {', '.join(several)}: several pools, or too large" if several else ""),
        "schedule: one of whole replicas that does the work; the gap is to the bound before it",
        "",
        f"least cost of all: {dollars(found.nanousd)}; with whole replicas between {dollars(found.bound_nanousd)} and "
        f"{dollars(found.whole_nanousd)}",
    ]
    if found.simulated_nanousd is not None:
        whole = f"{found.simulated_nanousd / max(1, found.bound_nanousd):.2f} times the least with whole replicas, "
        lines.append(
            f"simulated with Headrace's policy: {dollars(found.simulated_nanousd)}, "
            f"{found.simulated_nanousd / max(1, found.whole_nanousd):.2f} times the schedule, "
            + (whole if not several else "")
            + f"{found.simulated_nanousd / max(1, found.nanousd):.2f} times the least; first tokens in time: "
            + ", ".join(f"{name} {ppm / 10_000:.2f} %" for name, ppm in found.kept_ppm.items())
        )
    return "\n".join(lines)


def hours_shown(hours: float) -> str:
    """Hours with as many digits as say something.

    >>> [hours_shown(hours) for hours in (0.0, 0.00412, 0.25, 3.0, 47.123, 1234.5678)]
    ['0', '0.00412', '0.25', '3.00', '47.1', '1234.6']
    """
    if hours >= 10:
        return f"{hours:.1f}"
    if hours >= 1 or not hours:
        return f"{hours:.2f}" if hours else "0"
    return f"{hours:.3g}" if hours >= 0.0001 else "<0.0001"


def _gap(schedule: int | None, bound: int | None) -> str:
    """By how much the best schedule may be cheaper."""
    return f"{100 * (1 - bound / schedule):.2f} %" if schedule and bound is not None else "-"


def mix(found: "Mixed") -> str:
    """Devices, where each length goes, and what one kind of device alone would cost."""
    routes = [
        [
            one.model,
            one.bucket,
            one.requests,
            ", ".join(f"{pool} {100 * share:.0f} %" for pool, share in one.share.items()) or "nobody asks",
        ]
        for one in found.routes
    ]
    held = ", ".join(f"{count} of {pool}" for pool, count in found.devices.items()) or "no device"
    lines = [
        table(["MODEL", "TOKENS", "REQUESTS", "SERVED BY"], routes),
        "",
        f"the cheapest mix for each of {found.hours} hours: {held}, {dollars(found.nanousd_per_hour)} an hour; no mix "
        f"costs less than {dollars(found.bound_nanousd_per_hour)}",
        "replicas: " + ", ".join(f"{count} of {name}" for name, count in found.replicas.items()),
    ]
    for one in found.singles:
        if one.nanousd_per_hour is None:
            lines.append(f"all on {one.pool}: {one.why}")
        else:
            times = one.nanousd_per_hour / max(1, found.nanousd_per_hour)
            lines.append(f"all on {one.pool}: {dollars(one.nanousd_per_hour)} an hour, {times:.2f} times the mix")
    return "\n".join(lines)


def tail(found: "Tailed") -> str:
    """The exact optimum of exclusive work, by pool, and the twin's cost beside it."""
    rows = [
        [
            one.pool,
            one.models,
            one.requests,
            dollars(one.nanousd),
            hours_shown(one.device_us / US_PER_HOUR),
            f"{one.device_us / max(1, one.busy_us):.2f}",
            one.boots,
            one.reused,
        ]
        for one in found.pools
    ]
    heads = ["POOL", "MODELS", "REQUESTS", "LEAST COST", "DEVICE HOURS", "OF BUSY", "BOOTS", "REUSED"]
    lines = [table(heads, rows), "", f"least cost, one request a device at a time: {dollars(found.nanousd)}"]
    if found.simulated_nanousd is not None:
        lines.append(
            f"simulated with Headrace's policy: {dollars(found.simulated_nanousd)}, "
            f"{found.simulated_nanousd / max(1, found.nanousd):.2f} times the least; begun within 10 s: "
            f"{found.soon_ppm / 10_000:.1f} %"
        )
    return "\n".join(lines)


def by_window(found: "Sequence[Window]") -> str:
    """Cost over the least, window by window."""
    rows = [
        [
            one.model,
            f"{hours_shown(one.from_us / US_PER_HOUR)} h",
            f"{hours_shown(one.to_us / US_PER_HOUR)} h",
            one.requests,
            dollars(one.paid_nanousd),
            dollars(one.least_nanousd),
            f"{one.ratio_ppm / 1_000_000:.2f}" if one.ratio_ppm is not None else "-",
            "whole replicas" if one.whole else "fractions",
            f"{one.kept_ppm / 10_000:.2f} %",
        ]
        for one in found
    ]
    heads = ["MODEL", "FROM", "TO", "REQUESTS", "PAID", "LEAST", "PAID / LEAST", "OF", "FIRST TOKENS IN TIME"]
    return table(heads, rows)
