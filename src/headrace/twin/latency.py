"""How long requests took in a simulated run, and which of them a version answered."""

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.twin.trace import BATCH
from headrace.twin.world import SERVED, TOO_LONG, World

QUANTILES: Final = (50, 95, 99)


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles in microseconds, and the part of all requests that kept the objective."""

    p50_us: int
    p95_us: int
    p99_us: int
    objective_us: int
    kept_ppm: int


def rows_of(world: World, key: str) -> NDArray[np.bool_]:
    """The requests of a version: those that went to it last; of those that went nowhere, the heaviest version's."""
    name, _, version = key.partition("@")
    scenario = world.scenario
    places = [place for place, known in enumerate(scenario.names) if known == name]
    rows: NDArray[np.bool_] = np.isin(scenario.trace.model, places) & (scenario.trace.arrival_us <= world.now_us)
    siblings = [model for model in scenario.catalog.models if model.name == name]
    if len(siblings) == 1:
        return rows
    by = np.frombuffer(world.by, np.uint16)
    heaviest = max(siblings, key=lambda model: model.weight).version == version
    mine: NDArray[np.bool_] = (by == world.numbers[version]) | (heaviest & (by == 0))
    return rows & mine


def outputs_of(world: World, version: str) -> NDArray[np.int32]:
    """Tokens of each answer of the trace, if that version gives it."""
    return world.scenario.outputs.get(version, world.scenario.trace.output_tokens)


def first_token(world: World, rows: NDArray[np.bool_], objective_us: int) -> Latency:
    """Time to first token of those who wait: batch requests do not."""
    took, served, waits = _first(world, rows)
    return latency(took[served], objective_us, int(waits.sum()))


def first_token_by_tenant(world: World, rows: NDArray[np.bool_], objective_us: int) -> list[Latency]:
    """The same of each tenant, by its place."""
    took, served, waits = _first(world, rows)
    return _by_tenant(world, took, served, waits, objective_us)


def per_token(world: World, rows: NDArray[np.bool_], outputs: NDArray[np.int32], objective_us: int) -> Latency:
    """Time per output token of answers of several tokens."""
    took, long = _each(world, rows, outputs)
    return latency(took[long], objective_us, int(long.sum()))


def per_token_by_tenant(
    world: World, rows: NDArray[np.bool_], outputs: NDArray[np.int32], objective_us: int
) -> list[Latency]:
    """The same of each tenant, by its place."""
    took, long = _each(world, rows, outputs)
    return _by_tenant(world, took, long, long, objective_us)


def _first(world: World, rows: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
    """Times to first tokens, of whom they are, and who waits for one; who asked for too much waits for nothing."""
    fate = np.frombuffer(world.fate, np.uint8)
    waits = rows & (world.scenario.trace.priority != BATCH) & (fate != TOO_LONG)
    served = waits & (fate == SERVED)
    return np.frombuffer(world.first_us, np.int64) - world.scenario.trace.arrival_us, served, waits


def _each(world: World, rows: NDArray[np.bool_], outputs: NDArray[np.int32]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Times per token, and of whom they are."""
    served = np.frombuffer(world.fate, np.uint8) == SERVED
    long = rows & served & (world.scenario.trace.priority != BATCH) & (outputs > 1)
    took = np.frombuffer(world.end_us, np.int64) - np.frombuffer(world.first_us, np.int64)
    return took / np.maximum(1, outputs - 1), long


def latency(values: NDArray[Any], objective_us: int, of: int) -> Latency:
    """Quantiles of those served; what was not served did not keep the promise either."""
    found = np.percentile(values, QUANTILES) if len(values) else np.zeros(len(QUANTILES))
    kept = int((values <= objective_us).sum())
    return Latency(
        p50_us=int(found[0]),
        p95_us=int(found[1]),
        p99_us=int(found[2]),
        objective_us=objective_us,
        kept_ppm=1_000_000 * kept // of if of else 1_000_000,
    )


def _by_tenant(
    world: World, took: NDArray[Any], served: NDArray[np.bool_], asked: NDArray[np.bool_], objective_us: int
) -> list[Latency]:
    """As `latency`, for all tenants at once, by place."""
    trace = world.scenario.trace
    count = len(trace.tenants)
    values, tenant, of = took[served], trace.tenant[served], np.bincount(trace.tenant[asked], minlength=count)
    ranked, lengths = values[np.lexsort((values, tenant))], np.bincount(tenant, minlength=count)
    begins = np.cumsum(lengths) - lengths
    kept = np.bincount(tenant[values <= objective_us], minlength=count)
    found = np.zeros((len(QUANTILES), count))
    some = lengths > 0
    for place, part in enumerate(QUANTILES if len(ranked) else ()):
        at = begins[some] + part / 100 * (lengths[some] - 1)
        low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
        found[place, some] = ranked[low] + (at - low) * (ranked[high] - ranked[low])
    return [
        Latency(
            p50_us=int(p50),
            p95_us=int(p95),
            p99_us=int(p99),
            objective_us=objective_us,
            kept_ppm=1_000_000 * int(good) // int(all_) if all_ else 1_000_000,
        )
        for p50, p95, p99, good, all_ in zip(*found, kept, of, strict=True)
    ]
