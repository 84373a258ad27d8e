"""The cloud file as it is written: one struct a section, each field with its unit, default and reason; tenants apart.

`specs.load` reads a file against these structs, `specs.schema` makes the JSON Schema from them, and docs/cloud-yaml.md
names each field. Literals such as `5m` and `4GiB` are texts here (`specs.literals`); the catalog holds what they mean.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headrace.specs.catalog import EngineKind, Task
from headrace.specs.literals import (
    ARG_PATTERN,
    MARKET_PATTERN,
    MIG_PATTERN,
    QUANTISE_PATTERN,
    URL_PATTERN,
    Date,
    Duration,
    Money,
    Name,
    NameAtVersion,
    Reference,
    Size,
)
from headrace.specs.section import Budget, Price, Section
from headrace.specs.tenancy import Tenant

_Prompt = Annotated[str, Meta(min_length=1, max_length=4096)]
_Tokens = Annotated[int, Meta(ge=1, le=10_000_000)]
_ArgName = Annotated[str, Meta(pattern=ARG_PATTERN, max_length=64)]


class Owned(Section, frozen=True):
    """A device that was bought: its price spread over its years, and its power."""

    purchase: Annotated[Money, Meta(description="of one device, with its part of the machine")]
    years: Annotated[int, Meta(ge=1, le=20, description="over which it is written off")]
    power_watts: Annotated[int, Meta(ge=0, le=100_000, description="drawn on average, with its part of cooling")] = 0
    power_per_kwh: Annotated[Money, Meta(description="what a kilowatt-hour costs")] = 0


class Pool(Section, frozen=True):
    """Devices of one kind, with one price."""

    accelerator: Annotated[Name, Meta(description="cpu, or what the GPU is called, like nvidia-l4")]
    count: Annotated[int, Meta(ge=1, le=10_000, description="how many devices")] = 1
    memory: Annotated[
        Literal["auto"] | Size, Meta(description="of one device; auto reads this machine's, for cpu pools only")
    ] = "auto"
    cpus: Annotated[
        Literal["auto"] | Annotated[int, Meta(ge=1, le=4096)],
        Meta(description="threads that replicas on one device may use together; auto is all of this machine"),
    ] = "auto"
    price_per_hour: Annotated[
        Money | None, Meta(description="of one device, in US dollars; left out means unknown, which is not zero")
    ] = None
    reserved_per_month: Annotated[
        Money | None, Meta(description="of one device, instead of price_per_hour; a month is 730 hours")
    ] = None
    owned: Annotated[Owned | None, Meta(description="a bought device, instead of price_per_hour")] = None
    price_begins: Annotated[
        Date | None, Meta(description="when this price begins, midnight UTC; when it is applied if left out")
    ] = None
    interruptible: Annotated[bool, Meta(description="spot: devices may be taken away at any time")] = False
    losses_per_day: Annotated[
        Annotated[float, Meta(ge=0, le=1000)] | None,
        Meta(description="how often one interruptible device is taken away, on average; 0.15 when left out"),
    ] = None
    notice: Annotated[
        Duration | None,
        Meta(description="how long before it is taken away that is told, for simulate; not at all when left out"),
    ] = None
    mig: Annotated[
        Annotated[str, Meta(pattern=MIG_PATTERN, max_length=16)] | None,
        Meta(description="each device is cut into instances of this MIG profile, like 1g.10gb"),
    ] = None
    host_memory: Annotated[
        Size | None,
        Meta(description="RAM of its machine, for each device, in which sleeping replicas may keep their weights"),
    ] = None
    share: Annotated[
        Annotated[float, Meta(ge=0.01, le=1)] | None,
        Meta(
            description="devices are handed out in parts of this size, like 0.25; a replica takes as many as it needs"
        ),
    ] = None


class Engine(Section, frozen=True):
    """How a model is run. In a version, the fields given replace the model's, unless `kind` differs: then all do."""

    kind: Annotated[
        EngineKind | None, Meta(description="which engine; required for the model, optional in a version")
    ] = None
    slots: Annotated[
        Annotated[int, Meta(ge=1, le=65_536)] | None,
        Meta(description="requests one replica works on at once; 8 when left out"),
    ] = None
    context: Annotated[_Tokens | None, Meta(description="tokens of one request; 2048 when left out")] = None
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | None,
        Meta(description="CPU threads of one replica: its share of the pool's cpus; 1 when left out"),
    ] = None
    quantise: Annotated[
        Annotated[str, Meta(pattern=QUANTISE_PATTERN, max_length=32)] | None,
        Meta(description="convert the weights once to this format before they are used, like Q4_0"),
    ] = None
    url: Annotated[
        Annotated[str, Meta(pattern=URL_PATTERN, max_length=2048)] | None,
        Meta(description="where an existing server listens, for kind openai"),
    ] = None
    api_key: Annotated[Reference | None, Meta(description="the key that server wants, as a reference")] = None
    upstream_model: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)] | None,
        Meta(description="what that server calls the model; the model's own name when left out"),
    ] = None
    lora: Annotated[
        Annotated[str, Meta(min_length=1, max_length=2048)] | None,
        Meta(
            description="an adapter for the weights, from where `source` may come: a GGUF for llama_cpp, "
            "a folder of PEFT's for vllm"
        ),
    ] = None
    lora_scale: Annotated[
        Annotated[float, Meta(ge=-10, le=10)] | None,
        Meta(description="how strongly the adapter is applied; 1 when left out"),
    ] = None
    sleep_level: Annotated[
        Literal[1, 2] | None,
        Meta(description="for vllm: 1 keeps the weights in RAM while it sleeps, 2 reads them again; 1 when left out"),
    ] = None
    sleep_memory: Annotated[
        Size | None,
        Meta(description="what a sleeping replica keeps of its device; the engine's own figure when left out"),
    ] = None
    args: Annotated[
        dict[_ArgName, str | int | float | bool] | None,
        Meta(
            description="for vllm, options of its own command line, like dtype: bfloat16; "
            "for openai, what the server lacks, like tools: false; for diffusers, how it draws, like steps: 20"
        ),
    ] = None


class Objective(Section, frozen=True):
    """What users of the model are promised."""

    ttft: Annotated[Duration, Meta(description="time to first token")] = "2s"
    tpot: Annotated[Duration, Meta(description="time per output token after the first")] = "200ms"
    ttft_percent: Annotated[int, Meta(description="part of first tokens within ttft, percent", ge=1, le=99)] = 99
    tpot_percent: Annotated[int, Meta(description="part of answers that is to keep tpot, percent", ge=1, le=99)] = 75


_Clock = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", examples=["08:00"])]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Hours(Section, frozen=True):
    """Hours of a week with their own numbers of replicas."""

    start: Annotated[_Clock, Meta(description="when they begin, like 08:00")]
    end: Annotated[_Clock, Meta(description="when they end; before the start means on the next day")]
    days: Annotated[
        Annotated[list[Day], Meta(min_length=1, max_length=7)] | None,
        Meta(description="on which days they begin; all if left out"),
    ] = None
    zone: Annotated[str, Meta(max_length=64, description="the zone of these times, like Europe/Zurich")] = "UTC"
    min: Annotated[Annotated[int, Meta(ge=0, le=10_000)] | None, Meta(description="the least in these hours")] = None
    max: Annotated[Annotated[int, Meta(ge=1, le=10_000)] | None, Meta(description="the most in these hours")] = None


class Scaling(Section, frozen=True):
    """How many replicas there are, and when an idle one is stopped."""

    min: Annotated[int, Meta(ge=0, le=10_000, description="replicas that always run; 0 lets the model sleep")] = 0
    max: Annotated[int, Meta(ge=1, le=10_000, description="never more replicas than these")] = 1
    idle_to_zero: Annotated[
        Literal["never", "auto"] | Duration,
        Meta(description="how long the last idle replica is kept when min is 0; auto: as long as that is cheaper"),
    ] = "5m"
    idle_to_sleep: Annotated[
        Literal["never", "auto"] | Duration | None,
        Meta(
            description="how long an idle replica stays awake before it sleeps with its process alive; auto: as long "
            "as that is cheaper; when left out, auto beside idle_to_zero: auto (not for vllm), else never"
        ),
    ] = None
    queue: Annotated[
        int, Meta(ge=0, le=1_000_000, description="requests each gateway holds for the model before it refuses")
    ] = 512
    start_timeout: Annotated[Duration, Meta(description="a replica that is not ready by then has failed")] = "2m"
    drain: Annotated[Duration, Meta(description="how long a stopping replica may finish its work")] = "2m"
    wait_price: Annotated[
        Money,
        Meta(description="what a second of a user's wait for a wake is worth, in US dollars; for auto"),
    ] = 0.001
    wake: Annotated[
        Duration, Meta(description="how long a wake from sleep takes, until one was measured; for simulate, too")
    ] = "3s"
    schedule: Annotated[
        Annotated[list[Hours], Meta(max_length=50)], Meta(description="hours of the week with other numbers; see Hours")
    ] = msgspec.field(default_factory=list)


class Golden(Section, frozen=True):
    """One question whose answer proves that prepared weights still think."""

    prompt: Annotated[_Prompt, Meta(description="what is asked of the engine once, when weights are prepared")]
    expect: Annotated[
        Annotated[str, Meta(max_length=4096)], Meta(description="for chat: a text the answer contains, case ignored")
    ] = ""
    closer: Annotated[
        Annotated[str, Meta(max_length=4096)], Meta(description="for embed and rerank: must score above `farther`")
    ] = ""
    farther: Annotated[
        Annotated[str, Meta(max_length=4096)], Meta(description="for embed and rerank: must score below `closer`")
    ] = ""


_Bits = Annotated[int, Meta(ge=2, le=32)]


class Shape(Section, frozen=True):
    """What a language model is made of, for what its steps take on an accelerator; what is left out is as in `like`."""

    like: Annotated[Name | None, Meta(description="a model that is known, like qwen3-32b or llama-3.1-8b")] = None
    params: Annotated[Annotated[int, Meta(ge=10**6, le=10**13)] | None, Meta(description="weights")] = None
    active: Annotated[
        Annotated[int, Meta(ge=10**6, le=10**13)] | None,
        Meta(description="weights used for a token; params if not said"),
    ] = None
    layers: Annotated[Annotated[int, Meta(ge=1, le=1_000)] | None, Meta(description="layers")] = None
    hidden: Annotated[Annotated[int, Meta(ge=1, le=100_000)] | None, Meta(description="numbers of a hidden state")] = (
        None
    )
    heads: Annotated[Annotated[int, Meta(ge=1, le=1_000)] | None, Meta(description="attention heads")] = None
    kv_heads: Annotated[Annotated[int, Meta(ge=1, le=1_000)] | None, Meta(description="heads in the KV cache")] = None
    head_dim: Annotated[Annotated[int, Meta(ge=1, le=10_000)] | None, Meta(description="numbers of a head")] = None
    weight_bits: Annotated[_Bits | None, Meta(description="of one weight; 16 when not said")] = None
    kv_bits: Annotated[_Bits | None, Meta(description="of one number in the KV cache; 16 when not said")] = None


class Version(Section, frozen=True):
    """One version of a model: what it says replaces what the model says."""

    weight: Annotated[
        int,
        Meta(
            ge=0, le=1_000_000, description="share of the traffic, relative to the others; 0: asleep until it is named"
        ),
    ] = 100
    source: Annotated[Annotated[str, Meta(min_length=1, max_length=2048)] | None, Meta(description="its weights")] = (
        None
    )
    engine: Annotated[Engine | None, Meta(description="its engine; see engine")] = None
    memory: Annotated[Size | None, Meta(description="what one of its replicas takes")] = None
    golden: Annotated[Golden | None, Meta(description="its golden question")] = None
    description: Annotated[Annotated[str, Meta(max_length=1024)] | None, Meta(description="for people")] = None


class Model(Section, frozen=True):
    """One name that clients ask for."""

    task: Annotated[Task, Meta(description="what the model does")]
    engine: Annotated[Engine, Meta(description="how it is run")]
    source: Annotated[
        Annotated[str, Meta(min_length=1, max_length=2048)] | None,
        Meta(
            description="its weights: package://PACKAGE/PATH, hf://ORG/NAME[@REVISION], file:///PATH,"
            " or a PATH, of the cloud file's folder when relative; not needed for an existing server"
        ),
    ] = None
    memory: Annotated[
        Size | None, Meta(description="what one replica takes of its device; not needed for an existing server")
    ] = None
    placement: Annotated[
        list[Name] | None, Meta(description="pools it may live in, best first; all pools when left out")
    ] = None
    choose: Annotated[
        Literal["cost", "order"],
        Meta(description="where it lives: in the pool that is cheapest for its requests, or the first that has room"),
    ] = "cost"
    objective: Annotated[Objective, Meta(description="what its users are promised")] = Objective()
    scaling: Annotated[Scaling, Meta(description="how many replicas")] = Scaling()
    golden: Annotated[Golden | None, Meta(description="the question that proves its weights")] = None
    shape: Annotated[Shape | None, Meta(description="what it is made of, to foresee its steps on an accelerator")] = (
        None
    )
    versions: Annotated[
        dict[Name, Version] | None, Meta(description="several versions share the traffic; one called v1 when left out")
    ] = None
    fallback: Annotated[
        Annotated[list[NameAtVersion], Meta(max_length=8)],
        Meta(description="models of the same task, or NAME@VERSION, that answer where this one cannot, in order"),
    ] = msgspec.field(default_factory=list)
    hedge: Annotated[
        bool, Meta(description="ask a second replica when a short call takes longer than nineteen of twenty do")
    ] = False
    output_tokens: Annotated[_Tokens, Meta(description="expected length of an answer that sets no limit")] = 512
    price: Annotated[Price, Meta(description="what is charged for it")] = Price()
    budget: Annotated[
        Budget | None,
        Meta(description="what all together may be charged for it, then it is out of service; no limit when left out"),
    ] = None
    compare_to: Annotated[
        Annotated[str, Meta(pattern=MARKET_PATTERN, max_length=128)] | None,
        Meta(description="the closed API that its users would use instead, like openai/gpt-4o-mini"),
    ] = None
    description: Annotated[str, Meta(max_length=1024, description="for people")] = ""


class Document(Section, frozen=True):
    """A whole cloud."""

    version: Annotated[Literal[1], Meta(description="of this format")]
    pools: Annotated[dict[Name, Pool], Meta(min_length=1, description="the devices, by name")]
    models: Annotated[dict[Name, Model], Meta(description="the models, by name")] = msgspec.field(default_factory=dict)
    tenants: Annotated[
        dict[Name, Tenant] | None, Meta(description="who may use them; one called default when left out")
    ] = None
