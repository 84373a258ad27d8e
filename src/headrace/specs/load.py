"""The cloud file, read strictly, to the catalog it stands for. Called by the CLI and by the admin API.

Pure: reads no file and no environment; references to secrets stay references, and what `auto` means comes in as an
argument. All faults that can be told from the text are told at once, each with file:line:col.
"""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import asdict, replace

from headrace import units
from headrace.specs import document as doc
from headrace.specs import engines, money, shaped, sleeping, sources
from headrace.specs.catalog import (
    Catalog,
    EngineSpec,
    Golden,
    Limits,
    ModelSpec,
    Objective,
    PoolSpec,
    Scaling,
    TenantSpec,
)
from headrace.specs.form import build, spelled
from headrace.specs.hours import hours
from headrace.specs.pools import pool as resolved
from headrace.specs.problem import InvalidCloud, Problem, closest, shown
from headrace.specs.tenancy import Tenant
from headrace.specs.tree import Node, read

MODELS_MAX: Final = 1_000
IDLE_US: Final[dict[str, int | None]] = {"never": None, "auto": 300_000_000}  # auto: until a controller knows better

_EXPECTED: Final[dict[str, str]] = {
    "chat": "a text it contains",
    "transcribe": "a word that is heard",
    "speak": "a word, which must be given",
    "image": "the colour that prevails, like red",
    "upscale": "a word, which must be given",
    "video": "the colour that prevails, like red",
}


def load_text(
    text: str, filename: str = "cloud.yaml", machine: tuple[int, int] | None = None, folder: str = ""
) -> Catalog:
    """The catalog of a cloud file; `machine` is (memory in bytes, CPU threads), which `auto` stands for.

    `folder` is the absolute path of the folder the file lies in: a relative `source` is of that folder, whoever reads
    the catalog later and wherever that process stands. Without it such a source is a fault.

    Raises InvalidCloud, an errors.Invalid whose `problems` are all that is wrong.
    """
    root = read(text, filename)
    document, problems = build(root, doc.Document, filename)
    if document is None:
        raise InvalidCloud(sorted(problems, key=_place))
    resolver = _Resolver(root, filename, machine, folder)
    catalog = resolver.catalog(document)
    if resolver.problems:
        raise InvalidCloud(sorted(resolver.problems, key=_place))
    return catalog


class _Resolver:
    """From document to catalog; notes what does not fit together."""

    def __init__(self, root: Node, filename: str, machine: tuple[int, int] | None, folder: str) -> None:
        self.problems: list[Problem] = []
        self._root = root
        self._filename = filename
        self._machine = machine
        self._folder = folder

    def catalog(self, document: doc.Document) -> Catalog:
        pools = tuple(resolved(name, pool, self._machine, self._note) for name, pool in sorted(document.pools.items()))
        order = tuple(document.pools)
        models = [spec for name, model in document.models.items() for spec in self._model(name, model, order)]
        self._fallbacks(document.models)
        if len(models) > MODELS_MAX:
            self._note(("models",), f"has {len(models)} model versions; give at most {MODELS_MAX}")
        tenants = document.tenants if document.tenants is not None else {"default": Tenant()}
        tasks = {name: model.task for name, model in document.models.items()}
        self._published(models, pools)
        return Catalog(
            pools=pools,
            models=tuple(sorted(models, key=lambda model: model.key)),
            tenants=tuple(self._tenant(name, tenant, tasks) for name, tenant in sorted(tenants.items())),
        )

    def _published(self, models: list[ModelSpec], pools: tuple[PoolSpec, ...]) -> None:
        """A model without a price and without a cost basis is not published: unknown is never 0."""
        unknown = {pool.name for pool in pools if pool.price_nanousd_per_hour is None}
        free = {pool.name for pool in pools if pool.price_nanousd_per_hour == 0}
        for model in models:
            if model.price.kind != "cost_plus":
                continue
            path = ("models", model.name)
            if not model.owned:
                self._note(path, "price is missing; a server that is not ours has no cost to go by: give unit prices")
            elif lacking := [pool for pool in model.pools if pool in unknown]:
                self._note(
                    path,
                    f"has no price, and pool {lacking[0]} none to go by: give the pool a price_per_hour, "
                    "or the model a price",
                )
            elif nothing := [pool for pool in model.pools if pool in free]:
                self._note(path, f"has no price, and pool {nothing[0]} costs 0: give the model a price")

    # --- models --------------------------------------------------------------------------------------------------

    def _fallbacks(self, models: dict[str, doc.Model]) -> None:
        """Who stands in is another model of the same task."""
        for name, model in models.items():
            for index, wanted in enumerate(model.fallback):
                path, (other, at, version) = ("models", name, "fallback", f"[{index}]"), wanted.partition("@")
                if other not in models:
                    hint = closest(other, models) or f"; there are {', '.join(models)}"
                    self._note(path, f"no model is called {shown(other)}{hint}")
                elif other == name and not at:
                    self._note(path, "is the model itself; name another one, or one of its versions")
                elif at and version not in (versions := list(models[other].versions or ("v1",))):
                    there = ", ".join(f"{other}@{one}" for one in versions)
                    self._note(path, f"there is no version {shown(version)} of {other}; there are {there}")
                elif models[other].task != model.task:
                    self._note(path, f"does {models[other].task}, this one {model.task}; name one of the same task")

    def _model(self, name: str, model: doc.Model, pools: tuple[str, ...]) -> list[ModelSpec]:
        path = ("models", name)
        for index, pool in enumerate(model.placement or ()):
            if pool not in pools:
                hint = closest(pool, pools) or f"; there are {', '.join(pools)}"
                self._note((*path, "placement", f"[{index}]"), f"no pool is called {shown(pool)}{hint}")
        if model.placement == []:
            self._note((*path, "placement"), "names no pool; name one or leave it out for all")
        placed = tuple(dict.fromkeys(model.placement or pools))
        scaling = self._scaling(path, model.scaling)
        if model.versions is None:
            return [self._version(name, "v1", model, None, placed, scaling)]
        if not model.versions:
            self._note((*path, "versions"), "names no version; name one or leave it out for v1")
        elif not any(one.weight for one in model.versions.values()):
            self._note((*path, "versions"), "gives every version the weight 0; give one of them more")
        return [self._version(name, key, model, one, placed, scaling) for key, one in model.versions.items()]

    def _version(
        self,
        name: str,
        version: str,
        model: doc.Model,
        own: doc.Version | None,
        pools: tuple[str, ...],
        scaling: Scaling,
    ) -> ModelSpec:
        path: tuple[str, ...] = ("models", name)
        own_path = (*path, "versions", version) if own is not None else path
        own = own or doc.Version()
        engine, given = engines.engine(model, own, self._folder, own_path if own.engine else path, self._note)
        source = own.source or model.source or ""
        source_path = (*(own_path if own.source else path), "source")
        if engine.kind == "openai":
            source, engine = engines.foreign(source, engine, source_path, self._note)
        elif not source:
            self._note(path, "source is missing; say where the weights are, like package://PACKAGE/PATH")
        else:
            source = sources.source(source, self._folder, source_path, self._note)
        memory_bytes = self._memory(own.memory or model.memory, engine, path)
        shape = None if model.shape is None else shaped.shape(model.shape, (*path, "shape"), self._note)
        if model.scaling.idle_to_sleep is None and not sleeping.by_itself(engine.kind):
            scaling = replace(scaling, sleep_auto=False)
        wanted = model.scaling.idle_to_sleep not in (None, "never")
        at = (*(own_path if own.engine else path), "engine")
        asleep = sleeping.sleep(engine.kind, given, memory_bytes, shape, wanted=wanted, path=at, note=self._note)
        engine = replace(engine, sleep=asleep)
        golden = own.golden or model.golden
        if golden is not None:
            self._golden(model.task, golden, (*(own_path if own.golden else path), "golden"))
        return ModelSpec(
            name=name,
            version=version,
            weight=own.weight,
            task=model.task,
            source=source,
            engine=engine,
            memory_bytes=memory_bytes,
            pools=pools,
            objective=Objective(
                ttft_us=units.duration_us(model.objective.ttft),
                tpot_us=units.duration_us(model.objective.tpot),
                tpot_percent=model.objective.tpot_percent,
                ttft_percent=model.objective.ttft_percent,
            ),
            scaling=scaling,
            golden=None if golden is None else Golden(**asdict(golden)),
            output_tokens_default=model.output_tokens,
            description=own.description or model.description,
            price=money.price(model.price, model.task, (*path, "price"), self._note),
            compare_to=model.compare_to or "",
            fallback=tuple(model.fallback),
            hedge=model.hedge,
            by_cost=model.choose == "cost",
            budgets=money.budgets(model.budget, (*path, "budget"), self._note),
            shape=shape,
        )

    def _memory(self, memory: str | None, engine: EngineSpec, path: tuple[str, ...]) -> int:
        if memory is not None:
            return units.size_bytes(memory)
        if engine.kind != "openai":
            self._note(path, "memory is missing; say what one replica takes, like 600MiB")
        return 0

    def _scaling(self, path: tuple[str, ...], scaling: doc.Scaling) -> Scaling:
        if scaling.min > scaling.max:
            self._note((*path, "scaling", "min"), f"is {scaling.min}, more than max {scaling.max}; give at most that")
        idle, rest = scaling.idle_to_zero, scaling.idle_to_sleep
        idle_us = IDLE_US[idle] if idle in IDLE_US else units.duration_us(idle)
        rest_us = units.duration_us(rest) if rest is not None and rest not in IDLE_US else None
        if idle_us is not None and idle != "auto" and rest_us is not None and rest_us >= idle_us:
            self._note((*path, "scaling", "idle_to_sleep"), f"is {rest}, and after {idle} idle it goes; give less")
        return Scaling(
            min_replicas=scaling.min,
            max_replicas=scaling.max,
            idle_to_zero_us=idle_us,
            idle_auto=idle == "auto",
            wait_nanousd_per_s=units.nanousd(scaling.wait_price),
            schedule=tuple(
                hours(window, (*path, "scaling", "schedule", f"[{index}]"), self._note)
                for index, window in enumerate(scaling.schedule)
            ),
            queue_max=scaling.queue,
            start_timeout_us=units.duration_us(scaling.start_timeout),
            drain_us=units.duration_us(scaling.drain),
            idle_to_sleep_us=rest_us,
            wake_us=units.duration_us(scaling.wake),
            sleep_auto=rest == "auto" or (rest is None and idle == "auto"),
        )

    def _golden(self, task: str, golden: doc.Golden, path: tuple[str, ...]) -> None:
        compared = task in ("embed", "rerank")
        if compared and not (golden.closer and golden.farther):
            self._note(path, f"closer and farther are needed for {task}; the first must score above the second")
        if not compared and not golden.expect:
            self._note(path, f"expect is missing; say what a sound model's answer has, for {task}: {_EXPECTED[task]}")

    # --- tenants -------------------------------------------------------------------------------------------------

    def _tenant(self, name: str, tenant: Tenant, tasks: Mapping[str, str]) -> TenantSpec:
        models = tuple(tasks)
        prices = {}
        for model, price in (tenant.prices or {}).items():
            path = ("tenants", name, "prices", model)
            if model not in tasks:
                hint = closest(model, models) or f"; there are {', '.join(models) or 'none'}"
                self._note(path, f"no model is called {shown(model)}{hint}")
            else:
                prices[model] = money.price(price, tasks[model], path, self._note)
        for index, model in enumerate(tenant.models or ()):
            if model != "*" and model not in models:
                hint = closest(model, models) or f"; there are {', '.join(models) or 'none'}"
                path = ("tenants", name, "models", f"[{index}]")
                self._note(path, f"no model is called {shown(model)}{hint}")
        return TenantSpec(
            name=name,
            models=("*",) if tenant.models is None else tuple(dict.fromkeys(tenant.models)),
            limits=Limits(**asdict(tenant.limits)),
            keys=tuple(dict.fromkeys(tenant.keys or ())),
            prices=prices,
            budgets=money.budgets(tenant.budget, ("tenants", name, "budget"), self._note),
            storage_bytes=units.size_bytes(tenant.storage),
            keep_runs_us=units.duration_us(tenant.keep_runs),
            weight=tenant.weight,
        )

    def _note(self, path: tuple[str, ...], message: str) -> None:
        node = self._root
        for part in path:
            inside = node.value
            if isinstance(inside, dict) and part in inside:
                node = inside[part]
            elif isinstance(inside, list) and part.startswith("["):
                node = inside[int(part[1:-1])]
            else:
                break
        where = f"{self._filename}:{node.line}:{node.col}"
        found = Problem(where=where, path=spelled(path), message=message)
        if found not in self.problems:  # what versions share is told once
            self.problems.append(found)


def _place(problem: Problem) -> tuple[int, int]:
    line, col = problem.where.rsplit(":", 2)[1:]
    return int(line), int(col)
