"""Least and most replicas by the clock on the wall: what a schedule in the cloud file says about this moment.

Times are of the schedule's own zone, so that eight in the morning stays eight when clocks change. A least number that
begins soon holds a start's time before, so that replicas are there and not just asked for. Pure: the moment is given.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from headrace.specs.catalog import Catalog, Hours, ModelSpec, Scaling

BOOT_US = 30_000_000  # until one was measured


def over(catalog: Catalog, boots_us: Mapping[str, int], wall_us: int) -> Catalog:
    """The catalog as schedules have it now."""
    if not any(model.scaling.schedule for model in catalog.models):
        return catalog
    models = tuple(_model(model, boots_us.get(model.key, BOOT_US), wall_us) for model in catalog.models)
    return msgspec.structs.replace(catalog, models=models)


def limits(scaling: Scaling, boot_us: int, wall_us: int) -> tuple[int, int]:
    """Least and most replicas now. Of several windows the largest numbers hold; outside of all, the model's own."""
    now = [window for window in scaling.schedule if within(window, wall_us)]
    soon = [window for window in scaling.schedule if within(window, wall_us + boot_us)]
    least = max([window.min_replicas for window in (*now, *soon) if window.min_replicas is not None], default=None)
    most = max([window.max_replicas for window in now if window.max_replicas is not None], default=None)
    top = scaling.max_replicas if most is None else most
    low = scaling.min_replicas if least is None else least
    return low, max(top, low)


def within(window: Hours, wall_us: int) -> bool:
    """Whether a moment is in a window; one that ends before it begins goes past midnight, and is of its first day.

    >>> night = Hours(days=(4,), start_s=22 * 3600, end_s=6 * 3600, zone="Europe/Zurich", min_replicas=1)
    >>> friday = int(datetime(2026, 3, 27, 23, tzinfo=UTC).timestamp()) * 1_000_000
    >>> within(night, friday), within(night, friday + 12 * 3_600_000_000)
    (True, False)
    """
    local = datetime.fromtimestamp(wall_us // 1_000_000, UTC).astimezone(ZoneInfo(window.zone))
    second = local.hour * 3600 + local.minute * 60 + local.second
    today, before = local.weekday(), (local - timedelta(days=1)).weekday()
    if window.start_s < window.end_s:
        return today in window.days and window.start_s <= second < window.end_s
    return (today in window.days and second >= window.start_s) or (before in window.days and second < window.end_s)


def _model(model: ModelSpec, boot_us: int, wall_us: int) -> ModelSpec:
    if not model.scaling.schedule:
        return model
    least, most = limits(model.scaling, boot_us, wall_us)
    if model.weight == 0:
        least = 0
    changed = msgspec.structs.replace(model.scaling, min_replicas=least, max_replicas=most)
    return msgspec.structs.replace(model, scaling=changed)
