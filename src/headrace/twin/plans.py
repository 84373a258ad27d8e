"""A scenario's optimum: the least it can cost on the pools each model may use, and what the twin makes of it."""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid
from headrace.planner.optimum import Pool, optimum, slots
from headrace.planner.schedule import Schedule, schedule
from headrace.planner.whole import whole
from headrace.specs.catalog import ModelSpec
from headrace.twin.context import taken
from headrace.twin.outcome import outcome
from headrace.twin.scenario import Scenario
from headrace.twin.trace import BATCH
from headrace.twin.world import World

WHOLE_S: Final = 2.0  # of solving for whole replicas, for each model
NEAR: Final = 0.005  # a schedule that is dearer than its bound by no more is not looked for twice


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One model on some pools: the least cost, or why there is none. `cheapest`: all its pools were at hand.

    `nanousd` is the bound of replicas that may be fractions. Where all its pools were at hand, `schedule_nanousd` is
    what a schedule of whole replicas costs; and `whole_nanousd` what none costs less than, where it has one pool.
    """

    model: str
    cheapest: bool
    hours: dict[str, float]
    nanousd: int | None = None
    whole_nanousd: int | None = None
    schedule_nanousd: int | None = None
    why: str = ""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """All models: the least cost, choices beside it, and the twin's cost and promises kept where it was asked.

    `nanousd` lets replicas be fractions; no fleet of whole ones costs less than `bound_nanousd`, and `whole_nanousd` is
    what a schedule of them costs that does all the work: the best lies between the two.
    """

    nanousd: int
    bound_nanousd: int
    whole_nanousd: int
    choices: tuple[Choice, ...]
    simulated_nanousd: int | None = None
    kept_ppm: dict[str, int] = {}

    def least_of(self, model: str) -> int:
        """The least cost of a model on all its pools."""
        return max(1, next(one.nanousd or 1 for one in self.choices if one.model == model and one.cheapest))


def planned(scenario: Scenario, *, missed: float, simulate: bool) -> Planned:
    """Each model by itself, on devices of its own. Raises Invalid when one cannot be served by all its pools."""
    choices: list[Choice] = []
    for model in scenario.catalog.models:
        pools = pools_of(scenario, model)
        work = work_of(scenario, model)
        try:
            best = optimum(work, pools, missed=missed)
        except Invalid as error:
            raise Invalid(f"{error.message}; {_held_by(scenario, model)}", status=error.status) from None
        plan, bound = _scheduled(work, pools, missed)
        choices.append(
            Choice(
                model=model.key,
                cheapest=True,
                hours={name: hours for name, hours in best.hours.items() if hours > 1e-6},
                nanousd=best.nanousd,
                whole_nanousd=None if bound is None else max(bound, best.nanousd),
                schedule_nanousd=plan.nanousd,
            )
        )
        for pool in pools if len(pools) > 1 else ():
            try:
                alone = optimum(work, [pool], missed=missed)
                choices.append(Choice(model=model.key, cheapest=False, hours=alone.hours, nanousd=alone.nanousd))
            except Invalid as error:
                choices.append(Choice(model=model.key, cheapest=False, hours={pool.name: 0.0}, why=error.message))
    mine = [one for one in choices if one.cheapest]
    found = Planned(
        nanousd=sum(one.nanousd or 0 for one in mine),
        bound_nanousd=sum(one.nanousd or 0 if one.whole_nanousd is None else one.whole_nanousd for one in mine),
        whole_nanousd=sum(one.schedule_nanousd or 0 for one in mine),
        choices=tuple(choices),
    )
    if not simulate:
        return found
    world = World(scenario)
    world.run()
    ran = outcome(world, "headrace")
    kept = {model.name: model.ttft.kept_ppm for model in ran.models}
    return msgspec.structs.replace(found, simulated_nanousd=ran.cost_nanousd, kept_ppm=kept)


def _scheduled(work: NDArray[np.float64], pools: list[Pool], missed: float) -> tuple[Schedule, int | None]:
    """The cheapest schedule of whole replicas that is found, and on one pool a bound of such ones."""
    planned = whole(work, pools[0], missed=missed) if len(pools) == 1 else None
    if planned is not None and planned.gap <= NEAR:
        return planned, planned.bound_nanousd
    solved = schedule(work, pools, missed=missed, limit_s=WHOLE_S)
    if planned is None:
        return solved, None
    return min(planned, solved, key=lambda one: one.nanousd), planned.bound_nanousd


def _held_by(scenario: Scenario, model: ModelSpec) -> str:
    """Which figures of the cloud file keep a model from having more replicas."""
    most, found, capped = model.scaling.max_replicas, [], False
    for name in model.pools:
        pool = scenario.catalog.pool(name)
        assert pool is not None, "the scenario was checked"
        fit = pool.count * max(1, pool.memory_bytes // model.memory_bytes)
        found += [f"pools.{name}.count ({pool.count})"] if fit <= most else []
        capped |= most <= fit
    found += [f"models.{model.name}.scaling.max ({most})"] if capped else []
    return f"{model.key} is held to that by {' and '.join(found)}"


def share_of(scenario: Scenario, model: ModelSpec) -> float:
    """The part of a model's requests that a version of it gets, by the weights of the cloud file."""
    weights = sum(other.weight for other in scenario.catalog.models if other.name == model.name)
    return model.weight / weights if weights else 0.0


def rows_taken(scenario: Scenario, model: ModelSpec) -> NDArray[np.bool_]:
    """The requests for a model that a version does not refuse for their length, whatever is rolled out."""
    trace, places = scenario.trace, [place for place, name in enumerate(scenario.names) if name == model.name]
    rows: NDArray[np.bool_] = np.isin(trace.model, places) & taken(trace, model, trace.output_tokens)
    return rows


def answers_of(scenario: Scenario, model: ModelSpec) -> NDArray[np.int32]:
    """Tokens of the answers to those, each of which ends where the context does."""
    trace = scenario.trace
    room: NDArray[np.int32] = np.maximum(0, model.engine.context_tokens - trace.input_tokens)
    return np.minimum(trace.output_tokens, room)


def work_of(scenario: Scenario, model: ModelSpec) -> NDArray[np.float64]:
    """A version's work that arrives in each slot and is not batch work, microseconds of a replica of its first pool."""
    trace, rate = scenario.trace, scenario.rates[model.key]
    rows = rows_taken(scenario, model) & (trace.priority != BATCH)
    work_ns = (
        rate.fixed_ns
        + trace.input_tokens[rows] * float(rate.input_ns)
        + answers_of(scenario, model)[rows] * float(rate.output_ns)
    )
    found: NDArray[np.float64] = slots(
        trace.arrival_us[rows], work_ns / 1000 * share_of(scenario, model), trace.span_us
    )
    return found


def pools_of(scenario: Scenario, model: ModelSpec) -> list[Pool]:
    """The pools a model may use. Capacities are relative to the first pool's replica, at the mean request."""
    found = []
    for name in model.pools:
        pool = scenario.catalog.pool(name)
        assert pool is not None, "the scenario was checked"
        assert pool.price_nanousd_per_hour is not None, "and so were prices"
        beside = max(1, pool.memory_bytes // model.memory_bytes)
        found.append(
            Pool(
                name=name,
                nanousd_per_hour=pool.price_nanousd_per_hour // beside,
                capacity=scenario.capacities[model.key, name] / scenario.capacities[model.key, model.pools[0]],
                count=min(pool.count * beside, model.scaling.max_replicas),
                boot_us=scenario.boot_us[model.key],
                billing_min_us=scenario.billing_min_us,
            )
        )
    return found
