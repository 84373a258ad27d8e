"""What changes between two catalogs, in words: shown by `apply` before anything happens, kept with the decision.

Called by the admin API. Pure; says what differs and whether running replicas are replaced, never when.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final, Literal

import msgspec

from headrace import units
from headrace.specs.catalog import BudgetSpec, Catalog, Hours, ModelSpec, PoolSpec
from headrace.specs.hours import DAYS

_NAMES: Final = {
    "min_replicas": "min",
    "max_replicas": "max",
    "idle_to_zero_us": "idle_to_zero",
    "idle_to_sleep_us": "idle_to_sleep",
    "wake_us": "wake",
    "host_bytes": "host_memory",
    "notice_us": "notice",
    "queue_max": "queue",
    "start_timeout_us": "start_timeout",
    "drain_us": "drain",
    "ttft_us": "ttft",
    "tpot_us": "tpot",
    "context_tokens": "context",
    "memory_bytes": "memory",
    "pools": "placement",
    "price_nanousd_per_hour": "price_per_hour",
    "output_tokens_default": "output_tokens",
    "loss_ppm_per_day": "losses_per_day",
    "grain_bytes": "share",
    "budgets": "budget",
}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference. `what` like `model smollm2@v1`; `field` like `scaling.max`, empty when the whole thing changes.

    `before` and `after` are as people write them, empty on the side where there is nothing.
    """

    change: Literal["add", "remove", "change"]
    what: str
    field: str = ""
    before: str = ""
    after: str = ""
    text: str


def diff(old: Catalog, new: Catalog) -> tuple[Change, ...]:
    """All differences: pools, then models, then tenants, each by name. Equal catalogs have none."""
    return (
        *_entries("pool", {pool.name: pool for pool in old.pools}, {pool.name: pool for pool in new.pools}),
        *_entries("model", {model.key: model for model in old.models}, {model.key: model for model in new.models}),
        *_entries("tenant", {one.name: one for one in old.tenants}, {one.name: one for one in new.tenants}),
    )


def _entries(noun: str, old: Mapping[str, msgspec.Struct], new: Mapping[str, msgspec.Struct]) -> list[Change]:
    changes: list[Change] = []
    for name in sorted(old.keys() | new.keys()):
        what = f"{noun} {name}"
        if name not in old:
            text = f"+ {what}{_gist(new[name])}"
            changes.append(Change(change="add", what=what, after=name, text=text))
        elif name not in new:
            text = f"- {what}{_gist(old[name])}"
            changes.append(Change(change="remove", what=what, before=name, text=text))
        else:
            changes += _fields(what, old[name], new[name])
    return changes


def _fields(what: str, old: msgspec.Struct, new: msgspec.Struct) -> list[Change]:
    before, after = dict(_leaves(old)), dict(_leaves(new))
    replaced = isinstance(old, ModelSpec) and isinstance(new, ModelSpec) and old.digest != new.digest
    changes = []
    for field in dict.fromkeys((*before, *after)):
        was, now = before.get(field, ""), after.get(field, "")
        if was == now:
            continue
        # Only these parts are in the digest that a running replica depends on.
        note = "  (its replicas are replaced)" if replaced and field.startswith(("source", "engine", "memory")) else ""
        text = f"~ {what}  {field}: {was or 'none'} -> {now or 'none'}{note}"
        changes.append(Change(change="change", what=what, field=field, before=was, after=now, text=text))
    return changes


def _leaves(struct: msgspec.Struct, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        field = prefix + _NAMES.get(name, name)
        if isinstance(value, msgspec.Struct):
            yield from _leaves(value, f"{field}.")
        elif isinstance(value, dict):
            yield from ((f"{field}.{key}", str(inner)) for key, inner in sorted(value.items()))
        else:
            yield field, _written(name, value)


def _written(name: str, value: object) -> str:
    """A value as the cloud file would have it."""
    if isinstance(value, tuple) and name == "schedule":
        return ", ".join(_window(hours) for hours in value)
    if isinstance(value, tuple) and name == "budgets":
        return ", ".join(_budget(one) for one in value)
    if value is None:
        return "never" if name == "idle_to_zero_us" else ""
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, int) and name.endswith("_us"):
        return units.format_us(value)
    if isinstance(value, int) and name.endswith("_bytes"):
        return units.format_bytes(value)
    if isinstance(value, int) and name == "loss_ppm_per_day":
        return f"{value / 1_000_000:g}"
    if name == "price_nanousd_per_hour":
        return f"{Decimal(str(value)) / units.NANOUSD_PER_USD:f}"
    return str(value)


def _budget(spec: BudgetSpec) -> str:
    """A budget in a few words."""
    span = "in total" if spec.period == "total" else f"a {spec.period}"
    return f"${Decimal(spec.limit_nanousd) / units.NANOUSD_PER_USD:f} {span}, then {spec.at_limit}"


def _window(hours: Hours) -> str:
    """Hours of the week in a few words."""
    clock = "-".join(f"{at // 3600:02}:{at % 3600 // 60:02}" for at in (hours.start_s, hours.end_s))
    days = " ".join(DAYS[day] for day in hours.days) if len(hours.days) < len(DAYS) else "daily"
    return f"{days} {clock} {hours.zone} min {hours.min_replicas} max {hours.max_replicas}"


def _gist(entry: msgspec.Struct) -> str:
    if isinstance(entry, ModelSpec):
        replicas = f"{entry.scaling.min_replicas}..{entry.scaling.max_replicas} replicas"
        return f"  {entry.task} on {entry.engine.kind}, {replicas}, {units.format_bytes(entry.memory_bytes)} each"
    if isinstance(entry, PoolSpec):
        return f"  {entry.count} x {entry.accelerator}, {units.format_bytes(entry.memory_bytes)} each"
    return ""
