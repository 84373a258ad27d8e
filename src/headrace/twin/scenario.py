"""What is simulated: a catalog, a trace, how each model runs on each pool, and the rules that decide.

Built once, checked wholly: a model of the trace that the catalog does not have, or a model of which nobody knows how
fast it is, is refused by name before anything runs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid
from headrace.policy import capacity
from headrace.policy.performance import Measured, Performance, expected
from headrace.policy.sizing import ByWork, Sizing
from headrace.specs import accelerators
from headrace.specs.catalog import Catalog, ModelSpec, PoolSpec
from headrace.specs.problem import closest
from headrace.state.work import WorkRate
from headrace.twin import odd
from headrace.twin.behaviour import Behaviour
from headrace.twin.context import Fits, fits
from headrace.twin.deployment import Deployment, News
from headrace.twin.odd import NO_NAME
from headrace.twin.replica import NEVER
from headrace.twin.trace import Trace
from headrace.units import US_PER_HOUR, US_PER_S

PATIENCE_US: Final = 120 * US_PER_S
BATCH_PATIENCE_US: Final = 24 * US_PER_HOUR  # what a batch API promises
ROUND_US: Final = 5 * US_PER_S
BOOT_US: Final = 30 * US_PER_S
SPOT_AWAY_US: Final = 1800 * US_PER_S  # an assumption: nobody publishes how long capacity stays away


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is set up. Times in microseconds.

    `spot_away_us` is how long a lost spot device cannot be had, in the mean.
    `boot_us` is a start from nothing to ready, unless a model has a measured one; `billing_min_us` the shortest time
    that a pool is billed for; `mtbf_hours` the mean time between failures of a replica (0: none);
    `patience_us` how long a request may wait, `batch_patience_us` one of class batch; `wall_us` is the time of day at
    which the trace begins; `warm` are
    replicas that are ready when it begins, by `name@version`; `deployments` are versions that are rolled out.
    """

    boot_us: int = BOOT_US
    boots_us: Mapping[str, int] = dataclasses.field(default_factory=dict)
    billing_min_us: int = 0
    round_us: int = ROUND_US
    patience_us: int = PATIENCE_US
    batch_patience_us: int = BATCH_PATIENCE_US
    mtbf_hours: float = 0.0
    spot_away_us: int = SPOT_AWAY_US
    seed: int = 0
    wall_us: int = 0
    warm: Mapping[str, int] = dataclasses.field(default_factory=dict)
    deployments: tuple[Deployment, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """One run's givens. `names` says which model each model of the trace is; `prompt_us` is by (version, pool),
    `capacities` are requests an hour of a full replica, and `speeds` how it runs, by (model, pool). Of versions that
    are rolled out, by version: `outputs`, the tokens of each answer, and `broken`, the requests that fail.
    `fits` are those that a version refuses for their length.
    """

    trace: Trace
    catalog: Catalog
    sizing: Sizing
    names: tuple[str, ...]
    behaviours: dict[tuple[str, str], Behaviour]
    prompt_us: dict[tuple[str, str], NDArray[np.float64]]
    rates: dict[str, WorkRate]
    capacities: dict[tuple[str, str], float]
    speeds: dict[tuple[str, str], Performance]
    boot_us: dict[str, int]
    wake_us: dict[str, int]
    billing_min_us: int
    round_us: int
    patience_us: int
    batch_patience_us: int
    mtbf_hours: float
    spot_away_us: int
    seed: int
    wall_us: int
    warm: Mapping[str, int]
    fits: Fits
    deployments: tuple[Deployment, ...] = ()
    outputs: Mapping[str, NDArray[np.int32]] = dataclasses.field(default_factory=dict)
    broken: Mapping[str, NDArray[np.bool_]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def scenario(
    catalog: Catalog,
    trace: Trace,
    *,
    sizing: Sizing | None = None,
    measured: Mapping[tuple[str, str], Measured] | None = None,
    names: Mapping[str, str] | None = None,
    options: Options | None = None,
) -> Scenario:
    """A checked scenario. `measured` is how models run, by `name@version` and pool, where it was measured; `names` maps
    models of the trace to those of the catalog where they differ.

    Raises Invalid for models that are not there, pools without a price, speeds that nobody knows, and versions that
    cannot be rolled out.
    """
    given = options or Options()
    known, tokens = mapped(trace, catalog, names or {}), trace.input_tokens
    news = News(catalog, given.deployments, trace, known, given.seed)
    catalog, lived = _priced(news.catalog), news.measured(measured or {})
    fit = fits(trace, catalog, known, news.outputs, news.deployments)
    behaviours: dict[tuple[str, str], Behaviour] = {}
    prompts: dict[tuple[str, str], NDArray[np.float64]] = {}
    rates: dict[str, WorkRate] = {}
    capacities: dict[tuple[str, str], float] = {}
    speeds: dict[tuple[str, str], Performance] = {}
    boots: dict[str, int] = {}
    left_out: dict[str, set[str]] = {}
    told = odd.notes(trace, catalog, known, [name for name in trace.models if name not in (names or {})])
    for model in catalog.models:
        rows = np.isin(trace.model, [place for place, name in enumerate(known) if name == model.name])
        if not model.owned or not rows.any():
            continue
        boots[model.key] = news.boot_us(model.key, given.boots_us, given.boot_us)
        sizes = _sizes(trace, rows, model, fit, news.lengths(model.key))
        found, cannot = _pools(model, catalog, news, lived, sizes, boots[model.key])
        for name, (speed, made, rate, able) in found.items():
            speeds[model.key, name] = speed
            behaviours[model.key, name] = made
            capacities[model.key, name] = able
            rates.setdefault(model.key, rate)
            prompts.setdefault((model.version, name), np.zeros(len(trace)))[rows] = _prompts_us(speed, tokens[rows])
        left_out[model.key] = set(model.pools) - set(found)
        told += [f"Left out: {why}." for why in cannot]
    return Scenario(
        trace=dataclasses.replace(trace, notes=(*trace.notes, *fit.notes, *told)),
        catalog=_without_unused(catalog, {known[place] for place in set(trace.model.tolist())}, left_out),
        sizing=_told(sizing if sizing is not None else ByWork(), catalog, boots),
        names=known,
        behaviours=behaviours,
        prompt_us=prompts,
        rates=rates,
        capacities=capacities,
        speeds=speeds,
        boot_us=boots,
        wake_us={one.key: min(boots[one.key], one.scaling.wake_us) for one in catalog.models if one.key in boots},
        billing_min_us=given.billing_min_us,
        round_us=given.round_us,
        patience_us=given.patience_us,
        batch_patience_us=given.batch_patience_us,
        mtbf_hours=given.mtbf_hours,
        spot_away_us=given.spot_away_us,
        seed=given.seed,
        wall_us=given.wall_us,
        warm=given.warm,
        fits=fit,
        deployments=tuple(news.deployments.values()),
        outputs=fit.outputs,
        broken=news.broken,
        notes=news.notes,
    )


def _priced(catalog: Catalog) -> Catalog:
    for pool in catalog.pools:
        if pool.price_nanousd_per_hour is None:
            raise Invalid(f"pool {pool.name} has no price, so no cost can be told; give it a price_per_hour")
    return catalog


def _sizes(
    trace: Trace, rows: NDArray[np.bool_], model: ModelSpec, fit: Fits, lengths: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Tokens in and out of a version's requests that it does not refuse; where it refuses all, as long as it takes."""
    refused, most = fit.refused.get(model.version), model.engine.context_tokens
    mine = rows if refused is None or refused[rows].all() else rows & ~refused
    inputs = np.minimum(trace.input_tokens[mine], most - 1)
    return inputs, np.minimum(lengths[mine], most - inputs)


def _told(rule: Sizing, catalog: Catalog, boots: Mapping[str, int]) -> Sizing:
    """Who sizes, knowing what a cloud would have measured."""
    if isinstance(rule, ByWork):
        rule.boot_us.update(boots)
        rule.promise(catalog.models)
    return rule


def mapped(trace: Trace, catalog: Catalog, names: Mapping[str, str]) -> tuple[str, ...]:
    """The catalog's names of the trace's models, by their place. Raises Invalid for one it does not have, and for a
    name of `names` that no model of the trace has.
    """
    for name in names:
        if name not in trace.models:
            raise Invalid(
                f"--map {name}={names[name]}: the trace asks for no model {name!r}; it asks for "
                f"{', '.join(trace.models)}"
            )
    return tuple(_named(name, catalog, names) for name in trace.models)


def _named(name: str, catalog: Catalog, names: Mapping[str, str]) -> str:
    """The catalog's name of a model of the trace; a catalog of one model takes a trace of any."""
    wanted = names.get(name, name)
    known = catalog.names()
    if wanted in known:
        return wanted
    if len(known) == 1 and name not in names:
        return known[0]
    if name == NO_NAME and name not in names:
        raise Invalid(
            f"the trace names no model, and the cloud has {', '.join(known)}; say which is meant, like --map "
            f"{name}={known[0]}"
        )
    hint = closest(wanted, known) or f"; there are {', '.join(known)}"
    raise Invalid(
        f"the trace asks for model {wanted!r}, which the cloud does not have{hint}; map it with --map {name}=..."
    )


def performance_of(
    model: ModelSpec,
    pool: PoolSpec,
    measured: Mapping[tuple[str, str], Measured] | None = None,
    catalog: Catalog | None = None,
) -> Performance:
    """How fast a model is on a pool: as measured there, else as foretold. Raises Invalid where nobody knows."""
    seen = measured or {}
    if (model.key, pool.name) in seen:
        return seen[model.key, pool.name]
    others = (other for name in model.pools if catalog is not None and (other := catalog.pool(name)) is not None)
    beside = ((other, seen[model.key, other.name]) for other in others if (model.key, other.name) in seen)
    known = expected(model, pool, next(beside, None))
    if known is not None:
        return known
    known_device = accelerators.named(pool.accelerator) is not None
    lacking = "it has no shape" if known_device else f"{pool.accelerator} is not in the table of accelerators"
    raise Invalid(
        f"nobody knows how fast {model.key} is on pool {pool.name}: {lacking}, and nothing was measured; give the "
        "model a shape and the pool a known accelerator, or simulate from a running cloud that has served it"
    )


def _pools(
    model: ModelSpec,
    catalog: Catalog,
    news: News,
    measured: Mapping[tuple[str, str], Measured],
    sizes: tuple[Any, Any],
    boot_us: int,
) -> tuple[dict[str, tuple[Performance, Behaviour, WorkRate, float]], list[str]]:
    """How a model runs on each of its pools, the one that work is told in first; and why not on the others. Raises
    Invalid where it keeps its objective on none.
    """
    found, cannot = {}, list[str]()
    for pool in filter(None, map(catalog.pool, model.pools)):
        performance = news.paced(model.key, performance_of(model, pool, measured, catalog))
        able_to = model if model.key not in news.deployments else _unpromised(model, performance, sizes)
        try:
            found[pool.name] = (performance, *_behaviour(able_to, pool, performance, sizes, boot_us))
        except Invalid as error:
            cannot.append(error.message)
    if not found:
        raise Invalid("; ".join([cannot[0], *odd.problems(catalog, {model.name})]))
    return found, cannot


def _behaviour(
    model: ModelSpec, pool: PoolSpec, performance: Performance, sizes: tuple[Any, Any], boot_us: int
) -> tuple[Behaviour, WorkRate, float]:
    tokens_in, tokens_out = max(1, round(float(sizes[0].mean()))), max(0, round(float(sizes[1].mean())))
    at = capacity.point(performance, tokens_in, tokens_out, model.objective.tpot_us, model.engine.slots)
    if at is None:
        one_us = round(performance.step_ns(1, tokens_in + tokens_out / 2) / 1000)
        raise Invalid(
            f"{model.key} cannot keep its objective on pool {pool.name} for requests of {tokens_in} tokens in and "
            f"{tokens_out} out: one alone takes {one_us} us a token and {model.objective.tpot_us} us are promised, or "
            f"its {performance.kv_tokens} tokens of KV cache are too few; raise objective.tpot or take a larger device"
        )
    made = Behaviour(performance, model.engine.slots, boot_us)
    return made, capacity.rate(performance, at, tokens_in), at.requests_per_hour


def _unpromised(model: ModelSpec, performance: Performance, sizes: tuple[Any, Any]) -> ModelSpec:
    """A new version that is too slow for what is promised is run all the same: what becomes of it is the question."""
    tokens_in, tokens_out = (max(1, round(float(part.mean()))) for part in sizes)
    if capacity.point(performance, tokens_in, tokens_out, model.objective.tpot_us, model.engine.slots) is not None:
        return model
    return msgspec.structs.replace(model, objective=msgspec.structs.replace(model.objective, tpot_us=NEVER))


def _prompts_us(performance: Performance, tokens: NDArray[np.int32]) -> NDArray[np.float64]:
    """What each prompt takes alone; each length is worked out once."""
    lengths, places = np.unique(tokens, return_inverse=True)
    times = np.array([max(1.0, performance.prefill_ns(int(length)) / 1000) for length in lengths])
    return times[places]


def _without_unused(catalog: Catalog, used: set[str], left_out: Mapping[str, set[str]]) -> Catalog:
    """Only models that the trace asks for: the others' replicas would cost, and nobody said how they run; each without
    the pools where it cannot keep its objective.
    """
    models = tuple(
        msgspec.structs.replace(
            model, pools=tuple(pool for pool in model.pools if pool not in left_out.get(model.key, ()))
        )
        for model in catalog.models
        if model.name in used and model.owned
    )
    return Catalog(pools=catalog.pools, models=models, tenants=catalog.tenants)
