"""The catalog: every pool, model version and tenant that is wanted, resolved to integers.

Made from the cloud file by `specs.load`; stored, compared by digest, and read by both brains. Frozen; nothing here
reads a file or a clock.
"""

import hashlib
from typing import Literal

import msgspec

from headrace.specs.shapes import Shape

Task = Literal["chat", "embed", "rerank", "image", "upscale", "transcribe", "speak", "video"]
EngineKind = Literal[
    "llama_cpp", "openvino", "onnx", "openai", "vllm",
    "painter", "realesrgan", "rapidocr", "whisper", "espeak", "sherpa", "diffusers",
]  # fmt: skip


class Golden(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One question whose answer proves that prepared weights still think: asked once, in `prepare`.

    For chat `expect` is a text the answer contains, case ignored. For embed and rerank, `closer` and `farther` are
    texts of which the first must score higher against `prompt`.
    """

    prompt: str
    expect: str = ""
    closer: str = ""
    farther: str = ""


class Sleep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a replica keeps while it sleeps with its process alive: of its device, and of its machine's RAM.

    `level` is vLLM's: 1 keeps the weights in RAM, 2 reads them again; 0 for engines that know one way.
    """

    kept_bytes: int
    host_bytes: int = 0
    level: int = 0


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a model is run. `slots` is what one replica works on at once; `context_tokens` is per request.

    `threads` is the CPU share of one replica. `url` and `api_key` (a reference such as `env:NAME` or `file:PATH`,
    never the key itself) belong to engines of kind `openai`. `args` are options of the engine's own (vllm, diffusers)
    or what a server lacks (openai). `lora` is where an adapter of the weights comes from, `lora_scale` how strongly it
    is applied. `sleep` is None for an engine that cannot sleep.
    """

    kind: EngineKind
    slots: int = 8
    context_tokens: int = 2048
    threads: int = 1
    quantise: str = ""
    url: str = ""
    api_key: str = ""
    upstream_model: str = ""
    args: dict[str, str | int | float | bool] = {}
    lora: str = ""
    lora_scale: float = 1.0
    sleep: Sleep | None = None


class Objective(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What users of the model are promised: time to first token, time per output token, microseconds.

    `tpot_percent` of answers are to keep `tpot_us`, `ttft_percent` of first tokens `ttft_us`; replicas are filled as
    far as that allows.
    """

    ttft_us: int = 2_000_000
    tpot_us: int = 200_000
    tpot_percent: int = 75
    ttft_percent: int = 99


class Hours(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hours of a week with their own numbers of replicas; None leaves a number as it is.

    `days` are 0 for Monday to 6; `start_s` and `end_s` are seconds of the day in `zone`.
    """

    days: tuple[int, ...]
    start_s: int
    end_s: int
    zone: str
    min_replicas: int | None = None
    max_replicas: int | None = None


class Scaling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many replicas, and how long an idle one is kept. `idle_to_zero_us` None means never to zero.

    `queue_max` is how many requests may be held for this model in one gateway before it refuses.
    With `idle_auto` the idle time follows from what idling and waking cost; `wait_nanousd_per_s` is what a second of a
    user's wait for a wake is worth. `schedule` are hours with other numbers.
    An idle replica sleeps after `idle_to_sleep_us`, None for never; with `sleep_auto` as long as it is cheaper awake.
    A wake from sleep takes `wake_us` until one was measured.
    `start_timeout_us` bounds a replica's start; `drain_us` bounds the wait for its work when it is stopped.
    """

    min_replicas: int = 0
    max_replicas: int = 1
    idle_to_zero_us: int | None = 300_000_000
    queue_max: int = 512
    start_timeout_us: int = 120_000_000
    drain_us: int = 120_000_000
    idle_auto: bool = False
    wait_nanousd_per_s: int = 1_000_000
    schedule: tuple[Hours, ...] = ()
    idle_to_sleep_us: int | None = None
    sleep_auto: bool = False
    wake_us: int = 3_000_000


class PriceSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a model is priced. `units` are pico-dollars each, for kind fixed; see specs.priced.

    cost_plus: what its time on a device costs, plus `markup_ppm`. mirror: what `mirror` (PROVIDER/MODEL) charges, less
    `discount_ppm`. `from_us` is when it begins, 0 for when it is applied.
    """

    kind: Literal["fixed", "cost_plus", "mirror"] = "cost_plus"
    units: dict[str, int] = {}
    markup_ppm: int = 0
    mirror: str = ""
    discount_ppm: int = 0
    from_us: int = 0


class BudgetSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tenant may spend in each period, or all together on a model; see economics.budgets."""

    period: Literal["day", "month", "total"]
    limit_nanousd: int
    at_limit: Literal["refuse", "degrade", "notify"] = "refuse"
    warn_percent: tuple[int, ...] = (50, 80, 100)


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of one model. `weight` is its share of the model's traffic, relative to its sibling versions.

    `memory_bytes` is what one replica takes; `pools` where it may live, in order of preference. `shape` foretells its
    steps on an accelerator. `shadow` is the percent of the model's requests that are copied to this version, which
    only a rollout sets. `fallback` names models that may answer where this one cannot, in order.
    With `hedge` a short call that takes long is asked of a second replica. With `by_cost` it lives in the pool
    that is cheapest for its requests, else in the first that has room. `budgets` are of the name, of all versions.
    """

    name: str
    version: str
    weight: int
    task: Task
    source: str
    engine: EngineSpec
    memory_bytes: int
    pools: tuple[str, ...]
    objective: Objective = Objective()
    scaling: Scaling = Scaling()
    golden: Golden | None = None
    output_tokens_default: int = 512
    description: str = ""
    price: PriceSpec = PriceSpec()
    compare_to: str = ""
    shape: Shape | None = None
    shadow: int = 0
    fallback: tuple[str, ...] = ()
    hedge: bool = False
    by_cost: bool = True
    budgets: tuple[BudgetSpec, ...] = ()

    @property
    def key(self) -> str:
        """`name@version`: what a replica serves."""
        return f"{self.name}@{self.version}"

    @property
    def digest(self) -> str:
        """Names everything a running replica depends on: a change of it means another replica, never an update."""
        running = (self.name, self.version, self.source, self.engine, self.memory_bytes)
        return hashlib.sha256(msgspec.json.encode(running, order="sorted")).hexdigest()[:12]

    @property
    def converses(self) -> bool:
        """Whether it answers words with words; an engine that reads pictures is a chat model, too, and does not."""
        return self.task == "chat" and self.engine.kind != "rapidocr"

    @property
    def owned(self) -> bool:
        """False for a server that Headrace routes to but does not start."""
        return self.engine.kind != "openai"


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Devices of one kind. `count` devices of `memory_bytes` each; `cpus` is threads for a CPU device.

    `price_nanousd_per_hour` is per device; None means not yet known, which is never the same as zero. With `mig`, a
    device here is one instance of that profile, of which a whole one makes `slices`. `grain_bytes`, when not 0, is the
    part of a device's memory that a replica takes one or more of. `interruptible` devices may be taken away, in the
    mean `loss_ppm_per_day` millionths of a time a day, told `notice_us` before. `host_bytes` of RAM beside each device
    are for what sleeps there.
    """

    name: str
    accelerator: str
    count: int
    memory_bytes: int
    cpus: int = 1
    price_nanousd_per_hour: int | None = None
    price_basis: str = "on_demand"
    price_from_us: int = 0
    interruptible: bool = False
    loss_ppm_per_day: int = 0
    mig: str = ""
    slices: int = 1
    grain_bytes: int = 0
    host_bytes: int = 0
    notice_us: int = 0


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one key may do; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class TenantSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who may use what. `models` holds names or "*". Limits are the default of each key of the tenant.

    `keys` are references (`env:NAME`, `file:PATH`) to keys the operator made elsewhere; most keys are made with
    `headrace key create` and live in the store. `storage_bytes` is the most it may keep of files, videos, stored
    responses and large results of runs; runs of pipelines are kept `keep_runs_us` after their end. `weight` is its
    share of the time of slots that others wait for, too, relative to theirs.
    """

    name: str
    models: tuple[str, ...] = ("*",)
    limits: Limits = Limits()
    keys: tuple[str, ...] = ()
    prices: dict[str, PriceSpec] = {}
    budgets: tuple[BudgetSpec, ...] = ()
    storage_bytes: int = 20 << 30
    keep_runs_us: int = 30 * 86_400_000_000
    weight: int = 1


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """Everything wanted. `models` holds one entry a version, sorted by key."""

    pools: tuple[PoolSpec, ...]
    models: tuple[ModelSpec, ...]
    tenants: tuple[TenantSpec, ...]

    @property
    def revision(self) -> str:
        """Names this content; equal catalogs have equal revisions."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:12]

    def names(self) -> tuple[str, ...]:
        """Model names, each once, in order."""
        return tuple(dict.fromkeys(model.name for model in self.models))

    def model(self, key: str) -> ModelSpec | None:
        """The version called `name@version`."""
        return next((model for model in self.models if model.key == key), None)

    def pool(self, name: str) -> PoolSpec | None:
        """The pool of that name."""
        return next((pool for pool in self.pools if pool.name == name), None)
