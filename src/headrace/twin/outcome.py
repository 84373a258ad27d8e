"""What a simulated run came to: latencies, promises kept, money and where it went, for each model and tenant.

Money is whole nano-dollars: what leases cost is split by their time into starting or waking, at work, idle, draining
and asleep, and the part at work over requests by the time each took; the parts add up to the whole.
"""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.economics.sharing import split
from headrace.specs.catalog import ModelSpec
from headrace.twin.against import Against
from headrace.twin.latency import (
    Latency,
    first_token,
    first_token_by_tenant,
    outputs_of,
    per_token,
    per_token_by_tenant,
    rows_of,
)
from headrace.twin.rolled import Rolled, rolled
from headrace.twin.trace import BATCH
from headrace.twin.world import FAILED, REFUSED, SERVED, TOO_LONG, World
from headrace.units import US_PER_HOUR

CAUSES: Final = ("work", "start", "idle", "drain", "sleep")


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
    `too_long` of those refused have more tokens than `context_tokens`, the model's context.
    `optimum` is cost over least, where that was asked for.
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
    too_long: int
    context_tokens: int
    useful_us: int
    optimum: Against | None = None

    @property
    def nanousd_per_useful_hour(self) -> int:
        """What an hour of a replica at its best batch cost, all that was lost beside it included."""
        return self.cost_nanousd * US_PER_HOUR // max(1, self.useful_us)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `partial` says that it was interrupted at `until_us`. `bought` are models that an API served instead.

    `optimum` is what the fleet cost over the least it could have, where that was asked for.
    `rollouts` are versions that were rolled out meanwhile.
    """

    name: str
    requests: int
    until_us: int
    partial: bool
    cost_nanousd: int
    models: tuple[ModelPart, ...]
    notes: tuple[str, ...]
    bought: tuple[dict[str, str | int], ...] = ()
    optimum: Against | None = None
    rollouts: tuple[Rolled, ...] = ()

    @property
    def nanousd_per_day(self) -> int:
        """The cost at this pace for a day."""
        return self.cost_nanousd * 24 * US_PER_HOUR // max(1, self.until_us)


def outcome(world: World, name: str, *, partial: bool = False) -> Outcome:
    """Read a world that has run."""
    scenario = world.scenario
    trace = scenario.trace
    models = [_model(world, model.key) for model in scenario.catalog.models]
    return Outcome(
        name=name,
        requests=int((trace.arrival_us <= world.now_us).sum()),
        until_us=world.now_us,
        partial=partial,
        cost_nanousd=sum(model.cost_nanousd for model in models),
        models=tuple(models),
        notes=trace.notes + scenario.notes,
        rollouts=rolled(world),
    )


def _model(world: World, key: str) -> ModelPart:
    trace, spec, rows = world.scenario.trace, world.scenario.catalog.model(key), rows_of(world, key)
    assert spec is not None, "keys are of the catalog"
    outputs = outputs_of(world, spec.version)
    fate, output, input_ = np.frombuffer(world.fate, np.uint8)[rows], outputs[rows], trace.input_tokens[rows]
    served, batch = fate == SERVED, trace.priority[rows] == BATCH
    rate = world.scenario.rates[key]
    useful_ns = served.sum() * rate.fixed_ns
    useful_ns += (input_[served] * float(rate.input_ns) + output[served] * float(rate.output_ns)).sum()
    causes, replica_us, busy_us, peak = _leases(world, key)
    return ModelPart(
        name=key,
        requests=len(fate),
        served=int(served.sum()),
        refused=int(((fate == REFUSED) | (fate == TOO_LONG)).sum()),
        failed=int((fate == FAILED).sum()),
        cost_nanousd=sum(causes.values()),
        ttft=first_token(world, rows, spec.objective.ttft_us),
        tpot=per_token(world, rows, outputs, spec.objective.tpot_us),
        starts=_ways(world, spec).count("start"),
        wakes=_ways(world, spec).count("wake"),
        replica_us=replica_us,
        peak_replicas=peak,
        causes_nanousd=causes,
        utilisation_ppm=int(1_000_000 * busy_us / replica_us) if replica_us else 0,
        input_tokens=int(input_[served].sum()),
        output_tokens=int(output[served].sum()),
        tenants=_tenants(world, rows, spec, causes["work"]),
        batch=int(batch.sum()),
        batch_served=int((served & batch).sum()),
        too_long=int((fate == TOO_LONG).sum()),
        context_tokens=spec.engine.context_tokens,
        useful_us=int(useful_ns / 1000),
    )


def _ways(world: World, spec: ModelSpec) -> list[str]:
    """How the replicas of a version came to be."""
    return [one.way for one, _ in world.fleet.ended if (one.model, one.version) == (spec.name, spec.version)]


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


def _tenants(world: World, rows: NDArray[np.bool_], spec: ModelSpec, nanousd: int) -> tuple[Part, ...]:
    trace, fate = world.scenario.trace, np.frombuffer(world.fate, np.uint8)[rows]
    tenant, count = trace.tenant[rows], len(trace.tenants)
    fates = ((SERVED,), (REFUSED, TOO_LONG), (FAILED,))
    by = [np.bincount(tenant[np.isin(fate, what)], minlength=count) for what in fates]
    asked = np.bincount(tenant, minlength=count)
    took = np.bincount(tenant, weights=np.frombuffer(world.share_us, np.float64)[rows], minlength=count)
    costs = split(nanousd, [round(us) for us in took]) if took.sum() >= 1 else [0] * count
    ttft = first_token_by_tenant(world, rows, spec.objective.ttft_us)
    tpot = per_token_by_tenant(world, rows, outputs_of(world, spec.version), spec.objective.tpot_us)
    return tuple(
        Part(
            name=trace.tenants[place],
            requests=int(asked[place]),
            served=int(by[0][place]),
            refused=int(by[1][place]),
            failed=int(by[2][place]),
            cost_nanousd=costs[place],
            ttft=ttft[place],
            tpot=tpot[place],
        )
        for place in np.flatnonzero(asked)
    )
