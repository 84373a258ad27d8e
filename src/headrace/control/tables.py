"""Builds the routing table from what is wanted and what is so. Pure but for the models' states handed in."""

from collections.abc import Callable, Iterable, Mapping

from headrace.policy import performance
from headrace.ports import Engine, KeyRecord
from headrace.specs.catalog import Catalog, Limits, ModelSpec, TenantSpec
from headrace.state.fleet import Fleet
from headrace.state.table import Price, RouteBudget, RouteKey, RouteModel, RouteReplica, RouteTenant, Table
from headrace.state.work import WorkRate


def state_of(model: ModelSpec, fleet: Fleet, *, prepared: bool, preparing: bool, fault: str) -> str:
    """One word for people: ready, waking, asleep, preparing or failed."""
    phases = {replica.phase for replica in fleet.of(model.key)}
    if "ready" in phases:
        return "ready"
    if fault:
        return "failed"
    if phases & {"pending", "starting", "waking"}:
        return "waking"
    if not model.owned:
        return "unreachable"
    return "asleep" if prepared or phases & {"dozing", "asleep"} else "preparing" if preparing else "unprepared"


def route_model(
    model: ModelSpec,
    engine: Engine,
    state: str,
    fault: str,
    wake_us: int,
    created_s: int,
    rate: WorkRate | None = None,
    budgets: tuple[RouteBudget, ...] = (),
) -> RouteModel:
    """One model version as gateways see it."""
    return RouteModel(
        name=model.name,
        version=model.version,
        weight=model.weight,
        task=model.task,
        ability=engine.ability(model),
        context_tokens=model.engine.context_tokens,
        output_tokens_default=model.output_tokens_default,
        queue_max=model.scaling.queue_max,
        ttft_us=model.objective.ttft_us,
        start_timeout_us=model.scaling.start_timeout_us,
        state=state,
        created_s=created_s,
        wake_us=wake_us,
        fault=fault,
        rate=rate,
        shadow=model.shadow,
        fallback=model.fallback,
        tpot_us=model.objective.tpot_us,
        hedge=model.hedge,
        budgets=budgets,
    )


def route_replicas(
    catalog: Catalog, fleet: Fleet, secret: Callable[[ModelSpec], str | None]
) -> tuple[RouteReplica, ...]:
    """The replicas work may be sent to, or may still be at. A foreign server whose key is missing is not among them."""
    found = []
    for replica in fleet.replicas:
        model, pool = catalog.model(replica.key), catalog.pool(replica.pool)
        if replica.phase not in ("ready", "draining", "dozing") or not replica.address or not replica.incarnation:
            continue
        api_key = secret(model) if model and not model.owned else ""
        if api_key is None:
            continue
        found.append(
            RouteReplica(
                id=replica.id,
                model=replica.model,
                version=replica.version,
                incarnation=replica.incarnation,
                address=replica.address,
                slots=replica.slots,
                phase="ready" if replica.phase == "ready" else "draining",
                upstream_model=(model.engine.upstream_model if model else "") or replica.model,
                api_key=api_key,
                pool=replica.pool,
                holds_tokens=performance.holds_tokens(model, pool) if model and pool else 0,
            )
        )
    return tuple(found)


def allowed(record: KeyRecord, catalog: Catalog) -> tuple[str, ...]:
    """The models a key may use: its own that its tenant may use too; "*" for all."""
    tenant = next((tenant for tenant in catalog.tenants if tenant.name == record.tenant), None)
    given = tenant.models if tenant else ("*",)
    if "*" in given:
        return record.models
    return tuple(model for model in given if "*" in record.models or model in record.models)


BudgetsOf = Callable[[str, str, str], tuple[RouteBudget, ...]]


def route_keys(records: Iterable[KeyRecord], catalog: Catalog, budgets: BudgetsOf) -> tuple[RouteKey, ...]:
    """Valid keys as gateways see them, each with its own limits, never above its tenant's, and its budgets."""
    tenants = {tenant.name: tenant for tenant in catalog.tenants}
    found = []
    for record in records:
        tenant = tenants.get(record.tenant)
        limits = tenant.limits if tenant else Limits()
        found.append(
            RouteKey(
                id=record.id,
                digest=record.digest,
                tenant=record.tenant,
                role=record.role,
                models=allowed(record, catalog),
                limits=Limits(
                    requests_per_minute=_least(record.requests_per_minute, limits.requests_per_minute),
                    tokens_per_minute=_least(record.tokens_per_minute, limits.tokens_per_minute),
                    concurrency=_least(record.concurrency, limits.concurrency),
                ),
                team=record.team,
                budgets=budgets(record.tenant, record.team, record.id),
            )
        )
    return tuple(found)


def table(
    models: Mapping[str, RouteModel],
    replicas: tuple[RouteReplica, ...],
    keys: tuple[RouteKey, ...],
    prices: tuple[Price, ...],
    tenants: Iterable[TenantSpec] = (),
) -> Table:
    """The whole table; its revision is the publisher's."""
    every = tuple(models[key] for key in sorted(models))
    kept = tuple(
        RouteTenant(name=one.name, storage_bytes=one.storage_bytes, keep_runs_us=one.keep_runs_us, weight=one.weight)
        for one in tenants
    )
    return Table(revision=0, models=every, replicas=replicas, keys=keys, prices=prices, tenants=kept)


def _least(own: int | None, default: int | None) -> int | None:
    """A key's own limit, never above its tenant's."""
    given = [limit for limit in (own, default) if limit is not None]
    return min(given) if given else None
