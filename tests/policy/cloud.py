"""Tables, requests, catalogs and fleets in few words, for the tests of the two brains."""

from typing import Any

from headrace.specs.catalog import Catalog, EngineSpec, ModelSpec, Scaling
from headrace.state.demand import Demand
from headrace.state.fleet import Device, Fleet, Replica
from headrace.state.request import Request
from headrace.state.table import Ability, RouteModel, RouteReplica, RouteTenant, Table

S = 1_000_000


def route(key: str = "m@v1", **changed: Any) -> RouteModel:
    name, _, version = key.partition("@")
    fields: dict[str, Any] = {
        "name": name,
        "version": version,
        "weight": 1,
        "task": "chat",
        "ability": Ability(),
        "context_tokens": 2048,
        "output_tokens_default": 512,
        "queue_max": 4,
        "ttft_us": 2 * S,
        "start_timeout_us": 120 * S,
        "state": "ready",
        "created_s": 0,
    }
    return RouteModel(**(fields | changed))


def replica(name: str, key: str = "m@v1", **changed: Any) -> RouteReplica:
    model, _, version = key.partition("@")
    fields: dict[str, Any] = {
        "id": name,
        "model": model,
        "version": version,
        "incarnation": f"{name}-1",
        "address": f"unix:/run/{name}.sock",
        "slots": 2,
        "phase": "ready",
        "upstream_model": model,
    }
    return RouteReplica(**(fields | changed))


def table(*parts: RouteModel | RouteReplica | RouteTenant) -> Table:
    return Table(
        revision=1,
        models=tuple(part for part in parts if isinstance(part, RouteModel)),
        replicas=tuple(part for part in parts if isinstance(part, RouteReplica)),
        keys=(),
        tenants=tuple(part for part in parts if isinstance(part, RouteTenant)),
    )


def request(name: str, model: str = "m", **changed: Any) -> Request:
    fields: dict[str, Any] = {
        "id": name,
        "tenant": "t",
        "key": "k",
        "model": model,
        "task": "chat",
        "input_tokens": 10,
        "output_tokens_max": 10,
        "arrived_us": 0,
        "deadline_us": 600 * S,
    }
    return Request(**(fields | changed))


GIB = 1 << 30


def spec(key: str = "m@v1", **changed: Any) -> ModelSpec:
    """A model of 2 slots and 1 GiB in pool `a`; scaling fields (min_replicas, ...) may be given directly."""
    name, _, version = key.partition("@")
    scaling = {field: changed.pop(field) for field in Scaling.__struct_fields__ if field in changed}
    fields: dict[str, Any] = {
        "name": name,
        "version": version,
        "weight": 1,
        "task": "chat",
        "source": "file:///weights",
        "engine": EngineSpec(kind="llama_cpp", slots=2),
        "memory_bytes": GIB,
        "pools": ("a",),
        "scaling": Scaling(**({"max_replicas": 3, "idle_to_zero_us": 300 * S} | scaling)),
    }
    return ModelSpec(**(fields | changed))


def catalog(*models: ModelSpec) -> Catalog:
    return Catalog(pools=(), models=tuple(sorted(models, key=lambda model: model.key)), tenants=())


def device(name: str = "d1", gib: int = 4, pool: str = "a") -> Device:
    return Device(node="n", device=name, pool=pool, memory_bytes=gib * GIB, cpus=4)


def running(model: ModelSpec, number: int = 1, **changed: Any) -> Replica:
    """A ready replica of a model, on device d1, since 10 s."""
    fields: dict[str, Any] = {
        "id": f"{model.name}-{model.version}-{model.digest[:6]}-{number}",
        "model": model.name,
        "version": model.version,
        "digest": model.digest,
        "pool": "a",
        "node": "n",
        "device": "d1",
        "memory_bytes": model.memory_bytes,
        "slots": model.engine.slots,
        "phase": "ready",
        "launched_us": 9 * S,
        "ready_us": 10 * S,
    }
    return Replica(**(fields | changed))


def fleet(*parts: Device | Replica) -> Fleet:
    return Fleet(
        devices=tuple(part for part in parts if isinstance(part, Device)),
        replicas=tuple(part for part in parts if isinstance(part, Replica)),
        at_us=0,
    )


def asked(*demands: Demand) -> dict[str, Demand]:
    return {demand.key: demand for demand in demands}


def demand(key: str = "m@v1", **changed: Any) -> Demand:
    name, _, version = key.partition("@")
    fields: dict[str, Any] = {"model": name, "version": version, "window_us": S}
    return Demand(**(fields | changed))
