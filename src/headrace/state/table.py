"""The table a gateway routes by, and what it reports back: the whole conversation between control and gateways.

The controller pushes the full table on every change (level-based: a gateway needs only the last one) and writes it to
a file, from which a gateway starts while the controller is away. Messages are JSON, one a line.
"""

import msgspec

from headrace.specs.catalog import Limits
from headrace.state.demand import Demand
from headrace.state.fleet import Phase
from headrace.state.work import WorkRate


class Media(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an engine of pictures, sound or film takes and makes; an empty tuple or a 0 leaves it open.

    `sizes` are WIDTHxHEIGHT that can be made; `pixels_max` of a picture given, `bytes_max` of any file given;
    `audio_s_max` of a recording, `video_s_max` of a film; `scales` by which a picture is enlarged; `languages` that are
    understood. `words`: moments of single words can be told; `translates`: into English.
    """

    sizes: tuple[str, ...] = ()
    pixels_max: int = 0
    bytes_max: int = 25 << 20
    audio_s_max: int = 0
    video_s_max: int = 0
    voices: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    scales: tuple[int, ...] = ()
    languages: tuple[str, ...] = ()
    edits: bool = False
    words: bool = False
    translates: bool = False


class Ability(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the engine of a model can do by itself; what it cannot, the gateway does or refuses by name.

    `dialect` tells usage fields apart: llama_cpp, headrace (our runners), vllm, openai. `plain_schemas`: of JSON
    schemas only the subset of `wire.plain_schema` is enforced. `n_max` is the most choices that one call can ask for, 0
    leaves it open. `images`: chat messages may hold pictures. `media` is None for an engine of texts alone.
    `generates`: its answers follow the prompt; one that only reads can be told nothing.
    """

    dialect: str = "openai"
    stream: bool = True
    json_schema: bool = True
    plain_schemas: bool = False
    tools: bool = False
    logprobs: bool = True
    n: bool = True
    n_max: int = 0
    completions: bool = True
    parameters: tuple[str, ...] = ()
    images: bool = False
    media: Media | None = None
    generates: bool = True

    def choices(self, n: int) -> bool:
        """Whether one call can ask for `n` choices."""
        return n == 1 or (self.n and (not self.n_max or n <= self.n_max))


class RouteBudget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A budget that requests of a key, or of a model, count against.

    Its id in a period is `scope|period|name of the period`.
    """

    scope: str
    period: str
    at_limit: str


class RouteCut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the requests of a model are cut in two parts by prompt length: the longer ones belong to the `pool`.

    `rate` is the work of a long request on `pool`.
    """

    upto_tokens: int
    pool: str
    rate: WorkRate | None = None


class RouteModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model version that may be asked for. `state` is for people: asleep, preparing, waking, ready, failed.

    `wake_us` is how long a wake is expected to take (last measured), 0 when unknown. `fault` says why it cannot be
    served at all; then requests are refused instead of held. `rate` is the work of a request, None while not known.
    `tpot_us` is the promised time per output token, 0 for none. `hedge`: short calls may be asked of two replicas.
    `budgets` are those of the model itself, which its charges count against.
    `cut`: its replicas of two pools share its requests by length.
    `shadow` is the percent of the model's requests that are copied to it, for nobody. `fallback` are models that may
    answer where this one cannot.
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
    rate: WorkRate | None = None
    shadow: int = 0
    fallback: tuple[str, ...] = ()
    tpot_us: int = 0
    hedge: bool = False
    budgets: tuple[RouteBudget, ...] = ()
    cut: RouteCut | None = None


class RouteReplica(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One replica to send to. `address` is `unix:/path` or `http(s)://host:port[/prefix]`.

    `upstream_model` is the name the engine knows the model by; `api_key` goes to foreign servers as a bearer token.
    Only replicas in phase `ready` take new work; `draining` ones finish theirs. `holds_tokens` is the longest request
    that it has room for, the answer included; 0 where that is not known to be less than the model's context.
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
    pool: str = ""
    holds_tokens: int = 0


class Price(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the units of one model version cost: pico-dollars (10^-12) each, by unit; see economics.metering.

    `model` is `name@version`, `tenant` empty for all. `id` names the price by its content; `from_us` is when it began
    to be in force; `basis` says where it comes from, for people.
    """

    id: str
    model: str
    units: dict[str, int]
    tenant: str = ""
    from_us: int = 0
    basis: str = ""


class RouteKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key that may be used. `digest` is hex HMAC-SHA-256 of the secret by the pepper; `role` is user or admin."""

    id: str
    digest: str
    tenant: str
    role: str
    models: tuple[str, ...] = ("*",)
    limits: Limits = Limits()
    team: str = ""
    budgets: tuple[RouteBudget, ...] = ()


class RouteTenant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What gateways and the runner know of a tenant; see `specs.catalog.TenantSpec`."""

    name: str
    storage_bytes: int = 20 << 30
    keep_runs_us: int = 30 * 86_400_000_000
    weight: int = 1


class Table(msgspec.Struct, frozen=True, kw_only=True, tag="table"):
    """Everything a gateway needs, and the runner of it `tenants`; one that is not there has all defaults.

    `revision` grows with every change.
    """

    revision: int
    models: tuple[RouteModel, ...]
    replicas: tuple[RouteReplica, ...]
    keys: tuple[RouteKey, ...]
    prices: tuple[Price, ...] = ()
    tenants: tuple[RouteTenant, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """What a gateway worker has seen since its last report, and holds now. Sent every 250 ms, at once on a wake.

    `epoch` names the gateway process, `in_flight` its requests at work by replica. `faults` are `replica/incarnation`
    it could not get an answer from. `began_us` is when the process began, on the clock that never goes back.
    """

    worker: int
    epoch: str
    pid: int
    demand: tuple[Demand, ...]
    in_flight: dict[str, int] = {}
    revision: int = 0
    faults: tuple[str, ...] = ()
    connections: int = 0
    began_us: int = 0


class Purse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a gateway has of one budget: granted and returned so far, nano-dollars, and how much more it wants now.

    `part`: less than what is wanted will do. `ask` numbers what is asked, so that the answer can be told.
    """

    granted: int = 0
    returned: int = 0
    wanted: int = 0
    part: bool = False
    ask: int = 0


class Purses(msgspec.Struct, frozen=True, kw_only=True, tag="purses"):
    """A gateway's budgets by id: sent when it connects (all of them), and when it needs or returns something."""

    epoch: str
    purses: dict[str, Purse]
    whole: bool = False


class Grant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much of a budget a gateway has been granted so far; `ask` is the question this answers.

    `left` is what of the budget is neither settled nor held; `recall` asks for what the gateway does not need.
    """

    granted: int
    ask: int = 0
    left: int = 0
    limit: int = 0
    recall: bool = False


class Grants(msgspec.Struct, frozen=True, kw_only=True, tag="grants"):
    """Answers to one gateway, by budget id."""

    grants: dict[str, Grant]


class Challenge(msgspec.Struct, frozen=True, kw_only=True, tag="challenge"):
    """The first word of control: who knows the pepper answers with `keys.proof` of this."""

    nonce: str


class Proof(msgspec.Struct, frozen=True, kw_only=True, tag="proof"):
    """The first word of a gateway. Replicas run as the same user, but cannot read the pepper."""

    answer: str


FromGateway = Report | Purses | Proof
FromControl = Table | Grants | Challenge
