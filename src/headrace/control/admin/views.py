"""What the admin API shows: the answers' forms. They make its OpenAPI description."""

from typing import Any

import msgspec

from headrace.economics.receipt import Receipt
from headrace.economics.statement import ModelCost
from headrace.ports import KeyRecord
from headrace.specs.catalog import Catalog
from headrace.state.decision import Decision
from headrace.state.fleet import Lease, Replica
from headrace.state.likeness import Agreement
from headrace.state.rollout import Tally
from headrace.state.table import Price
from headrace.state.usage import Begun, Usage

Row = dict[str, str | int | bool | tuple[Any, ...]]  # a usage record; its attempts and parts are lists


class GatewayView(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway worker that reports."""

    worker: int
    pid: int
    connections: int


class HoldView(msgspec.Struct, frozen=True, kw_only=True):
    """Something wanted and not possible now."""

    model: str
    reason: str


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """One model version. `state`: asleep, unprepared, preparing, waking, ready, failed or unreachable."""

    name: str
    version: str
    task: str
    engine: str
    state: str
    fault: str
    note: str
    weight: int
    wake_us: int
    ready: int
    min: int
    max: int
    in_flight: int
    queued: int
    context_tokens: int
    memory_bytes: int


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """Those the key may use."""

    models: list[ModelView]


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """A version on its way, or the last one that was. `evidence` is that it is worse: 1 none, 600 enough.

    `agreement`: sums over answers of a shadow and of `stable`; `agree` is the percent that is needed to promote it.
    """

    model: str
    stable: str
    candidate: str
    phase: str
    share: int
    shadow: int
    automatic: bool
    verdict: str
    reason: str
    began_us: int
    changed_us: int
    evidence: float
    old: Tally
    new: Tally
    agreement: Agreement
    agree: int


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """One version as it is served now. `declared`: the cloud file has it."""

    version: str
    weight: int
    ready: int
    declared: bool


class VersionedModel(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of one model."""

    model: str
    versions: list[VersionView]
    rollout: RolloutView | None


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """Of every model the key may use."""

    models: list[VersionedModel]


class HindsightView(msgspec.Struct, frozen=True, kw_only=True):
    """What the last day cost over the least it could have. `ratio_ppm` is paid over optimum, in millionths.

    `whole` are those of the models whose least is that of whole replicas; of the others replicas may be fractions.
    """

    at_us: int
    from_us: int
    paid_nanousd: int
    optimum_nanousd: int
    ratio_ppm: int
    on_time_ppm: int
    models: tuple[str, ...]
    whole: tuple[str, ...]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud at a glance. To a key of role user: its models, and nothing of others."""

    version: str
    listen: str
    revision: str
    up_since_us: int
    models: list[ModelView]
    in_flight: int
    queued: int
    requests: int
    gateways: list[GatewayView] = []
    replicas: list[Replica] = []
    holds: list[HoldView] = []
    problems: list[str] = []
    hindsight: HindsightView | None = None


class Replicas(msgspec.Struct, frozen=True, kw_only=True):
    """Every replica that is not gone."""

    replicas: list[Replica]


class Logs(msgspec.Struct, frozen=True, kw_only=True):
    """The last lines a replica printed."""

    id: str
    lines: list[str]


class Stopping(msgspec.Struct, frozen=True, kw_only=True):
    """A replica drains and is then stopped."""

    id: str
    stopping: bool


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """One device of a pool. `goes_in_us` until it is taken away: 0 when it is, None when nobody said so."""

    pool: str
    node: str
    device: str
    memory_bytes: int
    held_bytes: int
    goes_in_us: int | None


class Pools(msgspec.Struct, frozen=True, kw_only=True):
    """In the order of the file."""

    devices: list[DeviceView]


class Leases(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    leases: list[Lease]


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first, or in order after `after`."""

    events: list[Decision]


class Rows(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Newest first. `settled_until_us`, where a label was asked for: all of its requests that arrived before this
    moment have ended and are in the books, or never were.
    """

    usage: list[Row]
    settled_until_us: int = 0


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A cloud file that can be applied. `warnings` are what it asks for and will never happen."""

    ok: bool
    revision: str
    models: list[str]
    catalog: Catalog
    warnings: list[str] = []


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """One difference; `text` is the line a person reads."""

    change: str
    what: str
    text: str
    field: str = ""
    before: str = ""
    after: str = ""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What changes, and whether it was done. `before` is the revision to give as If-Match.

    `warnings` are what the file asks for and will never happen.
    """

    revision: str
    before: str
    diff: list[ChangeView]
    applied: bool
    warnings: list[str] = []


class KeyView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key without its secret. `key` is the whole text, in the answer that makes it and never again."""

    id: str
    name: str
    tenant: str
    role: str
    team: str
    models: tuple[str, ...]
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrency: int | None
    created_us: int
    revoked_us: int
    revoked: bool
    key: str = ""


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first, revoked ones included."""

    keys: list[KeyView]


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over whole hours; amounts are requests, or units when asked by unit. Nano-dollars.

    Charges are known at once, costs up to `booked_until_us`: what ended later costs nothing here yet.
    """

    from_us: int
    to_us: int
    booked_until_us: int
    rows: list[dict[str, Any]]


class StatementView(msgspec.Struct, frozen=True, kw_only=True):
    """What devices cost (`owed`) and where it went; all parts add up to it. `rates` are nano-dollars an hour now."""

    from_us: int
    to_us: int
    booked_until_us: int
    owed_nanousd: int
    charged_nanousd: int
    free_nanousd: dict[str, int]
    fragment_nanousd: dict[str, int]
    residual_nanousd: int
    models: list[dict[str, Any]]
    borne_nanousd: dict[str, dict[str, int]]
    rates: dict[str, int]


class CaseView(msgspec.Struct, frozen=True, kw_only=True):
    """What one change would make of a comparison; without figures where `text` says what is missing."""

    name: str
    text: str
    own_nanousd: int | None = None
    break_even_ppm: int | None = None
    own_is_cheaper: bool | None = None


class ComparisonView(msgspec.Struct, frozen=True, kw_only=True):
    """One model beside a closed API; `why` says why it cannot be compared. `cases`: spot, 8 bits, a cheaper device."""

    model: str
    against: str
    own_nanousd: int
    source: str = ""
    elsewhere_nanousd: int = 0
    utilisation_ppm: int = 0
    break_even_ppm: int = 0
    own_is_cheaper: bool | None = None
    why: str = ""
    cases: list[CaseView] = []


class Comparisons(msgspec.Struct, frozen=True, kw_only=True):
    """One row a model."""

    from_us: int
    to_us: int
    rows: list[ComparisonView]


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Pico-dollars for one of each unit."""

    prices: list[Price]


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """A budget in its current period; nano-dollars. Held: granted to gateways and not charged."""

    scope: str
    period: str
    name: str
    limit_nanousd: int
    spent_nanousd: int
    held_nanousd: int
    left_nanousd: int
    at_limit: str
    warn_percent: tuple[int, ...]


class BudgetsView(msgspec.Struct, frozen=True, kw_only=True):
    """By scope."""

    budgets: list[BudgetView]


def model_cost(cost: ModelCost) -> dict[str, Any]:
    """A model's cost with its sums."""
    sums = {"total_nanousd": cost.total_nanousd, "overhead_nanousd": cost.overhead_nanousd}
    return {**msgspec.structs.asdict(cost), **sums}


class Explained(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Facts, and in `text` the same in lines a person reads."""

    id: str
    kind: str
    text: list[str]
    request: Row | None = None
    receipt: Receipt | None = None
    lease: Lease | None = None
    decision: Decision | None = None
    leases: list[Lease] = []
    events: list[Decision] = []


def key_view(record: KeyRecord, text: str = "") -> KeyView:
    """A key as it is shown."""
    fields = msgspec.structs.asdict(record)
    del fields["digest"]
    return KeyView(**fields, revoked=bool(record.revoked_us), key=text)


def row(usage: Usage | Begun) -> Row:
    """A record with all its fields, those that are empty too."""
    return msgspec.structs.asdict(usage)
