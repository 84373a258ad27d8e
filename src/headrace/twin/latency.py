"""How long requests took in a simulated run, and which of them a version answered."""

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.twin.trace import BATCH
from headrace.twin.world import SERVED, World

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
    waits = rows & (world.scenario.trace.priority != BATCH)
    served = waits & (np.frombuffer(world.fate, np.uint8) == SERVED)
    first = np.frombuffer(world.first_us, np.int64)[served]
    return latency(first - world.scenario.trace.arrival_us[served], objective_us, int(waits.sum()))


def per_token(world: World, rows: NDArray[np.bool_], outputs: NDArray[np.int32], objective_us: int) -> Latency:
    """Time per output token of answers of several tokens."""
    served = np.frombuffer(world.fate, np.uint8) == SERVED
    long = rows & served & (world.scenario.trace.priority != BATCH) & (outputs > 1)
    took = np.frombuffer(world.end_us, np.int64)[long] - np.frombuffer(world.first_us, np.int64)[long]
    return latency(took / np.maximum(1, outputs[long] - 1), objective_us, int(long.sum()))


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
