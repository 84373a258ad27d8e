"""Tables, requests, catalogs and fleets in few words, for the tests of the two brains."""

from typing import Any

from headrace.state.request import Request
from headrace.state.table import Ability, RouteModel, RouteReplica, Table

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


def table(*parts: RouteModel | RouteReplica) -> Table:
    return Table(
        revision=1,
        models=tuple(part for part in parts if isinstance(part, RouteModel)),
        replicas=tuple(part for part in parts if isinstance(part, RouteReplica)),
        keys=(),
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
