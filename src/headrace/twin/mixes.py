"""Which devices for a trace: its requests by model and length, and the cheapest mix of pools that serves them all.

Each hour of the trace is a period of the mix; a bucket's requests are taken to be alike, and like its mean.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Final

import msgspec
import numpy as np

from headrace.errors import Invalid
from headrace.planner.pool_mix import Class, Device, Mix, Model, alternatives, pool_mix
from headrace.policy import capacity
from headrace.policy.performance import Measured, Performance
from headrace.specs.catalog import Catalog, ModelSpec, PoolSpec
from headrace.twin.context import fits, taken
from headrace.twin.scenario import mapped, performance_of
from headrace.twin.trace import Trace
from headrace.units import US_PER_HOUR, US_PER_S

INPUT_EDGES: Final = (512, 4096)  # tokens: a bucket ends with its edge, the last has none
OUTPUT_EDGES: Final = (128, 512)
Speeds = Mapping[tuple[str, str], Performance]  # by (model, pool)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a bucket's requests go: share of them by pool, over all hours."""

    model: str
    bucket: str
    requests: int
    share: dict[str, float]


class Single(msgspec.Struct, frozen=True, kw_only=True):
    """All on one pool: its cost an hour, or why it cannot be."""

    pool: str
    nanousd_per_hour: int | None
    why: str


class Mixed(msgspec.Struct, frozen=True, kw_only=True):
    """The mix: devices by pool, replicas of `model pool`; `bound_nanousd_per_hour` is proven."""

    nanousd_per_hour: int
    bound_nanousd_per_hour: int
    hours: int
    devices: dict[str, int]
    replicas: dict[str, int]
    routes: tuple[Route, ...]
    singles: tuple[Single, ...]
    notes: tuple[str, ...] = ()


def mixed(
    catalog: Catalog,
    trace: Trace,
    *,
    names: Mapping[str, str],
    room: float,
    measured: Mapping[tuple[str, str], Measured] | None = None,
) -> Mixed:
    """The cheapest constant mix for every hour, with `room` (a share) more than is asked; `measured` as in `scenario`.
    Raises Invalid.

    Where no mix serves all, the error says which devices or whose requests are too many.
    """
    known = mapped(trace, catalog, names)
    models = [model for model in catalog.models if model.owned and model.name in known]
    pools = [pool for pool in catalog.pools if any(pool.name in model.pools for model in models)]
    speeds = {
        (model.key, name): performance_of(model, pool, measured, catalog)
        for model in models
        for name in model.pools
        if (pool := catalog.pool(name)) is not None
    }
    buckets = [one for model in models for one in _classes(speeds, trace, known, model, room)]
    notes = fits(trace, catalog, known, {}, ()).notes
    if not buckets:
        why = "; ".join(notes) or "the trace asks for no model that this cloud runs itself"
        raise Invalid(f"there is nothing to buy devices for: {why.removesuffix('.')}")
    classes = [one for one, _ in buckets]
    shares = [Model(name=model.key, share=_shares(model, pools)) for model in models]
    devices = [_device(pool) for pool in pools]
    best = pool_mix(classes, shares, devices)
    return Mixed(
        nanousd_per_hour=best.nanousd_per_hour,
        bound_nanousd_per_hour=best.bound_nanousd_per_hour,
        hours=len(classes[0].rates),
        devices=best.devices,
        replicas={f"{model} {pool}": count for (model, pool), count in best.replicas.items()},
        routes=tuple(_route(best, one, count) for one, count in buckets),
        singles=tuple(
            Single(pool=one.device, nanousd_per_hour=one.nanousd_per_hour, why=one.why)
            for one in (alternatives(classes, shares, devices) if len(devices) > 1 else ())
        ),
        notes=notes,
    )


def _classes(
    speeds: Speeds, trace: Trace, known: tuple[str, ...], model: ModelSpec, room: float
) -> Iterator[tuple[Class, int]]:
    """A model's buckets that have requests, and how many."""
    rows = np.isin(trace.model, [place for place, name in enumerate(known) if name == model.name])
    rows &= taken(trace, model, trace.output_tokens)  # a cloud refuses the others
    hours = -(-trace.span_us // US_PER_HOUR)
    lasts_s = np.full(hours, US_PER_HOUR / US_PER_S)
    lasts_s[-1] = (trace.span_us - (hours - 1) * US_PER_HOUR) / US_PER_S
    into = np.searchsorted(INPUT_EDGES, trace.input_tokens)
    out = np.searchsorted(OUTPUT_EDGES, trace.output_tokens)
    for place in range((len(INPUT_EDGES) + 1) * (len(OUTPUT_EDGES) + 1)):
        one, other = divmod(place, len(OUTPUT_EDGES) + 1)
        mine = rows & (into == one) & (out == other)
        if not mine.any():
            continue
        counts = np.bincount(trace.arrival_us[mine] // US_PER_HOUR, minlength=hours)
        sizes = (
            max(1, round(float(trace.input_tokens[mine].mean()))), round(float(trace.output_tokens[mine].mean())),
        )  # fmt: skip
        bucket = f"{_span(INPUT_EDGES, one)} in, {_span(OUTPUT_EDGES, other)} out"
        rates = tuple((counts / lasts_s * (1 + room)).tolist())
        yield Class(model=model.key, bucket=bucket, rates=rates, work_us=_work(speeds, model, sizes)), int(mine.sum())


def _work(speeds: Speeds, model: ModelSpec, sizes: tuple[int, int]) -> dict[str, float]:
    """Time of a replica that one request takes at its largest batch, by pool that keeps the model's promises."""
    found = {}
    for name in model.pools:
        at = capacity.kept(speeds[model.key, name], model, *sizes)
        if at is not None:
            found[name] = 3.6e9 / at.requests_per_hour
    return found


def _shares(model: ModelSpec, pools: list[PoolSpec]) -> dict[str, Fraction]:
    """How much of a device a replica holds, where it fits."""
    parts = {pool.name: capacity.part(model, pool) for pool in pools if pool.name in model.pools}
    return {name: part for name, part in parts.items() if part}


def _device(pool: PoolSpec) -> Device:
    if pool.price_nanousd_per_hour is None:
        raise Invalid(f"pool {pool.name} has no price, so no mix can be told; give it a price_per_hour")
    return Device(name=pool.name, nanousd_per_hour=pool.price_nanousd_per_hour, count=pool.count)


def _route(best: Mix, one: Class, count: int) -> Route:
    rates, total = np.asarray(one.rates), max(1e-12, sum(one.rates))
    share = {
        pool: float(np.asarray(shares) @ rates / total)
        for (model, bucket, pool), shares in best.routed.items()
        if (model, bucket) == (one.model, one.bucket)
    }
    return Route(model=one.model, bucket=one.bucket, requests=count, share=share)


def _span(edges: tuple[int, ...], place: int) -> str:
    """A bucket's tokens in words.

    >>> [_span((512, 4096), place) for place in range(3)]
    ['up to 512', '513 to 4096', 'over 4096']
    """
    if place == len(edges):
        return f"over {edges[-1]}"
    return f"up to {edges[0]}" if not place else f"{edges[place - 1] + 1} to {edges[place]}"
