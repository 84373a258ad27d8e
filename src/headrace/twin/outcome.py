"""What a simulated run came to: latencies, promises kept, money and where it went, for each model and tenant.

Money is whole nano-dollars: what leases cost is split by their time into starting or waking, at work, idle, draining
and asleep, and the part at work over requests by the time each took; the parts add up to the whole.
"""

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.economics.sharing import split
from headrace.twin.trace import BATCH, Trace
from headrace.twin.world import FAILED, REFUSED, SERVED, World
from headrace.units import US_PER_HOUR

QUANTILES: Final = (50, 95, 99)
CAUSES: Final = ("work", "start", "idle", "drain", "sleep")


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles in microseconds, and the part of all requests that kept the objective."""

    p50_us: int
    p95_us: int
    p99_us: int
    objective_us: int
    kept_ppm: int


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One model, or one tenant of one model. `cost_nanousd` of a tenant is its share of the time at work.

    Latencies are of those who wait: requests of class batch are in all else.
    """

    name: str
    requests: int
    served: int
    refused: int
    failed: int
    cost_nanousd: int
    ttft: Latency
    tpot: Latency


class ModelPart(Part, frozen=True, kw_only=True):
    """One model. `held` waited for a start; `causes_nanousd` adds up to the cost.

    `utilisation_ppm` is time with work of all time of replicas; `output_tokens` what was answered. Of the
    `batch` requests `batch_served` were. `useful_us` is the work that was served, time of a replica at its best batch.
    """

    starts: int
    wakes: int
    replica_us: int
    peak_replicas: int
    causes_nanousd: dict[str, int]
    utilisation_ppm: int
    input_tokens: int
    output_tokens: int
    tenants: tuple[Part, ...]
    batch: int
    batch_served: int
    useful_us: int

    @property
    def nanousd_per_useful_hour(self) -> int:
        """What an hour of a replica at its best batch cost, all that was lost beside it included."""
        return self.cost_nanousd * US_PER_HOUR // max(1, self.useful_us)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `partial` says that it was interrupted at `until_us`. `bought` are models that an API served instead."""

    name: str
    requests: int
    until_us: int
    partial: bool
    cost_nanousd: int
    models: tuple[ModelPart, ...]
    notes: tuple[str, ...]
    bought: tuple[dict[str, str | int], ...] = ()

    @property
    def nanousd_per_day(self) -> int:
        """The cost at this pace for a day."""
        return self.cost_nanousd * 24 * US_PER_HOUR // max(1, self.until_us)


def outcome(world: World, name: str, *, partial: bool = False) -> Outcome:
    """Read a world that has run."""
    scenario = world.scenario
    trace = scenario.trace
    columns: dict[str, NDArray[Any]] = {
        "first": np.frombuffer(world.first_us, np.int64),
        "end": np.frombuffer(world.end_us, np.int64),
        "share": np.frombuffer(world.share_us, np.float64),
        "fate": np.frombuffer(world.fate, np.uint8),
    }
    models = []
    for model in scenario.catalog.models:
        places = [place for place, known in enumerate(scenario.names) if known == model.name]
        rows = np.isin(trace.model, places) & (trace.arrival_us <= world.now_us)
        models.append(_model(world, model.key, rows, columns))
    return Outcome(
        name=name,
        requests=int((trace.arrival_us <= world.now_us).sum()),
        until_us=world.now_us,
        partial=partial,
        cost_nanousd=sum(model.cost_nanousd for model in models),
        models=tuple(models),
        notes=trace.notes,
    )


def _model(world: World, key: str, rows: NDArray[np.bool_], columns: dict[str, NDArray[Any]]) -> ModelPart:
    trace, spec = world.scenario.trace, world.scenario.catalog.model(key)
    assert spec is not None, "keys are of the catalog"
    fate, first, end = columns["fate"][rows], columns["first"][rows], columns["end"][rows]
    served = fate == SERVED
    output, input_ = trace.output_tokens[rows], trace.input_tokens[rows]
    batch = trace.priority[rows] == BATCH
    rate = world.scenario.rates[key]
    useful_ns = served.sum() * rate.fixed_ns
    useful_ns += (input_[served] * float(rate.input_ns) + output[served] * float(rate.output_ns)).sum()
    timed, long = served & ~batch, served & ~batch & (output > 1)
    ttft = (first - trace.arrival_us[rows])[timed]
    tpot = (end[long] - first[long]) / np.maximum(1, output[long] - 1)
    tenant, count = trace.tenant[rows], len(trace.tenants)
    goal = spec.objective
    speeds = (
        _by_tenant(ttft, tenant[timed], np.bincount(tenant[~batch], minlength=count), goal.ttft_us),
        _by_tenant(tpot, tenant[long], np.bincount(tenant[long], minlength=count), goal.tpot_us),
    )
    causes, replica_us, busy_us, peak = _leases(world, key)
    shares = columns["share"][rows]
    return ModelPart(
        name=key,
        requests=len(fate),
        served=int(served.sum()),
        refused=int((fate == REFUSED).sum()),
        failed=int((fate == FAILED).sum()),
        cost_nanousd=sum(causes.values()),
        ttft=_latency(ttft, goal.ttft_us, int((~batch).sum())),
        tpot=_latency(tpot, goal.tpot_us, int(long.sum())),
        starts=sum(one[0].model == spec.name and one[0].way == "start" for one in world.fleet.ended),
        wakes=sum(one[0].model == spec.name and one[0].way == "wake" for one in world.fleet.ended),
        replica_us=replica_us,
        peak_replicas=peak,
        causes_nanousd=causes,
        utilisation_ppm=int(1_000_000 * busy_us / replica_us) if replica_us else 0,
        input_tokens=int(input_[served].sum()),
        output_tokens=int(output[served].sum()),
        tenants=_tenants(trace, tenant, fate, shares, causes["work"], speeds),
        batch=int(batch.sum()),
        batch_served=int((served & batch).sum()),
        useful_us=int(useful_ns / 1000),
    )


def _leases(world: World, key: str) -> tuple[dict[str, int], int, float, int]:
    """Cost by cause, time of replicas, time with work, and the most replicas at once."""
    causes = dict.fromkeys(CAUSES, 0)
    replica_us, busy_us = 0, 0.0
    for lease, busy in world.fleet.ended:
        if f"{lease.model}@{lease.version}" != key:
            continue
        length_us = lease.ended_us - lease.started_us
        ready_us = lease.ready_us or lease.ended_us
        drain_us = lease.ended_us - lease.drain_us if lease.drain_us >= ready_us else 0
        start_us = ready_us - lease.started_us
        work_us = min(round(busy), length_us - start_us)
        drained_us = max(0, min(drain_us, length_us - start_us - work_us))
        parts = [work_us, start_us, length_us - start_us - work_us - drained_us, drained_us, 0]
        if lease.way == "sleep":
            parts = [0, 0, 0, 0, max(1, length_us)]
        if not any(parts):
            parts[1] = 1  # billed, and never there
        for cause, nanousd in zip(CAUSES, split(world.fleet.cost_nanousd(lease), parts), strict=True):
            causes[cause] += nanousd
        replica_us += length_us if lease.way != "sleep" else 0
        busy_us += work_us
    peak = max((have for _, name, have, _ in world.counts if name == key), default=0)
    return causes, replica_us, busy_us, peak


def _latency(values: NDArray[Any], objective_us: int, of: int) -> Latency:
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
    values: NDArray[Any], tenant: NDArray[np.int32], of: NDArray[np.int64], objective_us: int
) -> list[Latency]:
    """As `_latency`, for all tenants at once, by place; `of` is how many of each were to keep the objective."""
    count = len(of)
    order = np.lexsort((values, tenant))
    ranked, lengths = values[order], np.bincount(tenant, minlength=count)
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


def _tenants(
    trace: Trace,
    tenant: NDArray[np.int32],
    fate: NDArray[np.uint8],
    shares: NDArray[np.float64],
    nanousd: int,
    speeds: tuple[list[Latency], list[Latency]],
) -> tuple[Part, ...]:
    count = len(trace.tenants)
    by = [np.bincount(tenant[fate == what], minlength=count) for what in (SERVED, REFUSED, FAILED)]
    asked = np.bincount(tenant, minlength=count)
    took = np.bincount(tenant, weights=shares, minlength=count)
    costs = split(nanousd, [round(us) for us in took]) if took.sum() >= 1 else [0] * count
    return tuple(
        Part(
            name=trace.tenants[place],
            requests=int(asked[place]),
            served=int(by[0][place]),
            refused=int(by[1][place]),
            failed=int(by[2][place]),
            cost_nanousd=costs[place],
            ttft=speeds[0][place],
            tpot=speeds[1][place],
        )
        for place in np.flatnonzero(asked)
    )
