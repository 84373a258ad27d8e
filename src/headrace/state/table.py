"""The table a gateway routes by, and what it reports back: the whole conversation between control and gateways.

The controller pushes the full table on every change (level-based: a gateway needs only the last one) and writes it to
a file, from which a gateway starts while the controller is away. Messages are JSON, one a line.
"""

import msgspec

from headrace.specs.catalog import Limits
from headrace.state.demand import Demand
from headrace.state.fleet import Phase


class Ability(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the engine of a model can do by itself; what it cannot, the gateway does or refuses by name.

    `dialect` tells usage fields apart: llama_cpp, headrace (our runners), vllm, openai.
    """

    dialect: str = "openai"
    stream: bool = True
    json_schema: bool = True
    tools: bool = False
    logprobs: bool = True
    n: bool = True
    completions: bool = True
    parameters: tuple[str, ...] = ()


class RouteModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model version that may be asked for. `state` is for people: asleep, preparing, waking, ready, failed.

    `wake_us` is how long a wake is expected to take (last measured), 0 when unknown. `fault` says why it cannot be
    served at all; then requests are refused instead of held.
    """

    name: str
    version: str
    weight: int
    task: str
    ability: Ability
    context_tokens: int
    output_tokens_default: int
    queue_max: int
    ttft_us: int
    start_timeout_us: int
    state: str
    created_s: int
    wake_us: int = 0
    fault: str = ""


class RouteReplica(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One replica to send to. `address` is `unix:/path` or `http(s)://host:port[/prefix]`.

    `upstream_model` is the name the engine knows the model by; `api_key` goes to foreign servers as a bearer token.
    Only replicas in phase `ready` take new work; `draining` ones finish theirs.
    """

    id: str
    model: str
    version: str
    incarnation: str
    address: str
    slots: int
    phase: Phase
    upstream_model: str
    api_key: str = ""


class RouteKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key that may be used. `digest` is hex HMAC-SHA-256 of the secret by the pepper; `role` is user or admin."""

    id: str
    digest: str
    tenant: str
    role: str
    models: tuple[str, ...] = ("*",)
    limits: Limits = Limits()


class Table(msgspec.Struct, frozen=True, kw_only=True, tag="table"):
    """Everything a gateway needs. `revision` grows with every change."""

    revision: int
    models: tuple[RouteModel, ...]
    replicas: tuple[RouteReplica, ...]
    keys: tuple[RouteKey, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """What a gateway worker has seen since its last report, and holds now. Sent every 250 ms, at once on a wake.

    `epoch` names the gateway process, `in_flight` its requests at work by replica. `faults` are `replica/incarnation`
    it could not get an answer from.
    """

    worker: int
    epoch: str
    pid: int
    demand: tuple[Demand, ...]
    in_flight: dict[str, int] = {}
    revision: int = 0
    faults: tuple[str, ...] = ()
    connections: int = 0


Message = Table | Report
